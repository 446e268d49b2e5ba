"""DPO, KTO, RLOO and GRPO: losses against plain loops over transformers' forward pass, and resuming."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file

import tiny as t
from steersman.artifact.manifest import read_manifest, tree_hashes
from steersman.artifact.stage_folder import StageFolder
from steersman.compute.packing import Tree
from steersman.config import (
    Config,
    DpoConfig,
    GrpoConfig,
    KtoConfig,
    ModelConfig,
    PpoConfig,
    RlooConfig,
    of_stage,
    replaced,
)
from steersman.families.outputs import init_score_head
from steersman.rl.advantages import group_normalise
from steersman.rl.losses import kl_loss
from steersman.rl.preference_losses import dpo_loss, kto_loss
from steersman.rounds.export import as_ranking
from steersman.text.template import Template
from steersman.train import budget, ppo, preference
from steersman.train.log import read_metrics
from steersman.train.order import plan_batches
from steersman.train.rankings import RankedTree, in_order, pair_report, split_holdout
from steersman.train.schedule import Schedule
from steersman.types import Conversation, Feedback, Ranking
from steersman.weights.folders import load_causal, load_scalar, save_model
from steersman.weights.lora import adapter_base, set_trainable, settle, weights_hash

FLOAT = ModelConfig(dtype="float32", device="cpu")
SIZES: dict[str, Any] = {
    "epochs": 2,
    "lr": 1e-3,
    "batch_prompts": 4,
    "row_tokens": 128,
    "holdout_fraction": 0.25,
    "save_seconds": 0.0,
}
DPO = replaced(DpoConfig(), **SIZES, label_smoothing=0.1)
KTO = replaced(KtoConfig(), **SIZES, undesirable_weight=1.5)


def rankings(n: int = 12) -> list[Ranking]:
    rng = random.Random(0)
    answers = ("On its way.", "No.", "Your parcel arrives on 6 May, thank you.")
    prompts = [t.conversation(f"Where is parcel {i}?", id=f"p{i}") for i in range(n)]
    return [Ranking(f"r{i}", p, answers, tuple(rng.sample([1, 2, 3], 3))) for i, p in enumerate(prompts)]


def run(model: Path, output: Path, config: DpoConfig | KtoConfig, ranked: list[Ranking]) -> dict[str, Any]:
    return preference.run(
        base=model, rankings=ranked, output=output, config=config, model_config=FLOAT, seed=3, inputs={}
    )


def plain_logprob(model: Any, template: Template, prompt: Conversation, answer: str) -> torch.Tensor:
    """log p(answer | prompt) of one padded-nothing sequence, from transformers' logits."""
    start, end = template.prompt_ids(prompt), template.answer_ids(answer)
    logits = model(torch.tensor([start + end])).logits[0].log_softmax(-1)
    return sum((logits[len(start) + i - 1, token] for i, token in enumerate(end)), torch.zeros(()))


def plain_losses(folder: Path, config: DpoConfig | KtoConfig, ranked: list[Ranking], policy: Any = None) -> list[float]:
    """The papers' formulas, one answer at a time, with torch.optim.AdamW."""
    policy, reference = policy or load_causal(folder, "float32"), load_causal(folder, "float32")
    template = Template(t.tokenizer())
    train, _ = split_holdout(ranked, config.holdout_fraction, 3)
    stage = "dpo" if isinstance(config, DpoConfig) else "kto"
    batches = plan_batches([1] * len(train), config.rows.batch_prompts, config.epochs, f"3/{stage}")
    learning = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=config.optimizer.lr, betas=(0.9, 0.95), weight_decay=0.0)

    def ratio(prompt: Conversation, answer: str) -> torch.Tensor:
        with torch.no_grad():
            base = plain_logprob(reference, template, prompt, answer)
        return plain_logprob(policy, template, prompt, answer) - base

    losses = []
    for step, batch in enumerate(batches):
        if isinstance(config, DpoConfig):
            e, total = config.label_smoothing, torch.zeros(())
            for r in (train[i] for i in batch):
                ratios = [ratio(r.prompt, a) for a in r.answers]
                terms = []
                for w, l in r.pairs():
                    p = 1 / (1 + (-config.beta * (ratios[w] - ratios[l])).exp())
                    terms.append(-(1 - e) * p.log() - e * (1 - p).log())
                total = total + sum(terms) / len(terms)
            loss = total / len(batch)
        else:
            with torch.no_grad():
                other = [(train[i].prompt, train[(i + 1) % len(train)].answers[0]) for i in batch]
                z0 = max(0.0, sum(float(ratio(p, a)) for p, a in other) / len(batch))
            terms = []
            for r in (train[i] for i in batch):
                for a, rank in zip(r.answers, r.ranks or (), strict=True):
                    if rank == 1:
                        terms.append(1.0 - torch.sigmoid(config.beta * (ratio(r.prompt, a) - z0)))
                    if rank == 3:
                        terms.append(1.5 - 1.5 * torch.sigmoid(config.beta * (z0 - ratio(r.prompt, a))))
            loss = sum(terms) / len(terms)
        loss.backward()
        losses.append(float(loss.detach()))
        torch.nn.utils.clip_grad_norm_(learning, config.optimizer.grad_clip)
        for group in optimizer.param_groups:
            warmup = round(config.optimizer.warmup_fraction * len(batches))
            group["lr"] = config.optimizer.lr * Schedule(
                len(batches), warmup, config.optimizer.final_lr_fraction
            ).share(step)
        optimizer.step()
        optimizer.zero_grad()
    return losses


@pytest.mark.parametrize("config", [DPO, KTO], ids=["dpo", "kto"])
def test_the_stage_equals_the_formula(config: DpoConfig | KtoConfig, tiny: Path, tmp_path: Path) -> None:
    metrics = run(tiny, tmp_path / "out", config, rankings())
    rows = read_metrics(tmp_path / "out")
    assert [row["loss"] for row in rows] == pytest.approx(plain_losses(tiny, config, rankings()), abs=2e-4)
    start = math.log(2) if config is DPO else 0.5 * (1 + 1.5) / 2
    assert rows[0]["loss"] == pytest.approx(start, abs=1e-6)
    assert rows[0]["margin"] == 0, "the reference is the start, to the bit"
    assert metrics["n_prompts"] == 3
    assert {"accuracy", "length_baseline", "margin", "chosen", "rejected"} <= metrics.keys()


@pytest.mark.parametrize("config", [DPO, KTO], ids=["dpo", "kto"])
def test_an_adapter_learns_as_pefts_does(config: DpoConfig | KtoConfig, tiny: Path, tmp_path: Path) -> None:
    """The reference is the base without the adapter; only the matrices change, by no more than the adapter's rank."""
    config = replaced(config, lora_rank=2, lr=1e-2)
    begun = load_causal(tiny, "float32")
    set_trainable(begun, config, 3)
    settle(begun, tmp_path, tiny)
    adapter = str(tmp_path / "adapter")
    policy = peft.PeftModel.from_pretrained(load_causal(tiny, "float32"), adapter, is_trainable=True)
    run(tiny, tmp_path / "out", config, rankings())
    rows = read_metrics(tmp_path / "out")
    assert rows[0]["margin"] == 0, "the reference is the start, to the bit"
    assert [row["loss"] for row in rows] == pytest.approx(plain_losses(tiny, config, rankings(), policy), abs=2e-4)
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny, tmp_path / "out"))
    for name, weight in before.items():
        rank = torch.linalg.matrix_rank(after[name] - weight, atol=1e-4) if "_proj" in name else 0
        assert 0 < rank <= 2 or torch.equal(after[name], weight), name
    assert adapter_base(tmp_path / "out") == weights_hash(tiny)


@pytest.mark.parametrize("config", [DPO, KTO], ids=["dpo", "kto"])
def test_checkpointing_changes_no_bit(config: DpoConfig | KtoConfig, tiny: Path, tmp_path: Path) -> None:
    files = []
    for recompute in (False, True):
        run(tiny, tmp_path / str(recompute), replaced(config, checkpointing=recompute), rankings())
        files.append(tree_hashes(tmp_path / str(recompute)))
    assert files[0] == files[1]


def test_what_cannot_be_is_refused_before_it_starts(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = dataclasses.replace(FLOAT, quantize="4bit")
    with pytest.raises(ValueError, match="such weights stay frozen; expected a lora_rank"):
        preference.run(
            base=tiny, rankings=rankings(), output=tmp_path / "x", config=DPO, model_config=four, seed=3, inputs={}
        )
    monkeypatch.setattr(budget, "free_memory", lambda _: 300 << 20)
    for name, config in (("dpo", DPO), ("kto", KTO)):
        with pytest.raises(ValueError, match=rf"{name}: not started.*0\.3 GiB are free.*memory_check=false"):
            run(tiny, tmp_path / name, config, rankings())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("config", [DPO, KTO], ids=["dpo", "kto"])
def test_a_plain_preference_is_learned(config: DpoConfig | KtoConfig, tiny: Path, tmp_path: Path) -> None:
    ranked = [dataclasses.replace(r, ranks=(2, 3, 1)) for r in rankings()]
    metrics = run(tiny, tmp_path / "out", dataclasses.replace(config, epochs=6), ranked)
    assert metrics["accuracy"]["value"] == 1
    assert metrics["margin"] > 0.2


@pytest.mark.parametrize("stage", ["dpo", "kto", "dpo-lora", "kto-lora", "rloo", "grpo"])
def test_interrupted_and_gone_on_gives_the_same_bits(
    stage: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(name: str) -> dict[str, str]:
        output = tmp_path / name
        if stage.startswith(("dpo", "kto")):
            config = replaced(DPO if "dpo" in stage else KTO, lora_rank=2 if "lora" in stage else 0)
            run(tiny, output, config, rankings())
        else:
            run_without_critic(stage, tiny, output)
        return dict(read_manifest(output).files)

    saved = StageFolder.save
    calls = []

    def stop(self: StageFolder, *args: Any) -> None:
        saved(self, *args)
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(StageFolder, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        make("resumed")
    monkeypatch.undo()
    assert make("resumed") == make("whole")
    assert not any("critic" in name for name in calls[-1][0])


def make_scorer(model: Path, output: Path) -> Path:
    scorer = load_scalar(model, "float32")
    init_score_head(scorer, 7)
    save_model(scorer, t.tokenizer(), output)
    return output


def run_without_critic(method: str, model: Path, output: Path, **changes: Any) -> dict[str, Any]:
    scorer = make_scorer(model, output.with_name("scorer"))
    sizes = {"iterations": 4, "max_tokens": 6, "minibatches": 2, "lr": 1e-3, "eval_every": 2, "eval_prompts": 2}
    config = Config(
        ppo=replaced(PpoConfig(), **{**sizes, "kl_ceiling": 1e9, "save_seconds": 0.0, "epochs": 2} | changes)
    )  # type: ignore[arg-type]
    few: dict[str, Any] = {"prompts_per_iteration": 2, "answers_per_prompt": 3}
    config = dataclasses.replace(config, grpo=replaced(GrpoConfig(), **few), rloo=replaced(RlooConfig(), **few))
    prompts = [r.prompt for r in rankings(4)]
    return ppo.run(
        material=ppo.Material(model, scorer, prompts, prompts[:2]),
        output=output,
        config=of_stage(config, method),
        model_config=FLOAT,
        seed=3,
        inputs={},
        stage=method,
    )


def test_without_a_critic_none_is_logged(tiny: Path, tmp_path: Path) -> None:
    run_without_critic("grpo", tiny, tmp_path / "grpo")
    first = read_metrics(tmp_path / "grpo")[0]
    assert first["kl"] == 0
    assert first["ratio_error_first"] == 0
    assert not {"value_loss", "explained_variance"} & first.keys()
    manifest = read_manifest(tmp_path / "grpo")
    assert (manifest.stage, manifest.config["advantage"], manifest.config["kl_in"]) == ("grpo", "grpo", "loss")
    with pytest.raises(ValueError, match="has no critic"):
        ppo.run(
            material=ppo.Material(tiny, tiny, [r.prompt for r in rankings()], [r.prompt for r in rankings()]),
            output=tmp_path / "x",
            config=replaced(PpoConfig(), advantage="rloo", answers_per_prompt=2, critic_warmup_iterations=1),
            model_config=FLOAT,
            seed=1,
            inputs={},
        )


def test_group_advantages_and_k3_by_hand() -> None:
    scores = torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0])
    deviation = math.sqrt((4 + 1 + 9) / 3)
    expected = [-2 / deviation, -1 / deviation, 3 / deviation, 0, 0, 0]
    assert group_normalise(scores, 3).tolist() == pytest.approx(expected, abs=1e-4)
    policy, reference = torch.tensor([0.5, 0.2, 0.3]).log(), torch.tensor([0.2, 0.2, 0.6]).log()
    k3 = kl_loss(policy, reference)
    assert k3.tolist() == pytest.approx([0.4 - math.log(0.4) - 1, 0, 2 - math.log(2) - 1])
    exact = float((policy.exp() * (policy - reference)).sum())
    assert float((policy.exp() * k3).sum()) == pytest.approx(exact), "unbiased under the policy"


def test_losses_at_known_points() -> None:
    ratios = torch.tensor([2.0, -1.0, 0.5])
    assert float(dpo_loss(ratios, ((0, 1),), 0.1)) == pytest.approx(math.log(1 + math.exp(-0.3)))
    smooth = 0.8 * math.log(1 + math.exp(-0.3)) + 0.2 * math.log(1 + math.exp(0.3))
    assert float(dpo_loss(ratios, ((0, 1),), 0.1, 0.2)) == pytest.approx(smooth)
    got = kto_loss(ratios, (1, -1, 0), 0.5, 0.1, 2.0, 1.0).tolist()
    assert got == pytest.approx([2 / (1 + math.exp(0.15)), 1 / (1 + math.exp(0.15))])


def test_what_is_desirable() -> None:
    one = rankings(1)[0]
    four = dataclasses.replace(one, answers=("a", "b", "c", "d"), ranks=(1, 2, 2, 3))
    assert preference.kto_labels(four) == (1, 0, 0, -1)
    assert preference.kto_labels(dataclasses.replace(four, ranks=(2, 1, 4, 3))) == (1, 1, -1, -1)
    assert preference.kto_labels(dataclasses.replace(four, all_bad=True)) == (-1, -1, -1, -1)
    graded = dataclasses.replace(one, ranks=None, grades=("average", "poor", "good"))
    assert preference.kto_labels(graded) == (0, -1, 1)


def feedback(kind: Any, i: int, edited: str | None = None) -> Feedback:
    return Feedback(f"f{i}", kind, t.conversation(f"Where is {i}?"), "No.", edited)


def test_thumbs_alone_are_enough_for_kto(tiny: Path, tmp_path: Path) -> None:
    said = [feedback("like" if i % 2 else "dislike", i) for i in range(8)]
    said = [Feedback.from_json(json.loads(json.dumps(f.to_json()))) for f in said]
    ranked = [r for f in said if (r := as_ranking(f))]
    assert [preference.kto_labels(r) for r in ranked[:2]] == [(-1,), (1,)]
    metrics = run(tiny, tmp_path / "kto", dataclasses.replace(KTO, epochs=4), ranked)
    assert metrics["accuracy"] is None, "nobody compared anything"
    assert metrics["n_train_prompts"] == 8, "nothing is held out that could test nothing"
    with pytest.raises(ValueError, match="rank more prompts"):
        run(tiny, tmp_path / "dpo", DPO, ranked)
    with pytest.raises(ValueError, match="two different prompts"):
        run(tiny, tmp_path / "one", dataclasses.replace(KTO, holdout_fraction=0.0), ranked[:1])
    edit = as_ranking(feedback("edit", 1, "Yes, on 6 May."))
    assert edit is not None
    assert edit.pairs() == ((0, 1),)
    assert as_ranking(feedback("regenerate", 1)) is None
    with pytest.raises(ValueError, match=r"feedback\.kind: expected one of like"):
        Feedback.from_json({"kind": "love"})


def test_rankings_of_one_prompt_are_no_independent_witnesses() -> None:
    """Four rankings of each of three prompts: intervals as wide as those of three prompts, not of twelve."""
    held = [RankedTree(Tree((prompt,), ((1,), (2,))), ((0, 1),), (prompt, 2)) for prompt in range(3) for _ in range(4)]
    right = [torch.tensor([float(item.tree.trunk[0] > 0), 0.5]) for item in held]
    report = pair_report(held, right, seed=0)
    assert (report["n_prompts"], report["n_pairs"]) == (3, 12)
    assert report["accuracy"]["value"] == pytest.approx(2 / 3)
    assert in_order(torch.tensor([1.0, 1.0, 0.0]), [(0, 1), (0, 2), (2, 1)]) == 1.5  # a tie, right, wrong
    once = pair_report(held[::4], right[::4], seed=0)
    assert report["lead_over_length"]["low"] == once["lead_over_length"]["low"]
