"""The chart, rendered and linted by helm itself."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from charts import CHART, component, helm, of_kind, render

from ssmd_common.manifests import manifest
from ssmd_common.parts import SERVICES
from ssmd_common.runtime import GRACE_SECONDS

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def test_lint_is_clean() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_default_values_render_every_service_and_the_migrations() -> None:
    documents = render()
    assert {component(d) for d in of_kind(documents, "Deployment")} == set(SERVICES)
    [job] = [job for job in of_kind(documents, "Job") if component(job) == "migrate"]
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["ttlSecondsAfterFinished"] > 0, "an uninstall leaves what a hook made"
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert "exec ssmd db migrate" in container["args"][0]
    # A usage error, a refused password for example, is not tried again.
    [rule] = job["spec"]["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])


def test_a_rollout_waits_for_the_new_pod_and_a_service_has_time_to_end() -> None:
    for deployment in of_kind(render(), "Deployment"):
        spec, pod = deployment["spec"], deployment["spec"]["template"]["spec"]
        [container] = pod["containers"]
        if component(deployment) == "archiver":
            # Its volume is for one node.
            assert spec["strategy"] == {"type": "Recreate"}
        else:
            bounds = {"maxSurge": 1, "maxUnavailable": 0}
            assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": bounds}
        command = container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
        before = int(command.get("command", ["sleep", "0"])[1])
        assert pod["terminationGracePeriodSeconds"] >= GRACE_SECONDS + before + 5
        assert (before > 0) == (component(deployment) == "api")
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "ops"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "ops"}
        assert container["startupProbe"]["initialDelaySeconds"] > 0


def test_a_service_has_of_the_defaults_what_it_does_not_say_itself() -> None:
    more = ("--set", "defaults.env.LOG_LEVEL=DEBUG", "--set", "services.cdc.env.CDC_SLOT=mine")
    for deployment in of_kind(render(*more), "Deployment"):
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        found = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert found["LOG_LEVEL"] == "DEBUG"
        assert found.get("CDC_SLOT") == ("mine" if component(deployment) == "cdc" else None)


def test_large_numbers_are_written_out(tmp_path: Path) -> None:
    """Helm reads every number of a file as a float."""
    (tmp_path / "values.yaml").write_text(
        "services: {archiver: {env: {ARCHIVER_KEEP_BYTES: 5368709120}}}\n"
        "config: {STARTUP_BUDGET_SECONDS: 0.5, CDC_DURABLE: true}\n"
    )
    documents = render("-f", str(tmp_path / "values.yaml"))
    [archiver] = [d for d in of_kind(documents, "Deployment") if component(d) == "archiver"]
    [container] = archiver["spec"]["template"]["spec"]["containers"]
    assert {"name": "ARCHIVER_KEEP_BYTES", "value": "5368709120"} in container["env"]
    [config] = of_kind(documents, "ConfigMap")
    assert config["data"]["STARTUP_BUDGET_SECONDS"] == "0.5"
    assert config["data"]["CDC_DURABLE"] == "true"


def test_a_database_of_the_chart_is_migrated_before_each_service_not_by_a_hook() -> None:
    documents = render("--set", "postgresql.enabled=true")
    assert "migrate" not in {component(job) for job in of_kind(documents, "Job")}
    for deployment in of_kind(documents, "Deployment"):
        [first] = deployment["spec"]["template"]["spec"]["initContainers"]
        assert first["name"] == "migrate"
        assert first["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "prod-ssmd-servers"


def test_the_test_pod_is_there_where_api_is() -> None:
    [pod] = of_kind(render(), "Pod")
    # `helm test --logs` reads them after the test has succeeded.
    policy = pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    assert "hook-succeeded" not in policy
    assert not of_kind(render("--set", "services.api.enabled=false"), "Pod")


def test_a_policy_lets_through_what_a_service_needs() -> None:
    for policy in of_kind(render("--set", "networkPolicy.enabled=true"), "NetworkPolicy"):
        needs = {*manifest(component(policy)).needs}
        ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        wanted = {"postgres": 5432, "nats": 4222, "redis": 6379, "exchange": 443}
        assert ports == {53} | {port for need, port in wanted.items() if need in needs}
        incoming = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert incoming == ({"ops", "http"} if component(policy) == "api" else {"ops"})


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


def test_the_archivers_bucket_has_its_key_from_a_secret_and_a_way_out() -> None:
    def archiver(*words: str) -> tuple[dict[str, Any], set[int]]:
        documents = render(*words, "--set", "networkPolicy.enabled=true")
        [deployment] = [d for d in of_kind(documents, "Deployment") if component(d) == "archiver"]
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        [policy] = [p for p in of_kind(documents, "NetworkPolicy") if component(p) == "archiver"]
        ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        return {one["name"]: one for one in container["env"]}, ports

    none, ports = archiver()
    assert not [name for name in none if name.startswith("ARCHIVER_BUCKET")]
    assert 443 not in ports
    found, ports = archiver(
        "--set", "services.archiver.bucket.name=archive",
        "--set", "services.archiver.bucket.endpoint=https://store.example:3900",
        "--set", "services.archiver.bucket.secret=mine",
        "--set", "services.archiver.bucket.localDays=7",
        "--set", "services.archiver.bucket.parquet=true",
        "--set", "networkPolicy.ports.bucket={3900}",
    )  # fmt: skip
    assert 3900 in ports
    assert {name: one["value"] for name, one in found.items() if "BUCKET" in name and "value" in one
            } == {
        "ARCHIVER_BUCKET": "archive", "ARCHIVER_BUCKET_ENDPOINT": "https://store.example:3900",
        "ARCHIVER_BUCKET_REGION": "us-east-1", "ARCHIVER_BUCKET_LOCAL_DAYS": "7",
        "ARCHIVER_BUCKET_PARQUET": "true",
    }  # fmt: skip
    for name in ("ARCHIVER_BUCKET_ACCESS_KEY_ID", "ARCHIVER_BUCKET_SECRET_ACCESS_KEY"):
        assert found[name]["valueFrom"] == {"secretKeyRef": {"name": "mine", "key": name}}


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
        ("services.cdc.terminationGracePeriodSeconds=25", "terminationGracePeriodSeconds"),
        ("config.log-level=x", "log-level"),
        ("ingress.enabled=true", "ingress.hosts"),
        ("httpRoute.enabled=true", "httpRoute.parentRefs"),
        ("opsPort=70000", "opsPort"),
        ("imagee.tag=1", "imagee"),
        ("secrets.connections=", "connections"),
    ],
)
def test_a_wrong_value_is_named(value: str, named: str) -> None:
    done = helm("template", "prod", str(CHART), "--set", value)
    assert done.returncode != 0
    assert named in done.stderr
