"""The nouns of Steersman: frozen dataclasses that every layer shares (standard library only).

A `Conversation` is what people and models say (see `messages`, `parts`). A `Ranking` is what people think of several
answers to one prompt, kept exactly as they said it; `Comparison`s are derived from it. A `Completion` is what an
engine generated, with enough recorded to train on it. A `Manifest` lies beside every artifact on disk and says what
it was made from.

Each class reads and writes plain JSON through `to_json` / `from_json`; `from_json` raises `ValueError` naming
the field and what was expected, and callers prepend file and line.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from steersman.messages import ROLES as ROLES
from steersman.messages import Conversation as Conversation
from steersman.messages import Message as Message
from steersman.messages import Role as Role
from steersman.parts import Json as Json
from steersman.parts import expect

FinishReason = Literal["stop", "length", "cancelled"]
Grade = Literal["good", "average", "poor"]
FeedbackKind = Literal["like", "dislike", "edit", "regenerate", "flag"]

GRADES: tuple[str, ...] = get_args(Grade)
FEEDBACK_KINDS: tuple[str, ...] = get_args(FeedbackKind)
OVERALL = "overall"
"""Objective of a ranking that names none."""
MOST_STOPS, LONGEST_STOP = 64, 4096
"""Strings that may end an answer."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to generate. Defaults are a model's own distribution, unaltered, as PPO needs it."""

    max_tokens: int = 256
    """Most tokens to generate, the end-of-turn token included."""
    temperature: float = 1.0
    """Divides the logits; 0 means greedy."""
    top_k: int = 0
    """Keep only the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probability reaches this."""
    n: int = 1
    """Answers per prompt; they share the prompt's prefill."""
    seed: int | None = None
    """Same seed, same machine, same result; None draws fresh randomness."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer (and are cut from it)."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the answer besides the model's own end of turn; cut from the text, kept in `token_ids`."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest one."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or answer (Keskar et al. 2019)."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of every token that the answer has already (OpenAI's definition)."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for each time that the answer has it already."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token id -> what is added to its logit."""
    top_logprobs: int = 0
    """Record the k likeliest tokens of every step with their log-probabilities."""
    json_schema: Mapping[str, Any] | None = None
    """The answer is JSON of this schema."""
    regex: str | None = None
    """The whole answer matches this expression."""
    choices: tuple[str, ...] = ()
    """The whole answer is one of these texts; needs no grammar."""
    ignore_end: bool = False
    """Go on to `max_tokens` whatever the model says; for measurements."""
    adapter: str | None = None
    """Name of a loaded LoRA adapter; None is the model itself."""
    special: bool = False
    """Special tokens stay in the text by name, all but the one that ends the answer: calls of tools have some."""

    def __post_init__(self) -> None:
        for name, good, expected in (
            ("max_tokens", self.max_tokens >= 1, "an integer of at least 1"),
            ("temperature", 0 <= self.temperature < math.inf, "a number of at least 0"),
            ("top_k", self.top_k >= 0, "an integer of at least 0"),
            ("top_p", 0 < self.top_p <= 1, "a number above 0 and at most 1"),
            ("n", self.n >= 1, "an integer of at least 1"),
            ("stop", not isinstance(self.stop, str) and all(self.stop), "a tuple of strings that are not empty"),
            ("stop", len(self.stop) <= MOST_STOPS, f"at most {MOST_STOPS} strings"),
            ("stop", all(len(s) <= LONGEST_STOP for s in self.stop), f"strings of at most {LONGEST_STOP} characters"),
            ("min_p", 0 <= self.min_p <= 1, "a number from 0 to 1"),
            ("repetition_penalty", 0.01 <= self.repetition_penalty <= 100, "a number from 0.01 to 100"),
            ("presence_penalty", abs(self.presence_penalty) <= 2, "a number from -2 to 2"),
            ("frequency_penalty", abs(self.frequency_penalty) <= 2, "a number from -2 to 2"),
            ("logit_bias", all(abs(b) <= 100 for b in self.logit_bias.values()), "numbers from -100 to 100"),
            ("top_logprobs", 0 <= self.top_logprobs <= 100, "an integer from 0 to 100"),
            ("regex", self.regex is None or self.json_schema is None, "either 'regex' or 'json_schema'"),
            ("choices", not isinstance(self.choices, str) and all(self.choices), "a tuple of texts that are not empty"),
            (
                "choices",
                not (self.choices and (self.regex or self.json_schema)),
                "no regex or json_schema too",
            ),
        ):
            expect(good, f"sampling.{name}", expected, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Completion:
    """One generated answer, with what training on it needs.

    `token_ids` includes the end-of-turn token where the answer ended by itself (`finish_reason == "stop"`);
    `text` is what these tokens say, without control tokens, thoughts, what ended it and half a character at its end.
    `logprobs[i]` is log p(token_ids[i]) in nats under the distribution that was sampled from.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    policy_version: str
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    """Per token, where `SamplingParams.top_logprobs` asked for it: (token, log p), likeliest first. Not in the JSON."""
    stopped: str = ""
    """The one of `SamplingParams.stop` that ended it, where that is known. Not in the JSON."""
    counted: tuple[int, int] = (0, 0)
    """Tokens of prompt and answer, of an endpoint, which names none; those of all answers are the first's. Not in the
    JSON."""

    @property
    def tokens(self) -> int:
        return len(self.token_ids) or self.counted[1]

    def to_json(self) -> Json:
        return {
            "text": self.text,
            "token_ids": list(self.token_ids),
            "logprobs": [round(x, 5) for x in self.logprobs],
            "finish_reason": self.finish_reason,
            "policy_version": self.policy_version,
        }

    @staticmethod
    def from_json(value: Any, where: str = "completion") -> Completion:
        expect(isinstance(value, Mapping), where, "an object with 'text'", value)
        expect(isinstance(value.get("text"), str), f"{where}.text", "a string", value.get("text"))
        ids, logprobs = value.get("token_ids", []), value.get("logprobs", [])
        expect(len(ids) == len(logprobs), f"{where}.logprobs", f"{len(ids)} numbers, one per token", len(logprobs))
        return Completion(
            value["text"],
            tuple(ids),
            tuple(logprobs),
            value.get("finish_reason", "stop"),
            str(value.get("policy_version", "")),
        )


@dataclass(frozen=True, slots=True)
class Candidates:
    """Several answers to one prompt, waiting to be ranked."""

    prompt: Conversation
    completions: tuple[Completion, ...]
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return {
            "prompt": self.prompt.to_json(),
            "completions": [c.to_json() for c in self.completions],
            "sampling": dict(self.sampling),
        }

    @staticmethod
    def from_json(value: Any, where: str = "candidates") -> Candidates:
        expect(isinstance(value, Mapping), where, "an object with 'prompt' and 'completions'", value)
        prompt = Conversation.from_json(value.get("prompt"), f"{where}.prompt")
        raw = value.get("completions")
        expect(isinstance(raw, list) and len(raw) > 0, f"{where}.completions", "a non-empty list", raw)
        return Candidates(
            prompt,
            tuple(Completion.from_json(c, f"{where}.completions[{i}]") for i, c in enumerate(raw)),
            dict(value.get("sampling", {})),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """`chosen` was preferred to `rejected` as an answer to `prompt`."""

    prompt: Conversation
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """One labeler's judgement of K answers to one prompt, kept as given.

    Exactly one of `ranks` (1 is best, equal numbers are ties) and `grades` is set. `all_bad` says that no
    answer was acceptable; the order among them still counts. `simulated` marks a rule judge, never a person.
    `objective` names what the answers were compared by, such as "helpful"; empty: on the whole (`OVERALL`).
    `weight`: how much it counts in training, by its labeler's reliability (`rounds.labelers`); 0: not at all.
    """

    id: str
    prompt: Conversation
    answers: tuple[str, ...]
    ranks: tuple[int, ...] | None = None
    grades: tuple[Grade, ...] | None = None
    all_bad: bool = False
    labeler: str = ""
    simulated: bool = False
    created: str = ""
    objective: str = ""
    weight: float = 1.0
    overrules: tuple[str, ...] = ()
    """Of a manager's decision where labelers differed: the ids of their rankings, in place of which it counts."""

    @property
    def order(self) -> tuple[int, ...]:
        """A rank per answer, 1 best, whichever way the labeler said it."""
        if self.ranks is not None:
            return self.ranks
        assert self.grades is not None
        return tuple(GRADES.index(g) + 1 for g in self.grades)

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Indices (winner, loser) of every pair that is no tie, nor of the same words twice; at most K(K-1)/2."""
        order, said = self.order, self.answers
        k = range(len(order))
        return tuple((i, j) for i in k for j in k if order[i] < order[j] and said[i] != said[j])

    def grade_steps(self) -> tuple[int, ...]:
        """For each of `pairs`, how many grades lie between winner and loser; 0 for ranks, which say order alone."""
        order = self.order
        return tuple(order[l] - order[w] if self.grades is not None else 0 for w, l in self.pairs())

    def comparisons(self) -> tuple[Comparison, ...]:
        return tuple(Comparison(self.prompt, self.answers[w], self.answers[l]) for w, l in self.pairs())

    def to_json(self) -> Json:
        out: Json = {"id": self.id, "prompt": self.prompt.to_json(), "answers": list(self.answers)}
        if self.ranks is not None:
            out["ranks"] = list(self.ranks)
        if self.grades is not None:
            out["grades"] = list(self.grades)
        out |= {
            "all_bad": self.all_bad,
            "labeler": self.labeler,
            "simulated": self.simulated,
            "created": self.created,
        }
        out |= {"objective": self.objective} if self.objective else {}
        out |= {"weight": self.weight} if self.weight != 1 else {}
        return out | ({"overrules": list(self.overrules)} if self.overrules else {})

    @staticmethod
    def from_json(value: Any, where: str = "ranking", least: int = 2) -> Ranking:
        expect(isinstance(value, Mapping), where, "an object with 'prompt' and 'answers'", value)
        prompt = Conversation.from_json(value.get("prompt"), f"{where}.prompt")
        answers = value.get("answers")
        good = isinstance(answers, list) and len(answers) >= least and all(isinstance(a, str) for a in answers)
        expect(good, f"{where}.answers", f"a list of at least {least} strings", answers)
        ranks, grades = value.get("ranks"), value.get("grades")
        expect((ranks is None) != (grades is None), where, "either 'ranks' or 'grades'", sorted(value))
        if ranks is not None:
            good = isinstance(ranks, list) and len(ranks) == len(answers)
            good = good and all(isinstance(r, int) and r >= 1 for r in ranks)
            expect(good, f"{where}.ranks", f"{len(answers)} integers, 1 for the best", ranks)
        else:
            good = isinstance(grades, list) and len(grades) == len(answers) and all(g in GRADES for g in grades)
            expect(good, f"{where}.grades", f"{len(answers)} of {', '.join(GRADES)}", grades)
        weight = value.get("weight", 1.0)
        good = isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight < math.inf
        expect(good, f"{where}.weight", "a number of at least 0", weight)
        return Ranking(
            str(value.get("id", "")),
            prompt,
            tuple(answers),
            tuple(ranks) if ranks is not None else None,
            tuple(grades) if grades is not None else None,
            bool(value.get("all_bad", False)),
            str(value.get("labeler", "")),
            bool(value.get("simulated", False)),
            str(value.get("created", "")),
            to_objective(value.get("objective"), f"{where}.objective"),
            float(weight),
            tuple(map(str, value.get("overrules", ()))),
        )


def to_objective(value: Any, where: str) -> str:
    """An objective's name; '' for `OVERALL` and None, so that a ranking on the whole is written in one way."""
    value = "" if value is None else value
    expect(isinstance(value, str), where, f"a name such as 'helpful', or '{OVERALL}'", value)
    name: str = value.strip()
    return "" if name == OVERALL else name


@dataclass(frozen=True, slots=True)
class Feedback:
    """A chat user's reaction to one answer: liked, disliked, edited it, asked for another, or flagged it as harmful.

    `edited` holds the better answer for kind "edit"; `prompt` is the dialogue up to and including the user's turn.
    """

    id: str
    kind: FeedbackKind
    prompt: Conversation
    answer: str
    edited: str | None = None
    comment: str = ""
    policy_version: str = ""
    user: str = ""
    created: str = ""
    flags: tuple[str, ...] = ()
    """Of a flag: what is wrong with the answer, where the person said it (`store.desk_values.FLAGS`)."""

    def to_json(self) -> Json:
        out = dataclasses.asdict(self) | {"prompt": self.prompt.to_json(), "flags": list(self.flags)}
        return out if self.flags else {key: value for key, value in out.items() if key != "flags"}

    @staticmethod
    def from_json(value: Any, where: str = "feedback") -> Feedback:
        expect(isinstance(value, Mapping), where, "an object with 'kind', 'prompt' and 'answer'", value)
        kind, answer, edited = value.get("kind"), value.get("answer"), value.get("edited")
        expect(kind in FEEDBACK_KINDS, f"{where}.kind", f"one of {', '.join(FEEDBACK_KINDS)}", kind)
        expect(isinstance(answer, str), f"{where}.answer", "a string", answer)
        expect(edited is None or isinstance(edited, str), f"{where}.edited", "a string or null", edited)
        prompt = Conversation.from_json(value.get("prompt"), f"{where}.prompt")
        rest = {key: str(value.get(key, "")) for key in ("comment", "policy_version", "user", "created")}
        flags = value.get("flags", [])
        expect(isinstance(flags, list) and all(isinstance(f, str) for f in flags), f"{where}.flags", "strings", flags)
        return Feedback(str(value.get("id", "")), kind, prompt, answer, edited, **rest, flags=tuple(flags))


@dataclass(frozen=True, slots=True)
class AxisScores:
    """A judge's opinion of one answer: three axes in [0, 1], and why.

    `intent`: did it do what the customer wanted; `constraint`: did it keep the checkable constraints (facts of
    the order, language, length, format); `fitness`: does it sound like good customer service.
    """

    intent: float
    constraint: float
    fitness: float
    reasons: tuple[str, ...] = ()

    @property
    def overall(self) -> float:
        """Mean of the axes, in [0, 1]."""
        return (self.intent + self.constraint + self.fitness) / 3

    @property
    def axes(self) -> dict[str, float]:
        return {"intent": self.intent, "constraint": self.constraint, "fitness": self.fitness}


@dataclass(frozen=True, slots=True)
class NamedScores:
    """A user's judge's opinion of one answer, on axes that it names itself."""

    axes: Mapping[str, float]
    reasons: tuple[str, ...] = ()

    @property
    def overall(self) -> float:
        """Mean of the axes, in [0, 1]."""
        return sum(self.axes.values()) / len(self.axes)


def scores_from(value: Mapping[str, Any]) -> AxisScores | NamedScores:
    """Scores from an evaluation's file."""
    kind: Any = NamedScores if "axes" in value else AxisScores
    scores: AxisScores | NamedScores = kind(**{**value, "reasons": tuple(value["reasons"])})
    return scores


@dataclass(frozen=True, slots=True)
class Manifest:
    """Lies beside each artifact: how it came to be, and the hashes that say whether it is still whole."""

    stage: str
    created: str
    code_version: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    """Name of each input -> its hash (the manifest's own hash where the input is an artifact)."""
    files: Mapping[str, str]
    """Path relative to the artifact -> sha256 of its bytes."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Cautions for readers of this artifact, such as "rankings are simulated"."""
