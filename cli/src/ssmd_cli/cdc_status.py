"""The picture of the publisher that `ssmd cdc status` prints."""

from ssmd_cdc.overview import Overview
from ssmd_cli import facts

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def show(found: Overview) -> None:
    """A line for each fact on stdout, what is wrong on stderr."""
    shown: list[facts.Fact] = []
    if slot := found.slot:
        state = "streaming" if slot.active else "not streaming"
        shown.append(("slot", f"{slot.name}, {state}, WAL {slot.wal_status or 'unknown'}"))
        seconds = "" if slot.lag_seconds is None else f", {slot.lag_seconds:.3f} s"
        shown.append(("lag", f"{size(slot.lag_bytes)}{seconds}"))
        shown.append(("WAL kept back", size(slot.retained_bytes)))
        safe = "no limit" if slot.safe_bytes is None else size(slot.safe_bytes)
        shown.append(("WAL until the slot is lost", safe))
        shown.append(("confirmed", slot.confirmed_lsn or "nothing yet"))
    if memory := found.memory:
        epoch = f"{memory.epoch}{', being announced' if memory.announcing else ''}"
        shown.append(("epoch", epoch))
        shown.append(("remembered", f"{memory.lsn} at {memory.updated_at:%Y-%m-%d %H:%M:%S} UTC"))
    if stream := found.stream:
        held = f"{stream.messages:,} messages, {size(stream.bytes)} of {size(stream.max_bytes)}"
        span = f"sequences {stream.first_sequence} to {stream.last_sequence}"
        shown.append(("stream", f"{held}, {span}"))
        shown.append(("tail", stream.tail or "none"))
        shown.append(("dead letters", f"{stream.dead_letters:,}"))
    facts.show(shown, found.problems)


def size(count: int) -> str:
    """A number of bytes for people: 1.5 MiB."""
    amount = float(count)
    for unit in _UNITS:
        if abs(amount) < 1024 or unit == _UNITS[-1]:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError
