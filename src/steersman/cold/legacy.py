"""Dialogues of old systems without what is not meant: notes, quoted mails, signatures, greetings, macros.

Every removed piece is counted by what it was, letter by letter: letters read are letters kept, removed and cut off.

Why so: decision 73 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steersman.cold.phrases import CLOSING, CONTACT, DEVICE, DISCLAIMER, GREETINGS, NOTE
from steersman.cold.quoted import without_quotes
from steersman.data import resemble
from steersman.data.shelves import MakePile, Numbers, Pile
from steersman.types import Conversation, Message

STEPS = ("notes", "quotes", "signatures", "greetings", "macros")
"""What can be taken out, in this order."""
TAIL, WIDE = 10, 90
"""Lines below a closing, and their characters, that are still a signature."""
MACRO, LEAST = 5, 0.02
"""Dialogues, and their share, in which the same paragraph of the assistant is a macro."""
SHORT = 12
"""Letters of a paragraph that can be a macro."""
SPECIFIC = 2.0
"""A paragraph whose questions are this many times as alike as any questions answers them, and stays."""
LIKE = 200
"""Questions that are compared."""
SHOWN = 5
QUESTION = re.compile(r"[?？]")


@dataclass
class Report:
    """What was read, kept and taken out."""

    dialogues: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    turns: Counter[str] = field(default_factory=Counter)
    """read = kept + joined + emptied + cut off + in dropped dialogues."""
    letters: Counter[str] = field(default_factory=Counter)
    """read = kept + removed by each step + cut off."""
    pieces: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Step -> (role, text) of some removed pieces."""
    answers_kept: int = 0
    """Repeated paragraphs that stay, since they answer like questions."""
    questions_kept: int = 0
    """Turns of repeated paragraphs that stay, since they ask something and the user replies."""

    def took(self, step: str, role: str, pieces: Sequence[str]) -> None:
        for piece in pieces:
            self.pieces[step] += 1
            self.letters[step] += letters(piece)
            shown = self.examples.setdefault(step, [])
            if len(shown) < SHOWN and (role, piece.strip()) not in shown:
                shown.append((role, piece.strip()))

    def to_json(self) -> dict[str, Any]:
        return {
            "dialogues": {"read": self.dialogues, "kept": self.kept, "dropped": dict(self.dropped)},
            "turns": dict(self.turns),
            "letters": dict(self.letters),
            "removed": {step: self.pieces[step] for step in STEPS if self.pieces[step]},
            "repeated_answers_kept": self.answers_kept,
            "repeated_questions_kept": self.questions_kept,
            "examples": {s: [{"role": r, "text": t} for r, t in found] for s, found in self.examples.items()},
        }

    def changed(self) -> dict[str, int]:
        """What was taken out of dialogues and done to their turns -> number, for the manifest."""
        done = {"turns joined": self.turns["joined"], "turns emptied": self.turns["emptied"]}
        done["turns cut off"] = self.turns["cut off"]
        return {**{f"{step} taken out": self.pieces[step] for step in STEPS}, **done}

    def lines(self) -> list[str]:
        turns, out = self.turns, [f"  dialogues: {self.dialogues} read, {self.kept} kept"]
        out += [f"    left out {n}: {why}" for why, n in self.dropped.items()]
        parts = ", ".join(f"{turns[name]} {name}" for name in TURNS if turns[name])
        out.append(f"  turns: {turns['read']} read = {parts or 'none'}")
        letters_of = ", ".join(f"{n} {what}" for what, n in self.letters.items() if what != "read")
        out.append(f"  letters: {self.letters['read']} read = {letters_of}")
        for step in STEPS:
            if self.pieces[step]:
                out.append(f"  removed {self.pieces[step]} {step}, such as:")
                out += [f"    {role}: {_line(text)}" for role, text in self.examples[step][:SHOWN]]
        if self.answers_kept:
            out.append(f"  kept {self.answers_kept} repeated paragraphs that answer like questions")
        if self.questions_kept:
            out.append(f"  kept {self.questions_kept} repeated questions that the user replies to")
        return out


TURNS = ("kept", "joined", "emptied", "cut off", "in dropped dialogues")


def letters(text: str) -> int:
    """Characters that are no white space."""
    return sum(not c.isspace() for c in text)


def _line(text: str) -> str:
    text = " / ".join(line.strip() for line in text.split("\n") if line.strip())
    return text if len(text) <= 100 else f"{text[:97]}..."


def stripped(
    records: Iterable[Conversation], keep: Collection[str] = (), prompts: bool = False, make: MakePile[Any] = list
) -> tuple[Pile[Conversation], Report]:
    """The dialogues without all STEPS that are not in `keep`. `prompts`: they may end with the user; `make`: what
    holds them."""
    if unknown := set(keep) - set(STEPS):
        raise ValueError(f"--keep {', '.join(sorted(unknown))}: expected some of {', '.join(STEPS)}")
    report, out = Report(), make()
    dialogues: Pile[tuple[Conversation, list[Message]]] = make()
    often = Numbers[bytes]()
    for record in records:
        report.dialogues += 1
        report.turns["read"] += len(record.messages)
        report.letters["read"] += sum(letters(m.text) for m in record.messages)
        turns = [_stripped_turn(m, keep, report) for m in record.messages]
        dialogues.append((record, turns))
        if "macros" not in keep:
            for key in _asked_by_key(turns):
                often[_digest(key)] = often.get(_digest(key), 0) + 1
    macros = _macros(dialogues, often, report)
    for record, turns in dialogues:
        bare = [
            m if _is_answered(turns, i, macros, report) else _without_macros(m, macros, report)
            for i, m in enumerate(turns)
        ]
        if (whole := _whole(bare, prompts, report)) is not None:
            out.append(dataclasses.replace(record, messages=tuple(whole)))
            report.letters["kept"] += sum(letters(m.text) for m in whole)
    report.kept = len(out)
    return out, report


def _stripped_turn(message: Message, keep: Collection[str], report: Report) -> Message:
    if message.role not in ("user", "assistant") or message.images:
        return message
    text = message.text
    for step, take in (
        ("notes", _notes),
        ("quotes", without_quotes),
        ("signatures", signature),
        ("greetings", functools.partial(_greeting, message.role)),
    ):
        if step not in keep:
            text, removed = take(text)
            report.took(step, message.role, removed)
    return message.saying([]) if not text else message.mapped(lambda _: text)


def _notes(text: str) -> tuple[str, list[str]]:
    """Paragraphs that say of themselves that they are for colleagues."""
    return _without(text, BLANK, lambda paragraph: NOTE.match(paragraph) is not None)


BLANK, LINES = re.compile(r"(\n\s*\n)"), re.compile(r"(\n\s*\n|\n(?=\S))")
"""Patterns of what parts paragraphs, and paragraphs or lines."""


def _without(text: str, between: re.Pattern[str], wrong: Callable[[str], bool]) -> tuple[str, list[str]]:
    """(text without the parts that are wrong, these); what parts the others stays as it is."""
    pieces, kept, removed = between.split(text), "", list[str]()
    for part, gap in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        if wrong(part):
            removed.append(part)
        else:
            kept += part + gap
    return (kept.rstrip(), removed) if removed else (text, [])


def signature(text: str) -> tuple[str, list[str]]:
    """(text without what stands below it: closing, name, contact data, disclaimer; the pieces)."""
    lines = text.rstrip().split("\n")
    removed: list[str] = []
    found = next((i for i, line in enumerate(lines) if DISCLAIMER.search(line) and i), len(lines))
    cuts = [found, *(i for i, line in enumerate(lines) if _begins_signature(lines, i))]
    end = min(cuts)
    if end < len(lines):
        removed.append("\n".join(lines[end:]))
        lines = lines[:end]
    own = [line for line in lines if not DEVICE.fullmatch(line)]
    removed += [line for line in lines if DEVICE.fullmatch(line)]
    block = len(own)
    while block > 1 and (not own[block - 1].strip() or (CONTACT.search(own[block - 1]) and len(own[block - 1]) < WIDE)):
        block -= 1
    contact = [line for line in own[block:] if line.strip()]
    if len(contact) >= 2 and any(not line.strip() for line in own[block - 1 : block + 1]):
        removed.append("\n".join(own[block:]))
        own = own[:block]
    return ("\n".join(own).strip(), removed) if removed else (text, [])


def _begins_signature(lines: Sequence[str], i: int) -> bool:
    """Whether a closing or '-- ' at line `i` ends the text: few short lines follow, if any."""
    mark = lines[i].rstrip() in ("--", "—", "___")
    rest = [line for line in lines[i + 1 :] if line.strip() and not DISCLAIMER.search(line)]
    if not mark and not (i and CLOSING.fullmatch(lines[i])):
        return False
    cut = next((j for j, line in enumerate(rest) if DISCLAIMER.search(line)), len(rest))
    return cut <= TAIL and all(len(line) <= WIDE and not line.rstrip().endswith(("?", "？")) for line in rest[:cut])


def _greeting(role: str, text: str) -> tuple[str, list[str]]:
    """What stands before the matter: a greeting, and politeness that says nothing."""
    removed = []
    while (match := GREETINGS[role].match(text)) and match.end():
        removed.append(text[: match.end()])
        text = text[match.end() :]
    head, gap, rest = (*BLANK.split(text, maxsplit=1), "", "")[:3]  # several messages of one turn begin so each
    rest, again = _without(rest, BLANK, lambda p: _only_greets(role, p))
    return (f"{head}{gap}{rest}".strip() if removed or again else text), [*removed, *again]


def _only_greets(role: str, paragraph: str) -> bool:
    match = GREETINGS[role].match(paragraph)
    return match is not None and not paragraph[match.end() :].strip() and bool(paragraph) and len(paragraph) < WIDE


def _key(paragraph: str) -> str:
    """A paragraph's form for comparison: no digits, no punctuation, small letters."""
    return re.sub(r"[\W\d_]+", "", paragraph).casefold()


def _paragraphs(text: str) -> list[str]:
    return [p for p in LINES.split(text)[::2] if p.strip()]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()[:16]


def _asked_by_key(turns: Sequence[Message]) -> dict[str, str]:
    """Keys of the assistant's paragraphs -> the question before each."""
    asked: dict[str, str] = {}
    question = ""
    for message in turns:
        if message.role == "user":
            question = message.text or question
        elif message.role == "assistant":
            for paragraph in _paragraphs(message.text):
                if len(key := _key(paragraph)) >= SHORT:
                    asked.setdefault(key, question)
    return asked


def _macros(
    dialogues: Pile[tuple[Conversation, list[Message]]], often: Mapping[bytes, int], report: Report
) -> set[str]:
    """Keys of paragraphs of the assistant that stand in many dialogues (`often`: in how many), whatever was asked."""
    least = max(MACRO, math.ceil(LEAST * len(dialogues)))
    digests = {digest for digest, n in often.items() if n >= least}
    if not digests:
        return set()
    asked: dict[str, list[str]] = defaultdict(list)
    for _, turns in dialogues:
        for key, question in _asked_by_key(turns).items():
            if _digest(key) in digests and len(asked[key]) < LIKE:
                asked[key].append(question)

    def first(turns: Sequence[Message]) -> str:
        return next((m.text for m in turns if m.role == "user"), "")

    weights = resemble.rarity(first(turns) for _, turns in dialogues)
    some = random.Random(0).sample(range(len(dialogues)), min(LIKE, len(dialogues)))
    usual = resemble.likeness(resemble.char_vectors([first(dialogues[i][1]) for i in some], weights))
    macros = set()
    for key, found in asked.items():
        if resemble.likeness(resemble.char_vectors(found, weights)) < SPECIFIC * usual:
            macros.add(key)
        else:
            report.answers_kept += 1
    return macros


def _without_macros(message: Message, macros: set[str], report: Report) -> Message:
    if message.role != "assistant" or not macros or message.images:
        return message
    kept, removed = _without(message.text, LINES, lambda p: bool(p.strip()) and _key(p) in macros)
    if not removed:
        return message
    report.took("macros", message.role, removed)
    return message.mapped(lambda _: kept) if kept.strip() else message.saying([])


def _is_answered(turns: Sequence[Message], i: int, macros: set[str], report: Report) -> bool:
    """Whether a turn is nothing but repeated paragraphs, asks something, and the user replies: the reply would say
    nothing without it."""
    message = turns[i]
    replied = 0 < i < len(turns) - 1 and turns[i + 1].role == "user" and bool(turns[i + 1].text)
    if message.role != "assistant" or not replied or not QUESTION.search(message.text):
        return False
    answered = all(_key(p) in macros for p in _paragraphs(message.text))
    report.questions_kept += answered
    return answered


def _whole(turns: Sequence[Message], prompts: bool, report: Report) -> list[Message] | None:
    """Turns without empty ones, neighbours of one role joined, from the user's first to the last answer; else None."""
    said: list[Message] = []
    for message in turns:
        if not message.parts:
            report.turns["emptied"] += 1
        elif said and said[-1].role == message.role and message.role in ("user", "assistant"):
            report.turns["joined"] += 1
            said[-1] = said[-1].saying([*said[-1].said, *Message(message.role, "\n").said, *message.said])
        else:
            said.append(message)
    first = next((i for i, m in enumerate(said) if m.role == "user"), len(said))
    start = [m for m in said[:first] if m.role == "system"]
    last = len(said) if prompts else max((i + 1 for i, m in enumerate(said) if m.role == "assistant"), default=0)
    whole = [*start, *said[first:last]]
    gone = [m for m in said if not any(m is kept for kept in whole)]
    if first >= last or not said:
        taken = any(m.role == "assistant" and not m.parts for m in turns)
        silent = "of the answers nothing is left" if taken else "nobody answers"
        why = "nothing is left" if not said else "the user says nothing" if first == len(said) else silent
        report.dropped[why] += 1
        report.turns["in dropped dialogues"] += len(said)
        report.letters["cut off"] += sum(letters(m.text) for m in said)
        return None
    report.turns["cut off"] += len(gone)
    report.turns["kept"] += len(whole)
    report.letters["cut off"] += sum(letters(m.text) for m in gone)
    return whole
