"""Records that compare answers: chosen and rejected, two answers and the better one, lists with scores or ranks."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.data.formats.dialogues import answer_message, content_id, conversation, prompt_of, with_system
from steersman.data.formats.fields import Fields, empty, parsed_json, plain, shown, trimmed, turns_in
from steersman.data.formats.transcripts import hh_turns, is_hh
from steersman.data.formats.turns import turns_of
from steersman.types import Conversation, Message, Ranking, to_objective

WINNERS = (
    *(("chosen", "rejected"), ("accepted", "rejected"), ("preferred_output", "non_preferred_output")),
    *(("preferred", "non_preferred"), ("preferred", "dispreferred"), ("preferred", "rejected"), ("better", "worse")),
    *(("best", "worst"), ("winner", "loser"), ("win", "lose"), ("winning", "losing"), ("positive", "negative")),
    *(("pos", "neg"), ("good", "bad"), ("y_w", "y_l"), ("采纳", "拒绝"), ("好", "坏")),
    ("response_j", "response_k"),  # Stack Exchange paired: j is the better one
)
_AFFIXES = "response resp answer output completion message messages text conversation conversations"
AFFIXES = tuple(_AFFIXES.split())
_SIDED = "response answer output completion conversation human_ref reply candidate text option"
SIDED = tuple(_SIDED.split())
SCORES_OF_PAIRS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
)
REJECTED = ("rejected", *(f"rejected_{what}" for what in ("response", "messages", "answer", "output", "completion")))
TIES = ("tie", "both", "equal", "same", "draw", "平", "平局", "一样", "none", "neither")
BOTH_BAD = ("tie (bothbad)", "bothbad", "both_bad", "both bad", "neither", "都不好")


def pair_of(fields: Fields) -> tuple[str, str] | None:
    """The fields (chosen, rejected) of a record, by any known pair of names."""
    if "chosen" in fields.mapping or "rejected" in fields.mapping:
        keys = [fields.find(role) for role in ("chosen", "rejected")]
        return (keys[0], keys[1]) if keys[0] is not None and keys[1] is not None else None
    for one, other in _pairs_among(frozenset(fields.keys)):
        pair = fields.keys[one], fields.keys[other]
        if all(isinstance(fields.record[k], str | list | Mapping) for k in pair):
            return pair
    return None


@functools.lru_cache(maxsize=256)
def _pairs_among(names: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """The pairs (chosen, rejected) among field names; cached, since a file's records have few sets of names."""
    return tuple(pair for pair in _forms() if names >= {*pair})


@functools.cache
def _forms() -> tuple[tuple[str, str], ...]:
    """Every pair of names (chosen, rejected)."""
    out = []
    for winner, loser in WINNERS:
        out += [(winner, loser)]
        out += [(f"{winner}_{a}", f"{loser}_{a}") for a in AFFIXES] + [
            (f"{a}_{winner}", f"{a}_{loser}") for a in AFFIXES
        ]
        out += [(f"{winner}{a}", f"{loser}{a}") for a in ("回答", "答案")]
    return tuple(out)


def rejected_alone(fields: Fields) -> str | None:
    """ms-swift: the field of a rejected answer (or dialogue), where the ordinary answer is the chosen one."""
    return next((k for n in REJECTED if (k := fields.keys.get(n)) is not None and not empty(fields.record[k])), None)


def sides_of(fields: Fields) -> tuple[str, str, tuple[str, str]] | None:
    """The fields of two answers that lie side by side, and their suffixes: response_0 and response_1, answer_a ..."""
    found = _sides_among(frozenset(fields.keys))
    return (fields.keys[found[0]], fields.keys[found[1]], found[2]) if found else None


@functools.lru_cache(maxsize=256)
def _sides_among(names: frozenset[str]) -> tuple[str, str, tuple[str, str]] | None:
    forms = (form for form in _side_forms() if names >= {*form[:2]} and form[2] not in names)
    return next(((one, other, suffixes) for one, other, _, suffixes in forms), None)


@functools.cache
def _side_forms() -> tuple[tuple[str, str, str, tuple[str, str]], ...]:
    """Names of two answers side by side, the name that a third would have, and the two suffixes."""
    return tuple(
        (f"{stem}{gap}{one}", f"{stem}{gap}{other}", f"{stem}{gap}{third}", (one, other))
        for stem in SIDED
        for one, other, third in (("0", "1", "2"), ("1", "2", "3"), ("a", "b", "c"))
        for gap in ("_", "")
    )


def ranking(
    prompt: Conversation,
    answers: Sequence[str],
    fields: Fields,
    ranks: Sequence[int] | None = None,
    all_bad: bool = False,
) -> Ranking:
    """Answers best first (or with `ranks`, 1 best) as a Ranking by the `objective` of the record, where it has one."""
    if not prompt.is_prompt:
        raise ValueError("prompt: expected a dialogue that ends with the user, it ends with the assistant")
    key = fields.keys.get("objective")
    if key is not None:
        fields.used.add(key)
    objective = to_objective(fields.record[key] if key is not None else None, "objective")
    name = content_id(prompt.id, *answers, *([objective] if objective else []))
    fields.keep_labels(name)
    return Ranking(
        name, prompt, tuple(answers), tuple(ranks or range(1, len(answers) + 1)), all_bad=all_bad, objective=objective
    )


def from_comparison(fields: Fields) -> Ranking:
    """chosen and rejected: texts, turns, whole dialogues with one prompt, or transcripts."""
    pair = pair_of(fields)
    if pair is None and (worse := rejected_alone(fields)) is not None:
        return _against_answer(fields, worse)
    if pair is None:
        missing = next((r for r in ("chosen", "rejected") if r not in fields.keys), "rejected")
        got = "no such field" if missing not in fields.keys else shown(fields.record[fields.keys[missing]])
        raise ValueError(f"{missing}: expected a string or an assistant's turn, got {got}")
    fields.taken |= {"chosen": pair[0], "rejected": pair[1]}
    fields.used |= set(pair)
    values = [turns_in(fields.record[key]) for key in pair]
    _look_at_scores(fields)
    if isinstance(values[1], list) and len(values[1]) > 1 and all(isinstance(v, str) for v in values[1]):
        best = answer_text(values[0], pair[0], fields)
        return ranking(prompt_for(fields), [best, *values[1]], fields, [1, *[2] * len(values[1])])
    transcripts = all(is_hh(v) for v in values) and not fields.has("question")
    sides = [
        hh_turns(v, key)
        if transcripts
        else turns_of(v, key, fields)
        if isinstance(v, list)
        else [answer_message(v, key, fields)]
        for v, key in zip(values, pair, strict=True)
    ]
    return _of_dialogues(fields, pair, sides)


def _of_dialogues(fields: Fields, pair: tuple[str, str], sides: list[list[Message]]) -> Ranking:
    """A ranking of two dialogues (or single answers) that differ in their last turn alone."""
    for key, turns in zip(pair, sides, strict=True):
        if turns[-1].role != "assistant":
            raise ValueError(f"{key}: expected a transcript that ends with the Assistant's turn")
    heads = [asked(turns[:-1]) for turns in sides]
    if heads[0] != heads[1]:
        raise ValueError(
            f"{pair[1]}: expected the same dialogue as {pair[0]} up to the last answer, but they differ before it"
        )
    prefix = sides[0][:-1]
    texts = [_spoken(turns[-1], key, fields) for key, turns in zip(pair, sides, strict=True)]
    own = fields.has("messages") or fields.has("question") or fields.has("context") or fields.has("history")
    if prefix:
        turns, tools = with_system(prefix, fields)
        return ranking(conversation(turns, pair[0], fields, tools), texts, fields)
    if not own:
        raise ValueError(
            f"{pair[0]}: expected a prompt: a field for it, or dialogues that begin with it, got {shown(texts[0])}"
        )
    return ranking(prompt_for(fields, texts[0]), _without_prompt(texts, fields), fields)


def asked(turns: Sequence[Message]) -> list[tuple[str, str]]:
    return [(m.role, m.spelled.strip()) for m in turns]


def _spoken(message: Message, key: str, fields: Fields) -> str:
    """An answer's text without thoughts, which are not compared."""
    if message.images:
        raise ValueError(f"{key}: expected an answer in words; images cannot be compared yet")
    if message.tool_calls:
        raise ValueError(f"{key}: expected an answer in words; calls of tools cannot be compared yet")
    fields.note("thoughts of compared answers left out", bool(message.thinking))
    return trimmed(message.text)


def answer_text(value: Any, key: str, fields: Fields) -> str:
    return _spoken(answer_message(value, key, fields), key, fields)


def _without_prompt(texts: list[str], fields: Fields) -> list[str]:
    """Answers with a repeated prompt removed from their beginning."""
    asked = fields.record.get(fields.taken.get("question", ""), "")
    if isinstance(asked, str) and len(asked.strip()) > 10 and all(t.startswith(asked) and t != asked for t in texts):
        fields.note("prompts repeated before their answers cut off")
        return [t[len(asked) :] for t in texts]
    return texts


def prompt_for(fields: Fields, chosen: str = "") -> Conversation:
    """The prompt of a comparison. A dialogue that ends in the chosen answer itself is the prompt up to it."""
    turns, key = prompt_of(fields)
    if chosen and len(turns) > 1 and turns[-1].role == "assistant" and turns[-1].text.strip() == chosen.strip():
        turns = turns[:-1]
    turns, tools = with_system(turns, fields)
    return conversation(turns, "prompt" if key in ("messages", "prompt", "instruction") else key, fields, tools)


def _against_answer(fields: Fields, worse: str) -> Ranking:
    """The record's own answer against a rejected one, or several."""
    fields.used.add(worse)
    fields.taken["rejected"] = worse
    value = turns_in(fields.record[worse])
    if (better := fields.find("answer")) is not None:
        turns, _ = prompt_of(fields)
        best = answer_text(fields.take("answer")[1], better, fields)
    else:
        turns, better = prompt_of(fields)
        if turns[-1].role != "assistant":
            raise ValueError(f"{better}: expected a dialogue that ends with the answer that was chosen over '{worse}'")
        turns, best = turns[:-1], _spoken(turns[-1], better, fields)
    if isinstance(value, list) and len(value) > 1 and not all(isinstance(v, str) for v in value):
        value = turns_of(value, worse, fields)[-1].content
    others = value if isinstance(value, list) and all(isinstance(v, str) for v in value) else [value]
    texts = [answer_text(v, worse, fields) for v in others]
    turns, tools = with_system(turns, fields)
    prompt = conversation(turns, "prompt", fields, tools)
    return ranking(prompt, [best, *texts], fields, [1, *[2] * len(texts)])


def _look_at_scores(fields: Fields) -> None:
    """Notes where the scores beside a pair say the opposite of chosen and rejected."""
    for better, worse in SCORES_OF_PAIRS:
        pair = [fields.record.get(fields.keys.get(n, "")) for n in (better, worse)]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair) and pair[0] < pair[1]:  # type: ignore[operator]
            fields.note(
                f"'{better}' is below '{worse}': the answer called chosen is taken for the better one all the same"
            )


def from_sides(fields: Fields) -> Ranking:
    """A ranking of two answers with a verdict: PKU-SafeRLHF, SHP, HelpSteer, Arena."""
    found = sides_of(fields)
    if found is None:
        raise ValueError("response_0: expected two answers side by side, such as response_0 and response_1")
    one, other, suffixes = found
    fields.used |= {one, other}
    fields.taken |= {"answers": f"{one}, {other}"}
    ranks, all_bad = _verdict(fields, (plain(one), plain(other)), suffixes)
    if (turns := _interleaved(fields, (one, other))) is not None:
        made = _of_dialogues(fields, (one, other), turns)
        return ranking(made.prompt, made.answers, fields, ranks, all_bad)
    sides = [turns_in(fields.record[key]) for key in (one, other)]
    if all(isinstance(v, list) for v in sides) and not fields.has("question") and not fields.has("context"):
        turns = [turns_of(v, key, fields) for v, key in zip(sides, (one, other), strict=True)]
        made = _of_dialogues(fields, (one, other), turns)
        return ranking(made.prompt, made.answers, fields, ranks, all_bad)
    texts = [answer_text(v, key, fields) for v, key in zip(sides, (one, other), strict=True)]
    return ranking(prompt_for(fields), texts, fields, ranks, all_bad)


def _interleaved(fields: Fields, pair: tuple[str, str]) -> list[list[Message]] | None:
    """Two dialogues whose questions, and whose answers, are lists of texts, written as JSON (Arena's); else None."""
    key = fields.find("question")
    lists = [parsed_json(fields.record[k]) for k in (key, *pair) if k is not None]
    if len(lists) < 3 or not all(isinstance(texts, list) and texts for texts in lists):
        return None
    if any(len(texts) != len(lists[0]) or not all(isinstance(t, str) for t in texts) for texts in lists):
        if all(isinstance(t, str | None) for texts in lists for t in texts):
            raise ValueError(f"{key}: expected as many texts in it as in '{pair[0]}' and '{pair[1]}', and no nulls")
        return None
    asked_in_turn, *answers = lists
    fields.take("question")
    return [
        [m for q, a in zip(asked_in_turn, texts, strict=True) for m in (Message("user", q), Message("assistant", a))]
        for texts in answers
    ]


def _verdict(fields: Fields, names: tuple[str, str], suffixes: tuple[str, str]) -> tuple[tuple[int, int], bool]:
    """(ranks, whether both are bad) of two answers: by their scores, or by the field that names the better answer."""
    first_is_one = names[0].startswith("human_ref")
    for stem in ("score", "scores", "rating", "reward"):
        forms = ((f"{stem}_{s}", f"{stem}{s}", f"{name}_{stem}") for name, s in zip(names, suffixes, strict=True))
        keys = [next((fields.keys[n] for n in form if n in fields.keys), None) for form in forms]
        values = [fields.record[k] for k in keys if k is not None]
        if len(values) == 2 and all(number(v) is not None for v in values):
            fields.used |= {k for k in keys if k is not None}
            fields.taken["scores"] = ", ".join(str(k) for k in keys)
            first, second = ranks_of(values)
            return (first, second), False
    marks = {
        name: fields.keys[name] for name in ("winner_model_a", "winner_model_b", "winner_tie") if name in fields.keys
    }
    if len(marks) == 3:
        fields.used |= set(marks.values())
        said = [bool(fields.record[key]) for key in marks.values()]
        return ((1, 2) if said[0] else (2, 1) if said[1] else (1, 1)), False
    key = fields.find("preference")
    if key is None:
        raise ValueError(
            "record: expected a field that says which answer is better (better_response_id, winner, ...), "
            "got none; name it with --map preference=FIELD"
        )
    value = fields.take("preference")[1]
    return _named(value, key, suffixes, first_is_one)


def _named(value: Any, key: str, suffixes: tuple[str, str], first_is_one: bool) -> tuple[tuple[int, int], bool]:
    first, second, tie = (1, 2), (2, 1), (1, 1)
    if plain(key) in ("preference_strength", "overall_preference") and isinstance(value, int | float):
        return (first if value < 0 else second if value > 0 else tie), False
    if first_is_one and value in (0, 1):
        return (first if value else second), False
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().casefold()
    if text in BOTH_BAD or text in TIES:
        return tie, text in BOTH_BAD
    said = re.sub(r".*[\s_\-]|^(?:response|model|answer|assistant|output)", "", text)
    for candidate in (text, said):
        if candidate in suffixes:
            return (first if candidate == suffixes[0] else second), False
    if text in ("0", "1") and suffixes == ("a", "b"):
        return (first if text == "0" else second), False
    if said in ("a", "b") and suffixes != ("a", "b"):
        return (first if said == "a" else second), False
    if text in ("first", "left", "second", "right"):
        return (first if text in ("first", "left") else second), False
    raise ValueError(f"{key}: expected {suffixes[0]}, {suffixes[1]} or tie, got {shown(value)}")


def number(value: Any) -> float | None:
    """A finite number, or a string of one; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 else None
    )


def ranks_of(scores: Sequence[Any]) -> tuple[int, ...]:
    """1 for the highest score, equal scores share a rank."""
    numbers = [float(s) for s in scores]
    return tuple(1 + len({other for other in numbers if other > s}) for s in numbers)
