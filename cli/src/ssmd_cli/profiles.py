"""Systems by name: their addresses and keys, in a file that only its owner may read."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from ssmd_cli.nearest import nearest
from ssmd_common.errors import ConfigurationError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Profile(msgspec.Struct, frozen=True):
    """Where an API answers, and the key for it."""

    url: str
    key: str


class Profiles(msgspec.Struct, frozen=True):
    """What the file holds; `current` is the name of the one in use."""

    profiles: dict[str, Profile] = {}
    current: str | None = None

    def named(self, name: str) -> Profile:
        """ConfigurationError where there is none of that name."""
        if name in self.profiles:
            return self.profiles[name]
        near = nearest(name, self.profiles)
        meant = f"; did you mean {near}?" if near else ": `ssmd profile list` shows them"
        raise ConfigurationError(f"no profile is called {name!r}{meant}")


def path_of_profiles(environment: Mapping[str, str] = os.environ) -> Path:
    """SSMD_CONFIG, else `ssmd/profiles.json` where the user's configuration is."""
    if given := environment.get("SSMD_CONFIG"):
        return Path(given)
    home = environment.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "ssmd" / "profiles.json"


def read_profiles(path: Path | None = None) -> Profiles:
    """What is kept; nothing where there is no file.

    Raises:
        ConfigurationError: it cannot be read, or others than its owner may read it.
    """
    path = path or path_of_profiles()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read()
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    if mode & _OTHERS:
        raise ConfigurationError(
            f"{path} holds keys and may be read by others: `chmod 600 {path}` mends that"
        )
    try:
        return msgspec.json.decode(raw, type=Profiles)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ConfigurationError(
            f"{path} is not what `ssmd profile` writes: mend it, or remove it"
        ) from None


def write_profiles(found: Profiles, path: Path | None = None) -> None:
    """Put them in the file's place whole, with mode 600."""
    path = path or path_of_profiles()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def named_first(words: list[str], *, may_be_alone: bool = False) -> tuple[str | None, list[str]]:
    """The environment that the first of several words names, if a profile is called so; the rest.

    A single word is one only where it `may_be_alone`: else a system would be asked for nothing.
    """
    if len(words) > (not may_be_alone) and words[0] in read_profiles().profiles:
        return words[0], words[1:]
    return None, words


def check_name(name: str) -> None:
    """ConfigurationError unless it may be one. No ticker looks like it: these are upper case."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name for a profile: a-z, 0-9 and dashes, 32 at most"
        )
