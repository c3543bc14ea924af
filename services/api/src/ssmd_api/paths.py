"""Names in paths."""

from aiohttp import web

from ssmd_api import parameters
from ssmd_api.forms import MAX_TEXT
from ssmd_api.problems import not_found


def named(request: web.Request, part: str, what: str) -> str:
    """The ticker in the path; a text that cannot be one is 404, like one that is not there."""
    try:
        return parameters.text(request.match_info[part])
    except ValueError:
        raise not_found(what, request.match_info[part][:MAX_TEXT]) from None
