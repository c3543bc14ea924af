"""A test breaks product code at its seams: it replaces and sets no private name of it.

The seams are public methods of what a class is given, public constants, and the servers themselves
(`ssmd_stack.proxy` cuts and delays connections). So a test survives what a module does inside.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = sorted(
    path
    for place in ("tests", "libs", "services", "cli", "simulator")
    for path in (ROOT / place).rglob("*.py")
    if "tests" in path.relative_to(ROOT).parts
)

PATCHES = {"setattr", "delattr", "object", "patch", "multiple"}
"""Of pytest's monkeypatch and of unittest.mock."""


def is_private(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last.startswith("_") and not last.startswith("__")


def replaced(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines on which a private attribute is replaced or set from outside, with its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            called = function.attr if isinstance(function, ast.Attribute) else ""
            called = function.id if isinstance(function, ast.Name) else called
            if called in PATCHES:
                # The first is what has the attribute, or a dotted name of the attribute itself.
                for argument in node.args[:2]:
                    for part in ast.walk(argument):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            if is_private(part.value):
                                yield node.lineno, part.value
                        elif isinstance(part, ast.Attribute) and is_private(part.attr):
                            yield node.lineno, part.attr
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Attribute) and is_private(target.attr):
                owner = target.value
                if not (isinstance(owner, ast.Name) and owner.id in ("self", "cls")):
                    yield node.lineno, target.attr


def test_no_test_replaces_a_private_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} replaces {name}"
        for path in TESTS
        for line, name in replaced(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "monkeypatch.setattr(store, '_apply', None)",
        "monkeypatch.setattr('ssmd_api.hub._MANY', 1)",
        "monkeypatch.setattr(service._desk, 'close', None)",
        "with monkeypatch.context() as patch: patch.setattr(Publisher, '_settle', x)",
        "mock.patch.object(Publisher, '_settle')",
        "with patch('ssmd_cdc.control._look'): pass",
        "publisher._window = None",
    ],
)
def test_it_would_be_seen(code: str) -> None:
    assert list(replaced(ast.parse(code)))


def test_public_names_and_own_attributes_may_be_set() -> None:
    code = "monkeypatch.setattr(Publisher, 'send', x); self._mine = 1; vars(x)['y'] = 2"
    assert not list(replaced(ast.parse(code)))
