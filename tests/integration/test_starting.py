"""What a start imports: libraries that a service does not use, or not yet, cost no start.

Each took up to a tenth of a start's processor time, measured with `python -X importtime`. Times
vary with the machine; what is imported does not.
"""

import subprocess
import sys

import pytest

from ssmd_common.manifests import Need, manifest
from ssmd_common.parts import SERVICES
from ssmd_common.settings import variables

# Of the development's and the command line's environment, and of what a service may never need.
NEVER = {"rich", "pygments", "typer", "click", "pytest", "hypothesis", "ssmd_stack", "ssmd_cli"}
LIBRARIES: dict[Need, str] = {"nats": "nats", "redis": "redis", "exchange": "ssmd_kalshi"}
NOT_YET = {
    # A schedule is read at every start.
    "sync": {"cryptography"},
    "lifecycle": {"cryptography", "yaml"},
    "cdc": {"yaml"},
    "cache": {"yaml"},
    "api": {"nats", "yaml"},
}
SHOW = "print(*{name.partition('.')[0] for name in sys.modules})"


def shown(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_only_what_it_starts_with(service: str) -> None:
    """And looks for no garbage meanwhile, but as ever from then on."""
    program = (
        "import gc, sys; usual = gc.get_threshold(); before = gc.get_stats()[0]['collections'];"
        f" import ssmd_{service}.__main__; print(gc.get_stats()[0]['collections'] - before);"
        " from ssmd_common.sparing import imports_done; imports_done();"
        f" assert gc.get_threshold() == usual; {SHOW}"
    )
    collections, _, modules = shown(program).partition("\n")
    assert int(collections) < 20
    found = set(modules.split())
    assert "structlog" in found
    needs = manifest(service).needs
    not_needed = {library for need, library in LIBRARIES.items() if need not in needs}
    assert not found & (NEVER | NOT_YET.get(service, set()) | not_needed)


def test_the_command_line_imports_no_service_until_one_is_needed() -> None:
    found = set(shown(f"import sys, ssmd_cli.__main__; {SHOW}").split())
    assert not found & {"rich", "structlog", "aiohttp", "psycopg", "redis", "nats", "pydantic"}


def test_what_is_not_imported_at_a_start_can_be_imported_later() -> None:
    """Colours for who wants them: keeping structlog from rich keeps nobody else from it."""
    program = (
        "import sys, ssmd_api.__main__; assert 'rich' not in sys.modules;"
        " import rich.console; print(rich.console.Console)"
    )
    shown(program)


def test_settings_are_described_though_no_start_reads_their_docstrings() -> None:
    from ssmd_api.settings import ApiSettings
    from ssmd_cdc.settings import CdcSettings

    for settings in (ApiSettings, CdcSettings):
        assert all(field.description for field in variables(settings).values())
        assert not settings.model_config.get("use_attribute_docstrings")
