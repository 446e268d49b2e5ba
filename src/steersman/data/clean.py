"""Cleaning that loses nothing anybody wants: line ends, NULs, empty answers, duplicates. All of it is counted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable

from steersman.data.formats import Parsed
from steersman.types import Conversation, Message, Ranking

CJK = (("\u4e00", "\u9fff"), ("\u3400", "\u4dbf"))


def normalise(text: str) -> str:
    """Line ends as '\\n', no NULs, no white space around."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").strip()


def language_of(text: str) -> str:
    """'zh', 'en' or 'other' by the script of the letters: enough to count, not to classify."""
    cjk = sum(1 for c in text if any(low <= c <= high for low, high in CJK))
    latin = sum(1 for c in text if c.isascii() and c.isalpha())
    if cjk == latin == 0:
        return "other"
    return "zh" if 3 * cjk >= latin else "en"  # a Chinese character carries about as much as three letters


def text_of(record: Parsed) -> str:
    """Everything a record says, without ids and meta: what makes two records the same."""
    if isinstance(record, str):
        return record
    if isinstance(record, Ranking):
        ordered = [f"{rank}\x1e{answer}" for rank, answer in zip(record.order, record.answers, strict=True)]
        named = [record.objective] if record.objective else []
        return "\x1f".join([text_of(record.prompt), *sorted(ordered), *named])
    tools = [json.dumps(record.tools, sort_keys=True, ensure_ascii=False)] if record.tools else []
    return "\x1f".join([*tools, *map(_said, record.messages)])


def _said(message: Message) -> str:
    calls = json.dumps(message.tool_calls, sort_keys=True, ensure_ascii=False) if message.tool_calls else ""
    context = "" if message.learn else "context"
    return "\x1e".join((message.role, message.content, *filter(None, (message.thinking, calls, context))))


def words_of(record: Parsed) -> str:
    """What people said in a record, without roles and ranks."""
    if isinstance(record, str):
        return record
    messages = record.prompt.messages if isinstance(record, Ranking) else record.messages
    return "\n".join((*(m.content for m in messages), *(record.answers if isinstance(record, Ranking) else ())))


def _clean_conversation(record: Conversation) -> Conversation:
    cleaned = (dataclasses.replace(m, content=normalise(m.content)) for m in record.messages)
    return dataclasses.replace(record, messages=tuple(cleaned))


def _clean_ranking(record: Ranking, counts: Counter[str]) -> Ranking | None:
    """Without empty answers and, of answers that are equal, only the best ranked; None where no pair is left."""
    best: dict[str, int] = {}
    order = record.order
    answers = [normalise(a) for a in record.answers]
    for i, answer in enumerate(answers):
        if not answer:
            counts["empty answers"] += 1
        elif answer in best:
            counts["repeated answers"] += 1
            best[answer] = min(best[answer], i, key=lambda j: order[j])
        else:
            best[answer] = i
    keep = sorted(best.values())
    if len(keep) < 2:
        return None
    return dataclasses.replace(
        record,
        prompt=_clean_conversation(record.prompt),
        answers=tuple(answers[i] for i in keep),
        ranks=tuple(record.ranks[i] for i in keep) if record.ranks is not None else None,
        grades=tuple(record.grades[i] for i in keep) if record.grades is not None else None,
    )


def clean_one(record: Parsed, counts: Counter[str]) -> Parsed | None:
    """The record normalised, or None (and counted) where it says nothing."""
    if isinstance(record, str):
        text = normalise(record)
        counts["empty texts"] += not text
        return text or None
    if isinstance(record, Ranking):
        ranked = _clean_ranking(record, counts)
        counts["rankings with fewer than two answers"] += ranked is None
        return ranked
    cleaned = _clean_conversation(record)
    if all(m.content for m in cleaned.messages if m.role != "system"):
        return cleaned
    counts["empty answers" if cleaned.last_user else "empty prompts"] += 1
    return None


def clean(records: Iterable[Parsed]) -> tuple[list[Parsed], dict[str, int]]:
    """Normalised records without empty and repeated ones, and how many went for which reason.

    Ids are made unique: a second record with the same id but other content gets '-2' and so on.
    """
    counts: Counter[str] = Counter()
    seen: set[bytes] = set()
    ids: Counter[str] = Counter()
    kept: list[Parsed] = []
    for record in records:
        cleaned = clean_one(record, counts)
        if cleaned is None:
            continue
        digest = hashlib.sha256(text_of(cleaned).encode()).digest()
        if digest in seen:
            counts["duplicates"] += 1
            continue
        seen.add(digest)
        if not isinstance(cleaned, str):
            name = cleaned.id or digest.hex()[:16]
            ids[name] += 1
            cleaned = dataclasses.replace(cleaned, id=name if ids[name] == 1 else f"{name}-{ids[name]}")
        kept.append(cleaned)
    return kept, {reason: n for reason, n in sorted(counts.items()) if n}
