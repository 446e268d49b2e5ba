"""The result of all feedback on an answer: the text that is used, and whether it may be learned. Pure functions.

The rule, in one place. What a person wrote in place of the model's answer stands for it: as the context in which the
dialogue goes on, as what is shown, exported and learned. A like counts for the text that stands, whenever it was
given; a dislike for the text that stood when it was given, so that one before a correction does not speak against
the correction. With a withdrawn edit goes what was said of it. As an earlier turn of a demonstration an answer is

    feedback                          text                learned
    none                              the model's         no: nobody said that it is good
    liked                             the model's         yes
    disliked                          the model's         no
    edited, disliked before or not    the person's        yes
    edited, then disliked             the person's        no
    flagged, liked or not             the model's         no

What a like or a dislike of that text becomes in training is decided in `rounds/feedback_rules.py`.

Why so: decision 45 in docs/LOG.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from steersman.data.clean import bare
from steersman.data.formats.turns import split_thoughts

REACTIONS = ("like", "dislike", "clear")


class Said(Protocol):
    """One reaction, as stored; a larger `seq` is later."""

    seq: int
    kind: str
    edited: str | None
    comment: str


@dataclass(frozen=True, slots=True)
class Standing:
    text: str
    """The person's text where somebody edited the answer, else the model's."""
    edited: str | None
    liked: bool | None
    """The latest reaction; None where nobody reacted, or it was taken back."""
    judged: str | None
    """The text that `liked` is about."""
    comment: str
    flagged: bool = False
    """Whether somebody flagged the model's answer as harmful."""

    @property
    def learn(self) -> bool:
        if self.flagged and self.edited is None:
            return False
        if self.liked is not None and self.judged == self.text:
            return self.liked
        return self.edited is not None


def standing(content: str, said: Sequence[Said]) -> Standing:
    """`said`: all feedback on the answer `content`, in order."""
    edited = _edited(said)
    last = next((row for row in reversed(said) if row.kind in REACTIONS), None)
    judged = judged_text(content, said, last) if last is not None and last.kind != "clear" else None
    liked = None if last is None or judged is None else last.kind == "like"
    comment = last.comment if last is not None and (judged is not None or last.kind == "clear") else ""
    flagged = any(row.kind == "flag" for row in said)
    return Standing(content if edited is None else edited, edited, liked, judged, comment, flagged)


def judged_text(content: str, said: Sequence[Said], reaction: Said) -> str | None:
    """The text that a like or dislike is about; None where that text was withdrawn."""
    then = _edited(row for row in said if row.seq < reaction.seq)
    if then is not None and _withdrawn(said, reaction.seq):
        return None
    now = _edited(said)
    if reaction.kind == "like" and now is not None:
        return now
    return content if then is None else then


def corrected(edited: str, answer: str) -> tuple[str, bool]:
    """The words that an edit puts in the answer's place, without special tokens; whether thoughts before them
    (`<think>...</think>`) were left out.

    People are shown answers without thoughts, so those of an edit come from another model. They stay where the answer
    was shown with its own (`model.thinking = "show"`).
    """
    written, before = (bare(text, Counter()) for text in (edited, answer))
    words = split_thoughts(written)[1]
    if words == written or not written.lstrip().startswith("<") or split_thoughts(before)[1] != before:
        return written, False
    return bare(words, Counter()), True


def edit_holds(content: str, said: Sequence[Said], edit: Said) -> bool:
    """Whether an edit was neither withdrawn nor disliked afterwards."""
    now = standing(content, said)
    return not _withdrawn(said, edit.seq) and not (now.liked is False and now.judged == edit.edited)


def _edited(said: Iterable[Said]) -> str | None:
    text = None
    for row in said:
        if row.kind in ("edit", "withdraw"):
            text = row.edited
    return text


def _withdrawn(said: Iterable[Said], since: int) -> bool:
    return any(row.kind == "withdraw" and row.seq > since for row in said)
