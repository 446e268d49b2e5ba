"""Questions of a kind of task -> text-to-text demonstrations, several prompts each, split so that no text is in two.

A demonstration's `meta` holds under "task" its kind and template; outside of the training split also what the scoring
needs: metric, label set, other right answers, and the answers of the baselines that a model must beat.

Which prompts a question gets, the order of the options and all other draws follow from the seed and the question.

Why so: decision 84 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.data.split import split_keys
from steersman.data.task_kinds import JOINT, OPTIONS, Kind, filled
from steersman.data.task_records import Counts, Question
from steersman.data.task_threads import together
from steersman.types import Conversation, Message

TASK = "task"
FEW = 20
"""Completions of a template, at most, that make it closed, where each comes five times."""
SENTENCE = re.compile(r"[^。！？!?\n]+?(?:[。！？!?\n]|\.(?=\s)|$)")


@dataclass(frozen=True)
class Building:
    """How demonstrations are made of questions."""

    name: str
    seed: int
    fractions: Mapping[str, float]
    least: int = 0
    """Least records of a split, as in `split_records`."""
    language: str = "auto"
    """auto: of each text; zh, en, or both."""
    prompts: int = 2
    """Prompts of a question in the training split; elsewhere one."""
    options: int = 20
    """Most labels that a prompt lists."""
    most: int = 0
    """Most questions of all splits, drawn by the seed; 0: all."""
    balance: bool = False
    """Labels equally often: at most `most` divided by their number, or as the rarest."""


@dataclass(frozen=True)
class Built:
    """The demonstrations of each split, and the label sets by language."""

    splits: Mapping[str, list[Conversation]]
    labels: Mapping[str, tuple[str, ...]]


def build(found: Sequence[Question], kind: Kind | None, how: Building, counts: Counts) -> Built:
    """Demonstrations of all splits. ValueError where there are none, or no prompt suits the label set."""
    found = _drawn(found, how, counts)
    found = _spoken(found)
    keys = together(found, counts)
    split = split_keys(keys, how.fractions, how.least)
    parts = {name: [q for q, key in zip(found, keys, strict=True) if split[key] == name] for name in how.fractions}
    learned = parts.get("train") or found
    worded = _worded(kind, learned, how) if kind is not None else _ready_words(learned)
    out: dict[str, list[Conversation]] = {}
    seen: dict[str, str] = {}
    for name, part in parts.items():
        made = [one for q in part for one in _made(q, kind, how, worded, counts, name == "train")]
        out[name] = list(_unlike(made, seen, counts))
    if not any(out.values()):
        raise ValueError(f"{how.name}: no record is left ({'; '.join(f'{n} {w}' for w, n in counts.left_out.items())})")
    used = {c.meta[TASK]["template"].partition("-")[0] for part in out.values() for c in part}
    used |= {c.meta[TASK]["kind"] for part in out.values() for c in part}
    labels = {code: tuple(dict.fromkeys(of.values())) for code, of in worded.items() if code in used}
    return Built(_with_baselines(out), labels)


def _drawn(found: Sequence[Question], how: Building, counts: Counts) -> Sequence[Question]:
    """As many questions as are wanted, with `balance` of each answer; their order stays."""
    sizes = Counter(q.answers[0] if how.balance else "" for q in found)
    most = how.most // len(sizes) if how.most and sizes else min(sizes.values()) if how.balance else len(found)
    if max(sizes.values(), default=0) <= most:
        return found
    taken: set[int] = set()
    left = dict.fromkeys(sizes, most)
    for i in sorted(range(len(found)), key=lambda i: _rng(how, f"most/{found[i].id}/{found[i].key}").random()):
        label = found[i].answers[0] if how.balance else ""
        if left[label]:
            left[label] -= 1
            taken.add(i)
    why = "beyond --most, or beyond a label's share" if how.balance else "beyond --most"
    counts.left_out[why] += len(found) - len(taken)
    return [q for i, q in enumerate(found) if i in taken]


def _rng(how: Building, what: str) -> random.Random:
    return random.Random(f"{how.seed}/{how.name}/{what}")


def _spoken(found: Sequence[Question]) -> list[Question]:
    """A language of fewer than one text in twenty is not asked in: such are names, or numbers."""
    counts = Counter(q.language for q in found)
    most = max(counts, key=lambda code: counts[code], default="zh")
    rare = {code for code, n in counts.items() if 20 * n < len(found)}
    return [dataclasses.replace(q, language=most) if q.language in rare else q for q in found]


def _worded(kind: Kind, learned: Sequence[Question], how: Building) -> dict[str, dict[str, str]]:
    """Label sets: language -> value in the data -> word; {} of free answers."""
    if kind.words is not None:
        first = next(iter(kind.words.values()))
        return {code: dict(kind.words.get(code, first)) for code in kind.templates}
    if kind.labels != "data":
        return {}
    found = sorted({q.answers[0] for q in learned})
    if len(found) < 2:
        raise ValueError(f"{how.name}: expected two labels or more in {kind.answer_field}, found {', '.join(found)}")
    return {code: {label: label for label in found} for code in kind.templates}


def _ready_words(learned: Sequence[Question]) -> dict[str, dict[str, str]]:
    """Label sets of ready records without choices, by their template: what few completions come again and again."""
    by_kind: dict[str, Counter[str]] = {}
    for q in learned:
        if q.kind and not q.choices:
            by_kind.setdefault(q.kind, Counter())[q.answers[0]] += 1
    few = {k: sorted(of) for k, of in by_kind.items() if 1 < len(of) <= FEW and of.total() >= 5 * len(of)}
    return {k: {label: label for label in of} for k, of in few.items()}


def _made(
    q: Question,
    kind: Kind | None,
    how: Building,
    worded: Mapping[str, Mapping[str, str]],
    counts: Counts,
    train: bool,
) -> Iterator[Conversation]:
    if kind is None:
        labels = q.choices or tuple(worded.get(q.kind, {}))
        if labels and q.answers[0] not in labels:
            counts.left_out["the answer is none of the choices"] += 1
            return
        about = {"kind": q.kind or "ready", "template": "ready", "metric": "accuracy" if labels else "rouge"}
        yield _demonstration(q, (q.ready, q.answers, labels), about, how, train)
        return
    spoken = [q.language] if how.language == "auto" else [*kind.templates] if how.language == "both" else [how.language]
    rng = _rng(how, f"{q.id}/{q.key}")
    languages = [kind.asked(code) for code in spoken]
    for code in [rng.choice(languages)] if not train else languages:
        answers, labels = _answers(q, worded.get(code, {}))
        if not answers:
            counts.left_out[f"the label {q.answers[0]!r} is none of the set (--label VALUE=WORD)"] += 1
            return
        usable = _usable(kind, code, len(labels), how)
        count = min(how.prompts, len(usable)) if train else 1
        for number in sorted(rng.sample(usable, count)):
            shown = rng.sample(labels, len(labels))
            values = {**q.values, OPTIONS: JOINT[code].join(shown)}
            prompt = filled(kind.templates[code][number], values)
            about = {"kind": kind.name, "template": f"{code}-{number + 1}", "metric": kind.metric}
            about |= {"copy": filled(kind.copy, q.values)} if kind.copy else {}
            about |= {"lead": _lead(q.values[kind.lead])} if kind.lead else {}
            yield _demonstration(q, (prompt, answers, labels), about, how, train)


def _answers(q: Question, words: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(right answers, label set); no answers where the label is none of the set."""
    if q.choices:
        return q.answers, q.choices
    if not words:
        return q.answers, ()
    folded = {value.casefold(): word for value, word in [*((w, w) for w in words.values()), *words.items()]}
    word = folded.get(q.answers[0].casefold())
    return ((word,) if word is not None else ()), tuple(dict.fromkeys(words.values()))


def _usable(kind: Kind, code: str, labels: int, how: Building) -> list[int]:
    """Numbers of the prompts for a label set of so many."""
    every = kind.templates[code]
    found = [i for i, text in enumerate(every) if labels <= how.options or f"{{{OPTIONS}}}" not in text]
    if not found:
        raise ValueError(
            f"{how.name}: {labels} labels, and every prompt of kind {kind.name} in {code} lists them; raise --options, "
            "or write a prompt without {options}"
        )
    return found


def _lead(text: str) -> str:
    found = SENTENCE.match(text.strip())
    return (found[0] if found else text).strip()


def _demonstration(
    q: Question,
    said: tuple[str, tuple[str, ...], tuple[str, ...]],
    about: dict[str, Any],
    how: Building,
    train: bool,
) -> Conversation:
    prompt, answers, labels = said
    task: dict[str, Any] = {"set": how.name, "kind": about["kind"], "template": about["template"]}
    if not train:
        task |= about
        task |= {"labels": list(labels)} if labels else {}
        task |= {"answers": list(answers)} if len(answers) > 1 else {}
    name = f"{how.name}-{q.id}-{about['template']}"
    return Conversation(name, (Message("user", prompt), Message("assistant", answers[0])), {TASK: task})


def _unlike(made: Sequence[Conversation], seen: dict[str, str], counts: Counts) -> Iterator[Conversation]:
    """Those whose prompt was not asked before, in this split or another; `seen`: hash of a prompt -> its answer."""
    for one in made:
        digest = hashlib.sha256(one.messages[0].text.encode()).hexdigest()
        answer = one.messages[1].text
        if digest not in seen:
            seen[digest] = answer
            yield one
        else:
            same = seen[digest] == answer
            counts.left_out["repeated prompts" if same else "repeated prompts with another answer"] += 1


def _with_baselines(splits: Mapping[str, list[Conversation]]) -> dict[str, list[Conversation]]:
    """The most frequent answer of the training split (else of the split itself) as the answer of a baseline, among the
    prompts of one kind and language."""

    def group(one: Conversation) -> tuple[str, str]:
        task = one.meta[TASK]
        return task["kind"], task["template"].partition("-")[0]

    common: dict[tuple[str, str], Counter[str]] = {}
    for one in splits.get("train") or [c for part in splits.values() for c in part]:
        common.setdefault(group(one), Counter())[one.messages[1].text] += 1
    out = {"train": splits["train"]} if "train" in splits else {}
    for name, part in splits.items():
        if name == "train":
            continue
        out[name] = []
        for one in part:
            counted = common.get(group(one))
            # of equal counts the first by its words, so that the order of the records does not matter
            most = min(counted, key=lambda a: (-counted[a], a)) if counted else ""
            out[name].append(dataclasses.replace(one, meta={TASK: {**one.meta[TASK], "common": most}}))
    return out
