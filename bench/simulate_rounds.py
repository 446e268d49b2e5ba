"""Does the loop climb? Simulated users with hidden preferences talk to a model over rounds of `steersman round`.

    python bench/simulate_rounds.py                          5 seeds, 5 rounds, 5 ways; with --jobs 2 on two cores
    python bench/simulate_rounds.py --seeds 1 --rounds 3 --ways guarded,bare     a quick look

A small model learns a shop's answers in every manner (its own first round, by `sft`). Then, in each round, people ask,
like, dislike, edit, ask again and rank through the real store, and `make_round` does what `steersman round` does:
gather, train from the promoted model, evaluate, gate, promote. Measured after each round, and never seen by the loop:
the mean hidden utility (0 to 1) that the served model's answers to new questions have for honest people.

Ways: honest (nobody wants harm), and with 30 % adversaries: guarded (weights by reliability and the gate), weighed
(weights, no gate), gated (the gate, no weights), bare (neither).

The gate's judge is `simulated_users.panel`: a few invited people, noisy but honest. Writes one JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import simulated_users as world
from steersman import plugins
from steersman.artifact.workspace import Workspace
from steersman.config_file import from_dict, with_overrides
from steersman.data.dataset import write_dataset
from steersman.engine.load import load_engine
from steersman.engine.protocol import Engine
from steersman.rounds import registry
from steersman.rounds.loop import make_round
from steersman.rounds.make import Round, make
from steersman.stats import few_mean
from steersman.store import Store
from steersman.text.template import CHATML
from steersman.types import Candidates, Completion, Conversation, SamplingParams
from steersman.weights.folders import save_model


@dataclass(frozen=True)
class Way:
    """How a simulation is run."""

    adversaries: float
    weights: bool
    gate: bool


WAYS = {
    "honest": Way(0.0, True, True),
    "guarded": Way(0.3, True, True),
    "weighed": Way(0.3, True, False),
    "gated": Way(0.3, False, True),
    "bare": Way(0.3, False, False),
}
PEOPLE, CHATS, RANKED = 20, 12, 9
"""People, chats of each (of an adversary thrice as many), and rankings of each in a round."""
EACH = 3
"""Rankings of a task."""
TOLD, TESTS, MEASURED = 480, 150, 300
"""Demonstrations of the first round, test prompts, and questions of the measurement."""
WORDS = SamplingParams(max_tokens=40, temperature=1.0)
SETTINGS: dict[str, Any] = {
    "model": {"device": "cpu", "dtype": "float32", "memory_check": False},
    "project": {"domain": "none", "judge": "simulated_users:panel", "private": False},
    "sft": {"epochs": 5, "lr": 3e-3, "train_layers": 0, "eval_fraction": 0.0, "batch_tokens": 1024, "row_tokens": 1024},
    "kto": {"epochs": 2, "lr": 3e-4, "train_layers": 0, "batch_prompts": 16, "row_tokens": 1024},
    "reward": {"train_layers": 0},
    "eval": {"max_tokens": 40, "temperature": 1.0, "bootstrap": 500, "batch_prompts": 64},
    "round": {"policy": "kto", "old_demonstrations": 0.1, "old_comparisons": 0.3, "axis_margin": 0.05},
}
LATER = ("sft.optimizer.lr=3e-4", "sft.epochs=1")
"""From the second round on."""


def small_model(folder: Path, seed: int) -> Path:
    """A random decoder of three layers, whose tokenizer knows the shop's words."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([*world.QUESTIONS, *world.every_answer(), "user assistant system"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", bos_token="<|im_start|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    config = transformers.AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    save_model(transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32), tokenizer, folder)
    return folder


def begin(root: Path, seed: int) -> None:
    """A workspace whose promoted model answers in every manner, as it was taught, and data sets for the rounds."""
    base = small_model(root.with_name("base"), seed)
    settings = SETTINGS | {"model": {**SETTINGS["model"], "base": str(base)}}
    settings["project"] = {**SETTINGS["project"], "seed": seed}
    space = Workspace.create(root, from_dict(settings, "simulation"))
    rng = random.Random(f"{seed}/data")
    numbers = rng.sample(range(10, 100), 90)
    asked = [world.question(rng.choice(numbers), rng) for _ in range(TOLD)]
    told = [p.with_answer(rng.choice(world.every_answer())) for p in asked]
    tests = [world.question(rng.choice(numbers), rng) for _ in range(TESTS)]
    for i, records in enumerate((told, tests)):
        named = [Conversation(f"{i}-{k}", c.messages) for k, c in enumerate(records)]
        name, kind, split = (("told", "demonstrations", "train"), ("tests", "prompts", "test"))[i]
        write_dataset(space.data, name, kind, split, named, "simulation", {})
    make(registry.get("sft"), Round(space))
    space.promote("sft", 1)


def served(space: Workspace) -> Engine:
    current, entry = space.current(), space.history()[-1]
    assert current is not None
    return load_engine(current, dtype="float32", device="cpu", version=f"{entry['round']:03d}/{entry['stage']}")


def measure(engine: Engine, seed: int) -> float:
    """Mean hidden utility of answers to new questions, for honest people."""
    rng = random.Random(f"{seed}/measure")
    asked = [world.question(rng.randrange(10, 100), rng) for _ in range(MEASURED)]
    answers = engine.generate(asked, SamplingParams(max_tokens=40, temperature=1.0, seed=seed))
    return sum(world.welfare(a[0].text) for a in answers) / MEASURED


def talk(space: Workspace, engine: Engine, users: Sequence[world.User], number: int, rng: random.Random) -> None:
    """One round's chats: each a question, an answer, and what the person does with it."""
    chats = [(user, world.question(rng.randrange(10, 100), rng)) for user in users for _ in range(CHATS * user.chats)]
    rng.shuffle(chats)
    params = SamplingParams(max_tokens=WORDS.max_tokens, temperature=1.0, n=2, seed=rng.randrange(2**31))
    answers = engine.generate([prompt for _, prompt in chats], params)
    with Store.open(space.store) as store:
        for (user, prompt), given in zip(chats, answers, strict=True):
            react(store, user, prompt, given, rng)
    print(f"  round {number}: {len(chats)} chats", file=sys.stderr, flush=True)


def react(
    store: Store, user: world.User, prompt: Conversation, given: Sequence[Completion], rng: random.Random
) -> None:
    """A like, or a dislike, after which a person may ask again or write what they wanted."""
    first, again = given
    question = store.add_question(store.create_conversation().id, prompt.messages[-1].text)
    answer = store.add_answer(question.id, _clean(first))
    if user.likes(first.text, rng):
        store.add_feedback(answer.id, "like", user=user.name)
        return
    chance = rng.random()
    if chance < 0.15:
        store.add_feedback(answer.id, "regenerate", user=user.name)
        answer = store.add_answer(question.id, _clean(again))
        kind = "like" if user.likes(again.text, rng) else "dislike"
        store.add_feedback(answer.id, kind, user=user.name)  # type: ignore[arg-type]
        return
    store.add_feedback(answer.id, "dislike", user=user.name)
    better = user.writes()
    if chance < 0.25 and better != first.text.strip():
        store.add_feedback(answer.id, "edit", edited=better, user=user.name)


def _clean(completion: Completion) -> Completion:
    return Completion(completion.text.replace("\0", ""), (), (), completion.finish_reason, completion.policy_version)


def rank(space: Workspace, engine: Engine, users: Sequence[world.User], number: int, rng: random.Random) -> None:
    """Tasks of four answers, each ranked by several people, as the store hands them out."""
    asked = [world.question(rng.randrange(10, 100), rng) for _ in range(len(users) * RANKED // EACH)]
    params = SamplingParams(max_tokens=WORDS.max_tokens, temperature=1.0, n=4, seed=rng.randrange(2**31))
    items = [
        Candidates(prompt, tuple(map(_clean, given)))
        for prompt, given in zip(asked, engine.generate(asked, params), strict=True)
    ]
    with Store.open(space.store) as store:
        store.add_candidates(number, items)
        turns = [user for user in users for _ in range(RANKED)]
        rng.shuffle(turns)
        for user in turns:
            task = store.next_task(user.name, number)
            if task is not None:
                ranks = user.ranks(task.answers, rng)
                store.add_ranking(task.id, ranks=ranks, labeler=user.name)


def simulate(root: Path, seed: int, name: str, rounds: int) -> Iterator[dict[str, Any]]:
    """A line per round, the start as round 0."""
    way = WAYS[name]
    rng, users = random.Random(f"{seed}/{name}"), world.people(PEOPLE, way.adversaries)
    weights = f"rank.reliability={'true' if way.weights else 'false'}"
    space = Workspace(root, with_overrides(Workspace.open(root).config, (*LATER, weights)))
    engine = served(space)
    utility = measure(engine, seed)
    yield {"seed": seed, "way": name, "round": 0, "utility": utility, "promoted": True, "seconds": 0.0}
    for number in range(1, rounds + 1):
        began = time.monotonic()
        talk(space, engine, users, number, rng)
        rank(space, engine, users, space.round, rng)
        decision = make_round(space, gated=way.gate)
        assert decision is not None, "people said something new"
        if decision.promoted:
            engine = served(space)
            utility = measure(engine, seed)
        told = {"reasons": list(decision.reasons), "seconds": round(time.monotonic() - began, 1)}
        yield {"seed": seed, "way": name, "round": number, "utility": utility, "promoted": decision.promoted, **told}


def one_seed(job: tuple[int, tuple[str, ...], int, Path]) -> list[dict[str, Any]]:
    """All ways of one seed, from the same first model; lines are kept as they come, so a stopped run loses little."""
    seed, ways, rounds, out = job
    torch.set_num_threads(1)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch) / "start"
        begin(start, seed)
        for name in ways:
            root = Path(scratch) / name
            shutil.copytree(start, root)
            for line in simulate(root, seed, name, rounds):
                lines.append(line)
                print(json.dumps(line), file=sys.stderr, flush=True)
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            shutil.rmtree(root)
    return lines


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per way: mean utility after each round with its 95 % interval over seeds (Student), gain, rounds promoted."""
    out: dict[str, Any] = {}
    for name in dict.fromkeys(line["way"] for line in lines):
        mine = [line for line in lines if line["way"] == name]
        seeds, last = sorted({line["seed"] for line in mine}), max(line["round"] for line in mine)
        at = {(line["seed"], line["round"]): line["utility"] for line in mine}
        rows = [few_mean([at[s, r] for s in seeds if (s, r) in at]).to_json() for r in range(last + 1)]
        gain = few_mean([at[s, last] - at[s, 0] for s in seeds if (s, last) in at]).to_json()
        promoted = sum(line["promoted"] for line in mine if line["round"])
        out[name] = {"utility": rows, "gain": gain, "promoted": promoted, "rounds": len(mine) - len(seeds)}
    return out


def table(found: dict[str, Any]) -> str:
    def shown(of: dict[str, Any]) -> str:
        bounds = "" if of["low"] is None else f" [{of['low']:.3f}, {of['high']:.3f}]"
        return f"{of['value']:.3f}{bounds}"

    lines = []
    for name, of in found.items():
        steps = "  ".join(f"{row['value']:.3f}" for row in of["utility"])
        lines.append(f"{name:8} {steps}   gain {shown(of['gain'])}, {of['promoted']} of {of['rounds']} promoted")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", default=",".join(WAYS), help=f"comma-separated: {', '.join(WAYS)}")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument("--out", type=Path, default=Path("simulation.json"))
    args = parser.parse_args()
    ways = tuple(args.ways.split(","))
    if unknown := set(ways) - set(WAYS):
        parser.error(f"--ways: expected some of {', '.join(WAYS)}, got {', '.join(sorted(unknown))}")
    os.environ[plugins.ALLOW] = "1"
    kept = args.out.with_suffix(".jsonl")
    kept.unlink(missing_ok=True)
    jobs = [(seed, ways, args.rounds, kept) for seed in range(1, args.seeds + 1)]
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        lines = [line for done in pool.imap(one_seed, jobs) for line in done]
    found = summary(lines)
    args.out.write_text(json.dumps({"lines": lines, "summary": found}, indent=1), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
