"""The name that somebody may have meant."""

from collections.abc import Iterable


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The name most like a text, whatever its case; None if none is like it."""
    from difflib import get_close_matches

    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(name.casefold(), name)
    wanted = text.casefold()
    if wanted in folded:
        return folded[wanted]
    found = get_close_matches(wanted, folded, n=1, cutoff=0.6)
    if not found:
        # A word of the name, or its beginning: "climate" of "Climate and Weather".
        found = [name for name in folded if len(wanted) >= 3 and wanted in name][:1]
    return folded[found[0]] if found else None
