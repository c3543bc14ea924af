"""What a shell that completes is given: a candidate a line, from the words that were typed."""

import os
import shlex
from typing import Any

from typer._completion_classes import BashComplete

_WORDS = "_SSMD_WORDS"


class Candidates(BashComplete):
    """For shells that quote by themselves; a description follows a tab."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words after the command, and the one that is being typed."""
        words = os.environ.get(_WORDS, "").split("\n")
        return words[1:-1], words[-1] if len(words) > 1 else ""

    def complete(self) -> str:
        """All candidates."""
        args, incomplete = self.get_completion_args()
        found = self.get_completions(args, incomplete)
        return "\n".join(self.format_completion(item) for item in found if item.value.isprintable())

    def format_completion(self, item: Any) -> str:
        """One of them."""
        typed = self.get_completion_args()[1]
        # An option that is joined to its value is one word with it.
        option, joins, _ = typed.partition("=")
        before = f"{option}=" if joins and option.startswith("-") else ""
        described = "".join(c if c.isprintable() else " " for c in item.help or "")
        return f"{before}{item.value}\t{described}"


class BashCandidates(Candidates):
    """Bash gives words as they were typed, split at `=`, and takes what it is to insert."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words after the command, and the one that is being typed."""
        args, incomplete = super().get_completion_args()
        *args, incomplete = [_unquoted(word) for word in [*args, incomplete] if word != "="] or [""]
        return args, incomplete

    def format_completion(self, item: Any) -> str:
        """One of them."""
        typed = os.environ.get(_WORDS, "").rpartition("\n")[2]
        # Within quotes that the person began nothing else is quoted.
        if typed.startswith(("'", '"')):
            return str(item.value)
        return "".join(c if c.isalnum() or c in "-_./=:,%@+" else f"\\{c}" for c in item.value)


def _unquoted(word: str) -> str:
    try:
        return "".join(shlex.split(word))
    except ValueError:
        # The quotes are still open.
        return word.lstrip("'\"").rstrip("\\")
