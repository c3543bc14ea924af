"""Where coloured lines go."""

from typing import Any, NoReturn

from rich.console import Console


class Terminal(Console):
    """A console that leaves it to the command line to end quietly where nobody reads any more."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(highlight=False, **attributes)

    def on_broken_pipe(self) -> NoReturn:
        """Called while the error is handled; rich's own way ends with exit code 1."""
        raise BrokenPipeError
