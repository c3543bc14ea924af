"""Every service is in each place that cannot read its manifest (docs/development.md).

What is missing is told at once, place by place, so that the test leads whoever adds a service.
"""

import json
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssmd_common.manifests import Need, manifest, settings_type
from ssmd_common.rights import RIGHTS
from ssmd_common.settings import KalshiSettings, NatsSettings, PostgresSettings, RedisSettings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/ssmd"
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
SETTINGS: dict[Need, type] = {
    "postgres": PostgresSettings,
    "nats": NatsSettings,
    "redis": RedisSettings,
    "exchange": KalshiSettings,
}


def toml(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text())


def of_yaml(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def contracts() -> dict[str, dict[str, list[str]]]:
    """The sections of .importlinter, each field as its lines."""
    parser = ConfigParser()
    parser.read_string((ROOT / ".importlinter").read_text())
    return {
        name.rpartition(":")[2]: {key: text.split("\n") for key, text in parser[name].items()}
        for name in parser.sections()
    }


def layer_of_services() -> set[str]:
    [layer] = [line for line in contracts()["layers"]["layers"] if "ssmd_api" in line]
    return set(layer.split(" | "))


def its_folder(name: str) -> Iterator[str]:
    folder = ROOT / f"services/{name}"
    for wanted in ("__main__.py", "settings.py", "metrics.py", "py.typed", "service.toml"):
        if not (folder / f"src/ssmd_{name}" / wanted).is_file():
            yield f"services/{name}/src/ssmd_{name}/{wanted} is missing"
    project = toml(f"services/{name}/pyproject.toml")["project"]
    if project["name"] != f"ssmd-{name}":
        yield f"services/{name}/pyproject.toml: the project's name is not ssmd-{name}"
    if f"ssmd-{name}" not in project.get("scripts", {}):
        yield f"services/{name}/pyproject.toml: no script ssmd-{name}"


def its_rights(name: str) -> Iterator[str]:
    place = "libs/ssmd_common/src/ssmd_common/rights.py"
    if name not in RIGHTS:
        yield f"{place}: RIGHTS has no {name}"
        return
    needs, rights = manifest(name).needs, RIGHTS[name]
    for server, given in (("nats", rights.nats), ("redis", rights.redis)):
        if (server in needs) != (given is not None):
            yield f"{place}: rights at {server} and `needs` of {name}'s service.toml differ"


def its_settings(name: str) -> Iterator[str]:
    settings = settings_type(name)
    for need, base in SETTINGS.items():
        if (need in manifest(name).needs) != issubclass(settings, base):
            yield f"{settings.__name__} and `needs` of {name}'s service.toml differ in {need}"
    if (manifest(name).port is not None) != (f"{name}_port" in settings.model_fields):
        yield f"{settings.__name__}.{name}_port and `port` of {name}'s service.toml differ"


def its_replicas(name: str) -> Iterator[str]:
    sources = [path.read_text() for path in ROOT.glob(f"services/{name}/src/**/*.py")]
    # It is elected by ssmd_common, or says itself that it stands by, as cdc does by its slot.
    waits = any(
        "ssmd_common.leader import lead\n" in text or ".stand_by(" in text for text in sources
    )
    if waits != (manifest(name).second_replica == "waits"):
        yield f"second_replica in {name}'s service.toml is not what its code does"


def the_checks(name: str) -> Iterator[str]:
    package = f"ssmd_{name}"
    if f"services/{name}/src" not in toml("pyproject.toml")["tool"]["mypy"]["mypy_path"]:
        yield f"pyproject.toml: mypy_path has no services/{name}/src"
    found = contracts()
    if package not in found["importlinter"]["root_packages"]:
        yield f".importlinter: root_packages has no {package}"
    if package not in layer_of_services():
        yield f".importlinter: the layer of services has no {package}"
    writes = "ssmd-store" in toml(f"services/{name}/pyproject.toml")["project"]["dependencies"]
    if not writes and package not in found["writers"]["source_modules"]:
        yield f".importlinter: source_modules of the contract writers has no {package}"


def the_command_line(name: str) -> Iterator[str]:
    found = toml("cli/pyproject.toml")
    if f"ssmd-{name}" not in found["project"]["dependencies"]:
        yield f"cli/pyproject.toml: dependencies has no ssmd-{name}"
    if f"ssmd-{name}" not in found["tool"]["uv"]["sources"]:
        yield f"cli/pyproject.toml: tool.uv.sources has no ssmd-{name}"


def the_locks(name: str) -> Iterator[str]:
    if not (ROOT / f"requirements/{name}.txt").is_file():
        yield f"requirements/{name}.txt is missing: run `make lock`"


def compose(name: str) -> Iterator[str]:
    services, described = of_yaml(ROOT / "compose.yaml")["services"], manifest(name)
    if name not in services:
        yield f"compose.yaml: no service {name}"
        return
    found = services[name]
    if found["build"]["args"] != {"SERVICE": name}:
        yield f"compose.yaml: {name} is not built with SERVICE: {name}"
    if ("KALSHI_BASE_URL" in found["environment"]) != ("exchange" in described.needs):
        yield f"compose.yaml: the exchange of {name} and `needs` of its service.toml differ"
    if "healthcheck" not in found:
        yield f"compose.yaml: {name} has no healthcheck"
    port = described.port
    ports = [f"127.0.0.1:${{{name.upper()}_PORT:-{port}}}:{port}"] if port else []
    if found.get("ports", []) != ports:
        yield f"compose.yaml: ports of {name} are not {ports}"


def chart(name: str) -> Iterator[str]:
    schema = json.loads((CHART / "values.schema.json").read_text())
    if name not in schema["properties"]["services"]["propertyNames"]["enum"]:
        yield f"deploy/helm/ssmd/values.schema.json: the names of services have no {name}"
    services, described = of_yaml(CHART / "values.yaml")["services"], manifest(name)
    if name not in services:
        yield f"deploy/helm/ssmd/values.yaml: services has no {name}"
        return
    wanted = {
        "replicas": described.replicas,
        "port": described.port,
        "exchange": True if "exchange" in described.needs else None,
    }
    for field, value in wanted.items():
        if services[name].get(field) != value:
            yield f"deploy/helm/ssmd/values.yaml: {field} of {name} is not {value}"


def documentation(name: str) -> Iterator[str]:
    if not (ROOT / f"docs/services/{name}.md").is_file():
        yield f"docs/services/{name}.md is missing"
    if f"| [{name}]({name}.md) |" not in (ROOT / "docs/services/README.md").read_text():
        yield f"docs/services/README.md: the table has no {name}"
    if f"\nservices/{name}/ " not in (ROOT / "docs/architecture.md").read_text():
        yield f"docs/architecture.md: the layout has no services/{name}"
    if f"\n## {name}\n" not in (ROOT / "docs/settings.md").read_text():
        yield f"docs/settings.md: no {name}: run `make docs`"


PLACES = (
    its_rights, its_settings, its_replicas, the_checks, the_command_line, the_locks, compose, chart,
    documentation,
)  # fmt: skip


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_in_each_place_that_cannot_read_its_manifest(name: str) -> None:
    # Without these there is no manifest to compare the other places with.
    missing = list(its_folder(name)) or [what for place in PLACES for what in place(name)]
    assert not missing, "\n" + "\n".join(missing)


def test_nothing_is_left_of_a_service_that_is_gone() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    built = {
        service["build"]["args"]["SERVICE"]
        for service in of_yaml(ROOT / "compose.yaml")["services"].values()
        if "build" in service
    }
    named = {
        "rights.py": set(RIGHTS),
        ".importlinter": {package.removeprefix("ssmd_") for package in layer_of_services()},
        "compose.yaml": built - {"cli", "simulator"},
        "values.yaml": set(of_yaml(CHART / "values.yaml")["services"]),
        "values.schema.json": set(schema["properties"]["services"]["propertyNames"]["enum"]),
        "docs/services": {path.stem for path in (ROOT / "docs/services").glob("[a-z]*.md")},
    }
    gone = {place: names - set(SERVICES) for place, names in named.items()}
    assert not any(gone.values()), {place: names for place, names in gone.items() if names}
