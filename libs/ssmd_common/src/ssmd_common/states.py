"""States of a process that others than itself go by. Pure."""

from typing import Final

STANDBY: Final = "standby"
"""It waits for another one's work, and could take over."""
