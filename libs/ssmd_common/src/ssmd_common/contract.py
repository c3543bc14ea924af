"""Which contract the HTTP API speaks: one number, raised when a client needs what is new. Pure.

A client asks for at least its own, and a server answers with its own (`X-Ssmd-Contract`); what is
added to the API and no client of ours needs does not raise it.
"""

from typing import Final

CONTRACT: Final = 1
HEADER: Final = "X-Ssmd-Contract"
