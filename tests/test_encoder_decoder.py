"""Encoder-decoders against transformers, a text at a time, in float32; and every stage with the same files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
import transformers
from typer.testing import CliRunner

import test_preference as preference
import test_train as stages
import tiny as t
from seq2seq import KINDS, UNTIED, make_folder, random_model, sentences
from steersman import families
from steersman.artifact.files import read_object
from steersman.cli.framework import build
from steersman.compute.packing import Tree, build_row
from steersman.config import ModelConfig, SftConfig
from steersman.engine.backends.reference import ReferenceEngine
from steersman.engine.load import load_engine
from steersman.eval import run as evaluation
from steersman.families import decoder, encoder_decoder, known
from steersman.families.outputs import (
    branch_heads,
    branch_scores,
    init_score_head,
    layer_count,
    response_logprobs,
    response_values,
    train_last_layers,
    use_checkpointing,
)
from steersman.train.budget import check_memory, lengths_of
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import load_causal, load_scalar, load_template, save_model, use_packed_rows
from steersman.weights.lora import ADAPTER
from test_models import trees

ALL = pytest.mark.parametrize("kind", KINDS)
FEW = pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=() if k in ("T5", "umT5", "BART") else pytest.mark.slow) for k in KINDS]
)
FOREST = trees()
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Kind -> folder of its random model; made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_folder(kind, t.tokenizer(), tmp_path_factory.mktemp("seq2seq") / "base")
        return made[kind]

    return folder


def pairs(forest: Sequence[Tree]) -> list[tuple[tuple[int, ...], tuple[int, ...], bool]]:
    """(source, target, whether it is a branch) as a reader of the docs would expect them."""
    out = []
    for tree in forest:
        out += [(tree.trunk, branch, True) for branch in tree.branches]
        for i, own in enumerate(tree.learn):
            if own and not tree.learn[i - 1]:
                end = next((j for j in range(i, len(tree.learn)) if not tree.learn[j]), len(tree.learn))
                out.append((tree.trunk[:i], tree.trunk[i:end], False))
    return out


def states(model: Any, source: tuple[int, ...], read: Sequence[int]) -> torch.Tensor:
    """[T, hidden] of transformers' base model."""
    return model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([read])).last_hidden_state[0]


@ALL
def test_rows_equal_texts_one_at_a_time(kind: str, folders: Any) -> None:
    """Log-probabilities, entropies, gradients: position biases, scaled and biased logits, forced first tokens."""
    plain = transformers.AutoModelForSeq2SeqLM.from_pretrained(folders(kind), dtype=torch.float32)
    ours = use_packed_rows(load_causal(folders(kind), "float32"))
    opening = {"BART": [2, 1], "M2M100, NLLB": [2]}.get(kind, [0])
    logprobs, entropy = response_logprobs(ours, build_row(FOREST), 0.7)
    theirs, spread = [], []
    for source, target, _ in pairs(FOREST):
        given = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([[*opening, *target]])}
        log_p = (plain(**given).logits[0, len(opening) - 1 : -1] / 0.7).log_softmax(-1)
        theirs.append(log_p.gather(1, torch.tensor(target)[:, None])[:, 0])
        spread.append(-(log_p.exp() * log_p).sum(-1))
    expected = torch.cat(theirs)
    torch.testing.assert_close(logprobs, expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(entropy, torch.cat(spread), atol=2e-5, rtol=1e-5)
    assert float(expected.detach().std()) > 0.2, "a flat model would hide what is left out"
    logprobs.mean().backward()
    expected.mean().backward()
    for (name, mine), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@FEW
def test_heads_stand_on_the_decoders_states(kind: str, folders: Any, tmp_path: Path) -> None:
    """Scores behind the last token, values before each; saved, loaded again, and over a causal model's weights."""
    model = use_packed_rows(load_scalar(folders(kind), "float32", heads=2))
    assert not model.score.weight.any(), "new heads are zero"
    init_score_head(model, 5)
    plain = transformers.AutoModel.from_pretrained(folders(kind), dtype=torch.float32)
    opening, row = {"BART": [2, 1], "M2M100, NLLB": [2]}.get(kind, [0]), build_row(FOREST)
    read = [(states(plain, source, [*opening, *target]), branch) for source, target, branch in pairs(FOREST)]
    weight = model.score.weight
    ends = torch.stack([s[-1] for s, branch in read if branch]) @ weight.T
    torch.testing.assert_close(branch_heads(model, row), ends, atol=2e-5, rtol=1e-4)
    before = torch.cat([s[len(opening) - 1 : -1] for s, _ in read]) @ weight.T
    torch.testing.assert_close(response_values(model, row), before.sum(1), atol=4e-5, rtol=1e-4)
    save_model(model, t.tokenizer(), tmp_path / "reward")
    again = use_packed_rows(load_scalar(tmp_path / "reward", "float32", heads=2))
    assert torch.equal(branch_scores(again, row), branch_scores(model, row))
    over = encoder_decoder.scalar_over(use_packed_rows(load_causal(folders(kind), "float32")), 2)
    over.score.weight.data.copy_(weight.data)
    assert torch.equal(branch_heads(over, row), branch_heads(model, row))


@ALL
def test_a_head_of_its_own_is_said_as_published_configs_say_it(kind: str, folders: Any, tmp_path: Path) -> None:
    """Readers before transformers 5 tie, and scale by the width, unless tie_word_embeddings is false."""
    save_model(load_causal(folders(kind), "float32"), t.tokenizer(), tmp_path)
    config = read_object(tmp_path / "config.json", "a config")
    assert (config.get("tie_word_embeddings") is False) == (kind in UNTIED)
    assert not config.get("scale_decoder_outputs") or kind not in UNTIED
    again, plain = (
        transformers.AutoModelForSeq2SeqLM.from_pretrained(at, dtype=torch.float32) for at in (tmp_path, folders(kind))
    )
    given = {"input_ids": torch.tensor([[5, 6, 7]]), "decoder_input_ids": torch.tensor([[0, 8]])}
    assert torch.equal(again(**given).logits, plain(**given).logits)


@FEW
def test_checkpointing_changes_no_gradient(kind: str, folders: Any) -> None:
    one, two = (use_packed_rows(load_causal(folders(kind), "float32")) for _ in range(2))
    use_checkpointing(two)
    for model in (one, two):
        response_logprobs(model, build_row(FOREST))[0].mean().backward()
    for mine, other in zip(one.parameters(), two.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, atol=0, rtol=0)


def test_answers_share_their_prompts_encoder_pass(folders: Any) -> None:
    """And texts of similar length a pass; padding is a quarter at most."""
    model = use_packed_rows(load_causal(folders("T5"), "float32"))
    seen: list[tuple[int, ...]] = []
    model.get_encoder().register_forward_hook(
        lambda _, given, kept, __: seen.append(tuple(kept["input_ids"].shape)), with_kwargs=True
    )
    forest = [Tree(tuple(range(3, 3 + n)), ((5, 6), (7, 8, 9), (4,))) for n in (20, 19, 18, 6)]
    response_logprobs(model, build_row(forest))
    assert seen == [(3, 20), (1, 6)]


def test_the_last_layers_are_the_decoders(folders: Any) -> None:
    model = load_causal(folders("T5"), "float32")
    assert layer_count(model) == 5
    train_last_layers(model, 2)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(n.startswith(("decoder.block.1.", "decoder.block.2.", "decoder.final_layer_norm.")) for n in names)
    train_last_layers(model, 4)
    assert any(n.startswith("encoder.block.1.") for n, p in model.named_parameters() if p.requires_grad)


def test_what_is_not_tested_is_served_and_not_trained() -> None:
    config = transformers.ProphetNetConfig(vocab_size=50, hidden_size=32, num_encoder_layers=1, num_decoder_layers=1)
    with torch.device("meta"):
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    with pytest.raises(ValueError, match=r"'prophetnet'.*served but not trained.*bart"):
        use_packed_rows(model)


def test_answers_of_t5gemma_begin_with_its_bos(tmp_path: Path) -> None:
    """Its files name no decoder_start_token_id: it was refused for that. Served and not trained."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": len(t.tokenizer())}
    config = transformers.T5GemmaConfig(encoder=sizes, decoder=sizes, vocab_size=sizes["vocab_size"])
    save_model(transformers.AutoModelForSeq2SeqLM.from_config(config).eval(), t.tokenizer(), tmp_path)
    plain = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float32)
    theirs = plain.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=6, do_sample=False)[0].tolist()
    (answer,) = load_engine(tmp_path, dtype="float32").generate(
        [(5, 6, 7)], SamplingParams(max_tokens=6, temperature=0)
    )
    assert [config.bos_token_id, *answer[0].token_ids] == theirs


def test_longer_than_learned_positions_is_said(folders: Any) -> None:
    model = use_packed_rows(load_causal(folders("BART"), "float32"))
    with pytest.raises(ValueError, match=r"600 tokens.*max_position_embeddings = 512"):
        response_logprobs(model, build_row([Tree((5,) * 600, ((6,),))]))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a T5 as it is published: its own tokenizer, no chat template."""
    return make_folder("T5", sentences(), tmp_path_factory.mktemp("reader") / "t5")


@pytest.mark.parametrize("kind", ["T5", pytest.param("BART", marks=pytest.mark.slow)])
def test_every_stage_takes_it(kind: str, reader: Path, folders: Any, tmp_path: Path) -> None:
    """SFT (whole, adapters), samples, reward model, PPO (whole, adapters), DPO, KTO, evaluation: the same files."""
    base = reader if kind == "T5" else folders(kind)
    once = {"iterations": 1, "critic_warmup_iterations": 0}
    metrics = stages.run_sft(base, tmp_path / "sft", epochs=1)
    assert metrics["eval_loss"] < metrics["eval_loss_before"]
    stages.run_sft(base, tmp_path / "adapter", epochs=1, lora_rank=2, train_layers=4)
    stages.run_sample(tmp_path / "sft", tmp_path / "samples")
    stages.run_reward(tmp_path / "sft", tmp_path / "reward", epochs=1, lora_rank=2)
    stages.run_ppo(tmp_path / "sft", tmp_path / "reward", tmp_path / "ppo", **once)
    shared = stages.run_ppo(tmp_path / "sft", tmp_path / "reward", tmp_path / "adapters", **once, lora_rank=2)
    assert shared["start"]["kl_error"] == 0
    assert shared["start"]["engine_error"] < 1e-5, "what was sampled has the log-probabilities that training computes"
    assert shared["start"]["ratio_error"] < 1e-5
    for config in (preference.DPO, preference.KTO):
        preference.run(tmp_path / "sft", tmp_path / type(config).__name__, config, preference.rankings())
    given, answers = stages.prompts(4), [[Completion("", (5, 1), (), "stop", "v")] * 4]
    scores, _ = evaluation.rewards(tmp_path / "reward", given, answers, stages.FLOAT)
    own = evaluation.answer_kl(tmp_path / "ppo", tmp_path / "sft", given, answers[0], stages.FLOAT, 1.0)
    assert len(scores[0]) == len(own) == 4
    for name in ("sft", "adapter", "ppo"):  # what others load
        plain = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / name, dtype=torch.float32)
        mine = use_packed_rows(load_causal(tmp_path / name, "float32"))
        row = build_row([Tree((5, 6, 7, 1), ((8, 9, 1), (10, 11, 12, 13)))])
        with torch.no_grad():
            torch.testing.assert_close(response_logprobs(mine, row)[0], response_logprobs(plain, row)[0])


def test_peft_reads_the_adapter(reader: Path, tmp_path: Path) -> None:
    stages.run_sft(reader, tmp_path / "sft", epochs=1, lora_rank=2, train_layers=2)
    plain = transformers.AutoModelForSeq2SeqLM.from_pretrained(reader, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "sft" / ADAPTER).eval()
    merged = load_causal(tmp_path / "sft", "float32")
    given = {"input_ids": torch.tensor([[5, 6, 1]]), "decoder_input_ids": torch.tensor([[0, 7, 8]])}
    with torch.no_grad():
        torch.testing.assert_close(theirs(**given).logits, merged(**given).logits, atol=1e-5, rtol=1e-4)
    names = {n for n, _ in theirs.named_parameters() if "lora_A" in n}
    assert names
    assert all(".decoder.block.1." in n or ".decoder.block.2." in n for n in names)


def test_a_family_is_one_module(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one, named in the registry, is asked by every stage."""
    asked: list[str] = []

    def tell(name: str) -> Any:
        def call(*arguments: Any) -> Any:
            asked.append(name)
            return getattr(decoder, name)(*arguments)

        return call

    numbers = {name: tell(name) for name in ("target_logprobs", "target_states", "branch_states", "layers")}
    other: Any = SimpleNamespace(**vars(decoder) | numbers | {"serves": lambda config: config.model_type == "llama"})
    monkeypatch.setattr(known, "FAMILIES", (other, *known.FAMILIES))
    stages.run_sft(tiny, tmp_path / "sft", epochs=1, train_layers=1)
    stages.run_reward(tmp_path / "sft", tmp_path / "reward", epochs=1)
    stages.run_ppo(tmp_path / "sft", tmp_path / "reward", tmp_path / "ppo", iterations=1)
    assert set(asked) == set(numbers)


def test_no_stage_knows_an_architecture() -> None:
    word = re.compile(r"model_type|is_encoder_decoder|encoder_decoder|\bT5|\.lm_head|\.model\.layers")
    source = Path(families.__file__).parents[1]
    for room in ("train", "rl", "eval"):
        for file in (source / room).rglob("*.py"):
            assert not word.search(file.read_text(encoding="utf-8")), file


def test_the_engine_answers_as_for_decoders(reader: Path) -> None:
    """Stated to be the reference engine; streams, several answers, seeds, log-probabilities, stop strings, lines."""
    said: list[str] = []
    engine = load_engine(reader, dtype="float32", say=said.append)
    assert isinstance(engine, ReferenceEngine)
    assert "reference engine" in said[-1]
    assert "'t5' is an encoder-decoder" in said[-1]
    prompt = t.conversation("我的订单\n在哪里?")
    assert engine.count_tokens(prompt) > 3
    params = SamplingParams(max_tokens=20, n=3, seed=4, top_logprobs=2)
    (answers,) = engine.generate([prompt], params)
    streamed: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    for number, item in engine.answers(prompt, params):
        streamed[number].append(item)
    for number, answer in enumerate(answers):
        *pieces, last = streamed[number]
        assert last == answer
        assert "".join(pieces) == answer.text
    assert len({a.token_ids for a in answers}) == 3
    with torch.no_grad():
        row = build_row([Tree(load_template(reader, ModelConfig()).prompt_ids(prompt), (answers[0].token_ids,))])
        expected, _ = response_logprobs(use_packed_rows(load_causal(reader, "float32")), row)
    torch.testing.assert_close(torch.tensor(answers[0].logprobs), expected, atol=1e-5, rtol=1e-5)
    cut = answers[0].text[3:5]
    (stopped,) = engine.generate([prompt], SamplingParams(max_tokens=20, n=1, seed=4, stop=(cut,)))[0]
    assert stopped.finish_reason == "stop"
    assert stopped.text == answers[0].text[: answers[0].text.index(cut)]
    with pytest.raises(ValueError, match="encoder-decoder, which the local engine does not compute"):
        load_engine(reader, backend="local")


def test_memory_is_not_predicted_and_said(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_memory(reader, SftConfig(), lengths_of([10]), stages.FLOAT)
    assert "not checked: 't5' is an encoder-decoder" in " ".join(capsys.readouterr().err.split())
    result = CliRunner().invoke(build(), ["plan", "--model", str(reader)])
    assert result.exit_code == 2
    assert "'t5' is an encoder-decoder" in " ".join(result.output.split())


def test_doctor_says_what_it_is(reader: Path) -> None:
    result = CliRunner().invoke(build(), ["doctor", "--model", str(reader)])
    text = " ".join(result.output.split())
    assert "t5, an encoder-decoder" in text
    assert "</s> (token" in text


@FEW
def test_scoring_and_training_compute_the_same_bits(kind: str, folders: Any) -> None:
    """In bfloat16 too: PPO's first ratio is 1. Fused attention is another with a position bias that learns."""
    model = use_packed_rows(load_causal(folders(kind), "bfloat16"))
    row = build_row(FOREST)
    with torch.no_grad():
        scored, _ = response_logprobs(model, row)
    trained, _ = response_logprobs(model, row)
    assert trained.requires_grad
    assert torch.equal(scored, trained.detach())


def test_the_language_of_answers_is_taken_or_missed_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Published folders of NLLB and mBART-50 name none: every answer was empty, without a word."""
    pieces = {piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "\u2581", *"abcdefgh"])}
    unknown = ("xx_NO", tmp_path / "unknown")  # every answer began with <unk>
    for named, folder in ((None, tmp_path / "none"), ("zho_Hans", tmp_path / "zh"), unknown):
        tokenizer = transformers.NllbTokenizer(vocab=pieces, merges=[], tgt_lang=named)
        model = random_model("M2M100, NLLB", len(tokenizer))
        save_model(model, tokenizer, folder)
        forced = load_causal(folder, "float32").generation_config.forced_bos_token_id
        assert forced == (tokenizer.convert_tokens_to_ids(named) if named == "zho_Hans" else None)
    said = capsys.readouterr().err
    assert (said.count("nothing says in which language"), said.count("begin with the token of zho_Hans")) == (2, 1)
    assert "xx_NO (tgt_lang) is no token of it" in said
