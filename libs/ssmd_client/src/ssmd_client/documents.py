"""JSON of the API as it is: the transport needs no more, and knows nothing of rows."""

from decimal import Decimal
from functools import cache
from typing import Any

import msgspec

from ssmd_client.errors import NotTheApi


@cache
def decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    """A decoder of this type. Numbers within jsonb stay exact, too."""
    return msgspec.json.Decoder(kind, float_hook=Decimal)


def document(body: bytes) -> Any:
    """What the JSON says, numbers exact.

    Raises:
        NotTheApi: it is no JSON.
    """
    try:
        return decoder(object).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotTheApi(f"the reply is no JSON of the API ({error})") from error
