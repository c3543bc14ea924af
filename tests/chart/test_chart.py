"""The chart, rendered and linted by helm itself."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssmd_common.manifests import manifest
from ssmd_common.parts import SERVICES

CHART = Path(__file__).parents[2] / "deploy/helm/ssmd"

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)


def render(*arguments: str) -> list[dict[str, Any]]:
    done = helm("template", "prod", str(CHART), *arguments)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def test_lint_is_clean() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_default_values_render_every_service_and_the_migrations() -> None:
    documents = render()
    components = {
        d["metadata"]["labels"]["app.kubernetes.io/component"]
        for d in of_kind(documents, "Deployment")
    }
    assert components == set(SERVICES)
    (job,) = of_kind(documents, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["db", "migrate"]


def test_every_pod_is_locked_down_and_probed() -> None:
    for deployment in of_kind(render(), "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["enableServiceLinks"] is False, "API_PORT=tcp://… would be read as a setting"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "ops"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "ops"}
        assert container["resources"]["limits"]["memory"]


def test_secrets_are_only_referred_to() -> None:
    documents = render("--set", "secrets.kalshi=kalshi-key")
    assert not of_kind(documents, "Secret")
    for deployment in of_kind(documents, "Deployment"):
        service = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert {"secretRef": {"name": "ssmd-connections"}} in container["envFrom"]
        names = {variable["name"] for variable in container["env"] or []}
        reads_exchange = "exchange" in manifest(service).needs
        assert ("KALSHI_API_KEY" in names) == reads_exchange


def test_the_archive_has_a_volume_that_stays() -> None:
    (claim,) = of_kind(render(), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    deployments = of_kind(render(), "Deployment")
    (archiver,) = [d for d in deployments if d["metadata"]["name"].endswith("-archiver")]
    volumes = archiver["spec"]["template"]["spec"]["volumes"]
    name = {"claimName": claim["metadata"]["name"]}
    assert {"persistentVolumeClaim": name, "name": "storage"} in volumes
    assert not of_kind(
        render("--set", "services.archiver.storage.existingClaim=mine"), "PersistentVolumeClaim"
    )


def test_a_service_can_be_scaled_and_switched_off() -> None:
    documents = render("--set", "services.api.replicas=5", "--set", "services.cache.enabled=false")
    replicas = {
        d["metadata"]["labels"]["app.kubernetes.io/component"]: d["spec"]["replicas"]
        for d in of_kind(documents, "Deployment")
    }
    usual = {name: manifest(name).replicas for name in SERVICES if name != "cache"}
    assert replicas == {**usual, "api": 5}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("services.cdc.replicas=two", "replicas"),
        ("services.bogus.enabled=true", "bogus"),
        ("opsPort=70000", "opsPort"),
        ("imagee.tag=1", "imagee"),
        ("secrets.connections=", "connections"),
    ],
)
def test_a_wrong_value_is_named(value: str, named: str) -> None:
    done = helm("template", "prod", str(CHART), "--set", value)
    assert done.returncode != 0
    assert named in done.stderr
