"""Whose filters a subject passes, found in one walk however many filters there are. Pure.

How a subject is made is in `ssmd_stream.subjects`.
"""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class _Node(Generic[T]):
    __slots__ = ("after", "ends", "rest")

    def __init__(self) -> None:
        self.after: dict[str, _Node[T]] = {}
        self.ends: set[T] = set()
        """Those with a filter that ends here."""
        self.rest: set[T] = set()
        """Those with a filter that goes on with `>`: one token or more."""

    @property
    def is_empty(self) -> bool:
        return not (self.after or self.ends or self.rest)


class SubjectIndex(Generic[T]):
    """Filters as NATS has them: tokens between dots, `*` for any one, `>` for one or more at the
    end. Each belongs to somebody."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, whose: T, filters: Iterable[str]) -> None:
        for text in filters:
            node = self._root
            *before, last = text.split(".")
            for token in before if last == ">" else [*before, last]:
                node = node.after.setdefault(token, _Node())
            (node.rest if last == ">" else node.ends).add(whose)

    def remove(self, whose: T, filters: Iterable[str]) -> None:
        """Forget filters that were added with `add`."""
        for text in filters:
            *before, last = text.split(".")
            tokens = before if last == ">" else [*before, last]
            path = [self._root]
            for token in tokens:
                path.append(path[-1].after[token])
            (path[-1].rest if last == ">" else path[-1].ends).discard(whose)
            for token, parent, node in zip(
                reversed(tokens), reversed(path[:-1]), reversed(path[1:]), strict=True
            ):
                if node.is_empty:
                    del parent.after[token]

    def matching(self, subject: str) -> set[T]:
        """Everybody with a filter that the subject passes."""
        found: set[T] = set()
        nodes = [self._root]
        for token in subject.split("."):
            following = []
            for node in nodes:
                found |= node.rest
                if (exact := node.after.get(token)) is not None:
                    following.append(exact)
                if (any_one := node.after.get("*")) is not None and any_one is not exact:
                    following.append(any_one)
            nodes = following
        return found.union(*(node.ends for node in nodes))
