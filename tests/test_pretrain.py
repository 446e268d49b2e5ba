"""Pretraining against independent computations: plain loops, transformers and torch's own autograd, in float32."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

import tiny
from steersman import chosen, stopping
from steersman.artifact.manifest import write_manifest
from steersman.compute.packing import Tree, build_row, lines_row
from steersman.config import KeptConfig, ModelConfig, PretrainConfig, ShapeConfig, UpdatesConfig, replaced
from steersman.corpus.mixed_rows import Reading, reading
from steersman.corpus.mixture import Mixture
from steersman.corpus.shards import Documents, Writer
from steersman.eval import pretraining_page
from steersman.families.outputs import response_logprobs
from steersman.rounds import pretrained
from steersman.rounds.inputs import resolved
from steersman.train import dial, muon, pretrain, pretraining_plan, trajectory
from steersman.train.bits import bits_per_byte, held_out, samples
from steersman.train.dial import Sizes
from steersman.train.schedule import Schedule
from steersman.train.session import Origin
from steersman.train.update import Rule, Updater
from steersman.weights.folders import load_causal, use_packed_rows
from verbs import both as verb

SIZES = Sizes(2, 64, 96, 384, False)
TEXTS = [text * n for n, text in enumerate([*tiny.CORPUS, *reversed(tiny.CORPUS)], 1)]


def config(**more: object) -> PretrainConfig:
    usual = PretrainConfig(tokens="3K", context=64, batch_tokens=256, pass_tokens=128, eval_tokens=200, samples=1)
    return replace(usual, **more)


def origin(folder: Path, settings: PretrainConfig, dtype: str = "float32") -> Origin[PretrainConfig]:
    return Origin("pretrain", folder, settings, ModelConfig(dtype=dtype), 7, {})


def shards(folder: Path) -> dict[tuple[str, str], Documents]:
    found = {}
    for source, texts in (("en", TEXTS[:4] * 4), ("zh", TEXTS[4:] * 3)):
        (folder / source).mkdir(parents=True)
        writer = Writer(folder / source, "train", "<u2")
        for text in texts:
            writer.add([*tiny.tokenizer()(text, add_special_tokens=False).input_ids, tiny.tokenizer().eos_token_id])
        found[source, "train"] = Documents(folder / source, "train", "<u2", writer.close())
    return found


def text_of(folder: Path) -> pretrain.Text:
    read = reading(shards(folder), Mixture({"zh": 2.0}), 3000, 64, 7)
    return pretrain.Text(tiny.tokenizer(), read, {"en": TEXTS[:2], "zh": TEXTS[4:]})


def train(folder: Path, text: pretrain.Text, settings: PretrainConfig, dtype: str = "float32") -> dict:
    recipe = dial.recipe(settings, SIZES)
    return pretrain.run(origin(folder, settings, dtype), text, recipe, SIZES)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)])
def test_orthogonal_is_the_polynomial_of_the_singular_values(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    expected = (u * s) @ vh
    torch.testing.assert_close(muon.orthogonal(matrix, torch.float32).double(), expected, atol=2e-5, rtol=1e-4)
    assert 0.4 < float(s.min()) <= float(s.max()) < 1.3
    rough = muon.orthogonal(matrix, torch.bfloat16).double()
    assert float((rough - expected).norm() / expected.norm()) < 0.05


def test_a_muon_step_is_a_plain_loop() -> None:
    draw = np.random.default_rng(0)
    weight = draw.standard_normal((6, 10))
    master, momentum = torch.tensor(weight), torch.zeros(6, 10, dtype=torch.float64)
    kept = np.zeros((6, 10))
    for _ in range(3):
        gradient = draw.standard_normal((6, 10))
        muon.step(master, torch.tensor(gradient), momentum, 0.01, 0.1, torch.float64)
        kept = 0.95 * kept + 0.05 * gradient
        x = 0.05 * gradient + 0.95 * kept
        x = x / (np.linalg.norm(x) + 1e-7)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * 0.2 * math.sqrt(10) * x
    np.testing.assert_allclose(master.numpy(), weight, rtol=1e-9)


@pytest.mark.parametrize("emulated", [True, False])
def test_muon_computes_no_bfloat16_that_the_processor_emulates(emulated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's products of it took 28 times as long there, and most of the time of a step."""
    monkeypatch.setattr(chosen, "emulated", lambda: emulated)
    model = torch.nn.Linear(24, 16, bias=False, dtype=torch.bfloat16)
    made = Updater(model, lr=0.01, weight_decay=0.1, grad_clip=0.0, rules=lambda *_: Rule(1.0, 0.1, True))
    master = model.weight.detach().float()
    gradient = torch.randn(16, 24, generator=torch.Generator().manual_seed(1)).bfloat16()
    model.weight.grad = gradient.clone()
    made.gather()
    made.step(1.0)
    dtype = torch.float32 if emulated else torch.bfloat16
    muon.step(master, gradient.float(), torch.zeros_like(master), 0.01, 0.1, dtype)
    torch.testing.assert_close(made.masters[0], master, rtol=0, atol=0)


def test_lines_are_rows_of_their_documents() -> None:
    tokens = torch.arange(128).view(2, 64)
    document = torch.zeros(2, 64, dtype=torch.int32)
    document[0, 20:], document[1, 50:] = 1, 1
    row = lines_row(tokens, document)
    trees = [Tree(tuple(part)) for part in (range(20), range(20, 64), range(64, 114), range(114, 128))]
    wanted = build_row(trees)
    for name in ("ids", "positions", "document", "branch"):
        assert torch.equal(getattr(row, name), getattr(wanted, name)), name
    assert row.targets.tolist() == [i for i in range(128) if i not in (0, 64)]
    assert row.predictors.tolist() == [i - 1 for i in row.targets.tolist()]


def plain_loss(model: torch.nn.Module, tokens: torch.Tensor, document: torch.Tensor, z_loss: float) -> torch.Tensor:
    """By transformers' own forward pass, a document of a line at a time."""
    nats, squares, count = torch.zeros(()), torch.zeros(()), 0
    for line, owner in zip(tokens, document, strict=True):
        logits = []
        for number in owner.unique_consecutive():
            logits.append(model(input_ids=line[owner == number][None]).logits[0])
        flat = torch.cat(logits)[:-1]
        nats = nats + F.cross_entropy(flat, line[1:], reduction="sum")
        squares = squares + flat.logsumexp(-1).square().sum()
        count += len(line) - 1
    return (nats + z_loss * squares) / count


@pytest.mark.parametrize(("optimizer", "z_loss", "tied"), [("adamw", 0.0, True), ("muon", 1e-2, False)])
def test_a_step_is_that_of_transformers_and_autograd(optimizer: str, z_loss: float, tied: bool, tmp_path: Path) -> None:
    settings = config(updates=UpdatesConfig(optimizer=optimizer, z_loss=z_loss, grad_clip=0.5, embedding_lr=3.0))
    model = pretrain.build(origin(tmp_path, settings), replace(SIZES, tied=tied), tiny.tokenizer())
    tiny_noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in model.parameters():  # ways out of layers are zero at first, and so would be most gradients
            p.add_(torch.randn(p.shape, generator=tiny_noise), alpha=0.05)
    other = copy.deepcopy(model)
    use_packed_rows(model)
    tokens = torch.randint(0, 350, (4, 64), generator=torch.Generator().manual_seed(2))
    document = (torch.arange(64)[None] >= torch.tensor([64, 10, 33, 1])[:, None]).int()
    updater = Updater(model, lr=0.01, weight_decay=0.1, grad_clip=0.5, rules=pretrain.rules(model, settings, 0.1))
    rows = [lines_row(tokens[i : i + 2], document[i : i + 2]) for i in (0, 2)]
    loss = pretrain.learn(model, updater, rows, z_loss)
    norm = updater.step(1.0)

    plain = plain_loss(other, tokens, document, z_loss)
    plain.backward()
    assert loss == pytest.approx(plain_loss(other, tokens, document, 0.0).item(), rel=1e-5)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)), rel=1e-4)
    named = dict(other.named_parameters())
    matrices = {n for n in named if n.endswith("_proj.weight")}
    for name, p in named.items():
        rate = 0.03 if name == "model.embed_tokens.weight" else 0.01
        if name in matrices and optimizer == "muon":
            muon.step(p.data, p.grad, torch.zeros_like(p), rate, 0.1, torch.float32)
        else:
            decay = 0.1 if name in matrices else 0.0
            torch.optim.AdamW([p], lr=rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay).step()
    for name, p in model.named_parameters():
        # Adam's first step has one length whatever the gradient: where that is nearly nothing, its sign is chance
        far = (p - named[name]).abs() > 1e-5 + 1e-4 * named[name].abs()
        assert float(far.float().mean()) < 2e-3, name


@pytest.mark.parametrize("begin", [(), (1,)], ids=["none", "bos"])
def test_bits_per_byte_are_those_of_a_plain_loop(
    begin: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins documents in shards begins what is measured, and samples, too."""
    monkeypatch.setattr("steersman.train.bits.beginning", lambda _: begin)
    folder = tiny.make_model(tmp_path / "model")
    tokenizer = tiny.tokenizer()
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    nats, size, step = 0.0, 0, 31 - len(begin)
    with torch.no_grad():
        for text in TEXTS[:5]:
            ids = tokenizer(text, add_special_tokens=False).input_ids
            for start in range(0, len(ids), step):
                before = [*begin, ids[start - 1]] if start else begin or [tokenizer.eos_token_id]
                piece = torch.tensor([*before, *ids[start : start + step]])
                logits = plain(input_ids=piece[None]).logits[0, len(before) - 1 : -1]
                nats += float(F.cross_entropy(logits, piece[len(before) :], reduction="sum"))
            size += len(text.encode("utf-8"))
    model = use_packed_rows(load_causal(folder, "float32"))
    texts = held_out(TEXTS[:5], tokenizer, 10**6, 32, 128)
    found = bits_per_byte(model, {"a": texts})
    assert found[""] == found["a"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert texts.beginnings[0] == (*begin, *tokenizer(TEXTS[0], add_special_tokens=False).input_ids[:16])


def test_text_that_a_run_would_end_at_is_refused_by_the_plan() -> None:
    check = pretrained.check_text
    check({"a": 64, "b": 900}, {"a": 0, "b": 1}, config())
    with pytest.raises(
        ValueError, match=r"source a: expected at least 64 tokens for one row, found 63.*--weight NAME=0"
    ):
        check({"a": 63, "b": 900}, {"a": 0, "b": 1}, config())
    with pytest.raises(ValueError, match=r"no source has 1 tokens of held-out text.* more --validation"):
        check({"a": 64}, {"a": 0, "not read": 9}, config())
    with pytest.raises(ValueError, match="no source has 64 tokens of held-out text"):
        check({"a": 64}, {"a": 63}, config(shape=ShapeConfig(kind="bert")))


def test_samples_are_greedy(tmp_path: Path) -> None:
    folder = tiny.make_model(tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = use_packed_rows(load_causal(folder, "float32"))
    beginnings = [tuple(tiny.tokenizer()(text).input_ids[:n]) for text, n in zip(TEXTS, (3, 8), strict=False)]
    for said, ids in zip(samples(model, tiny.tokenizer(), beginnings, 6), beginnings, strict=True):
        new = plain.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)[0, len(ids) :]
        assert said["text"].startswith(tiny.tokenizer().decode(new))


def test_the_dial_follows_its_laws() -> None:
    settings = PretrainConfig(shape=ShapeConfig(depth=6))
    sizes = dial.sizes(settings, 32_768)
    model = pretrain.build(origin(Path(), settings), replace(sizes, layers=1), tiny.tokenizer())
    assert sum(p.numel() for p in model.parameters()) == replace(sizes, layers=1).parameters
    assert (sizes.width, sizes.heads, sizes.matrices) == (384, 6, 6 * (4 * 384**2 + 3 * 384 * 1024))
    made = dial.recipe(settings, sizes)
    operations = 20 * (sizes.matrices + sizes.head) * sizes.operations(512)
    assert made.lr == pytest.approx(0.3118 * operations**-0.125)
    assert made.batch_tokens == pytest.approx(0.2920 * operations**0.3271, abs=256)
    assert made.weight_decay == pytest.approx(1 / (made.lr * made.steps * 1.084 * 20**-0.527), rel=1e-6)
    assert pretraining_plan.parameters(settings, sizes, tiny.tokenizer()) == sizes.parameters
    count, read = pretraining_plan.evaluations(replace(settings, evals=3, eval_tokens=1000, samples=2), made)
    assert (count, read) == (5, 5 * 1000 + 4 * 2 * sum(16 + i for i in range(40)) + 4 * 2 * 20)
    by_size = replace(settings, shape=ShapeConfig(params="35.8M"))
    assert dial.sizes(by_size, 32_768) == sizes
    for wrong in (
        ShapeConfig(),
        ShapeConfig(depth=2, params="1M"),
        ShapeConfig(params="many"),
        ShapeConfig(params="9"),
    ):
        with pytest.raises(ValueError, match="expected"):
            dial.sizes(PretrainConfig(shape=wrong), 32_768)


def test_width_heads_and_positions_are_set_apart_from_depth(tmp_path: Path) -> None:
    shape = ShapeConfig(depth=3, width=128, head_size=32, rope_theta=1e6, tied=True)
    settings = config(shape=shape)
    sizes = dial.sizes(settings, 384)
    assert (sizes.layers, sizes.width, sizes.intermediate, sizes.heads) == (3, 128, 384, 4)
    model = pretrain.build(origin(tmp_path, settings), sizes, tiny.tokenizer())
    assert sum(p.numel() for p in model.parameters()) == sizes.parameters
    assert (model.config.head_dim, model.config.rope_parameters["rope_theta"]) == (32, 1e6)
    assert model.model.layers[0].self_attn.q_norm.weight.shape == (32,)
    model.save_pretrained(tmp_path / "made")
    tiny.tokenizer().save_pretrained(tmp_path / "made")
    assert pretraining_plan.sizes_of(tmp_path / "made", 384) == replace(sizes, head_size=32)
    for wrong, said in (
        (ShapeConfig(depth=3, width=100), "multiple of 64"),
        (ShapeConfig(params="15M", width=128), "goes with --depth"),
        (ShapeConfig(depth=3, head_size=48), "8, 16, 32 or 64"),
    ):
        with pytest.raises(ValueError, match=said):
            dial.sizes(config(shape=wrong), 384)


def test_a_first_layer_with_a_window_is_gemmas(tmp_path: Path) -> None:
    """As transformers computes them; states begin with a length of 1 a number."""
    shape = ShapeConfig(kind="gemma3_text", depth=3, width=64, head_size=32, window=4, rope_theta=1e5, tied=True)
    settings = config(shape=shape)
    sizes = dial.sizes(settings, 384)
    model = pretrain.build(origin(tmp_path, settings), sizes, tiny.tokenizer())
    assert sum(p.numel() for p in model.parameters()) == sizes.parameters
    made = model.config
    assert made.layer_types == ["sliding_attention", "full_attention", "full_attention"]
    assert made.rope_parameters["full_attention"]["rope_theta"] == 1e5
    ids = torch.arange(5, 25)[None]
    states = model.get_input_embeddings()(ids)
    assert float(states.detach().std()) == pytest.approx(1.0, abs=0.1)
    torch.manual_seed(0)
    for layer in model.model.layers:  # zero at first, so that every layer would begin as the identity
        torch.nn.init.normal_(layer.self_attn.o_proj.weight, std=0.2)
    model.save_pretrained(tmp_path / "made")
    tiny.tokenizer().save_pretrained(tmp_path / "made")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "made", dtype=torch.float32)
    wanted = plain(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    row = build_row([Tree(tuple(ids[0].tolist()), learn=(False, *[True] * 19))])
    found, _ = response_logprobs(use_packed_rows(load_causal(tmp_path / "made", "float32")), row)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="goes with kind gemma3_text"):
        dial.sizes(config(shape=ShapeConfig(depth=2, window=4)), 384)
    with pytest.raises(ValueError, match="rope_theta: goes with qwen3"):
        dial.sizes(config(shape=ShapeConfig(depth=2, kind="bert", rope_theta=1e6)), 384)


def test_the_rate_warms_up_stays_and_falls() -> None:
    schedule = Schedule(100, 10, 0.05, "stable", fall=40)
    shares = [schedule.share(step) for step in range(100)]
    assert shares[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert set(shares[10:61]) == {1.0}
    assert shares[80] == pytest.approx(0.05 + 0.95 * 0.5)
    assert shares[99] == pytest.approx(0.05 + 0.95 / 40)


def test_spikes_are_told_from_noise() -> None:
    losses = [3.0, 3.1, 2.9, 3.05, 2.95] * 4
    assert not trajectory.is_spike(losses, 3.3, 6.0)
    assert trajectory.is_spike(losses, 3.6, 6.0)
    assert not trajectory.is_spike(losses, 3.6, 0.0)
    assert trajectory.is_spike(losses[:3], math.nan, 6.0)
    assert not trajectory.is_spike(losses[:3], 9.0, 6.0)


@pytest.mark.parametrize(("optimizer", "average"), [("muon", "ema"), ("adamw", "last")])
def test_a_stopped_run_ends_with_the_same_bytes(
    optimizer: str, average: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spike on the way: it goes back, the rows are skipped, and a run stopped before and after does the same."""
    text = text_of(tmp_path / "shards")
    kept = KeptConfig(average=average, ema_decay=0.5, last_points=3, spike_every=4)
    settings = config(updates=UpdatesConfig(optimizer=optimizer, z_loss=1e-3), kept=kept, evals=2)
    real, stops, batches = pretrain.learn, set(), []

    def learn(model: object, updater: Updater, rows: list, z_loss: float) -> float:
        loss = real(model, updater, rows, z_loss)
        batch = batches[-1]
        return loss + 99.0 if batch == 10 else loss

    def read(given: Reading, *rest: object) -> list:
        batches.append(rest[-1])
        if rest[-1] in stops:
            stops.discard(rest[-1])
            raise stopping.Stop(15)
        return passes(given, *rest)

    passes = pretrain.passes
    monkeypatch.setattr(pretrain, "learn", learn)
    monkeypatch.setattr(pretrain, "passes", read)
    metrics = train(tmp_path / "whole", text, settings)
    assert batches == list(range(15))
    assert metrics["spikes"] == [{"step": 11, "loss": pytest.approx(101, abs=2), "back_to": 8}]
    assert metrics["bpb"] < metrics["bpb_before"]
    stops |= {5, 9, 12}
    for _ in range(3):
        with pytest.raises(stopping.Stop):
            train(tmp_path / "parts", text, settings)
    assert train(tmp_path / "parts", text, settings)["spikes"] == metrics["spikes"]
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_too_many_spikes_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectory, "is_spike", lambda losses, *_: len(losses) > 2)
    with pytest.raises(FloatingPointError, match=r"after 20 spikes; lower the .* --set pretrain\.updates\.lr"):
        train(tmp_path / "out", text_of(tmp_path / "shards"), config())


def test_bfloat16_learns_as_float32_does(tmp_path: Path) -> None:
    text = text_of(tmp_path / "shards")
    settings = config(attention="row", evals=0, samples=0, updates=UpdatesConfig(lr=0.01))
    exact, rounded = (train(tmp_path / dtype, text, settings, dtype) for dtype in ("float32", "bfloat16"))
    assert exact["bpb"] < exact["bpb_before"] - 0.5
    assert rounded["bpb"] == pytest.approx(exact["bpb"], abs=0.1)
    model = load_causal(tmp_path / "bfloat16", "bfloat16")
    row = build_row([Tree(tuple(tiny.tokenizer()(TEXTS[0]).input_ids), learn=(False, True))])
    assert torch.isfinite(response_logprobs(use_packed_rows(model), row)[0]).all()


def test_rows_are_read_by_number_and_mixed_by_share(tmp_path: Path) -> None:
    read = text_of(tmp_path / "shards").reading
    counts = [read.rows.source(k) for k in range(200)]
    assert counts.count(1) / 200 == pytest.approx(read.shares["zh"], abs=0.08)
    tokens, document = read.lines(10, 3)
    assert tokens.shape == document.shape == (3, 64)
    assert [t.tolist() for t in tokens] == [read.rows[k].tokens.tolist() for k in (10, 11, 12)]


def test_a_pretrained_model_is_a_base_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Corpus, tokenizer, plan, pretraining, going on from it, and SFT from that, by the verbs."""
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS * 3), encoding="utf-8")
    (tmp_path / "chat.jsonl").write_text(json.dumps({"prompt": "Where is it?", "response": "It was shipped."}) + "\n")
    verb("init", tmp_path / "work", "--set", "project.domain=none")
    monkeypatch.chdir(tmp_path / "work")
    verb("corpus", "build", "shop=../texts.jsonl", "--into", "c", "--steps", "length", "--validation", 0.2)
    verb("tokenizer", "train", "c", "--vocabulary", 300, "--beside", "none")
    small = ["--epochs", 0, "-s", "pretrain.context=64", "-s", "pretrain.samples=0", "-s", "pretrain.evals=0"]
    asked = ("pretrain", "c", "--depth", 1, "--into", "first", *small)
    plan, _ = verb(*asked, "--tokens", "1K", "--tokenizer", "c", "--plan")
    assert plan.startswith("model: ")
    assert "memory: up to" in plan
    assert "of it for 2 evaluations" in plan
    assert not Path("models").exists()
    verb(*asked, "--tokens", "1K")
    assert "is up to date" in verb(*asked, "--tokens", "1K")[0]
    assert "a model of other text or settings is there" in verb(*asked, "--tokens", "2K", code=2)[1]
    again = verb("pretrain", "c", "--from", "first", "--into", "second", "--depth", "2", code=2)[1]
    assert "--from: the model keeps its size and kind" in again
    verb("tokenizer", "train", "c", "--vocabulary", 290, "--beside", "none", "--kind", "unigram", "--into", "other")
    wrong = verb("pretrain", "c", "--from", "first", "--tokenizer", "other", "--into", "second", code=2)[1]
    assert "entries have no or another id in the tokenizer of" in wrong
    said, told = verb("pretrain", "c", "--from", "first", "--into", "second", "--tokens", "1K", *small)
    assert "a tenth of a new model's" in told
    rated = ("--from", "first", "--into", "third", "--tokens", "1K", *small, "-s", "pretrain.lr=0.01", "--plan")
    going = verb("pretrain", "c", *rated)[0]
    anew = verb(*asked[:4], "--into", "third", "--tokens", "1K", *small, "-s", "pretrain.lr=0.01", "--plan")[0]
    decays = [float(text.partition("weight decay ")[2].partition(" ")[0]) for text in (going, anew)]
    assert decays[0] == pytest.approx(decays[1] / 10, rel=0.02)
    assert "a tenth of the law's" in going
    assert "model.base=second" in said
    # named without a round's stages: it was looked for on the hub alone
    assert resolved("first") == Path.cwd() / "models" / "first"
    assert "time" in verb("plan", "sft", "--model", "first")[0]
    verb("data", "import", "../chat.jsonl")
    said, _ = verb("sft", "--set", "model.base=second", "--set", "sft.epochs=1", "--set", "sft.rows.row_tokens=128")
    assert "1 demonstrations" in said


def test_a_model_that_is_there_is_looked_at_as_any_artifact_is(tmp_path: Path) -> None:
    """A truncated one was up to date, and settings of saving alone, or one that came later, made it another."""
    config, output = PretrainConfig(), tmp_path / "models" / "first"
    origin = Origin("pretrain", output, config, ModelConfig(), 1, {"corpus:c/c": "x"})
    output.mkdir(parents=True)
    (output / "model.safetensors").write_bytes(b"weights")
    before = {key: value for key, value in origin.recorded.items() if key != "z_loss"}
    write_manifest(output, "pretrain", before, origin.inputs, {"bpb": 1.5})
    rarely = replace(origin, config=replaced(config, save_seconds=7.0))
    assert pretrained._there(output, rarely, False) == {"bpb": 1.5}
    with pytest.raises(ValueError, match="a model of other text or settings is there"):
        pretrained._there(output, replace(origin, seed=2), False)
    assert pretrained._there(output, replace(origin, seed=2), True) is None
    (output / "model.safetensors").write_bytes(b"weight")
    assert pretrained._there(output, origin, False) is None
    assert [path.name for path in output.parent.iterdir()] == ["first.damaged-1"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_shows_curves_samples_and_other_models(language: str, tmp_path: Path) -> None:
    rows = [
        {"step": 1, "tokens_read": 100, "loss": 5.0, "lr": 0.01, "grad_norm": 1.0},
        {"step": 2, "tokens_read": 200, "loss": 4.0, "eval_bpb": 2.5, "samples": [{"prompt": "<b>", "text": "您好"}]},
    ]
    metrics = {"bpb": 2.5, "bpb_before": 3.7, "parameters": 9999, "tokens": 200, "steps": 2, "batch_tokens": 100}
    metrics |= {"spikes": [{"step": 1}]}
    pretraining_page.draw(tmp_path / "m.html", metrics, {"corpus:c": "1"}, {"m": rows, "other": rows[:1]}, language)
    page = (tmp_path / "m.html").read_text(encoding="utf-8")
    assert "2.500" in page
    assert "&lt;b&gt;" in page
    assert "您好" in page
    assert page.count("<svg") == 1
    assert "other" in page
    words = pretraining_page.WORDS
    assert words["en"].keys() == words["zh"].keys()
    assert words[language]["spikes"].format(n=1) in page
