"""Manifests of lines that were mended: the chain is made again from the first that differs."""

from collections.abc import Iterable

import msgspec

from ssmd_archive import manifest
from ssmd_archive.catalog import Listed, Text
from ssmd_archive.manifest import Chain, Removed, Repaired
from ssmd_archive.survey import Survey


def rechained(survey: Survey, lines: list[Listed], lost: int) -> dict[str, bytes | None]:
    """The contents of all manifests that change, by day; None for a day that has none any more.

    Where one does, a `repaired` line comes last.
    """
    first = lines[0].line
    previous = first.previous
    if previous is None and not isinstance(first, Chain):
        # It was made again, and what had been before it is gone.
        previous = survey.lines[0].line.previous
    known: set[str | None] = {None}
    known |= {line.last_line for _, line in lines if isinstance(line, Removed)}
    known |= {line.before for _, line in lines if isinstance(line, Repaired)}
    texts = _chained(survey, lines, previous)
    there = {day: _content(found) for day, (found, _) in survey.texts.items()}
    torn = any(rest for _, rest in list(survey.texts.values())[:-1])
    if texts == there and previous in known and not torn:
        return {}
    day, last = lines[-1]
    line = Repaired(
        stream=last.stream,
        created=last.created,
        chain=last.chain,
        from_seq=last.next_sequence,
        to_seq=last.to_seq,
        previous=None,
        head=survey.head,
        lost=lost,
        before=previous,
    )
    texts = _chained(survey, [*lines, Listed(day, line)], previous)
    return {
        day: texts.get(day)
        for day in texts.keys() | there.keys()
        if texts.get(day) != there.get(day) or (day in there and survey.texts[day][1])
    }


def _chained(survey: Survey, lines: Iterable[Listed], previous: str | None) -> dict[str, bytes]:
    """Each line with the SHA-256 of the one before; as it was, where that is what it had."""
    texts: dict[str, list[bytes]] = {}
    for day, line in lines:
        text = survey.original.get(id(line))
        if text is not None and line.previous == previous:
            text += b"\n"
        else:
            text = manifest.encode(msgspec.structs.replace(line, previous=previous))
        texts.setdefault(day, []).append(text)
        previous = manifest.digest(text)
    return {day: b"".join(found) for day, found in texts.items()}


def _content(texts: list[Text]) -> bytes:
    return b"".join(text.text + b"\n" for text in texts)
