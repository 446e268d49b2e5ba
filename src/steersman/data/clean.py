"""Cleaning that loses nothing anybody wants: line ends, NULs, special tokens written out, empty answers, duplicates.

Everything is counted: `dropped` counts removed records, `changed` the changes to the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass

from steersman.data.formats import Parsed
from steersman.data.formats.fields import trimmed
from steersman.types import Conversation, Feedback, Json, Message, Ranking

CJK = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]+")
LATIN = re.compile("[A-Za-z]+")


_KEPT = r"(?!\w*(?:tool|call|think|image|audio|video|vision|media|box|quad|object|python|content|cite))"
_NEXT = (
    r"(?:<\|im_start\|>|<start_of_turn>|<\|turn>)\s*(?:user|system|model|assistant|tool)?|"
    r"<\|start_header_id\|>\w*(?:<\|end_header_id\|>)?|<\|start_of_role\|>\w*(?:<\|end_of_role\|>)?"
)
"""Pattern of the beginning of another turn."""
END = re.compile(
    rf"(?:</s>|{_NEXT}|<\|{_KEPT}[\w:/]{{2,40}}\|>|<｜{_KEPT}[\w▁ ]{{2,40}}｜>|\[\|{_KEPT}\w{{2,40}}\|\]"
    r"|<(?:end_of_turn|end_of_utterance|eos|eod|eot|eoa|eom|pad|seed:eos|turn\|)>|<\|turn\|>|\[(?:EOS|PAD|/?INST)\]"
    r"|\[e~\[)\Z"
)
LONGEST = 120
"""Characters at the end of a text that are searched for a token followed by a role."""
STARTS = re.compile(
    r"\A(?:\s*(?:<s>|<bos>|\[BOS\]|<\|begin_of_text\|>|<\|startoftext\|>|<｜begin▁of▁sentence｜>"
    r"|<\|im_start\|>assistant\s|<[|｜][Aa]ssistant[|｜]>|<\|start_of_role\|>assistant<\|end_of_role\|>|<\|turn>model\s"
    r"|<start_of_turn>model\s|<\|start_header_id\|>assistant<\|end_header_id\|>))+"
)
"""Special tokens of models, written out as text around an answer: a trace of another template."""


def normalise(text: str) -> str:
    """Line ends as '\\n', no NULs, no blank lines around and no white space at the end; indentation stays."""
    return trimmed(text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", ""))


def _end(text: str) -> int:
    """Index at which the special tokens at the end of a text begin."""
    end = len(text)
    while match := END.search(text, max(0, end - LONGEST), end):
        end = match.start()
        while end and text[end - 1].isspace():
            end -= 1
    return end


def bare(text: str, changed: Counter[str]) -> str:
    """An answer normalised, without special tokens at its start and its end, each such answer counted."""
    text = normalise(text)
    start, end = STARTS.match(text), _end(text)
    inner = text[start.end() if start else 0 : end]
    if start and "<s>" in start[0] and "</s>" in inner:  # HTML that begins with <s> (strikethrough)
        start = None
    first = start.end() if start else 0
    if "</s>" in text[end:] and "<s>" in text[first:end]:  # HTML that ends with </s>
        end = len(text)
    if start or end < len(text):
        changed["special tokens around answers taken off"] += 1
        text = normalise(text[first:end])
    return text


GERMAN = re.compile(
    r"\b(?:ich|und|der|die|das|nicht|ist|bitte|mein|meine|wie|sie|ihre?|ihnen|auf|mit|für|haben|habe|eine|einen|noch|wurde|wird|"
    r"zu|vom|zur|kann|guten|danke|wir|es|den|dem|von|im)\b",
    re.I,
)
ENGLISH = re.compile(
    r"\b(?:the|and|is|my|to|you|for|your|please|have|was|of|it|can|with|this|that|are|on|at|not|hello|thanks|i|we|be|a|in)\b",
    re.I,
)


def language_of(text: str) -> str:
    """'zh', 'en' or 'other' by the script of the letters: enough to count, not to classify."""
    cjk, latin = (sum(map(len, letters.findall(text))) for letters in (CJK, LATIN))
    if cjk == latin == 0:
        return "other"
    return "zh" if 3 * cjk >= latin else "en"  # a Chinese character carries about as much as three letters


def tongue_of(text: str) -> str:
    """`language_of`, and 'de' where German's small words outnumber English ones."""
    found = language_of(text)
    return "de" if found == "en" and len(GERMAN.findall(text)) > len(ENGLISH.findall(text)) else found


def text_of(record: Parsed) -> str:
    """A record's whole content without ids and meta, which decides whether two records are equal."""
    if isinstance(record, str):
        return record
    if isinstance(record, Feedback):
        return "\x1f".join((text_of(record.prompt), record.kind, record.answer, record.edited or ""))
    if isinstance(record, Ranking):
        ordered = [f"{rank}\x1e{answer}" for rank, answer in zip(record.order, record.answers, strict=True)]
        named = [record.objective] if record.objective else []
        return "\x1f".join([text_of(record.prompt), *sorted(ordered), *named])
    tools = [json.dumps(record.tools, sort_keys=True, ensure_ascii=False)] if record.tools else []
    return "\x1f".join([*tools, *map(_said, record.messages)])


def _said(message: Message) -> str:
    calls = json.dumps(message.tool_calls, sort_keys=True, ensure_ascii=False) if message.tool_calls else ""
    context = "" if message.learn else "context"
    return "\x1e".join((message.role, message.spelled, *filter(None, (message.thinking, calls, context))))


def words_of(record: Parsed) -> str:
    """The texts in a record, without roles and ranks."""
    if isinstance(record, str):
        return record
    if isinstance(record, Feedback):
        return "\n".join((*(m.text for m in record.prompt.messages), record.answer, record.edited or ""))
    messages = record.prompt.messages if isinstance(record, Ranking) else record.messages
    spoken = (part for m in messages for part in (m.text, m.thinking, *map(_arguments, m.tool_calls)) if part)
    return "\n".join((*spoken, *(record.answers if isinstance(record, Ranking) else ())))


def _arguments(call: Json) -> str:
    return json.dumps(call.get("function", call), ensure_ascii=False)


def _clean_conversation(record: Conversation, changed: Counter[str]) -> Conversation:
    cleaned = [
        dataclasses.replace(
            m.mapped((lambda text: bare(text, changed)) if m.role == "assistant" else normalise),
            thinking=m.thinking.strip(),
        )
        for m in record.messages
    ]
    return dataclasses.replace(record, messages=tuple(cleaned))


def distinct_answers(record: Ranking, changed: Counter[str]) -> Ranking | None:
    """The ranking without empty answers and with equal answers reduced to the best ranked; None without a pair left."""
    best: dict[str, int] = {}
    order = record.order
    for i, answer in enumerate(record.answers):
        if not answer.strip():
            changed["empty answers left out of rankings"] += 1
        elif answer in best:
            changed["repeated answers left out of rankings"] += 1
            best[answer] = min(best[answer], i, key=lambda j: order[j])
        else:
            best[answer] = i
    keep = sorted(best.values())
    if len(keep) < 2:
        return None
    return dataclasses.replace(
        record,
        answers=tuple(record.answers[i] for i in keep),
        ranks=tuple(record.ranks[i] for i in keep) if record.ranks is not None else None,
        grades=tuple(record.grades[i] for i in keep) if record.grades is not None else None,
    )


def _clean_ranking(record: Ranking, dropped: Counter[str], changed: Counter[str]) -> Ranking | None:
    answers = tuple(bare(a, changed) for a in record.answers)
    prompt = _clean_conversation(record.prompt, changed)
    here: Counter[str] = Counter()
    ranked = distinct_answers(dataclasses.replace(record, prompt=prompt, answers=answers), here)
    if ranked is None:
        dropped[
            "rankings whose answers are all the same" if all(answers) else "rankings with fewer than two answers"
        ] += 1
        return None
    changed.update(here)
    return ranked


def clean_one(record: Parsed, dropped: Counter[str], changed: Counter[str]) -> Parsed | None:
    """The record normalised, or None (and counted in `dropped`) where it has no content."""
    if isinstance(record, str):
        text = normalise(record)
        dropped["empty texts"] += not text
        return text or None
    if isinstance(record, Ranking):
        return _clean_ranking(record, dropped, changed)
    if isinstance(record, Feedback):
        answer, edited = (bare(a, changed) if a is not None else None for a in (record.answer, record.edited))
        prompt = _clean_conversation(record.prompt, changed)
        dropped["empty answers"] += not answer
        return dataclasses.replace(record, prompt=prompt, answer=answer, edited=edited) if answer else None
    cleaned = _clean_conversation(record, changed)
    if all(m.text or m.images or m.tool_calls for m in cleaned.messages if m.role not in ("system", "tool")):
        return cleaned
    dropped["empty prompts" if not cleaned.last_user else "empty answers"] += 1
    return None


def clean(
    records: Iterable[Parsed], changed: Counter[str] | None = None, *, unique: bool = True
) -> tuple[list[Parsed], dict[str, int]]:
    """`cleaned` records at once, and the numbers removed, by reason."""
    dropped: Counter[str] = Counter()
    kept = list(cleaned(records, dropped, Counter() if changed is None else changed, Known({}, {}) if unique else None))
    return kept, by_reason(dropped)


def by_reason(dropped: Mapping[str, int]) -> dict[str, int]:
    return {reason: n for reason, n in sorted(dropped.items()) if n}


@dataclass(frozen=True)
class Known:
    """Digests of the records so far, and their ids with the last number tried for each."""

    digests: MutableMapping[bytes, int]
    ids: MutableMapping[str, int]


def cleaned(
    records: Iterable[Parsed], dropped: Counter[str], changed: Counter[str], known: Known | None
) -> Iterator[Parsed]:
    """Normalised records without empty and repeated ones, one at a time.

    `dropped` counts those removed, `changed` changes to kept records. Ids are made unique: a record whose id is taken
    gets the next free one of '-2', '-3' and so on. Without `known` repeated records and their ids stay.
    """
    for record in records:
        kept = clean_one(record, dropped, changed)
        if kept is None or known is None:
            if kept is not None:
                yield kept
            continue
        digest = hashlib.sha256(text_of(kept).encode()).digest()[:16]
        if digest in known.digests:
            dropped["duplicates"] += 1
            continue
        known.digests[digest] = 1
        if not isinstance(kept, str):
            kept = dataclasses.replace(kept, id=_free(kept.id or digest.hex()[:16], known.ids, changed))
        yield kept


def _free(name: str, ids: MutableMapping[str, int], changed: Counter[str]) -> str:
    """`name`, or the first free one of NAME-2, NAME-3, ...; `ids`: taken names and the last number tried for each."""
    free = name
    while free in ids:
        ids[name] += 1
        free = f"{name}-{ids[name]}"
    if free != name:
        changed["ids that were taken, numbered"] += 1
    ids[free] = 1
    return free
