"""The chart on the cluster that KUBECONFIG names: `make cluster-test`. docs/chart.md says how.

The tests build on each other, in this order, in a namespace of their own with restricted Pod
Security. Each says how long it took; nothing is asserted of that.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from charts import CHART

NAMESPACE: Final = os.environ.get("SSMD_CLUSTER_NAMESPACE", "ssmd-cluster-test")
RELEASE: Final = "ssmd"
# Where the images are: --set image.registry=…
ARGUMENTS: Final = shlex.split(os.environ.get("SSMD_CLUSTER_ARGS", ""))
HERE: Final = Path(__file__).parent
ELECTED: Final = ("lifecycle", "cdc", "cache")
WAIT: Final = ("--wait", "--timeout", "6m")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.environ.get("SSMD_CLUSTER_TEST") != "1", reason="run it by `make cluster-test`"
    ),
]


def run(*command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        shown = run("kubectl", "-n", NAMESPACE, "get", "pods,jobs", check=False).stdout
        raise AssertionError(f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}\n{shown}")
    return done


def say(text: object) -> None:
    """What was seen goes into a note: it is shown while the tests run."""
    sys.stdout.write(f"\n{text}")


def kubectl(*arguments: str, check: bool = True) -> str:
    return run("kubectl", "-n", NAMESPACE, *arguments, check=check).stdout


def helm(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    return run("helm", "-n", NAMESPACE, *arguments, check=check)


def upgrade(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    chart = ("upgrade", RELEASE, str(CHART), "--set", "demo=true")
    return helm(*chart, *ARGUMENTS, *arguments, check=check)


def objects(kinds: str, *more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl("get", kinds, "-o", "json", *more))["items"]
    return found


def in_probe(*command: str, check: bool = True) -> str:
    return kubectl("exec", "probe", "--", *command, check=check)


def until(what: str, holds: Any, *, seconds: float = 240) -> float:
    """Wait until it holds; how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"never: {what}"
        time.sleep(0.5)
    return time.monotonic() - began


def all_work() -> bool:
    command = ("kubectl", "-n", NAMESPACE, "exec", "probe", "--", "ssmd", "status")
    return run(*command, check=False).returncode == 0


def instances(service: str) -> dict[str, str]:
    """The state of each living process by its pod's name."""
    document = json.loads(in_probe("ssmd", "status", "--json", check=False))
    processes = document["services"][service]["processes"]
    return {process["instance"].split(":")[0]: process["state"] for process in processes}


@contextmanager
def load() -> Iterator[dict[str, Any]]:
    """Requests all the while; afterwards what came of them."""
    found: dict[str, Any] = {}
    in_probe("rm", "-f", "/tmp/stop")
    process = subprocess.Popen(
        ["kubectl", "-n", NAMESPACE, "exec", "probe", "--", "python", "-c",
         (HERE / "load.py").read_text()],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield found
    finally:
        in_probe("touch", "/tmp/stop")
        said, _ = process.communicate(timeout=120)
    found.update(json.loads(said))


def assert_nothing_doubled() -> None:
    found = json.loads(in_probe("python", "-c", (HERE / "read_stream.py").read_text()))
    say(found)
    assert found["twice"] == []
    assert found["epochs"] == [1]


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[None]:
    enforce = "pod-security.kubernetes.io/enforce"
    document = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {enforce: "restricted"}},
    }
    subprocess.run(
        ["kubectl", "apply", "-f", "-"], input=json.dumps(document), text=True, check=True
    )
    yield
    if os.environ.get("SSMD_CLUSTER_KEEP") != "1":
        run("kubectl", "delete", "namespace", NAMESPACE, "--timeout=300s", check=False)


def refused(*arguments: str) -> str:
    """What the migration says where an install must fail; it leaves nothing."""
    began = time.monotonic()
    command = ("install", "wrong", str(CHART), *ARGUMENTS, *arguments, "--timeout", "3m")
    assert helm(*command, check=False).returncode != 0
    labels = ("-l", "app.kubernetes.io/instance=wrong")
    [pod] = objects("pods", *labels)
    said = kubectl("logs", pod["metadata"]["name"])
    say(f"refused after {time.monotonic() - began:.0f} s: {said.strip()}")
    helm("uninstall", "wrong")
    kubectl("delete", "jobs,pvc", *labels)
    return said


def test_a_missing_secret_ends_the_install_and_is_named() -> None:
    assert f"the Secret ssmd-connections in the namespace {NAMESPACE}" in refused()


def test_install() -> None:
    began = time.monotonic()
    chart = ("install", RELEASE, str(CHART), "--set", "demo=true")
    helm(*chart, *ARGUMENTS, *WAIT)
    say(f"install --wait: {time.monotonic() - began:.0f} s")
    image = objects("jobs,pods", "-l", "app.kubernetes.io/component=sync")[0]["spec"]
    cli = image["containers"][0]["image"].replace("ssmd-sync", "ssmd-cli")
    kubectl("create", "-f", _written(_probe(cli)))
    kubectl("wait", "pod/probe", "--for=condition=Ready", "--timeout=120s")
    say(f"everything works after {until('every service works', all_work):.0f} s more")


def _probe(image: str) -> dict[str, Any]:
    """A pod with the command line, to look from inside."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    env: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": f"{RELEASE}-servers", "key": name}}}
        for name in ("DATABASE_URL", "NATS_URL", "REDIS_URL")
    ]
    key = {"name": f"{RELEASE}-api-key", "key": "key"}
    env.append({"name": "SSMD_DATA_API_KEY", "valueFrom": {"secretKeyRef": key}})
    env.append({"name": "SSMD_API_URL", "value": f"http://{RELEASE}-api"})
    container = {
        "name": "probe",
        "image": image,
        "command": ["sleep", "infinity"],
        "env": env,
        "securityContext": values["securityContext"],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe"},
        "spec": {
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": values["podSecurityContext"],
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def _written(document: dict[str, Any]) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(document, file)
    return file.name


def test_helm_test() -> None:
    began = time.monotonic()
    said = helm("test", RELEASE, "--logs", "--timeout", "5m").stdout
    assert "Phase:          Succeeded" in said
    followed = [line for line in said.splitlines() if " went from " in line or " in Redis" in line]
    way = ("from PostgreSQL to the API", "in Redis", "from the exchange to the API")
    assert [place for line in followed for place in way if place in line] == list(way), said
    say("; ".join(followed))
    say(f"helm test: {time.monotonic() - began:.0f} s")


def test_a_refused_password_ends_an_install_and_is_told() -> None:
    url = f"postgresql://ssmd:wrong@{RELEASE}-postgresql:5432/ssmd"
    kubectl("create", "secret", "generic", "wrong", f"--from-literal=DATABASE_URL={url}")
    said = refused("--set", "secrets.connections=wrong")
    assert "password authentication failed" in said
    kubectl("delete", "secret", "wrong")


def test_an_upgrade_loses_no_request_and_doubles_no_change() -> None:
    before = {s["metadata"]["name"]: s["data"] for s in objects("secrets") if s["type"] == "Opaque"}
    with load() as found:
        began = time.monotonic()
        upgrade("--set", "config.LOG_LEVEL=DEBUG", *WAIT)
        took = time.monotonic() - began
        settled = until("every service works", all_work)
    say(f"upgrade --wait: {took:.0f} s, everything works after {settled:.0f} s more; {found}")
    assert found["failures"] == []
    assert found["asked"] > 20
    assert_nothing_doubled()
    # What is made once is not made again.
    after = {s["metadata"]["name"]: s["data"] for s in objects("secrets") if s["type"] == "Opaque"}
    assert after == before


def test_an_upgrade_that_refuses_its_configuration_fails_and_the_old_pods_go_on() -> None:
    wrong = ("--set", "services.cdc.env.CDC_WINDOW_MESSAGES=none", "--wait", "--timeout", "45s")
    assert upgrade(*wrong, check=False).returncode != 0
    assert all_work()
    helm("rollback", RELEASE, *WAIT)
    until("every service works", all_work)


def test_scaled_standbys_are_ready_and_take_over() -> None:
    replicas = [part for name in ELECTED for part in ("--set", f"services.{name}.replicas=2")]
    began = time.monotonic()
    upgrade(*replicas, "--set", "services.api.replicas=3", *WAIT)
    say(f"scale --wait: {time.monotonic() - began:.0f} s")
    until("every service works", all_work)
    with load() as found:
        for service in ELECTED:
            states = instances(service)
            assert "standby" in states.values(), (service, states)
            [leader] = [host for host, state in states.items() if state != "standby"]
            kubectl("delete", "pod", leader, "--grace-period=0", "--force")
            took = until(f"{service} is taken over", partial(taken, service, leader))
            say(f"{service}: taken over within {took:.1f} s of the deletion of its leader")
        until("every service works", all_work)
        # A rollout with standbys ends, and the new ones lead.
        began = time.monotonic()
        upgrade(*replicas, "--set", "services.api.replicas=3", "--set", "config.LOG_LEVEL=INFO",
                "--set", "config.STARTUP_BUDGET_SECONDS=50", *WAIT)  # fmt: skip
        say(f"rollout of two replicas each: {time.monotonic() - began:.0f} s")
        until("every service works", all_work)
    say(found)
    assert found["failures"] == []
    assert_nothing_doubled()
    # It exits 6 where Redis differs from PostgreSQL.
    in_probe("ssmd", "cache", "verify")


def taken(service: str, from_host: str) -> bool:
    return any(h != from_host and s != "standby" for h, s in instances(service).items())


def test_rollback() -> None:
    with load() as found:
        began = time.monotonic()
        helm("rollback", RELEASE, "1", *WAIT)
        until("every service works", all_work)
    say(f"rollback: {time.monotonic() - began:.0f} s; {found}")
    assert found["failures"] == []
    assert_nothing_doubled()


def test_days_of_the_archive_become_parquet() -> None:
    rotate = "services.archiver.env.ARCHIVER_ROTATE_SECONDS=5"
    upgrade("--set", "compact.enabled=true", "--set", rotate, *WAIT)
    until("every service works", all_work)
    # As the CronJob has it: no day is over yet.
    assert "no day is over yet" in compacting("as-scheduled", None)
    sealed = (
        "until ssmd archive compact --partial | grep 'SECMASTER_CDC.* markets'; do sleep 1; done"
    )
    say(compacting("today", sealed))
    changes = "SELECT count(*) FROM markets"
    said = compacting("asked", f'TMPDIR=$ARCHIVER_ROOT ssmd archive query "{changes}" -o csv')
    say(f"{changes}: {said}")
    assert int(said.split()[-1]) > 0


def compacting(name: str, command: str | None) -> str:
    """What a Job of the CronJob says, with another command if there is one."""
    made = ("create", "job", name, f"--from=cronjob/{RELEASE}-compact", "--dry-run=client")
    job = json.loads(kubectl(*made, "-o", "json"))
    if command is not None:
        [container] = job["spec"]["template"]["spec"]["containers"]
        container["args"] = [command]
    began = time.monotonic()
    kubectl("create", "-f", _written(job))
    until(f"the job {name} ends", lambda: ended(name))
    say(f"job {name}: {time.monotonic() - began:.0f} s")
    said = kubectl("logs", f"job/{name}")
    assert ended(name) == "Complete", said
    return said


def ended(job: str) -> str | None:
    """Complete or Failed."""
    status = json.loads(kubectl("get", "job", job, "-o", "json")).get("status", {})
    over = [c["type"] for c in status.get("conditions", ()) if c["status"] == "True"]
    return next((one for one in over if one in ("Complete", "Failed")), None)


def left() -> set[str]:
    kinds = "all,configmaps,secrets,pvc,serviceaccounts,roles,rolebindings,ingresses,pdb,hpa"
    return {
        f"{o['kind']}/{o['metadata']['name']}"
        for o in objects(kinds)
        if o["metadata"]["name"] not in ("kube-root-ca.crt", "default")
        # `helm test` leaves its pod, which is there to be read.
        and o["metadata"].get("labels", {}).get("app.kubernetes.io/component") != "test"
    }


def test_uninstall_leaves_the_data_and_its_passwords_only() -> None:
    kubectl("delete", "pod", "probe")
    helm("uninstall", RELEASE, "--wait", "--timeout", "3m")
    data = {f"PersistentVolumeClaim/data-{RELEASE}-{s}-0" for s in ("postgresql", "nats", "valkey")}
    secrets = {f"Secret/{RELEASE}-{name}" for name in ("servers", "api-key")}
    stays = data | secrets | {f"PersistentVolumeClaim/{RELEASE}-archiver"}
    # Pods end by themselves once their owners are gone.
    took = until("all else is gone", lambda: left() <= stays, seconds=120)
    assert left() == stays
    say(f"uninstall: all but the data is gone {took:.0f} s after helm")
