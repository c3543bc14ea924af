"""`ssmd profile add|list|use|remove`: addresses and keys of systems under names."""

import os
import sys
from typing import Annotated

import msgspec
import typer

from ssmd_cli import complete, output, verbs
from ssmd_cli.options import AsCsv, AsJson, Output
from ssmd_cli.profiles import (
    Profile,
    Profiles,
    check_name,
    path_of_profiles,
    read_profiles,
    write_profiles,
)

app = verbs.group("Keep addresses and keys of systems under names.")

Name = Annotated[str, typer.Argument(help="A profile's name.", autocompletion=complete.profiles)]


@verbs.verb(
    app,
    "add",
    "ssmd profile add prod --url https://secmaster.example < key.txt",
    "ssmd profile add prod --url https://secmaster.example",
)
def add_command(
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and dashes, such as prod.")],
    url: Annotated[str, typer.Option(help="Where its API answers.")],
) -> None:
    """Keep a system's address and key, in place of what the name meant before.

    The key is asked for on a terminal, else it is read from the input, so that it stands in no
    list of processes and in no shell's history. The first profile is used from then on.
    """
    from ssmd_cli.api import check_url

    check_name(name)
    check_url(url, "--url")
    before = read_profiles()
    key = _key()
    profiles = {**before.profiles, name: Profile(url.rstrip("/"), key)}
    write_profiles(Profiles(profiles, before.current or name))
    used = " and in use" if (before.current or name) == name else ""
    output.note(f"profile {name} is kept in {path_of_profiles()}{used}")


@verbs.verb(app, "list", "ssmd profile list")
def list_command(wanted: Output = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the profiles without their keys, and say which system a read verb asks here and now."""
    style = output.chosen(wanted, as_json=as_json, as_csv=as_csv)
    found = read_profiles()
    rows = [
        {
            "name": name,
            "url": profile.url,
            "key": _hidden(profile.key),
            "in_use": "yes" if name == found.current else "",
        }
        for name, profile in found.profiles.items()
    ]
    if rows or style is not output.Format.TABLE:
        output.rows(rows, ("name", "in_use", "url", "key"), style)
    from ssmd_cli.api import place_of
    from ssmd_cli.environment import load_env_file

    load_env_file()
    place = place_of(None)
    output.note(f"read verbs ask {place.url} ({place.source})")


@verbs.verb(app, "use", "ssmd profile use prod")
def use_command(name: Name) -> None:
    """Use a profile where no other system is named.

    A name after the verb, SSMD_PROFILE, SSMD_API_URL and a system that runs in this folder all come
    before it.
    """
    found = read_profiles()
    found.named(name)
    write_profiles(msgspec.structs.replace(found, current=name))
    output.note(f"profile {name} is in use")
    for variable in ("SSMD_PROFILE", "SSMD_API_URL"):
        if os.environ.get(variable):
            output.note(f"but {variable} is set, and comes before it")


@verbs.verb(app, "remove", "ssmd profile remove old")
def remove_command(name: Name) -> None:
    """Forget a profile and its key."""
    found = read_profiles()
    found.named(name)
    profiles = {other: kept for other, kept in found.profiles.items() if other != name}
    write_profiles(Profiles(profiles, None if found.current == name else found.current))
    output.note(f"profile {name} is forgotten")


def _key() -> str:
    if sys.stdin.isatty():
        from getpass import getpass

        key = getpass("API key: ")
    else:
        key = sys.stdin.readline()
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise typer.BadParameter("the input has no API key (`ssmd keys create NAME` makes one)")
    return key


def _hidden(key: str) -> str:
    """What identifies a key and does not let one use it: all but its secret."""
    parts = key.split("_", 3)
    return "_".join([*parts[:3], "…"]) if len(parts) == 4 else "…"
