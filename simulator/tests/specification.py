"""Validators for the exchange's own specifications."""

import re
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker

_formats = FormatChecker(formats=())


@_formats.checks("date-time")
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or bool(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value)
    )


def _modern(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema says it."""
    if isinstance(schema, list):
        return [_modern(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {key: _modern(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [rest, {"type": "null"}]} if schema.get("nullable") is True else rest


class Specification:
    """Validators for the schemas of one specification file."""

    def __init__(self, path: Path) -> None:
        self.raw = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        self._components = _modern(self.raw["components"])
        self._validators: dict[str, Draft202012Validator] = {}

    def check(self, name: str, value: object) -> None:
        if name not in self._validators:
            schema = {"$ref": f"#/components/schemas/{name}", "components": self._components}
            self._validators[name] = Draft202012Validator(schema, format_checker=_formats)
        errors = [
            f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
            for error in self._validators[name].iter_errors(value)
        ]
        assert not errors, f"{name}: {errors[:5]}"

    def fields(self, name: str) -> set[str]:
        return set(self.raw["components"]["schemas"][name]["properties"])

    def required(self, name: str) -> set[str]:
        return set(self.raw["components"]["schemas"][name].get("required", ()))
