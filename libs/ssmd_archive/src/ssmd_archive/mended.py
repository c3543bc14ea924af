"""What a repair did, or would do."""

import msgspec


class Mended(msgspec.Struct):
    """What was done, or would be. Paths are of the stream's directory; `aside` is where in the root
    that is which was replaced or taken away, None where nothing was.

    `lost` messages are holes in the manifests now; `salvaged` ones are of damaged files, since the
    stream does not hold them.
    """

    fetched: int = 0
    salvaged: int = 0
    lost: int = 0
    files: list[str] = []
    states: list[str] = []
    """Withdrawn, since a file of theirs is damaged: messages cannot make it again."""
    manifests: list[str] = []
    """Days whose manifest was written anew."""
    strays: list[str] = []
    """Files that were taken away."""
    aside: str | None = None
    is_other_stream: bool = False
    """The stream is not the one that was archived last: nothing was had from it."""

    @property
    def is_nothing(self) -> bool:
        return not (self.files or self.states or self.manifests or self.strays)
