"""Text and numbers in requests."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr
from pydantic_core import PydanticCustomError

from steersman.store.refusals import StoreError, clean_text


def _valid(value: str) -> str:
    try:
        return clean_text(value, "text", empty=True)
    except StoreError as error:
        expected = str(error).removeprefix("text: expected ")
        raise PydanticCustomError("text", "{expected}", {"expected": expected}) from None


Text = Annotated[StrictStr, AfterValidator(_valid), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
"""A string without unpaired surrogates, which JSON admits and UTF-8 does not, and without NUL characters."""


def _said(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("text", "{expected}", {"expected": "some text"})
    return value


_SPACE = r"\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SAID = rf"^[^\u0000]*[^\u0000{_SPACE}][^\u0000]*$"
Said = Annotated[StrictStr, AfterValidator(_valid), AfterValidator(_said), Field(json_schema_extra={"pattern": _SAID})]
"""A `Text` that is not white space alone."""


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Validator before a StrictInt with bounds: JSON may write an integer as 5.0."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
