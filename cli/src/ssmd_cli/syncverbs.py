"""Adds the sub-verb `sync` to series, secmaster and fees: it lives in `ssmd_cli.sync`."""

import importlib
from typing import Final, Literal

import typer

from ssmd_cli import verbs

_EXAMPLES: Final = {
    "series_sync": ("ssmd series sync --category Crypto --dry-run",),
    "secmaster_sync": (
        "ssmd secmaster sync --incremental",
        "ssmd secmaster sync --category Crypto --active-only",
    ),
    "fees_sync": ("ssmd fees sync",),
}


def add_sync(
    app: typer.Typer, function: Literal["series_sync", "secmaster_sync", "fees_sync"]
) -> None:
    """Register `sync` if this installation has it."""
    try:
        module = importlib.import_module("ssmd_cli.sync")
    except ModuleNotFoundError as error:
        if error.name != "ssmd_cli.sync":
            raise
        return
    verbs.verb(app, "sync", *_EXAMPLES[function])(getattr(module, function))
