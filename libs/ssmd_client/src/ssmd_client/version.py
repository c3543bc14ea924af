"""Which version of the library this is."""

from typing import Final

#: As in pyproject.toml: to look it up among what is installed takes longer than a request.
VERSION: Final = "0.1.0"
