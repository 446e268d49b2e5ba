"""Stages on a tiny model: accumulation, resume after kill -9, errors, what the artifacts hold."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import tiny as t
from steersman.artifact import unfinished
from steersman.artifact.manifest import POINTS, tree_hashes, verify
from steersman.artifact.stage_folder import StageFolder, partial_of
from steersman.compute.packing import Tree
from steersman.config import ModelConfig, PpoConfig, RewardConfig, SampleConfig, SftConfig, replaced
from steersman.text.template import Template
from steersman.train import ppo, reward, sample, sft
from steersman.train.iteration import ANSWERS
from steersman.train.log import read_metrics
from steersman.train.schedule import Schedule
from steersman.train.update import Updater
from steersman.types import Conversation, Ranking
from steersman.weights.folders import load_causal, load_scalar, use_packed_rows

FLOAT = ModelConfig(dtype="float32", device="cpu")
SFT = replaced(SftConfig(), epochs=2, lr=1e-3, batch_tokens=200, row_tokens=128)
REWARD = replaced(
    RewardConfig(), epochs=2, lr=1e-3, batch_prompts=4, row_tokens=256, holdout_fraction=0.25, validator=False
)
PPO = replaced(
    PpoConfig(),
    iterations=6,
    prompts_per_iteration=4,
    answers_per_prompt=2,
    max_tokens=6,
    minibatches=2,
    epochs=2,
    lr=1e-3,
    critic_lr=1e-3,
    eval_every=2,
    eval_prompts=4,
    kl_ceiling=1e9,
    ptx_coef=0.1,
    kl_target=1.0,
    critic_warmup_iterations=1,
)


def demonstrations(n: int = 24) -> list[Conversation]:
    return [t.conversation(f"Where is order {i}?", f"Order {i} arrives on {i} May.", id=f"d{i}") for i in range(n)]


def prompts(n: int = 12) -> list[Conversation]:
    return [t.conversation(f"Where is parcel {i}?", id=f"p{i}") for i in range(n)]


def rankings(n: int = 16) -> list[Ranking]:
    rng = random.Random(0)
    answers = ["On its way.", "No.", "Your parcel arrives on 6 May, thank you.", "blue kettle"]
    return [Ranking(f"r{i}", p, tuple(answers), tuple(rng.sample([1, 2, 2, 3], 4))) for i, p in enumerate(prompts(n))]


def run_sft(model: Path, output: Path, model_config: ModelConfig = FLOAT, **changes: Any) -> dict[str, Any]:
    return sft.run(
        base=model,
        demonstrations=demonstrations(),
        validation=[],
        output=output,
        config=replaced(SFT, **changes),
        model_config=model_config,
        seed=3,
        inputs={"base": "b"},
    )


def run_reward(
    model: Path,
    output: Path,
    given: list[Ranking] | None = None,
    model_config: ModelConfig = FLOAT,
    **changes: Any,
) -> dict[str, Any]:
    return reward.run(
        base=model,
        rankings=given or rankings(),
        demonstrations=demonstrations(5),
        output=output,
        config=replaced(REWARD, **changes),
        model_config=model_config,
        seed=3,
        inputs={},
    )


def run_ppo(model: Path, scorer: Path, output: Path, **changes: Any) -> dict[str, Any]:
    return ppo.run(
        material=ppo.Material(model, scorer, prompts(), prompts(4), demonstrations(8)),
        output=output,
        config=replaced(PPO, **changes),
        model_config=FLOAT,
        seed=3,
        inputs={},
    )


def run_sample(model: Path, output: Path, **changes: Any) -> dict[str, Any]:
    config = dataclasses.replace(SampleConfig(answers=3, max_tokens=8, batch_prompts=2), **changes)
    return sample.run(
        model=model, version="v", prompts=prompts(), output=output, config=config, model_config=FLOAT, seed=3, inputs={}
    )


def test_accumulation_does_not_matter(tiny: Path) -> None:
    """1 x 8 == 8 x 1: one row of eight dialogues, or eight rows of one."""
    from steersman.families.outputs import response_logprobs
    from steersman.text.template import Template

    trees, _ = sft.to_trees(Template(t.tokenizer()), demonstrations(8), 512, "error")
    results = []
    for row_tokens in (10_000, 1):
        model = use_packed_rows(load_causal(tiny, "float32"))
        updater = Updater(model, lr=1e-3, weight_decay=0.0, grad_clip=0.0)
        rows = sft.rows_of(trees, row_tokens)
        assert len(rows) == (1 if row_tokens > 1 else 8)
        total = sum(len(r.targets) for r in rows)
        for row in rows:
            (-response_logprobs(model, row)[0].sum() / total).backward()
            updater.gather()
        results.append([m.grad.clone() for m in updater.masters])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_cosine_schedule() -> None:
    schedule = Schedule(100, 4, 0.1)
    assert schedule.share(0) == pytest.approx(0.2)
    assert schedule.share(4) == pytest.approx(1.0)
    assert schedule.share(52) == pytest.approx(0.55)
    assert schedule.share(100) == pytest.approx(0.1)


def test_adamw_step_equals_the_formula(tiny: Path) -> None:
    model = load_causal(tiny, "float32")
    updater = Updater(model, lr=1e-2, weight_decay=0.1, grad_clip=0.0)
    before = updater.masters[0].clone()
    torch.manual_seed(0)
    gradient = torch.randn_like(before)
    updater.parameters[0].grad = gradient
    updater.gather()
    updater.step(0.5)
    step = gradient / (gradient.abs() + 1e-8)  # the first step of Adam is lr * sign
    torch.testing.assert_close(updater.masters[0], before * (1 - 0.005 * 0.1) - 0.005 * step, atol=1e-6, rtol=1e-5)


def test_sft_learns_and_transformers_loads_it(tiny: Path, tmp_path: Path) -> None:
    metrics = run_sft(tiny, tmp_path / "sft", epochs=8)
    assert metrics["eval_loss"] < metrics["eval_loss_before"] - 0.3
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "sft")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "sft")
    assert model.config.pad_token_id != model.config.eos_token_id
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert "<|im_start|>user" in text
    losses = [m["loss"] for m in read_metrics(tmp_path / "sft") if "loss" in m]
    assert losses[-1] < losses[0]
    verify(tmp_path / "sft")
    assert not partial_of(tmp_path / "sft").exists()


def test_golden_sft_curve(tiny: Path, tmp_path: Path) -> None:
    """A change that should not alter numbers must show this curve (float32, first and last step)."""
    run_sft(tiny, tmp_path / "sft")
    curve = [m["loss"] for m in read_metrics(tmp_path / "sft") if "loss" in m]
    plain = plain_sft_losses(tiny)
    assert curve == pytest.approx(plain, abs=2e-4)


def test_a_run_ends_early_where_it_is(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop_after` does the first of the planned steps; an unfinished run that has done more ends without another."""
    metrics = run_sft(tiny, tmp_path / "early", stop_after=2)
    plain = plain_sft_losses(tiny)
    assert (metrics["steps"], metrics["planned_steps"]) == (2, len(plain))
    losses = [m["loss"] for m in read_metrics(tmp_path / "early") if "loss" in m]
    assert losses == pytest.approx(plain[:2], abs=2e-4)
    with monkeypatch.context() as broken:
        broken.setattr(sft, "settle", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut")))
        with pytest.raises(RuntimeError):
            run_sft(tiny, tmp_path / "cut", save_seconds=0.0)
    ended = run_sft(tiny, tmp_path / "cut", stop_after=1, save_seconds=0.0)
    assert 1 < ended["steps"] < len(plain) == ended["planned_steps"]
    assert len([m for m in read_metrics(tmp_path / "cut") if "loss" in m]) == ended["steps"]


@pytest.mark.parametrize("run", [run_sft, run_reward])
def test_evaluations_on_the_way_change_nothing(run: Any, tiny: Path, tmp_path: Path) -> None:
    """Evenly spaced, the last equal to what the manifest says, and the same bits as without."""
    metrics, plain = run(tiny, tmp_path / "with", evals=2), run(tiny, tmp_path / "without")
    files = [tree_hashes(tmp_path / name) for name in ("with", "without")]
    assert files[0].pop("metrics.jsonl") != files[1].pop("metrics.jsonl")
    assert files[0] == files[1]
    rows = read_metrics(tmp_path / "with")
    held = [row for row in rows if "eval_loss" in row]
    steps = len(rows) - 1
    assert [row["step"] for row in held] == [round(steps / 3), round(2 * steps / 3), steps + 1]
    if run is run_sft:
        assert held[-1]["eval_loss"] == pytest.approx(metrics["eval_loss"], abs=1e-4)
        assert metrics["eval_loss"] == plain["eval_loss"]
    else:
        assert held[-1]["eval_accuracy"] == pytest.approx(metrics["accuracy"]["value"])


def plain_sft_losses(model_folder: Path) -> list[float]:
    """The same steps with transformers, torch.optim.AdamW and one padded dialogue at a time."""
    model = load_causal(model_folder, "float32")
    train, _ = sft.split_validation(demonstrations(), SFT.eval_fraction, 3)
    from steersman.text.template import Template

    trees, _ = sft.to_trees(Template(t.tokenizer()), train, SFT.rows.row_tokens, "error")
    batches = sft.batches_of(trees, SFT, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=SFT.optimizer.lr, betas=(0.9, 0.95), weight_decay=0.0)
    warmup, losses = round(SFT.optimizer.warmup_fraction * len(batches)), []
    for step, batch in enumerate(batches):
        total, count = torch.zeros(()), 0
        for i in batch:
            ids = torch.tensor([trees[i].trunk])
            labels = torch.where(torch.tensor([trees[i].learn]), ids, -100)
            logits = model(ids).logits[0, :-1]
            total = total + torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=-100, reduction="sum")
            count += int((labels[0, 1:] != -100).sum())
        (total / count).backward()
        losses.append((total / count).item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), SFT.optimizer.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = SFT.optimizer.lr * Schedule(len(batches), warmup, SFT.optimizer.final_lr_fraction).share(step)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def test_reward_learns_a_plain_preference_and_is_centred(tiny: Path, tmp_path: Path) -> None:
    ranked = [dataclasses.replace(r, ranks=(2, 4, 1, 3)) for r in rankings()]
    metrics = reward.run(
        base=tiny,
        rankings=ranked,
        demonstrations=demonstrations(5),
        output=tmp_path / "reward",
        config=dataclasses.replace(REWARD, epochs=6),
        model_config=FLOAT,
        seed=3,
        inputs={},
    )
    assert metrics["accuracy"]["value"] > 0.9
    assert metrics["length_baseline"]["value"] == pytest.approx(5.5 / 6), "one of six pairs has equal lengths"
    assert metrics["n_prompts"] == 4
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    template = sft.Template(t.tokenizer())
    answers = [
        template.prompt_ids(d.without_answer()) + template.answer_ids(d.messages[-1].content) for d in demonstrations(5)
    ]
    with torch.no_grad():
        scores = [model(torch.tensor([ids])).logits.item() for ids in answers]
    mean = sum(scores) / len(scores)
    assert mean - model.config.reward_shift == pytest.approx(0, abs=1e-4), "demonstrations score 0 on average"


def test_a_label_moves_the_score_of_its_answer(tiny: Path, tmp_path: Path) -> None:
    """Liked and disliked answers count by the binary loss, and change nothing where there are none."""
    longer = {"epochs": 5, "holdout_fraction": 0.25, "lr": 3e-3}
    liked, poor = "blue kettle", "No."
    said = [
        Ranking(f"l{i}", p, (text,), None, (grade,))
        for i, p in enumerate(prompts(16))
        for text, grade in ((liked, "good"), (poor, "poor"))
    ]
    told = run_reward(tiny, tmp_path / "labels", [*rankings(), *said], **longer)
    assert told["labels"] == 24, "those of held-out prompts are left out"
    assert "labels" not in run_reward(tiny, tmp_path / "none", **longer)
    template = Template(t.tokenizer())
    means = []
    for name in ("labels", "none"):
        model = use_packed_rows(load_scalar(tmp_path / name, "float32"))
        trees = [Tree(template.prompt_ids(p), tuple(map(template.answer_ids, (liked, poor)))) for p in prompts(16)]
        scores = torch.cat([s[:, 0] for s in reward.score_trees(model, trees, 512)]).view(-1, 2)
        means.append(float((scores[:, 0] - scores[:, 1]).mean()))
    assert means[0] > means[1] + 1


def test_rankings_of_one_prompt_never_straddle_the_holdout() -> None:
    twice = [*rankings(), *[dataclasses.replace(r, id=r.id + "b") for r in rankings()]]
    train, held = reward.split_holdout(twice, 0.25, 1)
    assert len(held) == 8
    assert not {r.prompt.last_user for r in train} & {r.prompt.last_user for r in held}


def test_ppo_starts_at_ratio_one_and_kl_zero(tiny: Path, tmp_path: Path) -> None:
    run_reward(tiny, tmp_path / "reward")
    metrics = run_ppo(tiny, tmp_path / "reward", tmp_path / "policy")
    first = read_metrics(tmp_path / "policy")[0]
    assert first["kl"] == 0
    assert first["ratio_error_first"] == 0
    assert first["engine_logprob_error"] < 1e-5
    assert first["eval_kl"] == 0
    kept = ("reward", "kl", "entropy", "clip_fraction", "explained_variance", "length", "no_eos", "samples")
    assert all(key in first for key in kept)
    assert read_metrics(tmp_path / "policy")[-2]["kl"] != 0
    assert metrics["best"]["eval_reward"] >= first["eval_reward"]


def test_ppo_stops_at_the_kl_ceiling(tiny: Path, tmp_path: Path) -> None:
    run_reward(tiny, tmp_path / "reward")
    metrics = run_ppo(tiny, tmp_path / "reward", tmp_path / "policy", kl_ceiling=1e-4, warmup_iterations=0)
    assert "passed the ceiling" in metrics["stopped"]
    assert metrics["iterations"] < PPO.iterations
    assert metrics["best"]["eval_kl"] <= 1e-4


def test_ppo_learns_from_some_of_the_answers_and_tells_of_all(tiny: Path, tmp_path: Path) -> None:
    run_reward(tiny, tmp_path / "reward")
    common = {"answers_per_prompt": 6, "iterations": 1, "warmup_iterations": 0, "critic_warmup_iterations": 0}
    common |= {"max_tokens": 24}
    rows = {}
    for kept in (0, 2, 6):
        run_ppo(tiny, tmp_path / "reward", tmp_path / str(kept), learned_per_prompt=kept, **common)
        rows[kept] = read_metrics(tmp_path / str(kept))[0]
    same = ("reward", "score", "kl", "length", "no_eos", "repetition", "entropy", "engine_logprob_error")
    assert [rows[0][name] for name in same] == [rows[2][name] for name in same]
    assert rows[2]["ratio_error_first"] == 0
    assert tree_hashes(tmp_path / "0")["model.safetensors"] == tree_hashes(tmp_path / "6")["model.safetensors"]
    assert rows[2]["policy_loss"] != rows[0]["policy_loss"]
    with pytest.raises(ValueError, match=r"learned_per_prompt = 7: expected 2 to 6"):
        run_ppo(tiny, tmp_path / "reward", tmp_path / "x", learned_per_prompt=7, **common)
    with pytest.raises(ValueError, match=r"learned_per_prompt = 1: expected 2 to 6"):
        run_ppo(tiny, tmp_path / "reward", tmp_path / "x", learned_per_prompt=1, **common)


def test_ppo_learns_the_same_where_scoring_overlaps_sampling(tiny: Path, tmp_path: Path) -> None:
    run_reward(tiny, tmp_path / "reward")
    apart, together = (
        run_ppo(tiny, tmp_path / "reward", tmp_path / name, iterations=2, overlap=name == "overlap")
        for name in ("apart", "overlap")
    )
    assert apart["best"] == together["best"]
    weights, same = (load_file(tmp_path / name / "model.safetensors") for name in ("apart", "overlap"))
    torch.testing.assert_close(weights, same, rtol=0, atol=0)


@pytest.mark.parametrize("overlap", [pytest.param(False, marks=pytest.mark.slow), True])
def test_ppo_goes_on_from_every_resume_point(tiny: Path, tmp_path: Path, overlap: bool) -> None:
    """Stopped right after each: among answers, among updates, between iterations."""
    run_reward(tiny, tmp_path / "reward")
    changes = {"iterations": 2, "rollout_prompts": 2, "save_seconds": 0.0, "ema_decay": 0.9, "overlap": overlap}
    changes |= {"step_kl": 1e-6, "critic_step": 0.01}  # rates, scales and the judge's first scores go on too
    changes |= {"answers_per_prompt": 3, "learned_per_prompt": 2} if overlap else {}
    run_ppo(tiny, tmp_path / "reward", tmp_path / "whole", **changes)
    places: list[tuple[int, int | None]] = []
    steps = (0, 0, 1, 2, 3, 4)
    save = StageFolder.save

    def stop(folder: StageFolder, tensors: Any, state: Any) -> None:
        if overlap and len(places) == len(steps):  # as older versions left it: without what was evaluated
            tensors = {name: tensor for name, tensor in tensors.items() if name != ANSWERS}
            state = {name: value for name, value in state.items() if name != "round"}
        save(folder, tensors, state)
        folder.wait()
        places.append((state["iteration"], state["round"]["steps"] if "round" in state else None))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageFolder, "save", stop)
        patch.setattr(StageFolder, "agree_to_save", lambda folder: folder.wait() is None)
        while not (tmp_path / "stopped").exists():
            with contextlib.suppress(KeyboardInterrupt):
                run_ppo(tiny, tmp_path / "reward", tmp_path / "stopped", **changes)
    between = (1, None if overlap else 0)
    assert places == [*((0, step) for step in steps), between, *((1, step) for step in steps)]
    assert tree_hashes(tmp_path / "stopped") == tree_hashes(tmp_path / "whole")


def test_resume_points_of_other_settings_are_not_used(tiny: Path, tmp_path: Path) -> None:
    folder = StageFolder(tmp_path / "x", "sft", {"lr": 1.0, "save_seconds": 1}, {"a": "1"})
    folder.save({"w": torch.ones(2)}, {"step": 3})
    folder.wait()
    again = StageFolder(tmp_path / "x", "sft", {"lr": 1.0, "save_seconds": 9}, {"a": "1"})
    point = again.load()
    assert point is not None
    assert point[1] == {"step": 3}
    with pytest.raises(ValueError, match=r"sft.lr was 1.0, now 2.0.*--fresh"):
        StageFolder(tmp_path / "x", "sft", {"lr": 2.0}, {"a": "1"})
    token = unfinished.fresh.set(True)
    assert StageFolder(tmp_path / "x", "sft", {"lr": 2.0}, {"a": "1"}).load() is None
    unfinished.fresh.reset(token)


def test_a_full_disk_keeps_the_last_resume_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import steersman.artifact.stage_folder as module

    folder = StageFolder(tmp_path / "x", "sft", {}, {})
    folder.save({"w": torch.ones(2)}, {"step": 1})
    folder.wait()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    folder.save({"w": torch.zeros(2)}, {"step": 2})
    with pytest.raises(OSError, match="No space left"):
        folder.wait()
    with pytest.raises(OSError, match="No space left"):
        folder.finish({})
    monkeypatch.undo()
    point = folder.load()
    assert point is not None
    assert point[1] == {"step": 1}
    assert not list(folder.path.glob(".*.tmp"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_resume_point_gives_way_to_the_one_before(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = StageFolder(tmp_path / "x", "sft", {}, {}, keep=2)
    for step in range(1, 5):
        folder.save({"w": torch.full((3,), step, dtype=torch.bfloat16)}, {"step": step})
    folder.wait()
    points = sorted(folder.path.glob(POINTS))
    assert len(points) == 2
    damage(points[1])
    found = folder.load()
    assert found is not None
    assert (found[1], found[0]["w"].tolist()) == ({"step": 3}, [3, 3, 3])
    assert f"{points[1]}: damaged resume point" in capsys.readouterr().err
    assert not points[1].exists()
    damage(points[0])
    with pytest.raises(ValueError, match=r"damaged, as is every other resume point; --fresh begins anew .*x\.partial"):
        folder.load()


def test_saving_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import steersman.artifact.stage_folder as module

    disk, save_file = threading.Event(), module.save_file

    def slow(*args: Any, **kwargs: Any) -> None:
        assert disk.wait(20)
        save_file(*args, **kwargs)

    monkeypatch.setattr(module, "save_file", slow)
    folder = StageFolder(tmp_path / "x", "sft", {}, {}, save_seconds=0)
    weights = torch.ones(3)
    assert folder.agree_to_save()
    folder.save({"w": weights}, {"step": 1})
    weights += 1
    assert not folder.agree_to_save(), "one at a time"
    disk.set()
    folder.wait()
    assert folder.agree_to_save()
    found = folder.load()
    assert found is not None
    assert found[0]["w"].tolist() == [1, 1, 1], "as it was when saved"


def test_damaged_answers_are_made_again(tiny: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageFolder, "finish", lambda *_: None)
        run_sample(tiny, tmp_path / "samples")
    path = partial_of(tmp_path / "samples") / "candidates.jsonl"
    whole = path.read_bytes()
    for damaged in (whole.replace(b"logprobs", b"logprobz", 1), whole[:-100], whole[: len(whole) // 2], b""):
        path.write_bytes(damaged)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(StageFolder, "finish", lambda *_: None)
            run_sample(tiny, tmp_path / "samples")
        assert path.read_bytes() == whole


def test_bad_inputs_are_named(tiny: Path, tmp_path: Path) -> None:
    template = sft.Template(t.tokenizer())
    long = t.conversation("x", "word " * 200, id="long one")
    with pytest.raises(ValueError, match=r"'long one'.*at most sft\.row_tokens = 128"):
        sft.to_trees(template, [long], 128, "error")
    kept, skipped = sft.to_trees(template, [long, *demonstrations(2)], 128, "skip")
    assert (len(kept), skipped) == (2, 1)
    assert len(sft.to_trees(template, [long], 128, "keep_end")[0][0].trunk) == 128
    with pytest.raises(ValueError, match=r"'u'.*ends with the user"):
        sft.to_trees(template, [t.conversation("x", id="u")], 128, "error")
    with pytest.raises(ValueError, match="no demonstration"):
        sft.to_trees(template, [], 128, "error")
    with pytest.raises(ValueError, match="rank more prompts"):
        reward.run(
            base=tiny,
            rankings=rankings(2),
            demonstrations=[],
            output=tmp_path / "r",
            config=REWARD,
            model_config=FLOAT,
            seed=1,
            inputs={},
        )
    with pytest.raises(ValueError, match="needs demonstrations"):
        ppo.run(
            material=ppo.Material(tiny, tiny, prompts(), prompts()),
            output=tmp_path / "p",
            config=PPO,
            model_config=FLOAT,
            seed=1,
            inputs={},
        )


def test_sampled_candidates_are_recorded_whole(tiny: Path, tmp_path: Path) -> None:
    run_sample(tiny, tmp_path / "samples")
    records = [json.loads(line) for line in (tmp_path / "samples" / "candidates.jsonl").read_text().splitlines()]
    assert len(records) == 12
    for record in records:
        assert len(record["completions"]) == 3
        for completion in record["completions"]:
            assert completion["policy_version"] == "v"
            assert len(completion["logprobs"]) == len(completion["token_ids"])
        assert record["sampling"]["temperature"] == 1.0
