"""What the documentation says is what the code does."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from documented import PAGES as MADE
from documented import metrics
from prometheus_client import REGISTRY

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", MADE)
def test_a_page_is_made_from_the_code(name: str) -> None:
    assert (ROOT / f"docs/{name}.md").read_text() == MADE[name](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_metric_that_is_named_exists() -> None:
    """And each that exists is named, since docs/metrics.md is made from them."""
    metrics()
    known = set(REGISTRY._names_to_collectors)
    text = "\n".join(page.read_text() for page in PAGES)
    named = {name for name in re.findall(r"\b(ssmd_[a-z_]+)\b", text) if not find_spec(name)}
    section = text.partition("## What to alert on\n")[2].partition("\n## ")[0]
    to_alert_on = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
    assert len(to_alert_on) > 15
    assert not (named | to_alert_on) - known


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs/decisions/README.md").read_text()
    for page in (ROOT / "docs/decisions").glob("0*.md"):
        assert page.name in listed


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE):
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target
