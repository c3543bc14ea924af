"""`--remote`: a running service does the work, asked through the API with a key of scope admin."""

import time
from typing import Any, Final

from ssmd_cli import output
from ssmd_cli.api import connect
from ssmd_cli.environment import load_env_file

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 2.0


def answered(path: str) -> dict[str, Any]:
    """The request that a POST to the path under /v1 makes, once it is answered.

    Who does not want to wait may leave: the request stays, and its place is said first.
    """
    load_env_file()
    with connect() as client:
        request: dict[str, Any] = client.ask_for(path)
        place = f"requests/{request['id']}"
        output.note(f"asked for: its result will stand at /v1/{place}")
        pause = _FIRST_PAUSE_SECONDS
        while request["finished_at"] is None:
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
            request = client.get(place)
        return request
