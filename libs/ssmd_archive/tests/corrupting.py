"""Random damage of an archive, each of one kind, and undoing it."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from isal import igzip

from ssmd_archive.layout import MANIFEST
from ssmd_archive.members import compress


class Corruption:
    """Damages files of a stream's directory; `touched` are their paths in it."""

    def __init__(self, stream: Path, chance: random.Random) -> None:
        self._stream = stream
        self._chance = chance
        self._before: dict[Path, bytes | None] = {}
        self.kind = ""
        self.files = sorted(
            path for path in stream.rglob("*") if path.is_file() and path.suffix != ".part"
        )
        self.manifests = [path for path in self.files if path.name == MANIFEST]
        self.sealed = [path for path in self.files if path.name != MANIFEST]

    @property
    def touched(self) -> set[str]:
        return {
            path.relative_to(self._stream).as_posix()
            for path, content in self._before.items()
            if content != (path.read_bytes() if path.exists() else None)
        }

    def damage(self, kind: str) -> None:
        self.kind = kind
        KINDS[kind](self)

    def undo(self) -> None:
        for path, content in self._before.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def put(self, path: Path, content: bytes | None) -> None:
        self._before.setdefault(path, path.read_bytes() if path.exists() else None)
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def any_file(self) -> Path:
        """Half of the times a manifest, which are few."""
        return self._chance.choice(self._chance.choice((self.manifests, self.sealed)))

    def flip(self) -> None:
        path = self.any_file()
        content = bytearray(path.read_bytes())
        content[self._chance.randrange(len(content))] ^= 1 << self._chance.randrange(8)
        self.put(path, bytes(content))

    def zero(self) -> None:
        path = self.any_file()
        content = bytearray(path.read_bytes())
        start = self._chance.randrange(len(content))
        for place in range(start, min(len(content), start + self._chance.randrange(1, 600))):
            content[place] = 0
        self.put(path, bytes(content))

    def truncate(self) -> None:
        path = self.any_file()
        content = path.read_bytes()
        self.put(path, content[: self._chance.randrange(len(content))])

    def append(self) -> None:
        path = self.any_file()
        more = self._chance.choice((b"\0", b"\n", b"{}", compress(b"{}\n"), path.read_bytes()))
        self.put(path, path.read_bytes() + more)

    def delete(self) -> None:
        self.put(self.any_file(), None)

    def swap(self) -> None:
        one, other = self._chance.sample(self.sealed, 2)
        contents = one.read_bytes(), other.read_bytes()
        self.put(one, contents[1])
        self.put(other, contents[0])

    def rename(self) -> None:
        path = self._chance.choice(self.sealed)
        target = self._elsewhere(path)
        if not target.exists():
            self.put(target, path.read_bytes())
            self.put(path, None)

    def extra(self) -> None:
        path = self._chance.choice(self.sealed)
        target = self._elsewhere(path)
        if not target.exists():
            self.put(target, path.read_bytes())

    def stray(self) -> None:
        name = self._chance.choice(("x", "markets/x.jsonl.gz", "manifest.jsonl.1", ".hidden"))
        self.put(self._chance.choice(self.manifests).parent / name, b"x")

    def _elsewhere(self, path: Path) -> Path:
        """A name that a file could have: of another day, table, sequence or chain."""
        day = self._chance.choice(self.manifests).parent
        folder = self._chance.choice(("markets", "events", "_other", "series_fees"))
        sequence = self._chance.choice((self._chance.randrange(1, 40), 10**12))
        chain = self._chance.choice(("", "-c2", "-c3"))
        return self._chance.choice(
            (
                day / path.relative_to(path.parents[1]),
                path.parents[1] / folder / path.name,
                path.with_name(f"{path.name[:4]}-{sequence:012d}{chain}.jsonl.gz"),
            )
        )

    def _lines(self, change: Callable[[list[bytes]], None]) -> None:
        """Of a manifest, or of a file's contents."""
        path = self.any_file()
        content = path.read_bytes()
        is_manifest = path.name == MANIFEST
        lines = (content if is_manifest else igzip.decompress(content)).splitlines(keepends=True)
        if not lines:
            return
        change(lines)
        changed = b"".join(lines)
        self.put(path, changed if is_manifest else compress(changed))

    def drop_line(self) -> None:
        self._lines(lambda lines: lines.pop(self._chance.randrange(len(lines))))

    def double_line(self) -> None:
        def change(lines: list[bytes]) -> None:
            lines.insert(self._chance.randrange(len(lines) + 1), self._chance.choice(lines))

        self._lines(change)

    def reorder_lines(self) -> None:
        self._lines(self._chance.shuffle)

    def move_line(self) -> None:
        """From one manifest to another."""
        one, other = self._chance.sample(self.manifests, 2)
        lines = one.read_bytes().splitlines(keepends=True)
        line = lines.pop(self._chance.randrange(len(lines)))
        more = other.read_bytes().splitlines(keepends=True)
        more.insert(self._chance.randrange(len(more) + 1), line)
        self.put(one, b"".join(lines))
        self.put(other, b"".join(more))

    def lose_old_days(self) -> None:
        day = self.manifests[0].parent
        for path in [path for path in self.files if day in path.parents]:
            self.put(path, None)
        shutil.rmtree(day)


KINDS: Final[dict[str, Callable[[Corruption], None]]] = {
    name: getattr(Corruption, name)
    for name in (
        "flip",
        "zero",
        "truncate",
        "append",
        "delete",
        "swap",
        "rename",
        "extra",
        "stray",
        "drop_line",
        "double_line",
        "reorder_lines",
        "move_line",
        "lose_old_days",
    )
}
