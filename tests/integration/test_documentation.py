"""Pages that are made from the code, links between pages, and what each page must have."""

import re
import subprocess
from pathlib import Path

import pytest
from documented import PAGES as MADE
from documented_metrics import metrics
from documented_rights import PAGE

from ssmd_common.parts import SERVICES
from ssmd_stack import binaries

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
DECISIONS = sorted((DOCS / "decisions").glob("0*.md"))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its blocks of code, in which `#` begins a comment."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    }


@pytest.mark.parametrize("page", MADE)
def test_a_page_that_is_made_from_the_code_is_current(page: str) -> None:
    assert (ROOT / page).read_text() == MADE[page](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)", prose(page))
    for target, anchor in links:
        to = page.parent / target if target else page
        assert to.exists(), target
        assert not anchor or anchor in anchors(to), f"{target}#{anchor}"


def test_every_page_is_in_the_order_of_reading() -> None:
    listed = (DOCS / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in listed, page.name


def test_every_service_has_a_page_with_a_diagram() -> None:
    listed = (DOCS / "services/README.md").read_text()
    for service in SERVICES:
        page = (DOCS / f"services/{service}.md").read_text()
        assert page.startswith(f"# {service}: ")
        assert "```mermaid\nsequenceDiagram\n" in page
        assert f"]({service}.md)" in listed


def test_a_decision_is_listed_under_its_title() -> None:
    listed = (DOCS / "decisions/README.md").read_text()
    for page in DECISIONS:
        number, title = page.read_text().splitlines()[0].removeprefix("# ").split(": ", 1)
        assert page.name.startswith(f"{number}-")
        assert f"| [{number}]({page.name}) | {title} |\n" in listed, page.name


def test_the_page_of_rights_is_made_from_the_rights() -> None:
    assert PAGE.read_text().count("<!-- made: ") == 5


def test_the_page_of_rights_is_what_a_nats_server_takes(tmp_path: Path) -> None:
    [block] = re.findall(r"<!-- made: nats -->\n```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "nats.conf").write_text(block)
    command = [binaries.nats_server(), "-t", "-c", tmp_path / "nats.conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_of_metrics_says_more_than_the_name() -> None:
    for own in metrics().values():
        for exposed, metric in own.items():
            [family] = metric.describe()
            assert len(family.documentation.split()) > 5, exposed
            if exposed.endswith("_seconds"):
                assert "seconds" in family.documentation.lower(), exposed
            if exposed.endswith("_bytes"):
                assert "bytes" in family.documentation.lower(), exposed
            for label in metric._labelnames:
                in_words = label in family.documentation.lower()
                assert in_words, f"{exposed} does not say what {label} is"


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE):
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target
