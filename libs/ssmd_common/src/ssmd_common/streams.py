"""Names of our streams: what a service may do there, and who reads them, both need them."""

from typing import Final

STREAM: Final = "SECMASTER_CDC"
SUBJECTS: Final = "cdc.>"
DEAD_LETTER_STREAM: Final = "SECMASTER_DLQ"
DEAD_LETTER_SUBJECTS: Final = "dlq.cdc.>"
