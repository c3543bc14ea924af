"""The forms that rows come in: `format=`, else what Accept likes best."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web

from ssmd_api.negotiation import weights
from ssmd_api.problems import Fault, Problem, bad_parameters


class Form(StrEnum):
    """As `format=` names it."""

    JSON = "json"
    ARRAY = "array"
    JSONL = "jsonl"
    CSV = "csv"


MEDIA: Final[dict[Form, Sequence[str]]] = {
    Form.JSON: ("application/json",),
    Form.ARRAY: ("application/vnd.ssmd.array+json",),
    Form.JSONL: ("application/x-ndjson", "application/jsonl"),
    Form.CSV: ("text/csv",),
}
"""The media types that Accept asks for each by."""

CONTENT_TYPES: Final = {
    Form.JSON: "application/json",
    Form.ARRAY: "application/json",
    Form.JSONL: "application/x-ndjson; charset=utf-8",
    Form.CSV: "text/csv; charset=utf-8",
}
"""What a reply says that it is, where its form was not asked for by a media type of its own."""

VARY: Final = "Accept, Accept-Encoding"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The form of a reply. In CSV `neutral` leaves nothing that a spreadsheet would run."""

    form: Form
    content_type: str
    neutral: bool = False


@dataclass(frozen=True, slots=True)
class Wished:
    """What the parameters say of the form: None where Accept is to decide."""

    form: Form | None = None
    neutral: bool = False


def of(request: web.Request, wished: Wished, default: Form = Form.JSON) -> Chosen:
    """The form of the reply to a request.

    Raises:
        Problem: 406 where Accept has none of ours, 400 where `formulas` is of no CSV.
    """
    found = _plain[wished.form] if wished.form else accepted(request, default)
    if found is None:
        forms = "; ".join(f"format={form} is {' or '.join(MEDIA[form])}" for form in Form)
        detail = f"there is none of what Accept names. There are: {forms}"
        raise Problem(406, "not-acceptable", "Not Acceptable", detail)
    if wished.neutral:
        if found.form is not Form.CSV:
            raise bad_parameters([Fault("formulas", "is of CSV alone: say format=csv")])
        return Chosen(found.form, found.content_type, neutral=True)
    return found


def accepted(request: web.Request, default: Form) -> Chosen | None:
    """What the request's Accept likes best; None if it has none of ours."""
    header = request.headers.get(hdrs.ACCEPT)
    return _plain[default] if header is None else _accepted(header, default)


@lru_cache(maxsize=200)
def _accepted(header: str, default: Form) -> Chosen | None:
    asked = weights(header)
    if not asked:
        return _plain[default]
    found: list[tuple[float, int, bool, Chosen]] = []
    for form, types in MEDIA.items():
        for media in types:
            ranges = (media, f"{media.partition('/')[0]}/*", "*/*")
            near = next((n for n, name in enumerate(ranges) if name in asked), None)
            if near is None or asked[ranges[near]] <= 0:
                continue
            said = f"{media}; charset=utf-8" if form in (Form.JSONL, Form.CSV) else media
            found.append((asked[ranges[near]], -near, form is default, Chosen(form, said)))
    # Of those that it likes as much, what it names itself, then the default.
    return max(found, key=lambda each: each[:3])[3] if found else None


PLAIN: Final = Chosen(Form.JSON, CONTENT_TYPES[Form.JSON])
_plain: Final = {form: Chosen(form, said) for form, said in CONTENT_TYPES.items()}
