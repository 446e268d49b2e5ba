"""Turns records of any file into questions of a kind of task, which are put into prompts later.

A record has the fields that the kind names, or others that the user maps to them. Records that hold a prompt and its
answer already (`published_tasks`) are taken as they are, and called ready. What is left out or cut is counted by
reason.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.data.clean import language_of
from steersman.data.example_fields import labels_of
from steersman.data.published_tasks import ASKED, choice, choices_of, documents, labels_of_choices, ready
from steersman.data.readers import Record
from steersman.data.task_kinds import ITEMS, Kind, filled

SENTENCE_ENDS = "。！？!?\n"
END = re.compile(r"(?:<\|endoftext\|>|</s>|<eos>)\s*$")
"""End tokens by name, as P3's completions have them."""

SEPARATORS = re.compile(r"[,，;；|]")
"""What separates the items of a list that is written as a text."""
NAMES_OF_LABELS = ("label_des", "label_desc", "label_text", "label_name", "category_name")
"""Fields with a label's name, where the label is a number (CLUE's)."""
_PAIR = (("sentence1", "text1", "question1", "句子1"), ("sentence2", "text2", "question2", "句子2"))
USUAL: Mapping[str, tuple[str, ...]] = {
    "text": (
        *("sentence", "content", "abst", "ctx", "review", "utterance", "comment"),
        *("文本", "内容", "句子", "评论", "正文"),
    ),
    "label": ("gold_label", "category", "intent", "sentiment", "class", "标签", "类别", "分类", "意图"),
    **dict(zip(("premise", "hypothesis"), _PAIR, strict=True)),
    **dict(zip(("first", "second"), _PAIR, strict=True)),
    "hypothesis": (*_PAIR[1], "hypo"),
    "noun": ("span1_text", "target.span1_text"),
    "pronoun": ("span2_text", "target.span2_text"),
    "context": ("passage", "article", "paragraph", "文章"),
    "candidates": ("choices", "choice", "options", "endings", "选项"),
    "keywords": ("keyword", "关键词"),
    "items": ("keyword", "keywords", "关键词"),
}
"""Other names of a kind's fields; one that alone is in a record is taken, and told."""


class Dropped(Exception):
    """Why a record gives no question."""


@dataclass(frozen=True)
class Question:
    """A record as a task's fields, or as a ready prompt."""

    id: str
    key: str
    """Questions with the same key stay in one split."""
    values: Mapping[str, str]
    language: str
    answers: tuple[str, ...]
    """Right answers, of which the first is learned; for a kind with labels the label as the data writes it."""
    choices: tuple[str, ...] = ()
    """The record's own label set."""
    kind: str = ""
    """Kind that a ready record names for itself."""
    number: int | None = None
    """Number of the right choice as the file gives it; whether it counts from 0 or 1 is found out later."""

    @property
    def ready(self) -> str:
        """The prompt of a ready record; '' of others."""
        return self.values.get("", "")


@dataclass(frozen=True)
class Taking:
    """How a kind's fields are read."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """The kind's field -> the record's, with dots for fields within fields."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Field -> value; only records with these values are taken."""
    lists: Mapping[str, str] = field(default_factory=dict)
    """Field whose text is a list -> the separator of its items."""
    most_characters: int = 1000
    """A longer field is cut at its end, or around the answer if it must hold that. An answer is never cut: a record
    with a longer one is left out."""


@dataclass
class Counts:
    """What became of the records."""

    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)


def questions(records: Iterable[Record], kind: Kind | None, taking: Taking, counts: Counts) -> Iterator[Question]:
    """A question of every record that gives one; `kind` None: ready records. ValueError where a record is unreadable or
    none has the fields."""
    return _numbered(_questions(records, kind, taking, counts), counts)


def _numbered(found: Iterable[Question], counts: Counts) -> Iterator[Question]:
    """Questions whose answer was a number, with the choice instead. Each file is looked at for how it counts; one that
    does not show it is taken to count as the files before."""
    first: int | None = None
    for _, of in itertools.groupby(found, key=lambda q: q.id.rpartition("-")[0]):
        first = yield from _numbered_in(of, first, counts)


def _numbered_in(
    found: Iterable[Question], before: int | None, counts: Counts
) -> Generator[Question, None, int | None]:
    """A file counts from 0 if an answer is 0, from 1 if an answer is the number of choices, whichever comes first;
    questions wait until then. ValueError where 0 comes after the other."""
    first: int | None = None
    waiting: list[Question] = []
    for q in found:
        if q.number == 0 and first == 1:
            raise ValueError(
                f"record {q.id}: the answer is number 0 where an earlier one counts from 1; expected one way"
            )
        if first is None and q.number is not None and q.number in (0, len(q.choices)):
            first = 0 if q.number == 0 else 1
            for earlier in waiting:
                yield from _chosen(earlier, first, counts)
            waiting = []
        if first is None and (q.number is not None or waiting):
            waiting.append(q)
        else:
            yield from _chosen(q, first or 0, counts)
    for earlier in waiting:
        if earlier.number is not None and before is None:
            counts.changed["answers are numbers, taken to count from 0, which none of them shows"] += 1
        yield from _chosen(earlier, before or 0, counts)
    return before if first is None else first


def _chosen(q: Question, first: int, counts: Counts) -> Iterator[Question]:
    if q.number is None:
        yield q
    elif 0 <= q.number - first < len(q.choices):
        if first:
            counts.changed["answers are numbers, taken to count from 1"] += 1
        yield dataclasses.replace(q, answers=(q.choices[q.number - first],), number=None)
    else:
        counts.left_out["the answer is none of the record's choices"] += 1


def _questions(records: Iterable[Record], kind: Kind | None, taking: Taking, counts: Counts) -> Iterator[Question]:
    seen: set[str] = set()
    elsewhere: dict[str, Counter[str]] = {name: Counter() for name in taking.where}
    for name, value in _flattened(records, counts):
        if any(str(_at(value, where)) != wanted for where, wanted in taking.where.items()):
            counts.left_out["not of --where"] += 1
            for where, found in elsewhere.items():
                found[str(_at(value, where))[:40]] += 1
            continue
        counts.read += 1
        seen |= value.keys()
        try:
            yield _ready(name, value, taking, counts) if kind is None else _question(name, value, kind, taking, counts)
        except Dropped as why:
            counts.left_out[str(why)] += 1
    if taking.where and not counts.read and counts.left_out:
        told = "; ".join(f"{name} is {_some(found)}" for name, found in elsewhere.items())
        raise ValueError(f"--where: no record has {' and '.join(f'{k}={v}' for k, v in taking.where.items())}; {told}")
    missing = sum(n for why, n in counts.left_out.items() if why.startswith("no field"))
    if counts.read and missing == counts.read:
        wanted = ", ".join(kind.fields) if kind else " or ".join(f"{a} and {b}" for a, b in ASKED)
        raise ValueError(
            f"no record has the fields {wanted}; the records have {', '.join(sorted(seen))}: say which is which by "
            "--field NAME=FIELD"
        )


def _some(found: Counter[str]) -> str:
    most = ", ".join(value for value, _ in found.most_common(10))
    return most + (f" and {len(found) - 10} others" if len(found) > 10 else "")


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _flattened(records: Iterable[Record], counts: Counts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, record) of every record, and of every question of a document; the name is its line, after the file where
    several files are read as one."""
    for record in records:
        if record.error or not isinstance(record.value, dict | list):
            raise ValueError(f"{record.file or 'line'} {record.line}: {record.error or 'expected an object'}")
        name = f"{Path(record.file).name}-{record.line}" if record.file else str(record.line)
        lost = Counter[str]()
        for number, value in enumerate(documents(record.value, lost), 1):
            yield name if value is record.value else f"{name}.{number}", value
        counts.left_out.update(lost)
        counts.read += lost.total()


def _ready(name: str, value: Mapping[str, Any], taking: Taking, counts: Counts) -> Question:
    found = ready(value, {name: _at(value, path) for name, path in taking.fields.items()})
    if found is None:
        raise Dropped("no field for a prompt and its answer")
    answers = tuple(dict.fromkeys(END.sub("", answer).strip() for answer in found.answers))
    if answers != tuple(dict.fromkeys(found.answers)):
        counts.changed["an end token's name cut off answers"] += 1
    if not found.prompt.strip() or not answers or not all(answers):
        raise Dropped("nothing asked or answered")
    if taking.most_characters and len(found.prompt) > taking.most_characters:
        raise Dropped(f"prompts of more than {taking.most_characters} characters (--most-characters)")
    choices = labels_of(choices_of(value, found.choices) or [], several=True) or ()
    also = choices if answers[0] in choices else ()
    key = " ".join(found.prompt.casefold().split())
    return Question(name, key, {"": found.prompt}, language_of(found.prompt), answers, also, found.kind)


def _question(ident: str, value: Mapping[str, Any], kind: Kind, taking: Taking, counts: Counts) -> Question:
    raw = {name: _given(value, name, kind, taking, counts) for name in kind.fields}
    own, labels = kind.labels if kind.labels in kind.fields else "", labels_of_choices(raw.get(kind.labels))
    if own:
        raw[own] = choices_of(value, raw[own])
    choices = tuple(map(_text, _listed(raw, own, taking))) if own else ()
    language = language_of(_text(raw[kind.fields[0]]))
    language = language if language in ITEMS else "zh"
    values: dict[str, str] = {}
    answers: tuple[str, ...] = ()
    wordings: list[str] = []
    held, place = kind.within or ("", "")
    for name in kind.fields:
        if raw[name] is None:
            raise Dropped(f"no field {taking.fields.get(name, name)}")
        _tell_one(raw[name], name, kind, taking, counts)
        items = [text for item in _listed(raw, name, taking) if (text := _text(item))]
        if not items:
            raise Dropped(f"nothing in {taking.fields.get(name, name)}")
        if name == kind.answer_field:
            answers = (ITEMS[language].join(items),) if kind.metric == "entities" else tuple(dict.fromkeys(items))
            values[name] = answers[0]
            continue
        values[name] = ("\n" if name == kind.fields[0] else ITEMS[language]).join(items)
        wordings = items if name == held else wordings
    key = " ".join(values[kind.fields[0]].casefold().split())  # of the whole text, however it is cut
    if wordings:  # of one answer
        values[held] = next((text for text in wordings if text in values[place]), wordings[0])
    for name in [name for name in kind.fields if name != kind.answer_field]:
        inner = () if name != place else answers if held == kind.answer_field else (values[held],)
        values[name] = _cut(values[name], name, taking, counts, inner, key)
    answers = answers or (filled(kind.target, values),)
    if kind.labels == "data" and answers == ("-1",):
        raise Dropped("the label is -1, as test sets say that theirs is hidden")
    number = None
    whole = type(raw.get(kind.answer_field)) is int and answers[0] not in labels  # a place, whatever they say
    if choices and not whole and (found := choice(answers[0], choices, labels)) is not None:
        answers = (found,)
    elif choices:
        number = int(answers[0]) if answers[0].isdecimal() else None
        if number is None or number > len(choices):
            raise Dropped("the answer is none of the record's choices")
    if taking.most_characters and max(map(len, answers)) > taking.most_characters:
        raise Dropped(f"answers of more than {taking.most_characters} characters (--most-characters)")
    return Question(ident, key, values, language, answers, choices, number=number)


def _given(value: Mapping[str, Any], name: str, kind: Kind, taking: Taking, counts: Counts) -> Any:
    """A field of the kind: where the user says, by its name, or by the one of USUAL that the record has."""
    if name in taking.fields:
        return _at(value, taking.fields[name])
    names = USUAL.get(name, ())
    if name in value:
        names = NAMES_OF_LABELS if kind.labels == "data" and name == kind.answer_field else ()
        if not str(value[name]).strip().isdecimal():
            return value[name]
    elif name == "items" and "label" in value:  # CSL's label says whether they are the text's keywords
        return None
    elif kind.closed and name == kind.answer_field:
        names = (*names, "label", "gold")
    taken = {*kind.fields, *taking.fields.values()}
    found = [other for other in names if other not in taken and _at(value, other) is not None]
    if name in value:
        found = found[:1]
    if len(found) != 1:
        return value.get(name)
    counts.changed[f"{name} taken from the field {found[0]} (--field says otherwise)"] += 1
    return _at(value, found[0])


def _listed(raw: Mapping[str, Any], name: str, taking: Taking) -> Sequence[Any]:
    value = raw[name]
    if isinstance(value, list | tuple):
        return value
    if name in taking.lists and isinstance(value, str):
        return value.split(taking.lists[name])
    return [] if value is None else [value]


def _tell_one(value: Any, name: str, kind: Kind, taking: Taking, counts: Counts) -> None:
    """That a text which looks like a list is one item."""
    if name in taking.lists or not isinstance(value, str) or not (found := SEPARATORS.search(value)):
        return
    if name == "keywords" or (name == kind.answer_field and (kind.metric == "entities" or kind.labels == "data")):
        counts.changed[f"{name} with {found[0]} in it, taken as one (--list {name}={found[0]} makes it several)"] += 1


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):  # {"answer_start": ..., "text": ...}
        return _text(value.get("text", ""))
    return "" if value is None else str(value).strip()


def _cut(text: str, name: str, taking: Taking, counts: Counts, inner: Sequence[str], key: str) -> str:
    """The text, cut to `most_characters`: its beginning, or, if it contains one of `inner`, a part around the first
    that it contains, which begins with a sentence where possible."""
    most = taking.most_characters
    places = [(at, at + len(one)) for one in inner if (at := text.find(one)) >= 0]
    if inner and not places:
        raise Dropped(f"the answer is not in {name}")
    if not most or len(text) <= most:
        return text
    begin = 0
    if places:
        first, last = places[0]
        if last - first > most:
            raise Dropped(f"answers of more than {most} characters (--most-characters)")
        # anywhere around it, so that where the answer stands says nothing
        possible = range(max(0, last - most), min(first, len(text) - most) + 1)
        whole = [i for i in possible if i == 0 or text[i - 1] in SENTENCE_ENDS or text[i - 2 : i] == ". "]
        begin = random.Random(f"{key}/{inner[0]}").choice(whole or possible)
    counts.changed[f"{name} cut to {most} characters (--most-characters)"] += 1
    return text[begin : begin + most].strip()
