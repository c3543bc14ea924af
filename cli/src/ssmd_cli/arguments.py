"""What a parameter of the command line takes, without the weight of a general converter."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from typer import BadParameter

from ssmd_cli.nearest import nearest

_METAVARS: Final = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}


def convert_lightly(parameter: Any) -> None:
    """Let a parameter of typer convert its values here, if it is of a kind that is known here.

    Any other, and one of a typer that describes its parameters otherwise, is left as it is.
    """
    if "process_value" in vars(parameter):
        return
    described = getattr(parameter, "type_descriptor", None)
    annotation = getattr(described, "annotation", None)
    info = getattr(described, "parameter_info", None)
    if annotation is None or info is None:
        return
    is_list = get_origin(annotation) is list
    kind = get_args(annotation)[0] if is_list else annotation
    if parameter.param_type_name == "argument":
        _show_plainly(parameter, kind)
    convert = _converter(kind, info)
    if convert is None:
        return

    def process_value(context: Any, value: Any) -> Any:
        try:
            found = _converted(convert, value, is_list=is_list)
        except ValueError as error:
            raise BadParameter(str(error), ctx=context, param=parameter) from None
        if parameter.required and parameter.value_is_missing(found):
            from typer._click.exceptions import MissingParameter

            raise MissingParameter(ctx=context, param=parameter)
        if parameter.callback is not None:
            found = parameter.callback(context, parameter, found)
        return found

    parameter.process_value = process_value
    if parameter.metavar is None and kind in _METAVARS and parameter.param_type_name == "option":
        parameter.metavar = _METAVARS[kind]


def _show_plainly(argument: Any, kind: Any) -> None:
    """As it is typed, in the usage and beside its help; in brackets what may be left out."""
    choices = "|".join(one.value for one in kind) if issubclass(kind, Enum) else ""
    name = choices or argument.name.upper()
    shown = argument.metavar or (name if argument.required else f"[{name}]")
    argument.get_usage_pieces = lambda _: [shown]
    argument.get_help_record = lambda _: (shown, argument.help or "")


def _converted(convert: Callable[[Any], Any], value: Any, *, is_list: bool) -> Any:
    if is_list:
        return [convert(item) for item in value or ()]
    return None if value is None else convert(value)


def _converter(kind: Any, info: Any) -> Callable[[Any], Any] | None:
    """Of a text (or of a default, which is no text) to the kind; it raises ValueError."""
    if getattr(info, "parser", None) is not None:
        parser: Callable[[Any], Any] = info.parser
        return parser
    if kind is str:
        return str
    if kind is bool:
        return _switch
    if kind is int:
        return lambda value: _within(info, _whole(value))
    if kind is float:
        return lambda value: _within(info, _number(value))
    if kind is Path:
        return lambda value: _path(info, Path(value))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return lambda value: _choice(kind, value)
    return None


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is neither given nor left out")


def _whole(value: Any) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a whole number") from None


def _number(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number") from None


def _within(info: Any, value: float) -> Any:
    if info.min is not None and not value >= info.min:
        raise ValueError(f"{value} is less than {info.min}")
    if info.max is not None and value > info.max:
        raise ValueError(f"{value} is more than {info.max}")
    return value


def _path(info: Any, path: Path) -> Path:
    if info.exists and not path.exists():
        raise ValueError(f"there is no {path}")
    if not info.file_okay and path.is_file():
        raise ValueError(f"{path} is not a directory")
    if not info.dir_okay and path.is_dir():
        raise ValueError(f"{path} is a directory")
    return path


def _choice(kind: type[Enum], value: Any) -> Enum:
    try:
        return kind(value)
    except ValueError:
        names = [str(choice.value) for choice in kind]
        near = nearest(str(value), names)
        meant = f"; did you mean {near}?" if near else ""
        raise ValueError(f"{value!r} is not one of {', '.join(names)}{meant}") from None
