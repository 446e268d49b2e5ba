"""The option that says in which language a page is written."""

from __future__ import annotations

from typing import Annotated

import typer

from steersman.eval.page_languages import SPOKEN

LanguageOption = Annotated[
    str, typer.Option("--language", help="en or zh; default: project.language. Another one lies beside the page.")
]


def checked_language(text: str) -> str:
    """ValueError where pages are not written in that language."""
    if text and text not in SPOKEN:
        raise ValueError(f"--language {text}: expected one of {', '.join(SPOKEN)}")
    return text
