"""Where `migrations/` is: in a checkout beside the code, in an image where SSMD_MIGRATIONS says."""

import os
from pathlib import Path

from ssmd_common.errors import ConfigurationError


def migration_files() -> list[Path]:
    """The migrations in the order in which they apply.

    Raises:
        ConfigurationError: there are none where they should be.
    """
    directory = _directory()
    files = sorted(directory.glob("[0-9]*.sql"))
    if not files:
        raise ConfigurationError(
            f"no migrations in {directory}: set SSMD_MIGRATIONS to the folder that holds 001_*.sql"
        )
    return files


def _directory() -> Path:
    if chosen := os.environ.get("SSMD_MIGRATIONS"):
        return Path(chosen)
    for folder in Path(__file__).resolve().parents:
        if (folder / "migrations").is_dir() and (folder / "pyproject.toml").is_file():
            return folder / "migrations"
    return Path.cwd() / "migrations"
