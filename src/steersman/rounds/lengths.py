"""Lengths in tokens of the records of stages that learn from rankings, for `steersman plan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steersman.artifact.workspace import Workspace

if TYPE_CHECKING:
    from steersman.rounds.registry import Sizes
    from steersman.text.template import Template

Measured = tuple[list[Any], Callable[[Any], int]]


def of_rankings(space: Workspace, template: Template) -> Measured:
    """Imported rankings; where there are none yet, the prompts to be answered, with answers of the greatest length."""
    return _measured(space, template, [])


def of_feedback(labelled: bool) -> Sizes:
    """Lengths of rankings and of feedback from chats."""

    def sizes(space: Workspace, template: Template) -> Measured:
        from steersman.rounds.export import feedback_for, imported_feedback

        said = feedback_for(space, labelled) + (imported_feedback(space) if labelled else [])
        return _measured(space, template, said)

    return sizes


def _measured(space: Workspace, template: Template, said: list[Any]) -> Measured:
    from steersman.data.dataset import find, load_conversations, load_rankings

    limit = space.config.data.max_line_mb
    records = [r for path in find(space, "rankings", "train") for r in load_rankings(path, limit)] + said
    if records:
        return (
            records,
            lambda r: len(template.prompt_ids(r.prompt)) + sum(len(template.answer_ids(a)) for a in r.answers),
        )
    prompts = [
        c for path in find(space, "prompts", "train", "rank") for c in load_conversations(path, "prompts", limit)
    ]
    answers = space.config.sample.answers * space.config.sample.max_tokens
    return prompts[: space.config.sample.prompts or None], lambda c: len(template.prompt_ids(c)) + answers
