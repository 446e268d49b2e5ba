"""LoRA against peft's own model, and what the stages make with it."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from steersman.artifact.files import file_sha256
from steersman.artifact.manifest import tree_hashes
from steersman.artifact.stage_folder import StageFolder
from steersman.compute.packing import Tree, build_row
from steersman.config import ModelConfig, SftConfig, replaced
from steersman.engine.load import load_engine
from steersman.families.outputs import branch_scores, response_logprobs
from steersman.text.template import Template
from steersman.train import reward, sft
from steersman.train.actors import Actors
from steersman.train.log import read_metrics
from steersman.train.rankings import split_holdout, to_ranked_trees
from steersman.types import SamplingParams
from steersman.weights import lora
from steersman.weights.folders import load_causal, load_scalar, load_tokenizer, save_model, use_packed_rows
from steersman.weights.lora import LoraLinear, merged, quantized, set_trainable, settle, weights_hash
from test_train import FLOAT, PPO, REWARD, SFT, demonstrations, rankings, run_ppo, run_reward, run_sft

IDS = tuple(range(5, 25))


def adapted(base: Path, layers: int) -> Any:
    """A model with adapters that do something: B is not zero."""
    model = use_packed_rows(load_causal(base, "float32"))
    set_trainable(model, replaced(SftConfig(), lora_rank=3, lora_alpha=12.0, train_layers=layers), 1)
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, LoraLinear):
            torch.nn.init.normal_(module.lora_B.weight, std=0.1)
    return model


@pytest.mark.parametrize("layers", [0, 1])
def test_forward_and_gradients_equal_pefts(family: Path, layers: int, tmp_path: Path) -> None:
    model = adapted(family, layers)
    settle(copy.deepcopy(model), tmp_path, family)
    theirs = peft.PeftModel.from_pretrained(
        load_causal(family, "float32"), str(tmp_path / "adapter"), is_trainable=True
    )
    ours, _ = response_logprobs(model, build_row([Tree(IDS, learn=(False,) + (True,) * (len(IDS) - 1))]))
    logits = theirs(torch.tensor([IDS])).logits[0, :-1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(IDS[1:])[:, None])[:, 0]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    ours.sum().backward()
    expected.sum().backward()
    gradients = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    trained = {f"base_model.model.{n}": p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert trained.keys() == gradients.keys()
    for name, gradient in trained.items():
        torch.testing.assert_close(gradient, gradients[name], atol=1e-4, rtol=1e-3)


def test_the_folder_is_merged_and_the_engine_switches_the_adapter(tiny: Path, tmp_path: Path) -> None:
    model = adapted(tiny, 0)
    row = build_row([Tree(IDS, learn=(False,) + (True,) * (len(IDS) - 1))])
    own = response_logprobs(model, row)[0].detach()
    save_model(merged(model), load_tokenizer(tiny), tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not any("lora" in name for name in plain.state_dict())
    settle(model, tmp_path / "out", tiny)
    assert torch.equal(model.lm_head.weight, plain.lm_head.weight)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, plain.state_dict()[name]), name
    with torch.no_grad():
        expected = plain(torch.tensor([IDS])).logits[0, :-1].log_softmax(-1)
    torch.testing.assert_close(own, expected.gather(1, torch.tensor(IDS[1:])[:, None])[:, 0], atol=1e-5, rtol=1e-5)
    engines = [load_engine(folder, dtype="float32") for folder in (tmp_path / "out", tiny)]
    engines[1].load_adapter("a", tmp_path / "out" / "adapter")  # type: ignore[attr-defined]
    params = SamplingParams(max_tokens=8, temperature=0, ignore_end=True)
    (one,), (two,) = engines[0].generate(["Hi", "Where"], params)
    switched = engines[1].generate(["Hi", "Where"], dataclasses.replace(params, adapter="a"))
    assert [one.token_ids, two.token_ids] == [a[0].token_ids for a in switched]


def test_merging_in_bfloat16_keeps_updates_smaller_than_the_last_digit(tiny: Path) -> None:
    """On average; to the nearest, updates of a quarter of a digit would be lost. A new adapter changes nothing."""
    model, before = load_causal(tiny), load_causal(tiny).state_dict()
    set_trainable(model, replaced(SftConfig(), lora_rank=3), 1)
    assert all(torch.equal(weight, before[name]) for name, weight in lora.named_weights(model))
    up, update = model.model.layers[0].mlp.up_proj, 2**-12  # the last digit of weights from 1/8 to 1/4 is 2**-10
    with torch.no_grad():
        up.lora_A.weight.fill_(1.0)
        up.lora_B.weight.fill_(update / (3 * up.scale))
    weight = before["model.layers.0.mlp.up_proj.weight"].float()
    after = dict(lora.named_weights(model))["model.layers.0.mlp.up_proj.weight"].float()
    wide = weight.abs() >= 0.125
    assert torch.equal((weight + update)[wide].bfloat16().float(), weight[wide])
    assert float((after - weight)[wide].mean()) == pytest.approx(update, rel=0.15)


def test_sft_changes_the_matrices_by_rank_r_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    metrics = run_sft(tiny, tmp_path / "sft", epochs=4, lr=1e-2, lora_rank=2)
    assert metrics["eval_loss"] < metrics["eval_loss_before"] - 0.3
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny, tmp_path / "sft"))
    assert before.keys() == after.keys()
    for name, weight in before.items():
        change = after[name] - weight
        if "_proj" in name:
            assert torch.linalg.matrix_rank(change, atol=1e-4) == 2, name
        else:
            assert not change.any(), name


@pytest.mark.usefixtures("with_and_without_kernels")
@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_what_is_reported_was_measured_of_the_folder(stage: str, tiny: Path, tmp_path: Path) -> None:
    """In bfloat16 merging rounds, so the adapter's figures are others; these are those of the weights on disk."""
    half, out = ModelConfig(dtype="bfloat16", device="cpu"), tmp_path / "out"
    run = run_sft if stage == "sft" else run_reward
    run(tiny, out, model_config=half, lora_rank=2, evals=1)
    reported = read_metrics(out)[-1]["eval_loss"]
    if stage == "sft":
        template = Template(load_tokenizer(out))
        _, held = sft.split_validation(demonstrations(), SFT.eval_fraction, 3)
        rows = sft.rows_of(sft.to_trees(template, held, SFT.rows.row_tokens, "keep_end")[0], SFT.rows.row_tokens)
        measured = sft.mean_loss(use_packed_rows(load_causal(out)), rows)
    else:
        held, _ = to_ranked_trees(
            Template(load_tokenizer(out)), split_holdout(rankings(), REWARD.holdout_fraction, 3)[1], 512
        )
        measured = reward.held_out_metrics(use_packed_rows(load_scalar(out)), held, REWARD.rows.row_tokens)["eval_loss"]
    assert reported == pytest.approx(measured, abs=1e-6)


def test_ppo_stands_on_one_base(tiny: Path, tmp_path: Path) -> None:
    run_sft(tiny, tmp_path / "sft", lora_rank=2)
    run_reward(tmp_path / "sft", tmp_path / "reward", lora_rank=3)
    config = replaced(PPO, lora_rank=4)
    actors = Actors.load(tmp_path / "sft", tmp_path / "reward", config, FLOAT, 3)
    models = (actors.policy, actors.reference, actors.reward, actors.critic)
    held = {p.data_ptr(): p.numel() for m in models for p in m.parameters()}
    base = sum(p.numel() for p in load_causal(tiny).parameters())
    rows_and_columns = 2 * (2 * (64 + 64) + 2 * (32 + 64) + 3 * (96 + 64))  # two layers: q and o; k and v; the MLP
    assert sum(held.values()) == base + (4 + 3 + 3) * rows_and_columns + 2 * 64
    row = build_row([Tree(IDS[:9], (IDS[9:14], IDS[14:]))])
    with torch.no_grad():
        alone = branch_scores(use_packed_rows(load_scalar(tmp_path / "reward", "float32")), row)
        for scorer in (actors.reward, actors.critic):
            torch.testing.assert_close(branch_scores(scorer, row), alone, atol=1e-5, rtol=1e-5)

    run_ppo(tmp_path / "sft", tmp_path / "reward", tmp_path / "policy", lora_rank=4)
    first, *_, last, _ = read_metrics(tmp_path / "policy")
    assert first["kl"] == first["ratio_error_first"] == first["eval_kl"] == 0
    assert last["kl"] != 0
    assert max(m.get("engine_logprob_error", 0) for m in read_metrics(tmp_path / "policy")) < 1e-5
    assert (tmp_path / "policy" / "adapter" / "adapter_config.json").is_file()


def test_a_reward_model_of_other_weights_is_loaded_beside(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_reward(tiny, tmp_path / "reward")
    config = replaced(PPO, lora_rank=4, train_layers=1)
    actors = Actors.load(tiny, tmp_path / "reward", config, FLOAT, 3)
    assert "not an adapter on" in capsys.readouterr().err
    assert actors.critic.model.embed_tokens is actors.reward.model.embed_tokens
    assert actors.critic.model.embed_tokens is not actors.policy.model.embed_tokens
    assert actors.critic.score is not actors.reward.score
    assert {n.split(".")[2] for n, p in actors.policy.named_parameters() if p.requires_grad} == {"1"}
    assert not any(p.requires_grad for m in (actors.reward, actors.reference) for p in m.parameters())
    config = replaced(config, critic_init="sft")
    actors = Actors.load(tiny, tmp_path / "reward", config, FLOAT, 3)
    assert actors.critic.model.embed_tokens is actors.policy.model.embed_tokens
    assert not actors.critic.score.weight.any()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_a_resumed_run_gives_the_same_bits(
    stage: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage == "ppo":
        run_reward(tiny, tmp_path / "reward", lora_rank=2)

    def run(output: Path) -> None:
        if stage == "ppo":
            run_ppo(tiny, tmp_path / "reward", output, save_seconds=0.0, lora_rank=2)
        else:
            (run_sft if stage == "sft" else run_reward)(tiny, output, save_seconds=0.0, lora_rank=2)

    run(tmp_path / "whole")
    save = StageFolder.save

    def save_and_stop(self: StageFolder, tensors: Any, state: Any) -> None:
        save(self, tensors, state)
        if max(state.get("step", 0), state.get("iteration", 0)) >= 3:
            raise Stopped

    monkeypatch.setattr(StageFolder, "save", save_and_stop)
    monkeypatch.setattr(StageFolder, "agree_to_save", lambda folder: folder.wait() is None)
    with pytest.raises(Stopped):
        run(tmp_path / "again")
    monkeypatch.undo()
    run(tmp_path / "again")
    assert tree_hashes(tmp_path / "again") == tree_hashes(tmp_path / "whole")


def test_a_base_is_read_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are hashed to see which adapters stand on it, several times in a run."""
    folder, read = shutil.copytree(tiny, tmp_path / "base"), []
    monkeypatch.setattr(lora, "file_sha256", lambda path: read.append(path) or file_sha256(path))
    run_reward(folder, tmp_path / "reward", lora_rank=2)
    run_ppo(folder, tmp_path / "reward", tmp_path / "policy", lora_rank=2, iterations=1)
    assert read == [folder / "model.safetensors"]
    before = weights_hash(folder)
    (folder / "model.safetensors").write_bytes(b"other")
    assert weights_hash(folder) != before


def test_what_cannot_be_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train_layers: expected 0 to 2"):
        run_sft(tiny, tmp_path / "sft", lora_rank=2, train_layers=3)
    with pytest.raises(ValueError, match=r"model\.quantize = '4bit': such weights stay frozen; expected a lora_rank"):
        quantized(ModelConfig(quantize="4bit"), 0)
    with pytest.raises(ValueError, match=r"model\.quantize = '8bit': expected a CUDA device"):
        quantized(ModelConfig(quantize="8bit", device="cpu"), 8)
