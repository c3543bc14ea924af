"""What `ssmd doctor` says of one thing that it looked at."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Finding:
    """`mend` is empty when all is well. What only `warns` is ok and worth a look."""

    what: str
    ok: bool
    detail: str
    mend: str = ""
    warns: bool = False

    @classmethod
    def of(cls, what: str, ok: bool, detail: str, mend: str) -> Self:
        """With what mends it where it is wrong."""
        return cls(what, ok, detail, "" if ok else mend)

    @classmethod
    def failed(cls, what: str, error: Exception | str, mend: str = "") -> Self:
        """From one of our sentences, which say after a colon what to do."""
        sentence, rest = _parted(str(error))
        return cls(what, False, sentence, rest or mend)

    @classmethod
    def warning(cls, what: str, detail: str, mend: str) -> Self:
        return cls(what, True, detail, mend, warns=True)

    @property
    def level(self) -> str:
        if not self.ok:
            return "FAIL"
        return "warn" if self.warns else "ok"


class Unreached(Exception):
    """No connection was made, so that nothing more can be found at that server."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


def _parted(sentence: str) -> tuple[str, str]:
    """Before and after the first colon that stands in no parentheses."""
    depth = 0
    for at, character in enumerate(sentence):
        depth += (character == "(") - (character == ")")
        if depth == 0 and sentence.startswith(": ", at):
            return sentence[:at], sentence[at + 2 :]
    return sentence, ""
