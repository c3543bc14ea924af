"""The picture of the publisher that `ssmd cdc status` prints."""

from rich.table import Table

from ssmd_cdc.overview import Overview
from ssmd_cli.console import Terminal

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def show(found: Overview) -> None:
    """A line for each fact on stdout, what is wrong on stderr."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    if slot := found.slot:
        state = "streaming" if slot.active else "not streaming"
        table.add_row("slot", f"{slot.name}, {state}, WAL {slot.wal_status or 'unknown'}")
        seconds = "" if slot.lag_seconds is None else f", {slot.lag_seconds:.3f} s"
        table.add_row("lag", f"{size(slot.lag_bytes)}{seconds}")
        table.add_row("WAL kept back", size(slot.retained_bytes))
        safe = "no limit" if slot.safe_bytes is None else size(slot.safe_bytes)
        table.add_row("WAL until the slot is lost", safe)
        table.add_row("confirmed", slot.confirmed_lsn or "nothing yet")
    if memory := found.memory:
        epoch = f"{memory.epoch}{', being announced' if memory.announcing else ''}"
        table.add_row("epoch", epoch)
        table.add_row("remembered", f"{memory.lsn} at {memory.updated_at:%Y-%m-%d %H:%M:%S} UTC")
    if stream := found.stream:
        table.add_row(
            "stream",
            f"{stream.messages:,} messages, {size(stream.bytes)} of {size(stream.max_bytes)}, "
            f"sequences {stream.first_sequence} to {stream.last_sequence}",
        )
        table.add_row("tail", stream.tail or "none")
        table.add_row("dead letters", f"{stream.dead_letters:,}")
    Terminal().print(table)
    for problem in found.problems:
        Terminal(stderr=True).print(problem, style="yellow")


def size(count: int) -> str:
    """A number of bytes for people: 1.5 MiB."""
    amount = float(count)
    for unit in _UNITS:
        if abs(amount) < 1024 or unit == _UNITS[-1]:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError
