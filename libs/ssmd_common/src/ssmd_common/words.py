"""Numbers in sentences. Pure."""


def counted(count: int, noun: str) -> str:
    """So many of them: `1 day`, `1,200 days`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
