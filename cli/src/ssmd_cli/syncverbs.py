"""Adds the sub-verb `sync` to series, secmaster and fees: it lives in `ssmd_cli.sync`."""

import importlib
from typing import Literal

import typer


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
    app.command("sync")(getattr(module, function))
