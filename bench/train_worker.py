"""One side of the training benchmark, in a process of its own: python train_worker.py SIDE SPEC.json

Sides: steersman (the stages' own functions) and plain (train_plain.py); `judge` only measures what a peer saved.
Prints one JSON object: units per second over the timed steps, peak memory, and the held-out result before and after.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import train_data as data
import train_plain as plain
from harness import own_peak_mib
from steersman.compute.packing import Tree, build_row, fill_rows
from steersman.config import ModelConfig, PpoConfig, SftConfig, replaced
from steersman.engine.loaded import engine_of
from steersman.engine.serving import Serving
from steersman.families.outputs import branch_scores, init_score_head, response_logprobs, train_last_layers
from steersman.machine import keep_freed_memory
from steersman.rl.losses import kwise_loss
from steersman.text.template import Template
from steersman.train import ppo_update, reward, scores, sft
from steersman.train.actors import Actors
from steersman.train.iteration import Iteration
from steersman.train.minibatches import pack
from steersman.train.ppo_state import State
from steersman.train.update import Updater
from steersman.types import Ranking, SamplingParams
from steersman.weights.folders import load_causal, load_scalar, load_tokenizer, use_packed_rows
from train_data import Spec

ROW_TOKENS = 1024
HELD = 32
Result = dict[str, Any]


def timed(spec: Spec, one: Callable[[int], float]) -> Result:
    """Run `one(step)`, which returns how many units it did; the clock starts after the warm-up."""
    units, began = 0.0, time.perf_counter()
    for step in range(spec.rounds):
        if step == spec.warmup:
            units, began = 0.0, time.perf_counter()
        units += one(step)
    seconds = time.perf_counter() - began
    return {"units": units, "seconds": seconds, "per_second": units / seconds, "peak_mib": own_peak_mib()}


def sft_data(spec: Spec, template: Template) -> tuple[list[Tree], list[list[int]], list[Tree]]:
    """(trees, batches, held-out trees): enough demonstrations for every step."""
    config = replaced(SftConfig(), epochs=1, batch_tokens=spec.batch_tokens)
    if spec.file:
        records = data.of_file(
            spec, "demonstrations", lambda record: sum(len(row.ids) for row in template.examples(record))
        )
        trees, held = (sft.to_trees(template, part, ROW_TOKENS, "skip")[0] for part in records)
        return trees, sft.batches_of(trees, config, spec.seed)[: spec.rounds], held
    count = 32
    while True:
        trees, _ = sft.to_trees(template, data.demonstrations(count, "train", spec.seed), ROW_TOKENS, "skip")
        batches = sft.batches_of(trees, config, spec.seed)
        if len(batches) > spec.rounds:  # the last may be short
            break
        count *= 2
    held, _ = sft.to_trees(template, data.demonstrations(HELD, "validation", spec.seed), ROW_TOKENS, "skip")
    return trees, batches[: spec.rounds], held


def held_loss(model: Any, held: list[Tree]) -> float:
    """Every side's model is measured by the same function, in bfloat16."""
    ready = use_packed_rows(model.to(torch.bfloat16).eval())
    return sft.mean_loss(ready, sft.rows_of(held, ROW_TOKENS))


def run_sft(spec: Spec, side: str) -> Result:
    tokenizer = load_tokenizer(Path(spec.model))
    trees, batches, held = sft_data(spec, Template(tokenizer))
    before = held_loss(load_causal(Path(spec.model)), held)
    losses: list[float] = []
    if side == "plain":
        model = plain.load(spec.model)
        optimizer = plain.adamw([model], spec.lr)

        def one(step: int) -> float:
            batch = [trees[i] for i in batches[step]]
            losses.append(plain.sft_step(model, optimizer, batch, tokenizer.pad_token_id))
            return sum(t.size for t in batch)
    else:
        model = use_packed_rows(load_causal(Path(spec.model)))
        train_last_layers(model, spec.train_layers)
        updater = Updater(model, lr=spec.lr, weight_decay=0.0, grad_clip=1.0)

        def one(step: int) -> float:
            batch = [trees[i] for i in batches[step]]
            rows = sft.rows_of(batch, ROW_TOKENS)
            targets = sum(len(row.targets) for row in rows)
            total = 0.0
            for row in rows:
                logprobs, _ = response_logprobs(model, row, entropy=False)
                loss = -logprobs.sum() / targets
                loss.backward()  # type: ignore[no-untyped-call]
                updater.gather()
                total += float(loss.detach())
            losses.append(total)
            updater.step(1.0)
            return sum(t.size for t in batch)

    return timed(spec, one) | {"losses": losses, "before": before, "after": held_loss(model, held)}


def rankings(spec: Spec, template: Template) -> tuple[list[Ranking], list[Ranking]]:
    """(as many as the steps take, held out)."""
    count = spec.rounds * spec.batch_prompts
    if not spec.file:
        train = data.rankings(count, spec.answers, "train", spec.seed)
        return train, data.rankings(HELD, spec.answers, "validation", spec.seed)

    def size(ranking: Ranking) -> int:
        trunk = len(template.prompt_ids(ranking.prompt))
        return trunk + max(len(template.answer_ids(answer)) for answer in ranking.answers)

    chosen, held = data.of_file(spec, "rankings", size)
    return chosen[:count], held


def reward_data(spec: Spec, template: Template, context: int) -> tuple[list[list[reward.RankedTree]], list[Any]]:
    """(batches, held-out rankings as trees)."""
    count = spec.rounds * spec.batch_prompts
    train, validation = rankings(spec, template)
    items, _ = reward.to_ranked_trees(template, train, context)
    held, _ = reward.to_ranked_trees(template, validation, context)
    return [items[i : i + spec.batch_prompts] for i in range(0, count, spec.batch_prompts)], held


def held_accuracy(model: Any, held: list[Any]) -> float:
    ready = use_packed_rows(model.to(torch.bfloat16).eval())
    return reward.held_out_metrics(ready, held, ROW_TOKENS)["eval_accuracy"]


def run_reward(spec: Spec, side: str) -> Result:
    tokenizer = load_tokenizer(Path(spec.reward))
    model = plain.load(spec.reward, scalar=True) if side == "plain" else use_packed_rows(load_scalar(Path(spec.reward)))
    batches, held = reward_data(spec, Template(tokenizer), model.config.max_position_embeddings)
    before = held_accuracy(load_scalar(Path(spec.reward)), held)
    losses: list[float] = []
    if side == "plain":
        optimizer = plain.adamw([model], spec.lr)

        def one(step: int) -> float:
            losses.append(plain.reward_step(model, optimizer, batches[step], tokenizer.pad_token_id))
            return sum(len(b.pairs) for b in batches[step])
    else:
        train_last_layers(model, spec.train_layers)
        updater = Updater(model, lr=spec.lr, weight_decay=0.0, grad_clip=1.0)

        def one(step: int) -> float:
            batch, total = batches[step], 0.0
            for group in fill_rows([b.tree.size for b in batch], ROW_TOKENS):
                part = [batch[i] for i in group]
                row = build_row([b.tree for b in part])
                scores = branch_scores(model, row).split([len(b.tree.branches) for b in part])
                parts = [kwise_loss(s, b.pairs) for s, b in zip(scores, part, strict=True)]
                loss = torch.stack(parts).sum() / len(batch)
                loss.backward()  # type: ignore[no-untyped-call]
                updater.gather()
                total += float(loss.detach())
            losses.append(total)
            updater.step(1.0)
            return sum(len(b.pairs) for b in batch)

    return timed(spec, one) | {"losses": losses, "before": before, "after": held_accuracy(model, held)}


def ppo_config(spec: Spec) -> PpoConfig:
    return replaced(
        PpoConfig(),
        max_tokens=spec.max_tokens,
        epochs=spec.epochs,
        minibatches=spec.minibatches,
        lr=spec.lr,
        critic_lr=spec.lr,
        train_layers=spec.train_layers,
        row_tokens=2 * ROW_TOKENS,  # a whole optimizer step
    )


def run_ppo(spec: Spec, side: str) -> Result:
    config = ppo_config(spec)
    prompts = data.prompts(spec.rounds * spec.episodes, spec.seed)
    rounds = [prompts[i : i + spec.episodes] for i in range(0, len(prompts), spec.episodes)]
    answers: list[float] = []
    if side == "plain":
        tokenizer = load_tokenizer(Path(spec.model))
        template = Template(tokenizer)
        torch.manual_seed(spec.seed)
        peer = plain.Ppo(spec.model, spec.reward, tokenizer, spec.lr)

        def one(step: int) -> float:
            answers.append(peer.round([template.prompt_ids(p) for p in rounds[step]], config, spec.seed)["tokens"])
            return len(rounds[step])
    else:
        model_config = ModelConfig(device="cpu")
        actors = Actors.load(Path(spec.model), Path(spec.reward), config, model_config)
        state = State.begin(actors, config)
        engine = engine_of(actors.policy, actors.tokenizer, Serving("policy"))

        def one(step: int) -> float:
            params = SamplingParams(max_tokens=config.rollouts.max_tokens, temperature=1.0, seed=step)
            completions = engine.generate(rounds[step], params)
            size = -(-spec.episodes // config.minibatches)
            parts = [slice(i, i + size) for i in range(0, spec.episodes, size)]
            packing = (config.rows.row_tokens, actors.policy.device, actors.trunk)
            batches = [pack(actors.template, rounds[step][p], completions[p], *packing) for p in parts]
            scored = [scores.score(actors, batch, config) for batch in batches]
            experience, _ = scores.experience_of(batches, scored, config, config.kl.coef)
            state.now = Iteration({})
            pieces = experience.split([len(batch.answers) for batch in batches])
            for batch, piece in list(zip(batches, pieces, strict=True)) * config.epochs:
                ppo_update.update(actors, state, batch, piece, ppo_update.Terms(config, 1.0, True))
            named = zip(state.policy.names, state.policy.parameters, strict=True)
            engine.load_weights(((name, p.detach()) for name, p in named), str(step))
            answers.append(float(experience.mask.sum()))
            return len(rounds[step])

    result = timed(spec, one)
    return result | {"answer_tokens": sum(answers) / (spec.rounds * spec.episodes)}


def write_peer_data(spec: Spec, path: Path) -> None:
    """What a peer under another Python trains on: the same token ids in the same order."""
    template = Template(load_tokenizer(Path(spec.model)))
    out: Result = {"pad": template.tokenizer.pad_token_id, "eos": template.tokenizer.eos_token_id}
    if spec.task == "sft":
        trees, batches, _ = sft_data(spec, template)
        # its batches are of equal counts; the same dialogues in the same order
        flat = [trees[i] for batch in batches for i in batch]
        out["rows"] = [{"input_ids": t.trunk, "completion_mask": [int(x) for x in t.learn]} for t in flat]
        out["batch"] = round(len(flat) / len(batches))
    elif spec.task == "reward":
        out["rows"] = data.pair_ids(template, rankings(spec, template)[0])
        out["batch"] = len(out["rows"]) // spec.rounds
    else:
        chosen = data.prompts(spec.rounds * spec.episodes, spec.seed)
        out["rows"] = [{"input_ids": template.prompt_ids(p)} for p in chosen]
        out["batch"] = spec.episodes
    path.write_text(json.dumps(out), encoding="utf-8")


def judge(spec: Spec) -> Result:
    """Held-out loss or accuracy of the model that a peer left in `spec.output`."""
    folder = Path(spec.output)
    template = Template(load_tokenizer(Path(spec.model)))
    if spec.task == "sft":
        return {"after": held_loss(load_causal(folder), sft_data(spec, template)[2])}
    model = load_scalar(folder)
    return {"after": held_accuracy(model, reward_data(spec, template, model.config.max_position_embeddings)[1])}


def make_reward_model(spec: Spec) -> None:
    """A reward model of the base's size with a random head, for PPO's speed and as everybody's start."""
    model = load_scalar(Path(spec.model), "float32")
    init_score_head(model, spec.seed)
    tokenizer = load_tokenizer(Path(spec.model))
    from steersman.weights.folders import save_model

    save_model(model.to(torch.bfloat16), tokenizer, Path(spec.reward))


def main() -> None:
    # libraries print to stdout; what is left of it belongs to the result
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side, spec = sys.argv[1], Spec(**json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    random.seed(spec.seed)
    torch.manual_seed(spec.seed)
    result: Result = {}
    if side == "prepare":
        make_reward_model(spec)
    elif side == "data":
        write_peer_data(spec, Path(spec.output))
    elif side == "judge":
        result = judge(spec)
    else:
        if side == "steersman":
            keep_freed_memory()
        result = {"sft": run_sft, "reward": run_reward, "ppo": run_ppo}[spec.task](spec, side)
    print(json.dumps(result), file=replies, flush=True)


if __name__ == "__main__":
    main()
