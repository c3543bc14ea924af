"""Values: each is used, each is described, and a typo in any of them fails."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from charts import CHART, helm
from documented_values import values

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES = "".join(path.read_text() for path in CHART.glob("templates/**/*.*"))
# What is handed on as it is: Kubernetes knows what may stand in it.
FREE = re.compile(
    r"config|.*\.(env|annotations|labels|alertLabels|podAnnotations|podLabels|nodeSelector|affinity|requests|limits)"
    r"|podSecurityContext.*|securityContext.*"
)


def maps(value: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every map of the values with its path."""
    if isinstance(value, dict):
        yield path, value
        for key, inner in value.items():
            yield from maps(inner, f"{path}.{key}".lstrip("."))


def test_the_values_fit_their_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize("path", [path for path, _ in maps(VALUES) if not FREE.fullmatch(path)])
def test_a_typo_fails(path: str) -> None:
    changed = json.loads(json.dumps(VALUES))
    place = changed
    for key in filter(None, path.split(".")):
        place = place[key]
    place["tpyo"] = 1
    with pytest.raises(jsonschema.ValidationError, match="tpyo"):
        jsonschema.validate(changed, SCHEMA)


@pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")
def test_helm_says_which_typo() -> None:
    done = helm("template", "prod", str(CHART), "--set", "services.cdc.replcas=2")
    assert done.returncode != 0
    assert "replcas" in done.stderr


def test_every_value_is_used() -> None:
    unused = []
    for path, value in maps(VALUES):
        if FREE.fullmatch(path) or path == "services":
            continue
        unused += [
            f"{path}.{key}"
            for key in value
            # Handed on whole, by name.
            if not re.search(rf"[.\"]{re.escape(key)}\b", TEMPLATES)
            and not re.search(r"probes\.|resources|strategy|topologySpread|networkPolicy", path)
        ]
    assert not unused


def test_every_value_is_described() -> None:
    described = {value.path for value in values()}
    for path, value in maps(VALUES):
        # A service says only what differs from `defaults`.
        if path.startswith("services") or FREE.fullmatch(path):
            continue
        for key, inner in value.items():
            own = f"{path}.{key}".lstrip(".")
            inside = any(known.startswith(own + ".") for known in described)
            above = any(own.startswith(known + ".") for known in described)
            assert own in described or inside or above, own
            assert isinstance(inner, dict) or own in described or above, own
