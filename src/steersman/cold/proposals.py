"""Proposals and the sheet in which people decide on them: nothing of them is data before somebody said yes.

`proposals/NAME.jsonl` holds the records with all that is known of them, `proposals/NAME.csv` is the sheet. In it a
person corrects question and answer and writes yes or no; `spread` = yes gives the answer to the whole group.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.artifact.files import atomic_write, now
from steersman.data.made import SPREAD, marked
from steersman.data.sheets import filled_in
from steersman.data.split import split_key
from steersman.data.written import read_jsonl
from steersman.types import Conversation, Message

COLUMNS = ("id", "approve", "question", "answer", "spread", "group", "size", "likeness", "others")
YES = frozenset(("yes", "y", "ja", "j", "1", "true", "x", "ok", "是", "对", "√", "✓", "同意", "通过"))
NO = frozenset(("no", "n", "nein", "0", "false", "-", "否", "不", "×", "不同意", "不通过"))


@dataclass(frozen=True)
class Proposal:
    """One line of a sheet: the prompt, an answer if there is one, and the further prompts of its group."""

    id: str
    prompt: Conversation
    answer: str = ""
    group: tuple[Conversation, ...] = ()
    likeness: str = ""
    """What it resembles, for people."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """How it came to be: `how` and the rest of `data.made`."""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "prompt": self.prompt.to_json(),
            "answer": self.answer,
            "group": [p.to_json() for p in self.group],
            "likeness": self.likeness,
            "about": dict(self.about),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Proposal:
        group = tuple(Conversation.from_json(p, "group") for p in value.get("group", []))
        prompt = Conversation.from_json(value.get("prompt"), "prompt")
        about = dict(value.get("about", {}))
        return Proposal(str(value["id"]), prompt, value.get("answer", ""), group, value.get("likeness", ""), about)


@dataclass
class Decided:
    """lines = approved + rejected + open; the records are of the approved ones and of groups that got an answer."""

    lines: int = 0
    approved: int = 0
    rejected: int = 0
    open: int = 0
    corrected: int = 0
    spread: int = 0
    demonstrations: list[Conversation] = field(default_factory=list)
    prompts: list[Conversation] = field(default_factory=list)

    def told(self) -> list[str]:
        return [
            f"  {self.lines} lines: {self.approved} approved ({self.corrected} with corrections), "
            f"{self.rejected} rejected, {self.open} not decided",
            f"  {len(self.demonstrations)} demonstrations ({self.spread} by an answer given to a group), "
            f"{len(self.prompts)} prompts without an answer",
        ]


def paths(root: Path, name: str) -> tuple[Path, Path]:
    """(the records, the sheet)."""
    return root / "proposals" / f"{name}.jsonl", root / "proposals" / f"{name}.csv"


def write(root: Path, name: str, proposals: Sequence[Proposal], replace: bool = False) -> tuple[Path, Path]:
    """Both files. ValueError where a sheet of the name exists, in which people may have written."""
    records, sheet = paths(root, name)
    if sheet.exists() and not replace:
        raise ValueError(f"{sheet} exists, and people may have written in it; expected another --name, or --replace")
    records.parent.mkdir(exist_ok=True)
    with atomic_write(records) as file:
        file.writelines(json.dumps(p.to_json(), ensure_ascii=False) + "\n" for p in proposals)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(COLUMNS)
    for p in proposals:
        others = " | ".join(" ".join(other.last_user.split())[:60] for other in p.group[:3])
        asked = " ".join(p.prompt.last_user.split("\r"))
        table.writerow(
            map(_safe, (p.id, "", asked, p.answer, "", p.about.get("group", ""), len(p.group) + 1, p.likeness, others))
        )
    with atomic_write(sheet, "wb") as file:
        file.write(text.getvalue().encode("utf-8-sig"))  # by the mark Excel knows that it is UTF-8
    return records, sheet


def _safe(cell: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = str(cell)
    return f"'{text}" if text[:1] in ("=", "+", "@", "\t") else text


def decided(records: Path, sheet: Path, by: str) -> Decided:
    """What people said in a sheet. Raises ValueError 'file:line: what was expected'."""
    known = {p.id: p for p in (Proposal.from_json(value) for _, value in read_jsonl(records, 64))}
    out, seen = Decided(), Counter[str]()
    for line, row in filled_in(sheet, ("id", "approve", "question", "answer")):
        name = row.get("id", "").strip()
        if name not in known:
            raise ValueError(
                f"{sheet}:{line}: id {name!r}: expected one of {records.name}'s; leave this column as it was"
            )
        seen[name] += 1
        if seen[name] > 1:
            raise ValueError(f"{sheet}:{line}: id {name!r} stands there twice; expected each once")
        word = row.get("approve", "").strip().casefold()
        if word not in YES | NO | {""}:
            raise ValueError(f"{sheet}:{line}: approve {word!r}: expected yes, no or nothing")
        out.lines += 1
        out.rejected += word in NO
        out.open += word == ""
        if word in YES:
            _approve(known[name], row, by, out)
    return out


def _approve(proposal: Proposal, row: Mapping[str, str], by: str, out: Decided) -> None:
    asked, answer = (
        row[key].removeprefix("'") if row[key][:2] in ("'=", "'+", "'@") else row[key] for key in ("question", "answer")
    )
    asked, answer = asked.strip(), answer.strip()
    if not asked:
        raise ValueError(f"proposal {proposal.id}: approved without a question")
    out.approved += 1
    same = " ".join(asked.split()) == " ".join(proposal.prompt.last_user.split())
    out.corrected += not same or (bool(proposal.answer) and answer != proposal.answer.strip())
    prompt = proposal.prompt if same else _asking(proposal.prompt, asked)
    about = {**proposal.about, "approved_by": by, "approved": now()}
    how = str(about.pop("how", "similar"))
    if not answer:
        out.prompts.append(marked(prompt, how, **about))
        return
    edited = {"answer_by": by} if answer != proposal.answer.strip() else {}
    out.demonstrations.append(marked(prompt.with_answer(answer), how, **about, **edited))
    if row.get("spread", "").strip().casefold() in YES:
        for other in proposal.group:
            spread = {"from": prompt.id, "approved_by": by, "approved": about["approved"]}
            out.demonstrations.append(marked(other.with_answer(answer), SPREAD, method="group", **spread))
            out.spread += 1


def _asking(prompt: Conversation, asked: str) -> Conversation:
    """The prompt with another last turn of the user."""
    at = max(i for i, m in enumerate(prompt.messages) if m.role == "user")
    turns = [Message("user", asked) if i == at else m for i, m in enumerate(prompt.messages)]
    return dataclasses.replace(prompt, messages=tuple(turns))


def fresh(proposals: Sequence[Proposal], tests: Sequence[Conversation]) -> tuple[list[Proposal], int]:
    """The proposals that are no prompts of a test split, and how many were."""
    held = {split_key(t) for t in tests}
    kept = [p for p in proposals if split_key(p.prompt) not in held]
    return kept, len(proposals) - len(kept)
