"""Price level structures: which prices a market may quote."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """Prices from `start` to `end` in steps of `step`, all in units of $0.0001."""

    start: int
    end: int
    step: int


def _edges(edge: int, inner: int) -> tuple[Band, ...]:
    if edge == inner:
        return (Band(0, 10000, edge),)
    return (Band(0, 1000, edge), Band(1000, 9000, inner), Band(9000, 10000, edge))


LADDERS: dict[str, tuple[Band, ...]] = {
    "linear_cent": _edges(100, 100),
    "deci_cent": _edges(10, 10),
    "tapered_deci_cent": _edges(10, 100),
    "center_whole_edge_half_cent": _edges(50, 100),
    "center_half_edge_half_cent": _edges(50, 50),
    "center_half_edge_deci_cent": _edges(10, 50),
    "center_quint_edge_deci_cent": _edges(10, 20),
    "center_centi_edge_centi_cent": _edges(1, 1),
    "center_deci_edge_centi_cent": _edges(1, 10),
}
"""The structures that the specification names, with their bands."""


def snap(structure: str, price: int) -> int:
    """The nearest price at or below `price` that the structure allows."""
    for band in LADDERS[structure]:
        if price < band.end or band.end == 10000:
            return band.start + (price - band.start) // band.step * band.step
    return price


def step_at(structure: str, price: int) -> int:
    """The tick size at `price`, in units of $0.0001."""
    for band in LADDERS[structure]:
        if price < band.end or band.end == 10000:
            return band.step
    return 100


def price_ranges(structure: str) -> list[dict[str, str]]:
    """The bands as the exchange prints them."""
    return [
        {
            "start": f"{b.start / 10000:.4f}",
            "end": f"{b.end / 10000:.4f}",
            "step": f"{b.step / 10000:.4f}",
        }
        for b in LADDERS[structure]
    ]
