"""A model's answers to a suite: generated turn by turn, or chosen by log-probability.

A model is a folder (our engine generates; the choice is made by the training forward pass, so every family can) or an
OpenAI-compatible endpoint. Generated answers go through `answer_prompts`, so that an interrupted run goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from steersman.compute.packing import Tree, build_row, fill_rows, to_device
from steersman.config import ModelConfig
from steersman.engine.answering import answer_prompts
from steersman.engine.load import load_engine
from steersman.engine.protocol import Engine, Prompt
from steersman.eval.suites.suite import APART, Item, Suite
from steersman.families.outputs import context_of, reads_apart, response_logprobs
from steersman.progress import activity, note
from steersman.types import Completion, Conversation, Message, SamplingParams
from steersman.weights.folders import (
    load_causal,
    load_template,
    load_tokenizer,
    pick_device,
    read_config,
    use_packed_rows,
)

FEW = 10
"""Questions with the same choices, at least, whose mean means something."""
ROW_TOKENS = 2048


@dataclass(frozen=True)
class Manner:
    """How answers are sampled; the seed of a group of prompts follows from `seed`."""

    max_tokens: int = 256
    temperature: float = 0.0
    batch: int = 32
    seed: int = 17


@dataclass(frozen=True)
class Answers:
    """One model's answers to a suite, one entry per item."""

    texts: list[list[str]]
    """The answers to each turn; of a choice the chosen text."""
    scores: list[float]
    parts: list[dict[str, float]]
    """Named parts of each score."""
    finish: list[str]
    """Why the last answer ended."""
    tokens: list[int]
    """Tokens of all answers of an item; 0 where an endpoint does not say."""
    logprobs: list[list[float]] = field(default_factory=list)
    """Log-probability of each choice in nats, where the choice was made by them."""
    cut: int = 0
    """Dialogues that outgrew the context; what was not asked counts as answered with nothing."""

    def add(
        self, texts: list[str], score: float, parts: dict[str, float], finish: str, tokens: int, logprobs: list[float]
    ) -> None:
        self.texts.append(texts)
        self.scores.append(score)
        self.parts.append(parts)
        self.finish.append(finish)
        self.tokens.append(tokens)
        self.logprobs.append(logprobs)


class Model(Protocol):
    """Who answers."""

    @property
    def name(self) -> str: ...

    def engine(self) -> Engine: ...

    def choose(self, items: Sequence[Item]) -> list[list[float]]:
        """Log-probability of every choice of every item."""
        ...

    def fits(self, item: Item, room: int) -> bool:
        """Whether the item's prompt, with an answer of `room` tokens, is within the model's context."""
        ...


@dataclass
class Folder:
    """A model in a folder; its engine and its template are loaded once, when they are needed."""

    name: str
    path: Path
    config: ModelConfig
    _engine: Engine | None = None
    _template: Any = None

    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = load_engine(self.path, version=self.name, **self.config.loading)
        return self._engine

    @functools.cached_property
    def _config(self) -> Any:
        return read_config(self.path, self.config.trust_remote_code)

    def fits(self, item: Item, room: int) -> bool:
        context = context_of(self._config)
        if item.choices:
            whole, _ = self._ids(item)
            return max(map(len, whole)) <= context
        return len(self._prompt_ids(item.prompt)) + min(room, context // 4) <= context

    def _tools(self) -> Any:
        if self._template is None:
            tokenizer = load_tokenizer(self.path, self.config.template)
            self._template = (tokenizer, load_template(self.path, self.config) if tokenizer.chat_template else None)
        return self._template

    def _prompt_ids(self, prompt: Conversation) -> tuple[int, ...]:
        tokenizer, template = self._tools()
        if "text" in prompt.meta:
            return tuple(tokenizer(prompt.meta["text"])["input_ids"])
        if template is None:
            raise ValueError(f"{self.path}: has no chat template; ask it by text to be continued: style=text")
        return template.prompt_ids(prompt)  # type: ignore[no-any-return]

    def _ids(self, item: Item) -> tuple[list[tuple[int, ...]], list[int]]:
        """Token ids of context and continuation of each choice, and where the continuation begins.

        A text is tokenised whole, as it was in training; its context ends where the context alone ends. An
        encoder-decoder reads the context with the tokens that its tokenizer puts around a text.
        """
        tokenizer, template = self._tools()
        whole, begins = [], []
        before = () if all(choice.context for choice in item.choices) else self._prompt_ids(item.prompt)
        for choice in item.choices:
            if not choice.context:
                said = template.answer_ids if choice.ends else template.content
                whole.append((*before, *said(choice.continuation)))
                begins.append(len(before))
                continue
            if template is not None and reads_apart(self._config):
                source = self._prompt_ids(Conversation("", (), {"text": choice.context}))
                said_ids = template.answer_ids(choice.continuation.strip())
                whole.append((*source, *(said_ids if choice.ends else said_ids[:-1])))
                begins.append(len(source))
                continue
            context = choice.context.rstrip(" ")
            said = choice.context[len(context) :] + choice.continuation + (APART if choice.ends else "")
            ids = tuple(tokenizer(context + said)["input_ids"])
            ends = tuple(tokenizer(context, add_special_tokens=True)["input_ids"])
            begins.append(min(_without_end(ends, tokenizer), len(ids) - 1))
            whole.append(ids[: _without_end(ids, tokenizer)])
        return whole, begins

    @torch.no_grad()
    def choose(self, items: Sequence[Item]) -> list[list[float]]:
        """Prompts that choices share are computed once."""
        device = pick_device(self.config.device)
        with activity(f"loading {self.name}"):
            model = load_causal(self.path, self.config.dtype, self.config.trust_remote_code)
            model = use_packed_rows(model).to(device).eval()
        trees, places, alike = [], [], []
        for number, item in enumerate(items):
            whole, begins = self._ids(item)
            if len(set(whole)) < len(whole):
                k = next(k for k in range(len(whole)) if whole[k] in whole[:k])
                alike.append((item.choices[whole.index(whole[k])].continuation, item.choices[k].continuation))
            for trunk, same in itertools.groupby(range(len(whole)), key=lambda k: whole[k][: begins[k]]):
                of = list(same)
                trees.append(Tree(trunk, tuple(whole[k][begins[k] :] for k in of)))
                places.append([(number, k) for k in of])
        if alike:
            note(
                f"{self.name}: in {len(alike)} of {len(items)} questions choices are the same tokens, such as "
                f"{alike[0][0].strip()!r} and {alike[0][1].strip()!r}; the first of them is taken"
            )
        out = [[0.0] * len(item.choices) for item in items]
        groups = fill_rows([tree.size for tree in trees], ROW_TOKENS)
        with activity(f"{self.name}: choosing", len(groups), "row") as shown:
            for done, group in enumerate(groups, 1):
                row = to_device(build_row([trees[t] for t in group]), device)
                each = response_logprobs(model, row, entropy=False)[0].float()
                sums = torch.zeros(len(row.branch_ends), device=device).index_add_(0, row.target_branch, each)
                values = iter(sums.tolist())
                for number, k in [place for t in group for place in places[t]]:
                    out[number][k] = next(values)
                shown.update(done)
        return out


def _without_end(ids: tuple[int, ...], tokenizer: Any) -> int:
    """How many of the ids come before an end token that the tokenizer appended."""
    end = tokenizer.eos_token_id
    return len(ids) - 1 if len(ids) > 1 and ids[-1] == end and end != tokenizer.bos_token_id else len(ids)


class _Put:
    """An engine that is asked by the text of a prompt that has one (`meta.text`) instead of its dialogue."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.max_context = engine, engine.max_context

    def count_tokens(self, prompt: Conversation) -> int:
        return self._engine.count_tokens(_put(prompt))

    def answered(self) -> int:
        count: Callable[[], int] | None = getattr(self._engine, "answered", None)
        return count() if count is not None else 0

    def generate(self, prompts: Sequence[Conversation], params: SamplingParams) -> list[list[Completion]]:
        return self._engine.generate([_put(prompt) for prompt in prompts], params)


def _put(prompt: Conversation) -> Prompt:
    return str(prompt.meta["text"]) if "text" in prompt.meta else prompt


def fitting(suite: Suite, models: Sequence[Model], manner: Manner) -> Suite:
    """The suite without items that are too long for one of the models; they are counted and said."""
    room = suite.max_tokens or manner.max_tokens
    with activity(f"measuring prompts of {Path(suite.name).name}"):
        kept = [item for item in suite.items if all(model.fits(item, room) for model in models)]
    if gone := len(suite.items) - len(kept):
        note(f"{suite.name}: {gone} of {len(suite.items)} prompts are longer than a model's context and are not asked")
        if not kept:
            raise ValueError(
                f"{suite.name}: no prompt fits the context of every model; expected shorter texts, fewer --shots or "
                "--max-tokens, or models with a longer context"
            )
        left = {**suite.left_out, "longer than a model's context": gone}
        return dataclasses.replace(suite, items=tuple(kept), left_out=left)
    return suite


def ask(suite: Suite, model: Model, folder: Path, manner: Manner) -> Answers:
    """All answers of a model to a suite. `folder` keeps generated ones, so that the same call goes on."""
    chosen = [item for item in suite.items if item.choices]
    logprobs = model.choose(chosen) if chosen else []
    compared = iter(calibrated(chosen, logprobs) if suite.batch else logprobs)
    if suite.batch and (rest := len(suite.items) - sum(map(len, _alike(chosen)))):
        note(
            f"{suite.name}: norm=batch: {rest} of {len(suite.items)} stay as they are, with labels that few others have"
        )
    raw = iter(logprobs)
    told = iter(_generated(suite, model, folder, manner))
    out, cut = Answers([], [], [], [], []), 0
    for item in suite.items:
        if item.choices:
            values, best = next(raw), _likeliest(item, next(compared), suite.by_length)
            out.add(
                [item.choices[best].continuation.strip()],
                float(best in (item.gold, *item.also)),
                {},
                "chosen",
                0,
                values,
            )
            continue
        given = next(told)
        missing = 1 + len(item.turns) - len(given)
        cut += bool(missing)
        texts = [answer.text for answer in given] + [""] * missing
        parts = {name: score(texts) for name, score in item.parts.items()}
        tokens = sum(len(answer.token_ids) for answer in given)
        out.add(texts, item.score(texts), parts, given[-1].finish_reason, tokens, [])
    if cut:
        note(f"{suite.name}: {cut} dialogues outgrew the context of {model.name}; later turns count as unanswered")
    return dataclasses.replace(out, cut=cut)


def calibrated(items: Sequence[Item], logprobs: Sequence[Sequence[float]]) -> list[list[float]]:
    """Batch calibration (Zhou et al. 2023): of each choice the log-probability among its item's choices, less the
    logarithm of its mean probability over the items with the same choices. Nothing is known of the right ones.

    It takes away what a model says of a label whatever the text is. Fewer than FEW such items stay as they are.
    """
    out = [torch.tensor(of, dtype=torch.float64).log_softmax(0) for of in logprobs]
    for alike in _alike(items):
        usual = torch.stack([out[i] for i in alike]).logsumexp(0) - math.log(len(alike))
        for i in alike:
            out[i] = out[i] - usual
    return [of.tolist() for of in out]


def _alike(items: Sequence[Item]) -> list[list[int]]:
    """The numbers of the items with the same choices, of each such choices that at least FEW have."""
    found: dict[tuple[str, ...], list[int]] = {}
    for number, item in enumerate(items):
        found.setdefault(tuple(choice.continuation for choice in item.choices), []).append(number)
    return [of for of in found.values() if len(of) >= FEW]


def _likeliest(item: Item, logprobs: Sequence[float], by_length: bool) -> int:
    """The choice of the largest log-probability, per character where lengths differ; of equals the first."""
    sizes = [max(1, len(choice.continuation.strip())) if by_length else 1 for choice in item.choices]
    return max(range(len(sizes)), key=lambda k: (logprobs[k] / sizes[k], -k))


def _generated(suite: Suite, model: Model, folder: Path, manner: Manner) -> Iterator[list[Completion]]:
    """The answers to the turns of each item without choices, in order."""
    asked = [item for item in suite.items if not item.choices]
    sets = list(dict.fromkeys(item.allowed for item in asked))
    if len(sets) > 1:
        yield from _by_label_set(dataclasses.replace(suite, items=tuple(asked)), sets, model, folder, manner)
        return
    most = suite.max_tokens or manner.max_tokens
    dialogues, answers = [item.prompt for item in asked], [[] for _ in asked]  # type: list[Conversation], list[list[Completion]]
    choices = sets[0] if sets else ()
    turn, live = 0, list(range(len(asked)))
    folder.mkdir(parents=True, exist_ok=True)
    while live:
        records, _ = answer_prompts(
            lambda: _Put(model.engine()),  # type: ignore[arg-type, return-value]
            [dialogues[i] for i in live],
            folder / f"turn-{turn:02d}.jsonl",
            SamplingParams(max_tokens=most, temperature=manner.temperature, stop=suite.stop, choices=choices),
            group=manner.batch,
            seed=manner.seed + turn,
            title=f"{suite.name.partition(',')[0]} {model.name}" + (f", turn {turn + 1}" if turn else ""),
        )
        for i, record in zip(live, records, strict=True):
            answers[i].append(record.completions[0])
        following = [i for i in live if turn < len(asked[i].turns)]
        for i in following:
            turns = (
                *dialogues[i].messages,
                Message("assistant", answers[i][-1].text),
                Message("user", asked[i].turns[turn]),
            )
            dialogues[i] = dataclasses.replace(dialogues[i], messages=turns)
        turn += 1
        live = [i for i in following if model.fits(dataclasses.replace(asked[i], prompt=dialogues[i]), most)]
    yield from answers


def _by_label_set(
    suite: Suite, sets: Sequence[tuple[str, ...]], model: Model, folder: Path, manner: Manner
) -> Iterator[list[Completion]]:
    """As `_generated`, where questions have label sets of their own: each set is a call."""
    found: dict[int, list[Completion]] = {}
    for number, labels in enumerate(sets):
        mine = [i for i, item in enumerate(suite.items) if item.allowed == labels]
        part = dataclasses.replace(suite, items=tuple(suite.items[i] for i in mine))
        found |= zip(mine, _generated(part, model, folder / f"set-{number:03d}", manner), strict=True)
    yield from (found[i] for i in range(len(suite.items)))
