"""Records that list answers to one prompt, or give one with a score: ordered by ranks, scores or their place."""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steersman.data.formats.comparisons import answer_text, asked, number, prompt_for, ranking, ranks_of
from steersman.data.formats.dialogues import content_id
from steersman.data.formats.fields import Fields, parsed_json, plain, shown
from steersman.data.shelves import Numbers, Pile
from steersman.types import Conversation, Ranking

TEXT_OF_ANSWER = ("response", "answer", "text", "content", "completion", "output", "value", "generated_text", "回答")
_SCORES = "overall_score score rating reward quality fine-grained_score pm_score votes upvotes points stars grade"
SCORE_OF_ANSWER = tuple(_SCORES.split())


def list_of(fields: Fields) -> str | None:
    """The field that lists several answers to one prompt."""
    for name in fields.names("answers"):
        key: str | None = fields.keys.get(name)
        value = fields.record[key] if key is not None else None
        if key is not None and isinstance(value, list) and len(value) >= 2 and not _is_dialogue(value):
            return key
    return None


def _is_dialogue(value: list[Any]) -> bool:
    """Whether a list is one answer of several turns rather than several answers."""
    return all(isinstance(v, Mapping) and ("role" in v or "from" in v) for v in value)


def from_ranking(fields: Fields) -> Ranking:
    """A prompt and a list of answers with scores (more is better) or ranks (1 is best), or best first.

    Lists called `output` are best first by their format (LLaMA-Factory); others need --ordered best-first.
    """
    key = list_of(fields)
    if key is None:
        key = next((fields.keys[n] for n in fields.names("answers") if n in fields.keys), "answers")
        raise ValueError(f"{key}: expected a list of at least two answers, got {shown(fields.record.get(key))}")
    values = fields.record[key]
    fields.used.add(key)
    fields.taken["answers"] = key
    texts = [_of_list(value, f"{key}[{i}]", fields) for i, value in enumerate(values)]
    ranks = _ranks(values, key, fields)
    return ranking(prompt_for(fields), texts, fields, ranks)


def _of_list(value: Any, field: str, fields: Fields) -> str:
    if isinstance(value, Mapping) and "role" not in value and "from" not in value:
        found = next((value[k] for k in TEXT_OF_ANSWER if isinstance(value.get(k), str)), None)
        if found is None:
            raise ValueError(
                f"{field}: expected an object with the answer as response, answer or text, got {shown(dict(value))}"
            )
        value = found
    return answer_text(value, field, fields)


def _ranks(values: list[Any], key: str, fields: Fields) -> tuple[int, ...] | None:
    """A rank per answer, 1 best; None: in the listed order. ValueError where the order is unknown."""
    n = len(values)
    if (
        (field := fields.find("ranks")) is not None
        and field != key
        and isinstance(ranks := parsed_json(fields.record[field]), list)
    ):
        fields.take("ranks")
        if len(ranks) != n or not all(type(r) is int and r >= 0 for r in ranks) or (min(ranks) < 1 and 0 not in ranks):
            raise ValueError(f"{field}: expected {n} integers, 1 for the best, got {shown(ranks)}")
        return ranks_of([-r for r in ranks]) if 0 in ranks else tuple(ranks)
    field = fields.find("scores")
    if field is not None and isinstance(scores := parsed_json(fields.record[field]), list):
        fields.take("scores")
        numbers = [number(s) for s in scores]
        if len(scores) != n or any(s is None for s in numbers):
            raise ValueError(f"{field}: expected {n} numbers, one per answer, more is better, got {shown(scores)}")
        return ranks_of(numbers)
    if all(isinstance(v, Mapping) for v in values):
        own = [number(v.get("rank")) for v in values]
        if all(r is not None for r in own):
            fields.taken["ranks"] = f"{key}[].rank"
            return ranks_of([-r for r in own if r is not None])
        name = next(
            (s for s in (*SCORE_OF_ANSWER, "annotations") if all(_score(v, s) is not None for v in values)), None
        )
        if name is not None:
            fields.taken["scores"] = f"{key}[].{name}"
            return ranks_of([_score(v, name) for v in values])
    if fields.ordered == "best-first":
        return None
    if fields.ordered == "worst-first":
        return tuple(range(n, 0, -1))
    if plain(key) == "output" and all(isinstance(v, str) for v in values):
        fields.note("lists 'output' taken as best first, as LLaMA-Factory has them")
        return None
    raise ValueError(
        f"{key}: expected scores or ranks beside {n} answers, got none; --map scores=FIELD or ranks=FIELD names them, "
        "--ordered best-first says that they stand in order"
    )


def _score(value: Mapping[str, Any], name: str) -> float | None:
    """An answer's own score; for UltraFeedback's annotations the mean rating over aspects."""
    if name != "annotations":
        return number(value.get(name))
    aspects = value.get("annotations")
    ratings = (
        [a.get("Rating", a.get("rating")) for a in aspects.values() if isinstance(a, Mapping)]
        if isinstance(aspects, Mapping)
        else []
    )
    numbers = [r for r in map(number, ratings) if r is not None]
    return sum(numbers) / len(numbers) if numbers else None


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """One answer with a score; a ranking needs several to one prompt."""

    prompt: Conversation
    answer: str
    score: float


def score_of(fields: Fields) -> str | None:
    """The field with a number that says how good a record's one answer is."""
    keys = (fields.keys[n] for n in fields.names("scores") if n in fields.keys)
    return next((key for key in keys if number(fields.record[key]) is not None), None)


def scored_answer(fields: Fields, found: str, kind: str | None) -> ScoredAnswer | None:
    """The answer of a record that has one answer and a score: HelpSteer's, or any format if rankings are requested."""
    if found not in ("alpaca", "input_target"):
        return None
    steered = {"helpfulness", "correctness"} <= fields.keys.keys()
    if kind is None and not steered:
        return None
    key = fields.keys["helpfulness"] if steered else score_of(fields)
    if key is None or number(fields.record[key]) is None:
        return None
    better = fields.find("answer")
    text = answer_text(fields.take("answer")[1], str(better), fields)
    prompt = prompt_for(fields)
    fields.keep_labels(prompt.id)
    return ScoredAnswer(prompt, text, float(fields.record[key]))


def rankings_of(scored: Pile[tuple[int, ScoredAnswer]]) -> Iterator[tuple[int, Ranking | None]]:
    """(first line, ranking) of each prompt, in the order in which prompts first came; None where it has one answer."""
    known, of = Numbers[bytes](), array("q")
    for _, one in scored:
        said = repr(asked(one.prompt.messages)).encode("utf-8", "surrogatepass")
        of.append(known.get_or(hashlib.sha256(said).digest()[:16], len(of)))
    import numpy as np

    groups = np.frombuffer(of, np.int64)
    for _, places in itertools.groupby(np.argsort(groups, kind="stable").tolist(), key=of.__getitem__):
        group = [scored[i] for i in places]
        line, prompt = group[0][0], group[0][1].prompt
        if len(group) == 1:
            yield line, None
            continue
        texts, ranks = [s.answer for _, s in group], ranks_of([s.score for _, s in group])
        yield line, Ranking(content_id(prompt.id, *texts), prompt, tuple(texts), ranks)
