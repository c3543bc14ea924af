"""JSON of the API and of the stream into rows."""

import contextlib
from collections.abc import Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin

import msgspec

from ssmd_client.documents import decoder, document
from ssmd_client.errors import NotLoaded, NotTheApi
from ssmd_common.columns import Kind
from ssmd_common.errors import MalformedTime
from ssmd_common.tables import PUBLISHED
from ssmd_common.times import moment

T = TypeVar("T")

_TIMES: Final = frozenset(
    column.name
    for table in PUBLISHED.values()
    for column in table.columns
    if column.kind is Kind.TIME
)
_JSON: Final = frozenset(
    column.name
    for table in PUBLISHED.values()
    for column in table.columns
    if column.kind is Kind.JSON
)


class Partial(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row that lacks some of its columns; to ask it for one of them is an error that says so."""

    def __getattr__(self, name: str) -> Any:
        # Only called for what the row does not have.
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotLoaded(f"{name!r} was left out of this row, or there is no such column")


@cache
def partial(
    kind: type[msgspec.Struct], fields: tuple[tuple[str, Any], ...]
) -> type[msgspec.Struct]:
    """A struct of the name of `kind` with these fields only: names with their types, in order."""
    return msgspec.defstruct(
        kind.__name__,
        fields,
        bases=(Partial,),
        module=kind.__module__,
        frozen=True,
        kw_only=True,
        gc=False,
    )


def decode(body: bytes, kind: type[T]) -> T:
    """A document of this shape, or part of one.

    Raises:
        NotTheApi: it is no JSON, or of another shape.
    """
    try:
        return cast(T, decoder(cast(Any, kind)).decode(body))
    except msgspec.ValidationError:
        return convert(document(body), kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotTheApi(f"the reply is no JSON of the API ({error})") from error


def convert(found: Any, kind: type[T]) -> T:
    """The same of a document that was read already; times that Python cannot hold are None."""
    try:
        return msgspec.convert(_without_far_times(found), kind)
    except msgspec.ValidationError as error:
        raise NotTheApi(
            f"the reply is not of the shape that this client knows ({error}): is the server of "
            "another version?"
        ) from error


def convert_rows(documents: Sequence[Any], kind: type[T]) -> list[T]:
    """Rows that may lack some columns of `kind`; what is beside them, too."""
    found, shape = [], kind
    for each in documents:
        try:
            found.append(convert(each, shape))
        except NotTheApi:
            # Those of one list have mostly the same columns.
            shape = _shape(kind, each)
            found.append(convert(each, shape))
    return found


def _shape(kind: Any, document: Any) -> Any:
    """`kind` with the columns that the document has; the same of what stands in it."""
    if get_origin(kind) is list and isinstance(document, list) and document:
        return list[_shape(get_args(kind)[0], document[0])]  # type: ignore[misc]
    if isinstance(kind, UnionType) and isinstance(document, dict):
        # A struct, or None.
        kind = get_args(kind)[0]
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    if not (is_struct and isinstance(document, dict)):
        return kind
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    found = {name: _shape(types[name], value) for name, value in document.items() if name in types}
    return kind if found == types else partial(kind, tuple(found.items()))


def _without_far_times(found: Any) -> Any:
    match found:
        case dict():
            return {
                name: _near(value)
                if name in _TIMES and isinstance(value, str)
                else value
                if name in _JSON
                else _without_far_times(value)
                for name, value in cast(Mapping[str, Any], found).items()
            }
        case list():
            return [_without_far_times(each) for each in found]
        case _:
            return found


def _near(spelling: str) -> Any:
    with contextlib.suppress(MalformedTime):
        return moment(spelling)
    return spelling
