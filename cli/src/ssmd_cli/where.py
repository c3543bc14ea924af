"""`--where NAME=VALUE`: filters of the API by their own names."""

from collections.abc import Iterable

from ssmd_common.errors import ConfigurationError


def filters(where: Iterable[str] | None) -> dict[str, list[str]]:
    """The values of each, by name; which there are, the API knows.

    Raises:
        ConfigurationError: one has no name, or no value.
    """
    found: dict[str, list[str]] = {}
    for each in where or ():
        name, _, value = each.partition("=")
        if not name or not value:
            raise ConfigurationError(
                f"--where: {each!r} is not NAME=VALUE, such as open_interest.gte=5"
            )
        found.setdefault(name, []).append(value)
    return found
