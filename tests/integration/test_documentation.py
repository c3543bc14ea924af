"""What the documentation says is what the code does."""

import re
import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from documented import SERVICES, settings_page
from documented_rights import PAGE, with_rights
from prometheus_client import REGISTRY

from ssmd_stack import binaries

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_is_made_from_the_settings() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings_page(), "run `make docs`"


def test_the_page_of_rights_is_made_from_the_rights() -> None:
    page = PAGE.read_text()
    assert page == with_rights(page), "run `make docs`"
    assert page.count("<!-- made: ") == 4


def test_the_page_of_rights_is_what_a_nats_server_takes(tmp_path: Path) -> None:
    [block] = re.findall(r"<!-- made: nats -->\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "nats.conf").write_text(block)
    command = [binaries.nats_server(), "-t", "-c", tmp_path / "nats.conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_metric_to_alert_on_exists() -> None:
    for service in ("common", "kalshi", *SERVICES):
        if find_spec(f"ssmd_{service}.metrics"):
            import_module(f"ssmd_{service}.metrics")
    known = set(REGISTRY._names_to_collectors)
    page = (ROOT / "docs/operations.md").read_text()
    section = page.partition("## What to alert on\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    named += re.findall(r"`(ssmd_\w+)`", section)
    assert len(named) > 20
    assert set(named) <= known


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs/decisions/README.md").read_text()
    for page in (ROOT / "docs/decisions").glob("0*.md"):
        assert page.name in listed


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE):
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target
