"""docs/chart-values.md: the chart's values with what stands above each in values.yaml."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

VALUES: Final = Path(__file__).parents[1] / "deploy/helm/ssmd/values.yaml"
HEAD: Final = """# Values of the chart

Made from `deploy/helm/ssmd/values.yaml` by `make docs`; [chart.md](chart.md) says how to use them.
Under `services` stands for each service what differs from `defaults`: every key of `defaults` may
be set there too.

| value | default | meaning |
|---|---|---|
"""
_MARK: Final = "# -- "


@dataclass(frozen=True, slots=True)
class Value:
    """One documented value; `default` is as JSON."""

    path: str
    default: str
    meaning: str


def values() -> list[Value]:
    """In the order of values.yaml."""
    text = VALUES.read_text()
    node, loaded = yaml.compose(text), yaml.safe_load(text)
    assert isinstance(node, yaml.MappingNode)
    return list(_below(node, loaded, "", text.splitlines()))


def _below(
    node: yaml.MappingNode, loaded: dict[str, Any], path: str, lines: list[str]
) -> Iterator[Value]:
    for key, value in node.value:
        own, default = f"{path}.{key.value}".lstrip("."), loaded[key.value]
        above = lines[key.start_mark.line - 1].strip() if key.start_mark.line else ""
        if above.startswith(_MARK):
            yield Value(own, json.dumps(default), above.removeprefix(_MARK))
        elif isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _below(value, default, own, lines)


def values_page() -> str:
    """A table of all of them."""
    rows = (
        f"| `{value.path}` | `{value.default}` | {value.meaning.replace('|', chr(92) + '|')} |\n"
        for value in values()
    )
    return HEAD + "".join(rows)
