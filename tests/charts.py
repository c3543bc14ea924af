"""The chart as helm renders it, for tests: the value sets that all promises are held against."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "deploy/helm/ssmd"
EXAMPLES: Final = ROOT / "deploy/helm/examples"
GOLDEN: Final = ROOT / "tests/chart/golden"
LONGEST_RELEASE: Final = "r" * 53
"""Helm allows no longer name."""

Manifest = dict[str, Any]

_ALL_SERVICES: Final = ("sync", "lifecycle", "cdc", "cache", "archiver", "connector", "api")
_INGRESS: Final = (
    "--set", "ingress.enabled=true", "--set", "ingress.hosts={api.example.org}",
    "--set", "ingress.className=nginx", "--set", "ingress.tls[0].secretName=api-tls",
    "--set", "ingress.tls[0].hosts={api.example.org}",
)  # fmt: skip
_ROUTE: Final = (
    "--set", "httpRoute.enabled=true", "--set", "httpRoute.parentRefs[0].name=public",
    "--set", "httpRoute.hostnames={api.example.org}",
)  # fmt: skip
_EVERYWHERE: Final = (
    "--set", "defaults.priorityClassName=high", "--set", "defaults.nodeSelector.disk=ssd",
    "--set", "defaults.tolerations[0].operator=Exists", "--set", "defaults.podLabels.team=data",
    "--set", "defaults.podAnnotations.note=x", "--set", "defaults.pdb.enabled=true",
    "--set", "defaults.envFrom[0].secretRef.name=more", "--set", "defaults.replicas=2",
    "--set", "defaults.extraVolumes[0].name=more", "--set", "image.pullSecrets[0].name=pull",
    "--set", "defaults.extraVolumes[0].configMap.name=more",
    "--set", "defaults.extraVolumeMounts[0].name=more",
    "--set", "defaults.extraVolumeMounts[0].mountPath=/more",
    "--set-json", 'defaults.affinity={"nodeAffinity":{}}',
)  # fmt: skip

_BY_REQUESTS: Final = (
    '{"type":"Pods","pods":{"metric":{"name":"requests_per_second"},'
    '"target":{"type":"AverageValue","averageValue":"50"}}}'
)

VALUE_SETS: Final[Mapping[str, Sequence[str]]] = {
    "defaults": (),
    "demo": ("--set", "demo=true"),
    "demo with policies": ("--set", "demo=true", "--set", "networkPolicy.enabled=true"),
    "one server": ("--set", "nats.enabled=true", "--set", "nats.storage.className=fast"),
    "without hooks": ("--set", "migrate.mode=init", "--set", "apiKey.create=false"),
    "exchange key and tls": (
        "--set", "secrets.kalshi=kalshi", "--set", "tls.secret=tls", "--set", "tls.natsCa=ca.crt",
        "--set", "tls.natsCert=tls.crt", "--set", "tls.natsKey=tls.key",
    ),
    "published": (
        *_INGRESS, *_ROUTE, "--set", "apiService.type=LoadBalancer",
        "--set", "apiService.ipFamilyPolicy=PreferDualStack",
        "--set", "apiService.ipFamilies={IPv6,IPv4}", "--set", "apiService.nodePort=30080",
        "--set", "apiService.annotations.note=x", "--set", "networkPolicy.enabled=true",
        "--set-json", 'networkPolicy.from.http=[{"namespaceSelector":{}}]',
        "--set-json", 'networkPolicy.from.ops=[{"namespaceSelector":{}}]',
        "--set-json", 'networkPolicy.to.postgresql=[{"ipBlock":{"cidr":"10.0.0.0/8"}}]',
    ),
    "scaled": (
        "--set", "services.api.autoscaling.enabled=true",
        "--set-json", f"services.api.autoscaling.metrics=[{_BY_REQUESTS}]",
        "--set", "services.cdc.replicas=2", "--set", "services.cache.replicas=2",
    ),
    "placed": _EVERYWHERE,
    "little": tuple(
        part
        for name in _ALL_SERVICES
        if name != "cdc"
        for part in ("--set", f"services.{name}.enabled=false")
    ),
    "compacted": (
        "--set", "compact.enabled=true", "--set", "networkPolicy.enabled=true",
        "--set-json", 'services.archiver.affinity={"nodeAffinity":{}}',
        "--set", "services.archiver.nodeSelector.disk=ssd",
    ),
    "compacted from a bucket": (
        "--set", "compact.enabled=true", "--set", "networkPolicy.enabled=true",
        "--set", "services.archiver.bucket.name=archive",
        "--set", "services.archiver.bucket.localDays=1",
        "--set", "services.archiver.bucket.parquet=true",
        "--set", "services.archiver.bucket.secret=mine",
        "--set", "services.archiver.storage.accessModes={ReadWriteMany}",
    ),
    "numbers": (
        "--set", "services.archiver.env.ARCHIVER_KEEP_BYTES=5368709120",
        "--set", "config.STARTUP_BUDGET_SECONDS=0.5", "--set", "migrate.enabled=false",
        "--set", "services.archiver.storage.existingClaim=mine",
        "--set", "serviceAccount.create=false", "--set", "opsPort=9101",
    ),
}  # fmt: skip


def examples() -> list[Path]:
    """The values files that are shown to operators."""
    return sorted(EXAMPLES.glob("*.values.yaml"))


def value_sets() -> dict[str, tuple[str, ...]]:
    """Arguments of helm by a name: those above, and every example."""
    shown = {path.name: ("-f", str(path)) for path in examples()}
    return {name: tuple(arguments) for name, arguments in VALUE_SETS.items()} | shown


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run helm; its exit code is the caller's to look at."""
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, check=False)


@cache
def rendered(*arguments: str, release: str = "prod") -> str:
    """What helm renders, as text."""
    done = helm("template", release, str(CHART), "--namespace", "markets", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(*arguments: str, release: str = "prod") -> list[Manifest]:
    """What helm renders: every object, the caller's own."""
    found: list[Manifest] = json.loads(_as_json(*arguments, release=release))
    return found


@cache
def _as_json(*arguments: str, release: str) -> str:
    # To read YAML takes twenty times as long, and most tests ask for what another one did.
    text = rendered(*arguments, release=release)
    return json.dumps([each for each in yaml.load_all(text, yaml.CSafeLoader) if each])


def of_kind(documents: list[Manifest], kind: str) -> list[Manifest]:
    """The objects of one kind."""
    return [document for document in documents if document["kind"] == kind]


def component(document: Manifest) -> str:
    """What part of the system an object belongs to."""
    return str(document["metadata"]["labels"]["app.kubernetes.io/component"])


def pods(documents: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The spec of every pod that the objects make, by the object's kind and name."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if document["kind"] != "Pod":
            spec = spec.get("template", {}).get("spec")
        if spec and "containers" in spec:
            yield f"{document['kind']} {document['metadata']['name']}", spec


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, those that run first included."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def golden(name: str) -> str:
    """What a value set renders, without the scripts that stand in their own files."""
    scripts = "".join(path.read_text() for path in sorted(CHART.glob("files/*.py")))
    lines = {line.strip() for line in scripts.splitlines() if line.strip()}
    text = rendered(*value_sets()[name])
    return "".join(line for line in text.splitlines(keepends=True) if line.strip() not in lines)


def golden_file(name: str) -> Path:
    """Where what a value set rendered is kept."""
    return GOLDEN / f"{name.replace(' ', '-')}.yaml"


GOLDEN_SETS: Final = ("defaults", "demo", "compacted", "compacted from a bucket")


if __name__ == "__main__":
    for each in GOLDEN_SETS:
        golden_file(each).write_text(golden(each))
