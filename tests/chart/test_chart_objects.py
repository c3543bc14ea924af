"""Every object of every value set: valid, locked down, and named within bounds."""

import functools
import json
import re
import shutil
from collections.abc import Iterator

import kubernetes_validate
import pytest
from charts import (
    GOLDEN_SETS,
    LONGEST_RELEASE,
    Manifest,
    containers,
    golden,
    golden_file,
    of_kind,
    pods,
    render,
    value_sets,
)
from documented import settings

from ssmd_common.manifests import manifest

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")

NEWEST = "1.36"
VERSIONS = [f"1.{minor}" for minor in range(28, 36)]
SETS = value_sets()
OF_OTHERS = ("HTTPRoute", "PodMonitor", "ServiceMonitor", "PrometheusRule")
"""Kinds that Kubernetes itself does not have."""
# Of the command line and of the servers' images, not of a service.
FOREIGN = {
    "SECRET_LABELS", "SSMD_API_URL", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD",
    "NATS_PASSWORD",
}  # fmt: skip


def objects() -> list[Manifest]:
    """Those of all value sets, each once."""
    found = {
        json.dumps(document, sort_keys=True): document
        for arguments in SETS.values()
        for document in render(*arguments)
        if document["kind"] not in OF_OTHERS
    }
    return list(found.values())


def test_there_are_ten_value_sets_and_more() -> None:
    assert len(SETS) >= 10


@pytest.mark.parametrize(
    "version", [NEWEST, *(pytest.param(v, marks=pytest.mark.slow) for v in VERSIONS)]
)
def test_every_object_is_valid(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # It reads all definitions anew for every object.
    read_once = functools.cache(kubernetes_validate.utils.schema_contents)
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", read_once)
    faults = []
    for document in objects():
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.path))
            faults.append(f"{document['kind']} {document['metadata']['name']} {where}: {error}")
    assert not faults


@pytest.mark.parametrize("name", SETS)
def test_every_pod_passes_restricted_pod_security_and_a_quota(name: str) -> None:
    for where, pod in pods(render(*SETS[name])):
        assert pod["automountServiceAccountToken"] is False, where
        assert pod["enableServiceLinks"] is False, "API_PORT=tcp://… would be read as a setting"
        secured = pod["securityContext"]
        assert secured["runAsNonRoot"] is True, where
        assert secured["runAsUser"] > 0, where
        assert secured["seccompProfile"] == {"type": "RuntimeDefault"}, where
        allowed = {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"}
        for volume in pod.get("volumes", []):
            assert volume.keys() - {"name"} <= allowed, (where, volume)
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            assert container["imagePullPolicy"] == "IfNotPresent", where
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, where
            assert container["resources"]["limits"]["memory"], where


SERVERS = ("postgresql", "nats", "valkey")


@pytest.mark.parametrize("name", SETS)
def test_our_own_pods_write_to_the_archive_only(name: str) -> None:
    """`make images-test` runs each image without anything else that could be written to."""
    for where, pod in pods(render(*SETS[name])):
        container = pod["containers"][0]["name"]
        if container in SERVERS:
            continue
        written = [volume["name"] for volume in pod.get("volumes", []) if "emptyDir" in volume]
        assert not written or (container, written) == ("compact", ["copies"]), where
        claims = [volume for volume in pod.get("volumes", []) if "persistentVolumeClaim" in volume]
        assert bool(claims) == (container in ("archiver", "compact")), where


@pytest.mark.parametrize("name", SETS)
def test_the_longest_release_name_has_valid_names(name: str) -> None:
    for document in render(*SETS[name], release=LONGEST_RELEASE):
        kind, own = document["kind"], document["metadata"]["name"]
        # A StatefulSet's revision, a Job and a Service stand in labels or in DNS.
        most = {"StatefulSet": 52, "CronJob": 52, "Job": 63, "Service": 63}.get(kind, 253)
        assert len(own) <= most, own
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", own), own
        for value in document["metadata"]["labels"].values():
            assert len(value) <= 63, value


def test_long_names_stay_different() -> None:
    names = {
        render(release=release)[0]["metadata"]["name"]
        for release in (LONGEST_RELEASE, LONGEST_RELEASE[:-1], LONGEST_RELEASE[:-1] + "s")
    }
    assert len(names) == 3


@pytest.mark.parametrize("name", GOLDEN_SETS)
def test_rendering_is_as_it_was(name: str) -> None:
    kept = golden_file(name).read_text()
    assert golden(name) == kept, "look at the difference; then `make chart-golden`"


def variables(documents: list[Manifest]) -> Iterator[tuple[str, str]]:
    """Each container's name with each of its variables."""
    for _, pod in pods(documents):
        for container in containers(pod):
            for variable in container.get("env", []):
                yield container["name"], variable["name"]


@pytest.mark.parametrize("name", SETS)
def test_every_variable_is_a_setting_of_who_gets_it(name: str) -> None:
    documents, known = render(*SETS[name]), settings()
    everywhere = {variable for fields in known.values() for variable in fields}
    for container, variable in variables(documents):
        if container in known:
            assert variable in known[container], (container, variable)
        else:
            assert variable in everywhere | FOREIGN, (container, variable)
    for config in of_kind(documents, "ConfigMap"):
        if config["metadata"]["labels"]["app.kubernetes.io/component"] == "config":
            assert config["data"].keys() <= everywhere


URLS = {"postgres": "DATABASE_URL", "nats": "NATS_URL", "redis": "REDIS_URL"}


def test_a_pod_gets_the_secrets_it_needs_and_no_others() -> None:
    found: dict[str, set[str]] = {}
    for container, variable in variables(render("--set", "secrets.kalshi=kalshi")):
        found.setdefault(container, set()).add(variable)
    for service in settings():
        needs = manifest(service).needs
        urls = {url for need, url in URLS.items() if need in needs}
        assert found[service] & set(URLS.values()) == urls, service
        assert ("KALSHI_API_KEY" in found[service]) == ("exchange" in needs), service
    assert found["migrate"] == found["api-key"] - {"SECRET_LABELS"} == {"DATABASE_URL"}


@pytest.mark.parametrize("name", SETS)
def test_nothing_secret_is_in_what_is_rendered(name: str) -> None:
    documents = render(*SETS[name])
    assert not of_kind(documents, "Secret")
    for _, pod in pods(documents):
        for container in containers(pod):
            for variable in container.get("env", []):
                secret = re.search("PASSWORD|_URL$|AUTH|API_KEY$", variable["name"])
                if secret and variable["name"] != "SSMD_API_URL":
                    assert "secretKeyRef" in variable["valueFrom"], variable
            # A password in an argument would be seen by everybody on the node.
            assert not re.search(r"\$\([A-Z_]*(PASSWORD|URL|KEY)\)", json.dumps(container))


@pytest.mark.parametrize("name", SETS)
def test_every_claim_secret_and_config_map_that_a_pod_names_exists_or_is_the_users(
    name: str,
) -> None:
    documents = render(*SETS[name])
    made = {
        (kind, document["metadata"]["name"])
        for kind in ("ConfigMap", "PersistentVolumeClaim", "ServiceAccount")
        for document in of_kind(documents, kind)
    }
    theirs = {
        ("ConfigMap", "more"),
        ("PersistentVolumeClaim", "mine"),
        ("ServiceAccount", "default"),
    }
    theirs |= {("ConfigMap", "kube-root-ca.crt")}
    for where, pod in pods(documents):
        named = (
            {("ServiceAccount", pod["serviceAccountName"])}
            if "serviceAccountName" in pod
            else set()
        )
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                named.add(("ConfigMap", volume["configMap"]["name"]))
            if "persistentVolumeClaim" in volume:
                named.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
        for container in containers(pod):
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    named.add(("ConfigMap", source["configMapRef"]["name"]))
        assert named <= made | theirs, (where, named - made - theirs)
