"""Test files -> suites: the form of each record is known by its fields, whatever the file is called.

question, choices, answer 'B'            multiple choice by letter (C-Eval, CMMLU, MMLU); or columns A, B, C, D
question, choices with text and label, answerKey      ARC as published
ctx, endings, label                      HellaSwag as published
query, choices, gold 0                   choice of a text (ARC, PIQA, BoolQ and relatives)
context_options, continuation, gold      choice of a beginning (WinoGrande, Winograd)
context, continuation or answer          the text that follows (LAMBADA, TriviaQA, Jeopardy)
question, answer with '#### 18'; input, golden        a number (GSM8K, CMath)
question, answer or answers, one or several           a text (NQ-open; with context SQuAD)
Question, Best Answer, Incorrect Answers TruthfulQA: the best answer among the wrong ones
input, target, answer_choices            pCLUE
prompt, instruction_id_list, kwargs      verifiable instructions (IFEval, IFBench)
prompt, label safe or unsafe             refusals (XSTest)
prompt or messages, with not_like, must or must_not   a regression suite of the user's
messages, meta with task          a test split of `steersman tasks build`, scored by its kind's metric
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.data.published_tasks import choices_of, labels_of_choices
from steersman.data.reading import Reading
from steersman.data.sources import scan
from steersman.eval.suites import instructions, refusal_suite, regressions, task_forms
from steersman.eval.suites.questions import LETTERS, Asking, Question, item_of
from steersman.eval.suites.suite import APART, Item, Spec, Suite, different_ids, spread
from steersman.progress import note

OPTIONS = {
    "n": "at most so many prompts, evenly from the whole file",
    "shots": "so many solved examples first",
    "examples": "the file they come from; default: the same file, never the question itself",
    "by": "logprob, generation, or constrained to the labels (task sets): how a choice is made",
    "norm": "characters, batch or none: whether log-probabilities of choices are compared per character, or beside "
    "the mean probability that a choice has over all questions with the same choices",
    "style": "chat or text: a dialogue, or text to be continued",
    "cot": "1: reason first",
    "task": "only records of this task, group or subject",
    "margin": "how much lower a score may be before it counts as worse",
    "max_tokens": "most tokens of an answer",
}
LETTER = re.compile(r"[(（]?([A-Ja-j])(?:[)）.．:：、]|$)")
"""Pattern of an answer that begins with its letter, such as B, (B) or 'B. Paris'."""
PASSAGES = ("context", "passage", "article", "paragraph", "content", "material")
"""Fields of the text that a question is about."""
Json = Mapping[str, Any]
Made = Item | str
"""An item, or why a record gives none."""


def read(text: str, folder: Path | None = None) -> Suite:
    """The suite of a file with its options; a relative path is looked for from `folder`. ValueError names file and
    line where a record is of no known form."""
    spec = Spec.parse(text, OPTIONS)
    path = _place(spec.name, folder)
    records = list(_records(path, spec.options.get("task", "")))
    if not records:
        raise ValueError(f"{path}: expected records{_of_task(spec)}, found none")
    form = _form(records[0][1], f"{path}:{records[0][0]}")
    made = form(records, spec, path, folder)
    items = [one for one in made if isinstance(one, Item)]
    left = Counter(one for one in made if isinstance(one, str))
    if not items:
        raise ValueError(f"{path}: no record can be asked ({'; '.join(f'{n} {why}' for why, n in left.items())})")
    for why, n in left.items():
        note(f"{text}: {n} of {len(made)} records are not asked: {why}")
    kept = different_ids(spread(items, spec.number("n")))
    margin = float(spec.options.get("margin", "0") or 0)
    kind = KINDS.get(form, "task")
    norms = ("characters", "none", "batch") if form in BY_LENGTH else ("none", "characters", "batch")
    norm = spec.one_of("norm", norms)
    by_length = any(i.choices for i in kept) and norm == "characters"
    return Suite(
        text,
        kept,
        kind,  # type: ignore[arg-type]
        margin,
        by_length,
        dict(left),
        spec.number("max_tokens"),
        (APART,) if spec.options.get("style") == "text" else (),
        batch=norm == "batch",
    )


def files_of(text: str, folder: Path | None = None) -> list[Path]:
    """The files that a task reads: its own, and that of its examples."""
    spec = Spec.parse(text, OPTIONS)
    own, named = _place(spec.name, folder), spec.options.get("examples", "")
    examples = _place(named, folder) if named else task_forms.examples_of(own) if spec.number("shots") else own
    return list(dict.fromkeys((own, examples)))


def _place(name: str, folder: Path | None) -> Path:
    path = Path(name)
    place = path if path.is_absolute() or folder is None or path.exists() else folder / path
    if not place.exists():
        raise ValueError(f"task '{name}': no such file; expected a file of test questions")
    return place


def _of_task(spec: Spec) -> str:
    return f" of task {spec.options['task']}" if spec.options.get("task") else ""


def _records(path: Path, task: str) -> Iterator[tuple[int, Json]]:
    for record in scan(path, Reading(encoding="auto", tell=note)):
        if record.error or not isinstance(record.value, dict):
            raise ValueError(f"{path}:{record.line}: {record.error or 'expected an object'}")
        value = {str(k).lstrip("\ufeff"): v for k, v in record.value.items()}
        if not task or task in (value.get("task"), value.get("group"), value.get("subject"), value.get("type")):
            yield record.line, value


def _form(value: Json, where: str) -> Callable[..., list[Made]]:
    for fields, form in FORMS:
        if fields <= set(value):
            return form
    if {"question", "a", "b", "answer"} <= {str(field).lower() for field in value}:
        return columns
    shown = "; ".join(", ".join(sorted(fields)) for fields, _ in FORMS)
    raise ValueError(f"{where}: fields {', '.join(sorted(value))}: expected those of a known form: {shown}")


# forms of questions


def _texts(value: Any) -> tuple[str, ...]:
    """Right answers: one, a list of them, or SQuAD's {"text": [...]}."""
    value = value.get("text", "") if isinstance(value, Mapping) else value
    every = value if isinstance(value, list | tuple) else [value]
    return tuple(dict.fromkeys(str(one).strip() for one in every)) or ("",)


def _asked(value: Json) -> str:
    """The question, below the passage that it is about, where the record has one."""
    passage = next((value[name] for name in PASSAGES if value.get(name)), "")
    lines = passage if isinstance(passage, list) else [passage]
    return "\n".join(filter(None, (*(line.strip() for line in lines if isinstance(line, str)), str(value["question"]))))


def _number(answer: Any) -> int | None:
    """The answer as a choice's number; None where it is none."""
    if isinstance(answer, bool):
        return None
    text = str(answer).strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def _gold(answer: Any, choices: Sequence[str], labels: Sequence[str]) -> int:
    """The place of the right choice by its label, its letter, its words or its number from 0; -1 where it is none."""
    text, number = str(answer).strip(), _number(answer)
    if isinstance(answer, int) and number is not None:
        return number
    # a letter alone is one, also where choices are letters in another order (CMMLU)
    for known in (list(labels), list(LETTERS), [one.strip() for one in choices]):
        if text in known:
            return known.index(text)
    letter = LETTER.match(text)
    return LETTERS.index(letter[1].upper()) if letter else -1 if number is None else number


def _lettered(value: Json, name: str) -> Question:
    raw = value["choices"]
    labels, listed = labels_of_choices(raw), choices_of(value, raw)
    if isinstance(listed, Mapping):  # {"A": ..., "B": ...}
        labels, listed = tuple(map(str, listed)), list(listed.values())
    if not isinstance(listed, list | tuple):
        raise ValueError(f"choices: expected a list, got {str(listed)[:40]!r}")
    choices = tuple(map(str, listed))
    subject, reason = str(value.get("subject", "")), str(value.get("explanation", ""))
    return Question(name, _asked(value), subject, choices, _gold(value["answer"], choices, labels), reason=reason)


def _columns(value: Json, name: str) -> Question:
    """Columns A, B, C, D, whatever the case of the others (CMMLU's and C-Eval's CSV files)."""
    given = {str(k).lower(): v for k, v in value.items()}
    of = {x.upper(): given[x] for x in "abcdefghij" if given.get(x) is not None and str(given[x]).strip()}
    return _lettered({"subject": "", "explanation": "", **given, "choices": of}, name)


def _labelled(value: Json, name: str) -> Question:
    """ARC: choices are {text: [...], label: [A, B, ...] or [1, 2, ...]}, answerKey one of the labels."""
    given = value["choices"]
    labels, texts = [str(label) for label in given["label"]], tuple(map(str, given["text"]))
    gold = labels.index(str(value["answerKey"])) if str(value["answerKey"]) in labels else -1
    return Question(name, _asked(value), str(value.get("subject", "")), texts, gold)


def _endings(value: Json, name: str) -> Question:
    gold = int(value["label"]) if str(value["label"]).strip() else -1
    group = str(value.get("activity_label", ""))
    return Question(name, str(value["ctx"]), group, tuple(map(str, value["endings"])), gold, lettered=False)


def _query(value: Json, name: str) -> Question:
    group = str(value.get("task", ""))
    return Question(
        name, str(value["query"]), group, tuple(map(str, value["choices"])), int(value["gold"]), lettered=False
    )


def _beginnings(value: Json, name: str) -> Question:
    contexts = tuple(map(str, value["context_options"]))
    return Question(
        name,
        str(value["continuation"]),
        str(value.get("task", "")),
        gold=int(value["gold"]),
        contexts=contexts,
        lettered=False,
    )


def _continued(value: Json, name: str) -> Question:
    answer, *others = _texts(value.get("continuation", value.get("answer")))
    return Question(
        name,
        str(value["context"]),
        str(value.get("task", "")),
        answer=answer,
        also=(*others, *map(str, value.get("aliases", ()))),
        reason=str(value.get("chain_of_thought", "")),
        lettered=False,
        numeric=_is_number(answer),
    )


def _worked(value: Json, name: str) -> Question:
    """GSM8K: the solution ends in '#### 18'. A question whose answer has no such end has a text for an answer."""
    first, *others = _texts(value["answer"] if "answer" in value else value["answers"])
    reason, mark, answer = first.rpartition("####")
    answer = answer.strip()
    return Question(
        name,
        _asked(value),
        str(value.get("subject", "")),
        answer=answer,
        reason=reason.strip(),
        numeric=not others and (bool(mark) or _is_number(answer)),
        also=(*others, *map(str, value.get("aliases", ()))),
    )


def _golden(value: Json, name: str) -> Question:
    group = f"grade {value['grade']}" if "grade" in value else ""
    return Question(
        name, str(value["input"]), group, answer=str(value["golden"]), numeric=_is_number(str(value["golden"]))
    )


def _truthful(value: Json, name: str) -> Question:
    """The best answer among the wrong ones, in an order drawn from the question (MC1)."""
    wrong = [w.strip() for w in str(value["Incorrect Answers"]).split(";") if w.strip()]
    choices = [str(value["Best Answer"]).strip(), *wrong]
    order = list(range(len(choices)))
    random.Random(str(value["Question"])).shuffle(order)
    group, shown = str(value.get("Category", "")), tuple(choices[i] for i in order)
    return Question(name, str(value["Question"]), group, shown, order.index(0), lettered=False)


def _pclue(value: Json, name: str) -> Question:
    target, choices = str(value["target"]), tuple(map(str, value.get("answer_choices") or ()))
    group = str(value.get("type", ""))
    if target in choices:
        return Question(name, str(value["input"]), group, choices, choices.index(target), lettered=False)
    return Question(name, str(value["input"]), group, answer=target, lettered=False)


def _is_number(text: str) -> bool:
    from steersman.eval.suites.quantities import amount_of

    found = amount_of(text)
    return found is not None and not found.unit


def _questions(of: Callable[[Json, str], Question]) -> Callable[..., list[Made]]:
    def form(records: list[tuple[int, Json]], spec: Spec, path: Path, folder: Path | None) -> list[Made]:
        asking = Asking(
            by=spec.one_of("by", ("logprob", "generation")),
            style=spec.one_of("style", ("chat", "text")),
            cot=spec.one_of("cot", ("0", "1")) == "1",
            shots=spec.number("shots"),
        )
        if asking.shots:
            source = _place(spec.options["examples"], folder) if spec.options.get("examples") else path
            pool = records if source == path else list(_records(source, ""))
            asking = dataclasses.replace(asking, examples=tuple(_all(of, pool, source)))
        out: list[Made] = []
        for (_, value), question in zip(records, _counted(list(_all(of, records, path)), records, path), strict=True):
            why = _refused(question, value)
            out.append(why or item_of(question, asking))
        return out

    return form


def _all(of: Callable[[Json, str], Question], records: list[tuple[int, Json]], path: Path) -> Iterator[Question]:
    for line, value in records:
        try:
            yield of(value, f"{value.get('subject') or value.get('task') or path.name.partition('.')[0]}-{line}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}:{line}: {type(error).__name__}: {error}") from None


def _counted(found: list[Question], records: list[tuple[int, Json]], path: Path) -> list[Question]:
    """Questions whose answers are numbers of choices; a file in which one is the number of all, and none is 0, counts
    them from 1."""
    fields = [{str(k).lower(): v for k, v in value.items()}.get("answer") for _, value in records]
    numbered = [bool(q.lettered and q.choices) and q.gold == _number(a) for q, a in zip(found, fields, strict=True)]
    of = [q for q, is_number in zip(found, numbered, strict=True) if is_number]
    if not any(q.gold == len(q.choices) for q in of) or any(q.gold == 0 for q in of):
        return found
    note(f"{path}: answers are numbers of choices, counted from 1")
    return [dataclasses.replace(q, gold=q.gold - n) for q, n in zip(found, numbered, strict=True)]


def _refused(question: Question, value: Json) -> str:
    count = len(question.choices) or len(question.contexts)
    if question.lettered and count > len(LETTERS):
        return f"more than {len(LETTERS)} choices"
    if count and not 0 <= question.gold < count:
        return "its answer is none of its choices"
    if not count and not question.answer:
        return "it has no answer"
    return ""


def _task_set(records: list[tuple[int, Json]], spec: Spec, path: Path, folder: Path | None) -> list[Made]:
    source = _place(spec.options["examples"], folder) if spec.options.get("examples") else task_forms.examples_of(path)
    pool = (records if source == path else list(_records(source, ""))) if spec.number("shots") else []
    asking = task_forms.asking_of(spec, pool, source)
    constrained = spec.options.get("by") == "constrained"
    return [task_forms.item(value, f"{path}:{line}", asking, constrained) for line, value in records]


FORMS: tuple[tuple[frozenset[str], Callable[..., list[Made]]], ...] = (
    (frozenset({"prompt", "instruction_id_list"}), instructions.of_records),
    (frozenset({"not_like"}), regressions.of_records),
    (frozenset({"must"}), regressions.of_records),
    (frozenset({"must_not"}), regressions.of_records),
    (frozenset({"prompt", "label"}), refusal_suite.of_records),
    (frozenset({"question", "choices", "answerKey"}), _questions(_labelled)),
    (frozenset({"ctx", "endings", "label"}), endings := _questions(_endings)),
    (frozenset({"question", "A", "B", "answer"}), columns := _questions(_columns)),
    (frozenset({"question", "choices", "answer"}), _questions(_lettered)),
    (frozenset({"query", "choices", "gold"}), query := _questions(_query)),
    (frozenset({"context_options", "continuation", "gold"}), beginnings := _questions(_beginnings)),
    (frozenset({"context", "question", "answer"}), worked := _questions(_worked)),
    (frozenset({"context", "continuation"}), _questions(_continued)),
    (frozenset({"context", "answer"}), _questions(_continued)),
    (frozenset({"Question", "Best Answer", "Incorrect Answers"}), _questions(_truthful)),
    (frozenset({"input", "golden"}), _questions(_golden)),
    (frozenset({"input", "target"}), pclue := _questions(_pclue)),
    (frozenset({"question", "answer"}), worked),
    (frozenset({"question", "answers"}), worked),
    (frozenset({"messages", "meta"}), _task_set),
)
"""The first whose fields a record has all is its form."""
BY_LENGTH = (query, pclue, endings)
KINDS = {regressions.of_records: "regression", refusal_suite.of_records: "safety"}
