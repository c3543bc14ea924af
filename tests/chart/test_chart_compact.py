"""The CronJob that compacts: where it runs, what it may reach, and what counts as a failure."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from charts import CHART, Manifest, component, helm, of_kind, render, value_sets

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")

ON = ("--set", "compact.enabled=true")
SETS = value_sets()


def cronjob(*words: str) -> Manifest:
    [found] = of_kind(render(*words), "CronJob")
    return found


def pod_of(found: Manifest) -> dict[str, Any]:
    spec: dict[str, Any] = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_it_is_off_by_default() -> None:
    assert not of_kind(render(), "CronJob")


def test_it_runs_where_the_archivers_volume_is() -> None:
    documents = render(*SETS["compacted"])
    pod = pod_of(cronjob(*SETS["compacted"]))
    [archiver] = [d for d in of_kind(documents, "Deployment") if component(d) == "archiver"]
    theirs = archiver["spec"]["template"]
    [term] = pod["affinity"].pop("podAffinity")["requiredDuringSchedulingIgnoredDuringExecution"]
    assert not pod["affinity"], "what places the archiver is kept by being beside it"
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= theirs["metadata"]["labels"].items()
    assert pod["nodeSelector"] == theirs["spec"]["nodeSelector"] == {"disk": "ssd"}
    storage = next(v for v in theirs["spec"]["volumes"] if v["name"] == "storage")
    assert pod["volumes"] == [storage]
    [container] = pod["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env == {"ARCHIVER_ROOT": container["volumeMounts"][0]["mountPath"]}
    assert container["image"].startswith("ssmd-compact:")


def test_a_volume_for_many_nodes_needs_no_neighbour_and_a_bucket_brings_copies() -> None:
    pod = pod_of(cronjob(*SETS["compacted from a bucket"]))
    assert "affinity" not in pod
    [container] = pod["containers"]
    env = {one["name"]: one for one in container["env"]}
    assert env["ARCHIVER_BUCKET"]["value"] == "archive"
    assert env["ARCHIVER_BUCKET_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "mine"
    assert {"name": "copies", "emptyDir": {"sizeLimit": "5Gi"}} in pod["volumes"]
    assert {"name": "copies", "mountPath": "/tmp"} in container["volumeMounts"]


def test_it_reaches_the_bucket_and_nothing_else() -> None:
    def ways(name: str) -> tuple[list[Any], set[int]]:
        found = of_kind(render(*SETS[name]), "NetworkPolicy")
        [policy] = [one for one in found if component(one) == "compact"]
        out = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        return policy["spec"]["ingress"], out

    assert ways("compacted") == ([], set())
    assert ways("compacted from a bucket") == ([], {53, 443})


def test_what_a_day_lacks_is_no_failure_of_the_job(tmp_path: Path) -> None:
    """Its Parquet is there; the archiver's alerts tell of the loss."""
    [container] = pod_of(cronjob(*ON))["containers"]
    for code, expected in ((0, 0), (5, 0), (1, 1), (2, 2), (3, 3)):
        fake = tmp_path / "ssmd"
        fake.write_text(f'#!/bin/sh\n[ "$*" = "archive compact" ] && exit {code}\nexit 99\n')
        fake.chmod(0o755)
        done = subprocess.run(
            [*container["command"], *container["args"]],
            env={"PATH": f"{tmp_path}:/bin:/usr/bin"},
            check=False,
        )
        assert done.returncode == expected, code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("services.archiver.enabled=false",), "needs the archiver"),
        (("services.archiver.storage.accessModes={ReadWriteOncePod}",), "ReadWriteOncePod"),
        (("compact.shedule=x",), "shedule"),
    ],
)
def test_what_cannot_work_is_refused(words: tuple[str, ...], said: str) -> None:
    more = [part for word in words for part in ("--set", word)]
    done = helm("template", "prod", str(CHART), *ON, *more)
    assert done.returncode != 0
    assert said in done.stderr
