"""The page of a trial over seeds: one self-contained HTML file like the report's, with one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.eval import figures
from steersman.eval import over_seeds_words as words
from steersman.eval.over_seeds import Against, OverSeeds
from steersman.eval.report import write_page
from steersman.eval.wording import texts

TINTS = {"better": figures.COOL, "no evidence": figures.GREY, "worse": figures.WARM}


def draw(
    path: Path, of: OverSeeds, title: str, language: str, facts: Mapping[str, Any], versus: Against | None
) -> None:
    """Write the page to `path`, atomically."""
    dots = [(str(o.seed), TINTS[o.word], o.difference) for o in of.outcomes]
    dots.append((words.phrase("all", language), figures.INK, of.difference))
    write_page(
        path,
        "over_seeds.html",
        {
            "t": words.LANGUAGES[language],
            "title": title,
            "lead": words.phrase("title", language, n=len(of.outcomes), prompts=of.n_prompts),
            "kind": of.word.replace(" ", "-"),
            "word": texts(language)[f"word.{of.word}"],
            "claim": words.claim(of, language),
            "evidence": words.evidence(of, language),
            "beside": words.beside(of, language) + ([words.compared(versus, of.a, language)] if versus else []),
            "cautions": words.cautions(of, language),
            "picture": figures.seeds(
                dots, words.phrase("axis", language, a=of.a, b=of.b), words.phrase("picture", language)
            ),
            "head": words.HEADS[language],
            "rows": words.rows(of, language),
            "facts": facts,
        },
    )
