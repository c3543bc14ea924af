"""What is in an image, and what it does when it is asked for help."""

import msgspec
import pytest
from container_engine import BASE, USER, Engine
from container_images import CHOSEN, Images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MOST_BYTES = 120_000_000
"""Above the base, of a service."""
MOST_BYTES_OF_CLI = 145_000_000
"""It speaks to all servers, and to buckets."""
MOST_BYTES_OF_COMPACT = 420_000_000
"""DuckDB and pyarrow beside it."""
LOOK = """
set -e
for tool in gcc cc c++ make uv git; do command -v $tool && exit 1; done
for name in tests test .cache '*.whl' conftest.py; do
    find /opt /root /home /tmp /var/tmp -name "$name" 2>/dev/null | grep . && exit 1
done
test -z "$(ls -A /src /tools /wheels /ours 2>/dev/null)"
cd /opt/ssmd/lib/python3*/site-packages
for module in $(find . -name '*.py' -not -path '*/lib2to3/*' | sed 's,^./,,'); do
    compiled=$(dirname $module)/__pycache__/$(basename $module .py).cpython-3*.pyc
    test -e $compiled || { echo "$module is not compiled"; exit 1; }
done
"""


@pytest.mark.parametrize("part", [*CHOSEN, "cli", "compact", "simulator"])
def test_an_image_has_one_service_and_nothing_to_build_it(
    engine: Engine, images: Images, part: str
) -> None:
    image = images.build(part)
    base, found = (
        msgspec.json.decode(engine("image", "inspect", name))[0] for name in (BASE, image)
    )
    size = found["Size"] - base["Size"]
    images.report(f"{image}: {size / 1e6:.0f} MB over the base of {base['Size'] / 1e6:.0f} MB")
    most = {"cli": MOST_BYTES_OF_CLI, "compact": MOST_BYTES_OF_COMPACT}
    assert size < most.get(part, MOST_BYTES)

    config = found["Config"]
    assert config["User"] == USER
    assert not config.get("Healthcheck"), "health is the orchestrator's"
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in config["Labels"].items()
    }
    assert labels["title"] == f"ssmd-{part}"
    assert labels["version"]
    assert labels["licenses"] == "MIT"
    assert {"description", "revision"} <= labels.keys()

    looked = engine.try_to(
        "run", "--rm", "--network=none", "--entrypoint=sh", *engine.locked_down, image, "-c", LOOK
    )
    assert looked.returncode == 0, looked.stdout + looked.stderr


@pytest.mark.parametrize("part", [*CHOSEN, "cli", "compact", "simulator"])
def test_an_image_that_is_asked_for_help_gives_it(
    engine: Engine, images: Images, part: str
) -> None:
    """Without a setting, a network, or anything that could be written to."""
    image = images.build(part)
    told = engine.try_to("run", "--rm", "--network=none", *engine.locked_down, image, "--help")
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.lower().lstrip().startswith("usage:")
    assert told.stderr == ""


def test_the_same_input_makes_the_same_layers(engine: Engine, images: Images) -> None:
    if not engine.is_podman:
        pytest.skip("docker keeps the times of files unless BuildKit's output rewrites them")
    part = CHOSEN[0]
    first, again = (
        msgspec.json.decode(engine("image", "inspect", name))[0]
        for name in (images.build(part), images.build(part, "again", "--no-cache"))
    )
    assert first["RootFS"]["Layers"] == again["RootFS"]["Layers"]
    assert first["Created"] == again["Created"]
