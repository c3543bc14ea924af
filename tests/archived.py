"""An archive read by the contract alone (docs/archive.md), with none of the code that wrote it."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Archived(NamedTuple):
    """`messages` are (chain, sequence) → payload, `missing` the same of holes → why."""

    messages: dict[tuple[int, int], bytes]
    missing: dict[tuple[int, int], str]
    lines: list[dict[str, Any]]

    @property
    def states(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["what"] == "state"]


def read(
    stream: Path, *, whole: bool = True, each: Callable[[bytes], None] | None = None
) -> Archived:
    """Read all of a stream's archive, and assert whatever the contract says of it.

    With `whole` there is no file but what the manifests list. With `each` payloads are handed to
    it, a file after the other, and not kept.
    """
    found = Archived({}, {}, [])
    previous: str | None = None
    reached = 0
    chain = 0
    removed: str | None = None
    for day in sorted(path for path in stream.glob("????-??-??") if path.is_dir()):
        manifest = day / "manifest.jsonl"
        if not manifest.exists():
            assert not whole or not any(path.is_file() for path in day.rglob("*"))
            continue
        content = manifest.read_bytes()
        assert content.endswith(b"\n") or not content
        listed = {manifest}
        for text in content.splitlines():
            line = json.loads(text)
            if found.lines:
                assert line["previous"] == previous, line
            else:
                removed = line["previous"]
                reached, chain = line["from_seq"] - 1, line["chain"]
            previous = hashlib.sha256(text).hexdigest()
            _follows(line, reached, chain)
            reached, chain = line["to_seq"], line["chain"]
            found.lines.append({**line, "day": day.name})
            listed |= {day / file["path"] for file in line.get("files", ())}
            if line["what"] == "segment":
                _segment(day, line, found, each)
            elif line["what"] in ("hole", "expired"):
                _lose(found, line, line["chain"])
            elif line["what"] == "state":
                _state(day, line)
        if whole:
            there = {path for path in day.rglob("*") if path.is_file()}
            assert there == listed, there ^ listed
    if removed is not None:
        known = [line["last_line"] for line in found.lines if line["what"] == "removed"][-1:]
        known += [line["before"] for line in found.lines if line["what"] == "repaired"]
        assert removed in known
    return found


def reached(stream: Path) -> int:
    """The last sequence that the manifests account for, while they are written; 0 without any."""
    lines = [
        json.loads(text)
        for manifest in stream.glob("*/manifest.jsonl")
        for text in manifest.read_bytes().splitlines(keepends=True)
        if text.endswith(b"\n")
    ]
    return max((line["to_seq"] for line in lines), default=0)


def _follows(line: dict[str, Any], reached: int, chain: int) -> None:
    assert line["v"] == 1
    if line["what"] == "chain":
        assert line["chain"] == chain + 1 or chain in (0, 1)
        assert line["to_seq"] == line["from_seq"] - 1
        if line["old"] is not None:
            assert line["old"]["to_seq"] == reached
            assert line["old"]["chain"] == chain == line["chain"] - 1
    else:
        assert (line["chain"], line["from_seq"]) == (chain, reached + 1), line
        assert line["to_seq"] >= line["from_seq"] - 1


def _lose(found: Archived, hole: dict[str, Any], chain: int) -> None:
    for sequence in range(hole["from_seq"], hole["to_seq"] + 1):
        assert (chain, sequence) not in found.missing
        found.missing[chain, sequence] = hole["why"]


def _segment(
    day: Path, line: dict[str, Any], found: Archived, each: Callable[[bytes], None] | None
) -> None:
    chain, times, messages = line["chain"], {}, 0
    for hole in line["holes"]:
        _lose(found, hole, chain)
    for file in line["files"]:
        data = (day / file["path"]).read_bytes()
        assert len(data) == file["bytes"]
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
        raw = gzip.decompress(data)
        assert len(raw) == file["raw_bytes"]
        before = line["from_seq"] - 1
        counts: dict[str, int] = {}
        rows = raw.splitlines(keepends=True)
        for text in rows:
            sequence, stored_at, payload = _message(text, other=file["table"] == "_other")
            assert before < sequence <= line["to_seq"]
            before = sequence
            # Of other segments none is: sequences are those of the line.
            assert sequence not in times
            assert (chain, sequence) not in found.missing
            if each is None:
                found.messages[chain, sequence] = payload
            else:
                each(payload)
            times[sequence] = stored_at
            kind = "other" if file["table"] == "_other" else _kind(json.loads(payload))
            counts[kind] = counts.get(kind, 0) + 1
            if file["from_seq"] == sequence:
                assert file["first_time"] == stored_at
            if file["to_seq"] == sequence:
                assert file["last_time"] == stored_at
        assert before == file["to_seq"]
        assert len(rows) == file["messages"]
        assert counts == line["counts"][file["table"]]
        messages += len(rows)
    assert messages == line["messages"] > 0
    assert line["first_time"] == times[min(times)]
    assert line["last_time"] == times[max(times)]
    lost = sum(hole["to_seq"] + 1 - hole["from_seq"] for hole in line["holes"])
    assert messages + lost == line["to_seq"] + 1 - line["from_seq"]


def _kind(message: dict[str, Any]) -> str:
    """Of market data a record's `what`, else the channel; of changes their type."""
    if "channel" in message:
        return str(message.get("what", message["channel"]))
    return str(message["type"])


def _state(day: Path, line: dict[str, Any]) -> None:
    for file in line["files"]:
        data = (day / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
        raw = gzip.decompress(data) if data else b""
        assert len(raw) == file["raw_bytes"]
        assert len([json.loads(text) for text in raw.splitlines()]) == file["rows"]


def _message(text: bytes, *, other: bool) -> tuple[int, str, bytes]:
    line = json.loads(text)
    if other:
        return line["_seq"], line["_stored_at"], base64.b64decode(line["_payload"])
    front = b'{"_seq":%d,"_stored_at":"%b",' % (line["_seq"], line["_stored_at"].encode())
    assert text.startswith(front)
    return line["_seq"], line["_stored_at"], b"{" + text[len(front) :].rstrip(b"\n")
