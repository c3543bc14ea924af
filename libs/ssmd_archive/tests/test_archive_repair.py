"""Whatever was done to an archive, it is whole again: from the stream, and the rest is marked."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import archived
import made_archive as made
import pytest
from made_archive import Stored

from ssmd_archive.catalog import Archive
from ssmd_archive.disk import Disk
from ssmd_archive.layout import SECMASTER_CDC
from ssmd_archive.members import compress
from ssmd_archive.repair import repair
from ssmd_archive.salvage import pieces
from ssmd_archive.stretch import DAMAGED
from ssmd_archive.verify import verify
from ssmd_archive.writer import ArchiveWriter

from .corrupting import KINDS, Corruption

CREATED = "2026-11-29T05:00:00Z"
"""Of the newest incarnation in `made.archive`."""


class Held:
    """A stream that holds some messages."""

    def __init__(self, created: str, messages: list[Stored]) -> None:
        self.created = created
        self._messages = messages
        self.first = messages[0].sequence if messages else 1

    def read(self, start: int, stop: int) -> Iterator[Stored]:
        return (found for found in self._messages if start <= found.sequence < stop)


class Quick(Disk):
    """Nothing here crashes the machine."""

    def sync(self, file: int) -> None:
        pass


class Scene:
    def __init__(self, root: Path) -> None:
        self.root = root
        messages = made.archive(root).messages
        begins = max(n for n, message in enumerate(messages) if message.sequence == 1)
        self.newest = messages[begins:]
        self.whole = archived.read(self.stream, whole=False)

    @property
    def stream(self) -> Path:
        return self.root / "SECMASTER_CDC"

    def held(self, since: int = 0) -> Held:
        return Held(CREATED, self.newest[since:])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("archive"))


def repaired(
    scene: Scene, root: Path, source: Held | None, *, anew: bool = True
) -> archived.Archived:
    """Mend it, and check all that holds of any archive that was mended; `anew` where no repair
    began before.
    """
    mended = repair(Archive(root), source, disk=Quick())
    report = verify(Archive(root), deep=True)
    assert report.findings == []
    assert repair(Archive(root), source, disk=Quick()).is_nothing
    # The archiver goes on from it.
    writer = ArchiveWriter(root, SECMASTER_CDC, made.ROTATION, disk=Quick())
    writer.recover()
    writer.close()
    found = archived.read(root / "SECMASTER_CDC", whole=False)
    expected = scene.whole.messages
    assert {key: expected[key] for key in found.messages if key in expected} == {
        key: payload for key, payload in found.messages.items() if key in expected
    }
    lost = {key for key, why in found.missing.items() if why == DAMAGED}
    assert mended.lost == len(lost) or not anew
    # What was known to be lost stays so; nothing else is left out.
    assert found.missing.keys() - lost <= scene.whole.missing.keys()
    return found


@pytest.mark.parametrize("times", [2, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_is_mended_from_a_stream_that_holds_it_and_marked_else(
    scene: Scene, tmp_path: Path, kind: str, times: int
) -> None:
    chance = random.Random(f"15 {kind}")
    for number in range(times):
        root = tmp_path / str(number)
        shutil.copytree(scene.root, root)
        corruption = Corruption(root / "SECMASTER_CDC", chance)
        corruption.damage(kind)
        found = repaired(scene, root, scene.held() if number % 2 else None)
        if number % 2:
            # Chain 2 is what the stream holds; what was not sealed yet is the archiver's.
            sealed = {key for key in scene.whole.messages if key[0] == 2}
            missing = sealed - found.messages.keys()
            assert not {key for key in missing if key in found.missing}, missing
        gone = scene.whole.messages.keys() - found.messages.keys()
        if corruption.touched <= {"x"} or kind in ("extra", "stray", "swap", "rename"):
            assert not gone, (kind, corruption.touched)
        shutil.rmtree(root)


class Ends(BaseException):
    """The process was killed."""


class Killed(Quick):
    """Of the process before one of its calls."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def _call(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Ends

    def open(self, path: Path) -> int:
        self._call()
        return super().open(path)

    def write(self, file: int, data: bytes, offset: int) -> None:
        self._call()
        super().write(file, data, offset)

    def rename(self, old: Path, new: Path) -> None:
        self._call()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._call()
        super().remove(path)


def damaged(scene: Scene, root: Path) -> None:
    """In many ways at once."""
    shutil.copytree(scene.root, root)
    stream, chance = root / "SECMASTER_CDC", random.Random(4)
    (stream / "stray").write_bytes(b"x")
    for kind in ("flip", "drop_line", "delete", "flip", "truncate"):
        Corruption(stream, chance).damage(kind)
    for files in ("state/markets/*.gz", "markets/*.gz", "markets/*-c2.jsonl.gz"):
        path = min(stream.glob(f"*/{files}"))
        path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.slow)])
def test_a_repair_that_is_killed_at_any_point_is_done_by_the_next(
    scene: Scene, tmp_path: Path, step: int
) -> None:
    """What the stream held then and holds no more is not lost either."""
    damaged(scene, tmp_path / "whole")
    expected = repaired(scene, tmp_path / "whole", scene.held())
    calls, ended = 0, False
    while not ended:
        root = tmp_path / str(calls)
        damaged(scene, root)
        before = {path: path.read_bytes() for path in root.rglob("*.gz")}
        try:
            repair(Archive(root), scene.held(), disk=Killed(calls))
            ended = True
        except Ends:
            pass
        found = repaired(scene, root, scene.held(), anew=False)
        assert found.messages == expected.messages
        assert found.missing == expected.missing
        # Whatever was there is there still.
        kept = {path.read_bytes() for path in root.rglob("*.gz*") if path.is_file()}
        states = {path for path in before if "/state/" in str(path)}
        assert all(before[path] in kept for path in before.keys() - states)
        shutil.rmtree(root)
        calls += step
    assert calls > 20


def test_nothing_is_changed_by_a_dry_run_nor_without_a_reason(scene: Scene, tmp_path: Path) -> None:
    damaged(scene, tmp_path / "a")
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    mended = repair(Archive(tmp_path / "a"), scene.held(), dry_run=True)
    assert mended.files
    assert mended.manifests
    assert "stray" in mended.strays
    after = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert after == before
    assert repair(Archive(scene.root), scene.held()).is_nothing


def test_a_stream_that_was_restored_is_not_asked(scene: Scene, tmp_path: Path) -> None:
    """It has other messages of the same sequences."""
    shutil.copytree(scene.root, tmp_path / "a")
    files = sorted((tmp_path / "a").glob("SECMASTER_CDC/2026-11-29/*/*-c2.jsonl.gz"))
    files[0].unlink()
    other = [message._replace(stored_at_ns=1, payload=b'{"v":1}') for message in scene.newest]
    found = repair(Archive(tmp_path / "a"), Held(CREATED, other), disk=Quick())
    assert found.is_other_stream
    assert (found.fetched, found.lost > 0) == (0, True)


def test_one_flipped_byte_costs_one_member_of_a_file(tmp_path: Path) -> None:
    """Where the stream is gone, all other members are still read."""
    lines = [b'{"_seq":%d,"_stored_at":"2026-11-28T12:00:00.000000000Z","v":%d}\n' % (n, n)
             for n in range(1, 40)]  # fmt: skip
    parts = [compress(b"".join(lines[start : start + 10])) for start in range(0, 39, 10)]
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(b"".join(parts))
    assert [piece.sequence for piece in pieces(path, "markets")] == [*range(1, 40)]
    content = bytearray(path.read_bytes())
    content[len(parts[0]) + 20] ^= 4
    path.write_bytes(content)
    assert [piece.sequence for piece in pieces(path, "markets")] == [*range(1, 11), *range(21, 40)]


def test_without_any_manifest_files_and_stream_are_the_archive_again(
    scene: Scene, tmp_path: Path
) -> None:
    """Also where files of the newest chain are gone: the stream is known by the times of others."""
    root = Path(shutil.copytree(scene.root, tmp_path / "a"))
    for manifest in root.glob("SECMASTER_CDC/*/manifest.jsonl"):
        manifest.unlink()
    for path in root.glob("SECMASTER_CDC/*/markets/*-c2.jsonl.gz"):
        path.unlink()
    found = repaired(scene, root, scene.held())
    assert not scene.whole.messages.keys() - found.messages.keys()
    assert found.missing.keys() == scene.whole.missing.keys()
    [*_, (chain, created)] = [
        (line["chain"], line["created"]) for line in found.lines if line["what"] == "chain"
    ]
    assert (chain, created) == (2, CREATED)
