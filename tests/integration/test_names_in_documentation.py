"""What pages name is there: paths, modules, functions, metrics, settings, routes, make targets.

Decisions and the change log tell of their time, so they may name what is gone.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from documented import settings
from documented_metrics import metrics

from ssmd_api.app import ROUTES
from ssmd_common.exitcodes import ExitCode
from ssmd_common.keys import Keys

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs/services").glob("*.md"))
FOLDERS = (
    *("benchmarks", "cli", "deploy", "docs", "libs", "migrations", "requirements", "services"),
    *("simulator", "tests"),
)
CODE = ("*.py", "*.sql", "*.lua", "*.yaml", "*.tpl", "Makefile")
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)


@cache
def packages() -> dict[str, Path]:
    """Where each of our packages is."""
    found = [*ROOT.glob("*/src/ssmd_*"), *ROOT.glob("*/*/src/ssmd_*")]
    return {path.name: path for path in found if not path.name.endswith(".egg-info")}


@cache
def code() -> dict[Path, str]:
    """Every file of ours that says something about the documentation or is named there."""
    tops = [ROOT / top for top in FOLDERS]
    found = [path for top in tops for kind in CODE for path in top.rglob(kind)]
    found += [ROOT / "Makefile", ROOT / "compose.yaml"]
    return {path: path.read_text() for path in found}


def module(page: Path, named: str) -> Path | None:
    """The file that a page means: of its service, of a package, or of the whole project."""
    package, _, rest = named.partition("/")
    own = packages().get(f"ssmd_{page.stem}") if page.parent.name == "services" else None
    for path in (
        own and own / named,
        package in packages() and packages()[package] / rest,
        ROOT / named,
    ):
        if path and path.is_file():
            return path
    if own is None and "/" not in named:
        return next((path for path in code() if path.name == named), None)
    return None


@cache
def constants() -> set[str]:
    """Words in capitals in the code: what only development reads is among them (SSMD_STACK)."""
    return set(re.findall(r"\b[A-Z][A-Z0-9]+_[A-Z0-9_]+\b", "\n".join(code().values())))


@cache
def defined(path: Path) -> set[str]:
    """The names of functions, methods and classes of a module."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


def named_in(page: Path, pattern: str) -> Iterator[str]:
    yield from re.findall(pattern, page.read_text())


@each_page
def test_paths_exist(page: Path) -> None:
    for path in named_in(page, rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)`"):
        assert list(ROOT.glob(path.rstrip("/"))), path


@each_page
def test_modules_exist(page: Path) -> None:
    for named in named_in(page, r"(?<![\w./(*-])([\w/]+\.(?:py|lua|sql|yaml))\b"):
        assert module(page, named), named


def test_the_layout_is_that_of_the_repository() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    layout = page.partition("## Layout\n\n```\n")[2].partition("```")[0]
    first, *others = layout.splitlines()
    shown = set(re.findall(r"(?:^|  )([\w./-]+)", first))
    shown |= {line.split()[0].rstrip("/") for line in others if line[0] != " "}
    assert all((ROOT / path).exists() for path in shown), shown
    there = {
        f"{top}/{path.name}" for top in ("libs", "services") for path in (ROOT / top).iterdir()
    }
    assert there <= shown


def test_modules_that_the_architecture_calls_pure_are_held_to_it() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    paragraph = page.partition("- pure rules")[2].partition("\n- ")[0]
    contract = (ROOT / ".importlinter").read_text().partition("contract:pure]")[2]
    named = re.findall(r"`(ssmd_\w+)/([\w/]+)\.py`", paragraph)
    assert named
    for package, rules in named:
        assert f"    {package}.{rules.replace('/', '.')}\n" in contract, rules


def test_modules_that_call_themselves_pure_are_held_to_it() -> None:
    contract = (ROOT / ".importlinter").read_text().partition("contract:pure]")[2]
    held = set(contract.partition("source_modules =")[2].partition("forbidden_modules")[0].split())
    for top in packages().values():
        for path in top.rglob("*.py"):
            name = ".".join(path.relative_to(top.parent).with_suffix("").parts)
            if re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text())) or ""):
                parents = name.split(".")
                assert held & {".".join(parents[: n + 1]) for n in range(len(parents))}, name


@each_page
def test_who_takes_part_in_a_diagram_is_declared(page: Path) -> None:
    """Mermaid draws anybody else under the name in the text, as one more participant."""
    for diagram in named_in(page, r"(?s)```mermaid\n(.*?)```"):
        declared = set(re.findall(r"participant (\w+) as ", diagram))
        arrows = re.findall(r"(\w+)-?->>(\w+):", diagram)
        assert arrows
        noted = re.findall(r"Note over (\w+)(?:, *(\w+))?:", diagram)
        assert {name for names in arrows + noted for name in names if name} <= declared


@each_page
def test_functions_in_diagrams_are_in_the_modules_that_arrows_point_to(page: Path) -> None:
    for diagram in named_in(page, r"(?s)```mermaid\n(.*?)```"):
        participants = dict(re.findall(r"participant (\w+) as (.+)", diagram))
        for _, to, text in re.findall(r"(\w+)-?->>(\w+): (.+)", diagram):
            called = re.findall(r"(\w+)\(\)", text)
            if called:
                path = module(page, participants[to])
                assert path, f"{participants[to]} is no module, yet {text} is called"
                assert set(called) <= defined(path), (participants[to], text)


@each_page
def test_metrics_exist(page: Path) -> None:
    known = {metric for own in metrics().values() for metric in own} | packages().keys()
    named = set(named_in(page, r"`(ssmd_\w+)(?:\{[^`]*)?`"))
    assert named <= known


@each_page
def test_settings_exist(page: Path) -> None:
    ours = {name for found in settings().values() for name in found}
    prefixes = {name.partition("_")[0] for name in ours} | {"SSMD"}
    for named in named_in(page, r"\b[A-Z][A-Z0-9]+_[A-Z0-9_]*[A-Z0-9]\b"):
        if named.partition("_")[0] in prefixes:
            assert named in ours | constants(), named


@each_page
def test_routes_exist(page: Path) -> None:
    routes = [re.sub(r"\{\w+\}", "[^/]+", path) for _, path, _, _ in ROUTES]
    for named in named_in(page, r"/v1/[\w{}/.-]*[\w}]"):
        assert any(re.fullmatch(route, named) for route in routes), named


def test_every_route_is_in_the_contract() -> None:
    contract = (ROOT / "docs/contracts.md").read_text()
    for _, path, _, _ in ROUTES:
        stem = path.removeprefix("/v1").removesuffix("/{id}")
        assert re.search(re.escape(stem) + r"[`?\[]", contract), path


def test_every_column_is_in_the_contract() -> None:
    contract = (ROOT / "docs/contracts.md").read_text()
    migrations = "\n".join(path.read_text() for path in sorted((ROOT / "migrations").glob("*.sql")))
    tables = re.findall(r"(?ms)^CREATE TABLE (\w+) \((.*?)^\)", migrations)
    # Those whose row in the contract says for whom they are, not each column.
    ours = {"sync_watermarks", "cdc_state", "lifecycle_gaps", "sync_runs"}
    missing = []
    for table, text in re.findall(r"ALTER TABLE (\w+)\b(?!\.)([^;]*)", migrations):
        added = re.findall(r"ADD COLUMN (?:IF NOT EXISTS )?(\w+)", text)
        tables.append((table, "".join(f"    {column} \n" for column in added)))
    for table, text in tables:
        if table in ours:
            assert f"`{table}`" in contract
            continue
        [row] = re.findall(rf"(?m)^\| `{table}` \| (.*)$", contract)
        for column in re.findall(r"(?m)^    ([a-z]\w+)\s", text):
            kind = column.rpartition("_")[2]
            if not re.search(rf"\b{column}\b", row) and f"`*_{kind} " not in row:
                missing.append(f"{table}.{column}")
    assert not missing


def test_keys_of_redis_are_those_of_the_code() -> None:
    contract = (ROOT / "docs/contracts.md").read_text()
    section = contract.partition("## 3. Redis")[2].partition("\n## ")[0]
    named = {key for line in re.findall(r"(?m)^\| (`.*?) \|", section) for key in line.split(", ")}
    keys, (s, e, m, c) = Keys(), ("{S}", "{E}", "{M}", "{C}")
    assert named == {
        f"`{key}`"
        for key in (
            *(keys.series(s), keys.event(s, e), keys.market(s, e, m), keys.fee(s)),
            *(keys.markets, keys.events, keys.event_markets(e), keys.markets_by_category(c)),
            *(keys.expiring, keys.own("*"), keys.last_sync, keys.position),
        )
    }


@each_page
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in named_in(page, r"(?:`|^)make ([a-z-]+)"):
        assert f"\n.PHONY: {target}\n" in makefile, target


def test_exit_codes_are_those_of_the_code() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d) \|", page, re.MULTILINE)} == set(ExitCode)


def test_what_code_says_of_pages_is_there() -> None:
    """Comments name pages with a section or a decision of it."""
    for path, text in code().items():
        for page, section, decision in re.findall(
            r"docs/([\w/.-]*\w)(?: § (\d+)|,\s+decision (\d+))?", text
        ):
            if "tests" in path.relative_to(ROOT).parts:
                continue
            [to] = {*(ROOT / "docs").glob(page), *(ROOT / "docs").glob(f"{page}-*")}
            if section:
                assert f"\n## {section}. " in to.read_text(), (path, page, section)
            if decision:
                assert f"\n{decision}. **" in to.read_text(), (path, page, decision)
