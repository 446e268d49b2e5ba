"""What a plan counts, held against the real thing: parameters, what autograd saves, what is refused and advised."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import tiny as t
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.compute import packing
from steersman.compute.packing import Row, Tree, build_row
from steersman.config import DpoConfig, KtoConfig, ModelConfig, PpoConfig, RewardConfig, SftConfig, replaced
from steersman.config_file import from_dict
from steersman.data.dataset import write_dataset
from steersman.families.outputs import branch_scores, response_logprobs, train_last_layers, use_checkpointing
from steersman.kernels import ops
from steersman.rounds import planned
from steersman.train import budget, memory, sft
from steersman.train.speed import fastest_product
from steersman.weights.folders import load_causal, load_scalar, use_packed_rows

FLOAT = ModelConfig(dtype="float32", device="cpu")
FAMILIES = ["llama", "qwen3", "gemma3_text"]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return t.make_model(tmp_path / "model", request.param)


def one_row(tokens: int = 256) -> Row:
    return build_row([Tree(tuple(range(3, 3 + tokens)), learn=(False,) + (True,) * (tokens - 1))])


def kept_bytes(model: Any, row: Row) -> int:
    """Bytes that autograd and the row keep for the backward pass, each storage once, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}
    tensors = []  # alive, so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            tensors.append(tensor)
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        (branch_scores if hasattr(model, "score") else response_logprobs)(model, row)
    for _, _, masks in row.documents:
        kept |= {m.untyped_storage().data_ptr(): m.untyped_storage().nbytes() for m in masks._made.values()}
    return sum(kept.values())


@pytest.mark.parametrize("train_layers", [0, 1])
def test_activations_are_those_that_autograd_keeps(family: Path, train_layers: int) -> None:
    model = use_packed_rows(load_causal(family, "float32"))
    train_last_layers(model, train_layers)
    row = one_row()
    setting = memory.Setting("sft", len(row.ids), False, train_layers=train_layers, itemsize=4)
    assert memory.activations(budget.shape_in(family), setting) == pytest.approx(kept_bytes(model, row), rel=0.05)


def test_masks_of_all_documents_of_a_row_are_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, shape = use_packed_rows(load_causal(tiny, "float32")), budget.shape_in(tiny)
    for module in (packing, memory):
        monkeypatch.setattr(module, "MOST_SCORES", shape.heads * 64 * 64)
    row = build_row([Tree(tuple(range(3, 67)), learn=(False, *[True] * 63))] * 8)
    response_logprobs(model, row)
    made = sum(m.nbytes for _, _, masks in row.documents for m in masks._made.values())
    whole = memory.Setting("sft", len(row.ids), False, itemsize=4, longest=64)
    half = dataclasses.replace(whole, longest=32)
    assert memory.activations(shape, whole) - memory.activations(shape, half) == made / 2


@pytest.mark.parametrize("train_layers", [0, 1])
def test_trained_parameters_are_counted_exactly(family: Path, train_layers: int) -> None:
    shape, setting = budget.shape_in(family), memory.Setting("sft", 64, False, train_layers=train_layers)
    for load, head in ((load_causal, True), (load_scalar, False)):
        model = load(family, "float32")
        train_last_layers(model, train_layers)
        counted = memory.trained_parameters(shape, setting, head)
        assert counted == sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert memory.model_parameters(shape, head) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("train_layers", [0, 1])
def test_checkpointing_keeps_less_and_changes_no_bit(family: Path, train_layers: int) -> None:
    gradients, kept = [], []
    for recompute in (False, True):
        model = use_packed_rows(load_causal(family, "float32"))
        train_last_layers(model, train_layers)
        if recompute:
            use_checkpointing(model)
        kept.append(kept_bytes(model, one_row()))
        response_logprobs(model, one_row())[0].sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert kept[1] < kept[0]
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])


def test_checkpointing_needs_a_known_family(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_causal(tiny)
    monkeypatch.setattr("steersman.compute.layers.FAMILIES", {"other"})
    with pytest.raises(ValueError, match="'llama'; expected one of other"):
        use_checkpointing(model)


@pytest.mark.parametrize("config", [SftConfig(), RewardConfig(), PpoConfig(), DpoConfig(), KtoConfig()])
def test_a_plan_changes_as_little_as_it_must(config: budget.Stage, tiny: Path) -> None:
    shape = dataclasses.replace(budget.shape_in(tiny), layers=30, hidden=576, intermediate=1536, vocabulary=49152)
    lengths = budget.Lengths(total=100_000, longest=200, documents=700)
    asked = budget.make_plan(shape, config, lengths, FLOAT, free=1 << 40)
    assert asked.chosen is asked.options[0]
    peaks = [asked.options[0].peak]
    for free in range(int(1.2 * peaks[0]), 0, -peaks[0] // 40):
        found = budget.make_plan(shape, config, lengths, FLOAT, free)
        if (chosen := found.chosen) is None:
            assert min(o.peak for o in found.options) * budget.MARGIN > free
            assert "smaller model" in found.advice
            break
        assert chosen.peak * budget.MARGIN <= free
        if chosen.trains_less:
            assert not any(found.fits(o) for o in found.options if not o.trains_less)
        elif chosen.changes:
            rivals = [o for o in found.options[1:] if found.fits(o) and not o.trains_less]
            assert chosen.operations == min(o.operations for o in rivals)
    else:
        pytest.fail("something fits into nothing")


def test_a_long_document_costs_a_block_of_scores(tiny: Path) -> None:
    """Without kernels: four tensors of 2^26 scores in float32, measured at 16,384 tokens as 1.2 GiB."""
    s = memory.Setting("sft", 16_384, False, itemsize=4, longest=16_384)
    shape = budget.shape_in(tiny)
    long, short, tiled = (
        memory.predict(shape, x) for x in (s, dataclasses.replace(s, longest=64), dataclasses.replace(s, kernels=True))
    )
    assert long["backward pass"] >= 4 * 4 * 2**26
    assert short["backward pass"] < 2**26
    assert tiled["backward pass"] < 2**28


def test_without_a_critic_less_is_needed(tiny: Path) -> None:
    """RLOO and GRPO keep and train one model less than PPO."""
    shape, lengths = budget.shape_in(tiny), budget.Lengths(total=1000, longest=20, documents=50)
    with_critic, without = (
        budget.make_plan(
            shape, replaced(PpoConfig(), answers_per_prompt=2, advantage=how), lengths, FLOAT, free=1 << 40
        ).options[0]
        for how in ("gae", "rloo")
    )
    trained = memory.trained_parameters(shape, memory.Setting("ppo", 64, False), head=False)
    assert with_critic.parts["master weights"] - without.parts["master weights"] == 4 * trained
    assert with_critic.peak > without.peak
    assert with_critic.operations > without.operations


def test_rows_never_get_shorter_than_a_document(tiny: Path) -> None:
    config = replaced(SftConfig(), row_tokens=4096)
    found = budget.make_plan(budget.shape_in(tiny), config, budget.Lengths(9000, 900, 20), FLOAT, free=1)
    assert min(o.changes.get("row_tokens", 4096) for o in found.options) == 1024


def test_a_stage_that_cannot_fit_is_refused_before_it_starts(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(model_config: ModelConfig) -> None:
        demonstrations = [t.conversation(f"Where is order {i}?", f"In {i} days.", id=f"d{i}") for i in range(8)]
        config = replaced(SftConfig(), epochs=1, row_tokens=128, batch_tokens=128)
        sft.run(
            base=tiny,
            demonstrations=demonstrations,
            validation=[],
            output=tmp_path / "out",
            config=config,
            model_config=model_config,
            seed=1,
            inputs={},
        )

    monkeypatch.setattr(budget, "free_memory", lambda _: 300 << 20)
    with pytest.raises(ValueError, match=r"sft: not started.*0\.3 GiB are free.*memory_check=false"):
        run(FLOAT)
    assert not list(tmp_path.iterdir())
    run(dataclasses.replace(FLOAT, memory_check=False))
    assert (tmp_path / "out" / "config.json").is_file()


def test_free_memory_holds_what_this_process_has() -> None:
    before = budget.free_memory(on_gpu=False)
    held = torch.ones(64 << 20, dtype=torch.uint8)
    assert abs(budget.free_memory(on_gpu=False) - before) < 8 * len(held)


def test_the_verb(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.train.speed.products_per_second", lambda *_: 1e12)

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(build(), ["plan", "--model", str(tiny), *arguments])

    fits = call("sft", "--memory", "2G", "--json", "-s", "model.device=cpu")
    assert fits.exit_code == 0, fits.output
    (stage,) = json.loads(fits.stdout)["stages"]
    assert stage["chosen"]["set"] == {}
    assert stage["chosen"]["peak_bytes"] == sum(stage["chosen"]["parts"].values())
    assert stage["chosen"]["tokens_per_second"] > 0
    for name in ("dpo", "kto"):
        shown = call(name, "--memory", "2G", "-s", "model.device=cpu")
        assert shown.exit_code == 0, shown.output
        assert f"{name} fits as configured" in shown.stdout
    stuck = call("reward", "--memory", "100M", "-s", "model.device=cpu")
    assert stuck.exit_code == 2
    assert "Take a smaller model" in stuck.stderr
    assert call("--memory", "much").exit_code == 2


def test_emulated_products_are_not_waited_for(with_and_without_kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rows take ten seconds there, and say nothing of kernels, which compute in float32."""
    monkeypatch.setattr("steersman.chosen.emulated", lambda: True)
    monkeypatch.setattr("time.perf_counter", time.process_time)  # what others take does not count
    began = time.process_time()
    speed = fastest_product(torch.bfloat16, torch.device("cpu"), 0.1)
    assert time.process_time() - began < 4
    if ops.multiplies(torch.empty(0, dtype=torch.bfloat16)):
        in_float32 = fastest_product(torch.float32, torch.device("cpu"), 0.1)
        assert in_float32 / 4 < speed < in_float32 * 4


def test_a_server_asks_another_process_once(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took seconds of a processor at each look, to read the same files."""
    monkeypatch.setattr("steersman.train.speed.products_per_second", lambda *_: 1e12)
    base = shutil.copytree(tiny, tmp_path / "base")
    space = Workspace.create(tmp_path / "w", from_dict({"model": {"base": str(base), "device": "cpu"}}, "test"))
    asked: list[tuple[str, ...]] = []

    def ask(space: Workspace, *words: str) -> Any:
        asked.append(words)
        return json.loads(CliRunner().invoke(build(), [*words, "-w", str(space.root), "--json"]).stdout)

    def again(*words: str) -> bool:
        """Whether it was asked; what is told is what the verb tells."""
        asked.clear()
        found = planned.planned(space, *words)
        free = found["stages"][0]["free_bytes"]
        told = ask(space, "plan", *words, "--memory", str(free))
        assert [one["stage"] for one in found["stages"]] == [one["stage"] for one in told["stages"]]
        assert [one["chosen"] for one in found["stages"]] == [one["chosen"] for one in told["stages"]]
        assert [one["data"] for one in found["stages"]] == [one["data"] for one in told["stages"]]
        return len(asked) == 2

    monkeypatch.setattr(planned, "ask", ask)
    assert (again(), again(), again()) == (True, False, False)
    assert (again("sft"), again("sft"), again()) == (True, False, False)
    monkeypatch.setattr("steersman.machine.free_memory", lambda: 300 << 20)
    assert not again(), "what fits is worked out anew"
    assert planned.planned(space)["stages"][0]["chosen"] is None
    monkeypatch.undo()
    monkeypatch.setattr(planned, "ask", ask)
    monkeypatch.setattr("steersman.train.speed.products_per_second", lambda *_: 1e12)
    write_dataset(space.data, "chats", "demonstrations", "train", [t.conversation("Q", "A", id="d")], "test", {})
    assert (again(), again()) == (True, False)
    config = base / "config.json"
    config.write_text(config.read_text() + "\n")
    assert (again(), again()) == (True, False)
    (space.root / planned.NAME).write_text('{"loop": {"mark": 3}, "sft": []}')
    assert (again("sft"), again("sft")) == (True, False)
    assert (again("dpo"), again("dpo")) == (True, True), "what people said changes all the time"
    monkeypatch.setattr(planned, "write_json", lambda *_: (_ for _ in ()).throw(OSError("read-only")))
    settings = space.root / "steersman.toml"
    settings.write_text(settings.read_text() + "\n")
    assert (again(), again()) == (True, True)
