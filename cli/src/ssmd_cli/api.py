"""The HTTP API as read verbs use it: which system is asked, and its errors with our exit codes."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from ssmd_cli.profiles import read_profiles
from ssmd_client import errors
from ssmd_client.retries import Retries
from ssmd_client.transport import Query, Transport, base_url, segment
from ssmd_common.errors import ConfigurationError, SsmdError, UpstreamUnavailable
from ssmd_common.exitcodes import ExitCode

__all__ = ["BadRequest", "NotFound", "Place", "Query", "connect", "place_of", "segment"]

PAGE: Final = 1000
_DEFAULT_URL: Final = "http://localhost:8080"
#: Who waits at a terminal rather hears soon that nothing answers.
_PATIENT: Final = Retries(tries=3, first_seconds=0.25)
HURRIED: Final = Retries(tries=1)


class NotFound(SsmdError):
    """The API knows no such thing."""

    exit_code = ExitCode.NOT_FOUND


class BadRequest(SsmdError):
    """The API refuses an argument."""

    exit_code = ExitCode.USAGE


class Place(NamedTuple):
    """A system's API; `source` says in a few words where that is written, `mend` what to check."""

    url: str
    key: str
    source: str
    mend: str


class Api:
    """Requests; every error is one sentence with the right exit code."""

    def __init__(self, transport: Transport, place: Place) -> None:
        self._transport = transport
        self.place = place

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at a path under /v1; parts of the path must be encoded by `segment`.

        Raises:
            NotFound, BadRequest, ConfigurationError, UpstreamUnavailable: the answer was not 200.
        """
        with _told(self.place):
            return self._transport.get(path, query).json()

    def ask_for(self, path: str) -> Any:
        """The request (`ServiceRequest`) that a POST to a path under /v1 made: once, however often
        it had to be tried; errors as above."""
        with _told(self.place):
            return self._transport.post(path, idempotency_key=secrets.token_hex(16)).json()

    def stream(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """The bytes of a long reply as they come; UpstreamUnavailable also when it breaks off."""
        with _told(self.place):
            yield from self._transport.stream(path, query)

    def rows(self, path: str, query: Query, most: int | None) -> tuple[list[Any], bool]:
        """Up to `most` rows of a list (None: all), and whether there are more."""
        document, more = self.whole(path, query, most)
        return document[_list_of(path)], more

    def whole(self, path: str, query: Query, most: int | None) -> tuple[dict[str, Any], bool]:
        """The same with what else a page has beside its rows, as the last one says it."""
        found: list[Any] = []
        cursor: str | None = None
        while True:
            left = PAGE if most is None else min(PAGE, most - len(found))
            document = self.get(path, {**query, "limit": left, "cursor": cursor})
            found += document[_list_of(path)]
            cursor = document["cursor"]
            if cursor is None or (most is not None and len(found) >= most):
                return {**document, _list_of(path): found}, cursor is not None


@contextmanager
def connect(environment: str | None = None, retries: Retries = _PATIENT) -> Iterator[Api]:
    """A client for the system of that name, or the one that `place_of` finds.

    Raises:
        ConfigurationError: its URL is none, or a key is missing.
    """
    place = place_of(environment)
    check_url(place.url, place.mend)
    if not place.key:
        raise ConfigurationError(
            "SSMD_DATA_API_KEY: is missing (`ssmd keys create NAME` makes a key; `ssmd up` writes "
            "one to .ssmd/env)"
        )
    transport = Transport(place.url, place.key, retries=retries)
    try:
        yield Api(transport, place)
    finally:
        transport.close()


def place_of(environment: str | None) -> Place:
    """Which system is asked: the profile that is named here or by SSMD_PROFILE; else what
    SSMD_API_URL and SSMD_DATA_API_KEY say, which a system that `ssmd up` runs here sets, too; else
    the profile in use; else this machine's.

    Raises:
        ConfigurationError: there is no such profile, or profiles cannot be read.
    """
    if name := environment or os.environ.get("SSMD_PROFILE"):
        return _of_profile(name)
    url, key = os.environ.get("SSMD_API_URL"), os.environ.get("SSMD_DATA_API_KEY", "")
    if url or key:
        return Place(url or _DEFAULT_URL, key, "SSMD_API_URL", "SSMD_API_URL")
    if name := read_profiles().current:
        return _of_profile(name)
    return Place(_DEFAULT_URL, "", "nothing else is set", "SSMD_API_URL")


def check_url(url: str, name: str) -> None:
    """ConfigurationError unless it is a URL of HTTP."""
    try:
        is_good = base_url(url).port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ConfigurationError(f"{name}: must be a URL such as {_DEFAULT_URL}")


def _list_of(path: str) -> str:
    """The name of the list in a page."""
    return path.rpartition("/")[2]


def _of_profile(name: str) -> Place:
    profile = read_profiles().named(name)
    return Place(profile.url, profile.key, f"profile {name}", f"the profile {name}")


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """Errors of the client as ours."""
    try:
        yield
    except errors.NotFound as error:
        raise NotFound(str(error)) from error
    except errors.BadParameter as error:
        raise BadRequest(str(error)) from error
    except (errors.Unauthorized, errors.Forbidden) as error:
        whose = "SSMD_DATA_API_KEY" if place.mend == "SSMD_API_URL" else f"{place.mend}, its key"
        raise ConfigurationError(f"{whose}: {error}") from error
    except errors.Unreachable as error:
        raise UpstreamUnavailable(
            f"{error}: check {place.mend} and that the API runs (`ssmd up` starts a whole system)"
        ) from error
    except errors.NotTheApi as error:
        raise UpstreamUnavailable(f"{error}: check {place.mend}") from error
    except errors.BrokenOff as error:
        raise UpstreamUnavailable(str(error)) from error
    except errors.ServerTooOld as error:
        raise UpstreamUnavailable(str(error)) from error
    except errors.Problem as error:
        raise UpstreamUnavailable(
            f"the API at {place.url} answers with an error: {error}"
        ) from error
