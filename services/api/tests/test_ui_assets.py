"""What pages bring along: from known packages, small, with their licences; and headers."""

import hashlib

from api_testbed import Client
from ui_pages import VENDOR, shown

from ssmd_api.ui import assets

MOST_BYTES = 200 << 10
HASHES = {
    # idiomorph 0.8.0
    "idiomorph.min.js": "4cbd535caf7663a51eda9bce6595371c384fc430d54b8d414e29a61167f19f96",
    # uplot 1.6.32
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
AXE = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
"""axe-core 4.14.1"""
OURS = {"ui.js", "ui.css", "icon.svg"}
LICENCES = {"idiomorph.LICENSE.txt", "uPlot.LICENSE.txt"}


def test_they_are_those_of_their_packages_and_small() -> None:
    found = assets.read()
    assert found.keys() == {*HASHES, *OURS, *LICENCES}
    assert {name: found[name].digest for name in HASHES} == HASHES
    assert sum(len(each.body) for each in found.values()) <= MOST_BYTES
    assert hashlib.sha256((VENDOR / "axe.min.js").read_bytes()).hexdigest() == AXE


def test_nothing_of_them_makes_programs_of_text() -> None:
    for name, asset in assets.read().items():
        if name.endswith(".js"):
            text = asset.body.decode()
            assert "eval(" not in text.replace("medieval(", "")
            assert "new Function" not in text


async def test_a_browser_keeps_them_until_they_change(api: Client) -> None:
    for asset in assets.read().values():
        reply = await shown(api, assets.url(asset), cookies={})
        assert reply.status == 200
        assert "immutable" in reply.headers["Cache-Control"]
        assert (await shown(api, assets.PATH + asset.name)).headers["Cache-Control"] == "no-cache"
    assert (await shown(api, f"{assets.PATH}nothing.js")).status == 404


async def test_the_policy_lets_nothing_run_but_the_pages_own_files(api: Client) -> None:
    for path in ("/ui/login", "/ui", "/ui/nowhere"):
        reply = await shown(api, path)
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert reply.headers["Cache-Control"] == "no-store"
        assert " style=" not in reply.text
        assert "<script>" not in reply.text
        assert " onclick=" not in reply.text
