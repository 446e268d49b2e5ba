"""Every architecture of docs/MODELS.md on a small random model: numbers against transformers, and the whole loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import families
import test_train as stages
import tiny as t
from families import FAMILIES, LONG, OTHERS, Family, greedy, make_folder, template_text, tokenizer_for
from kernels_off import each_way
from steersman.compute.packing import build_row
from steersman.engine.load import load_engine
from steersman.families.outputs import branch_scores, init_score_head, response_logprobs
from steersman.families.traits import PACKED, is_packed
from steersman.types import SamplingParams
from steersman.weights.folders import load_causal, load_scalar, save_model, use_packed_rows
from test_models import trees

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ALL = pytest.mark.parametrize("family", FAMILIES, ids=[f.name for f in FAMILIES])
FEW = {"Gemma 2", "Qwen 3.5", "LFM2", "gpt-oss", "Falcon H1"}
"""One of each kind: capped, recurrent, convolving, with sinks and experts, with states."""
WHOLE = pytest.mark.parametrize(
    "family",
    [pytest.param(f, id=f.name, marks=() if f.name in FEW else pytest.mark.slow) for f in FAMILIES],
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Family -> folder of its random model with ChatML; made once."""
    made: dict[str, Path] = {}

    def folder(family: Family) -> Path:
        if family.name not in made:
            place = tmp_path_factory.mktemp("family") / "base"
            made[family.name] = make_folder(family, t.tokenizer(), place)
        return made[family.name]

    return folder


ROW = build_row(trees())


def expected(model: Any, forest: Any, temperature: float) -> torch.Tensor:
    """A dialogue at a time, by transformers' logits."""
    out = []
    for tree in forest:
        paths = [(tree.trunk + b, [False] * len(tree.trunk) + [True] * len(b)) for b in tree.branches]
        for whole, learn in paths or [(tree.trunk, list(tree.learn))]:
            log_p = (model(torch.tensor([whole])).logits[0] / temperature).log_softmax(-1)
            out += [log_p[i - 1, whole[i]] for i, own in enumerate(learn) if own]
    return torch.stack(out)


@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS], ids=[f.name for f in (*FAMILIES, *OTHERS)])
def test_rows_equal_dialogues_one_at_a_time(family: Family, folders: Any) -> None:
    """Log-probabilities and gradients: windows, caps, sinks, scales, experts, convolutions and states."""
    plain = transformers.AutoModelForCausalLM.from_pretrained(folders(family), dtype=torch.float32)
    if family.model_type == "gemma2":
        plain.set_attn_implementation("eager")
    ours = use_packed_rows(load_causal(folders(family), "float32"))
    forest = trees()
    logprobs, _ = response_logprobs(ours, build_row(forest), 0.7)
    theirs = expected(plain, forest, 0.7)
    torch.testing.assert_close(logprobs, theirs, atol=3e-5, rtol=1e-5)
    assert float(theirs.std()) > 0.25, "a flat model would hide what is left out"
    logprobs.mean().backward()
    theirs.mean().backward()
    for (name, mine), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@ALL
def test_scores_have_a_head_in_every_family(family: Family, folders: Any, tmp_path: Path) -> None:
    """Also where transformers has no class for sequence classification; saved and loaded again."""
    model = use_packed_rows(load_scalar(folders(family), "float32"))
    init_score_head(model, 5)
    forest = trees()
    scores = branch_scores(model, build_row(forest))
    plain = transformers.AutoModel.from_pretrained(folders(family), dtype=torch.float32)
    if family.model_type == "gemma2":
        plain.set_attn_implementation("eager")
    whole = [tree.trunk + b for tree in forest for b in tree.branches]
    states = [plain(torch.tensor([ids])).last_hidden_state[0, -1] for ids in whole]
    torch.testing.assert_close(scores, torch.stack(states) @ model.score.weight[0], atol=5e-5, rtol=1e-4)
    save_model(model, t.tokenizer(), tmp_path / "reward")
    again = use_packed_rows(load_scalar(tmp_path / "reward", "float32"))
    assert torch.equal(branch_scores(again, build_row(forest)), scores)


@ALL
def test_the_engine_says_what_transformers_says(family: Family, folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedily in float32, past the sliding window; in bfloat16 it runs, with kernels and without."""
    ids = tuple(t.tokenizer()("Where is my order?")["input_ids"])
    params = SamplingParams(max_tokens=12, temperature=0, ignore_end=True)
    (answer,) = load_engine(folders(family), dtype="float32").generate([ids], params)[0]
    assert list(answer.token_ids) == greedy(folders(family), ids, 12)
    for _ in each_way(monkeypatch):
        for token in load_engine(folders(family)).generate([ids], params)[0][0].token_ids:
            assert 0 <= token < len(t.tokenizer())


def real_folder(family: Family, folder: Path) -> Path:
    """With the template of a published model; ChatML where shared data is absent."""
    text = template_text(family)
    if text is None:
        pytest.skip("../shared/data/templates is absent")
    return make_folder(family, tokenizer_for(text), folder)


@WHOLE
def test_the_loop(family: Family, tmp_path: Path) -> None:
    """SFT (whole, one layer, LoRA), reward model and PPO, and what they leave, loaded by transformers alone."""
    base = real_folder(family, tmp_path / "base")
    metrics = stages.run_sft(base, tmp_path / "sft", **LONG)
    assert metrics["eval_loss"] < metrics["eval_loss_before"] - 0.1
    stages.run_reward(tmp_path / "sft", tmp_path / "reward", **LONG)
    stages.run_ppo(tmp_path / "sft", tmp_path / "reward", tmp_path / "ppo", iterations=1, **LONG)
    for changes in ({"train_layers": 1}, {"lora_rank": 2}):
        place = tmp_path / next(iter(changes))
        metrics = stages.run_sft(base, place, **changes, **LONG)
        assert metrics["eval_loss"] < metrics["eval_loss_before"]
    for name in ("sft", "ppo", "lora_rank"):
        plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        assert plain.get_input_embeddings().weight.shape[0] >= len(tokenizer)
        ours = use_packed_rows(load_causal(tmp_path / name, "float32"))
        if family.model_type == "gemma2":
            plain.set_attn_implementation("eager")
        with torch.no_grad():
            torch.testing.assert_close(
                response_logprobs(ours, ROW)[0], response_logprobs(plain, ROW)[0], atol=5e-5, rtol=1e-4
            )


def test_length_dependent_positions_are_not_packed(tmp_path: Path) -> None:
    """One long dialogue would turn the positions of its neighbours in the row."""
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    family = Family("x", "llama", "chatml", {"rope_parameters": rope, "max_position_embeddings": 16})
    folder = make_folder(family, t.tokenizer(), tmp_path / "m")
    ours = use_packed_rows(load_causal(folder, "float32"))
    assert not is_packed(ours)
    forest = trees()
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.testing.assert_close(response_logprobs(ours, build_row(forest))[0], expected(plain, forest, 1.0))


@pytest.mark.parametrize("kind", ["gemma3", "qwen3_5", "mistral3"])
def test_the_text_part_of_a_model_that_sees(kind: str, tmp_path: Path) -> None:
    """Published checkpoints of these families hold an image encoder too; its weights are left out, and counted."""
    text = {"gemma3": "Gemma 3", "qwen3_5": "Qwen 3.5", "mistral3": "Ministral 3"}[kind]
    family = next(f for f in FAMILIES if f.name == text)
    ends = {"vocab_size": len(t.tokenizer()), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "depth": 1}
    vision |= {"image_size": 28, "patch_size": 14, "out_hidden_size": 32, "num_heads": 2, "num_position_embeddings": 4}
    if kind == "mistral3":
        vision = {"model_type": "pixtral", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    whole = transformers.CONFIG_MAPPING[kind](
        text_config=family.config(**ends).to_dict(), vision_config=vision, tie_word_embeddings=True
    )
    torch.manual_seed(0)
    seeing = transformers.AutoModelForImageTextToText.from_config(whole, dtype=torch.float32).eval()
    seeing.save_pretrained(tmp_path / "m")
    t.tokenizer().save_pretrained(tmp_path / "m")
    ids = list(range(5, 25))
    with torch.no_grad():
        theirs = seeing(input_ids=torch.tensor([ids])).logits
        torch.testing.assert_close(load_causal(tmp_path / "m", "float32")(torch.tensor([ids])).logits, theirs)
    model = load_causal(tmp_path / "m", "float32")
    save_model(model, t.tokenizer(), tmp_path / "text")
    with torch.no_grad():
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "text", dtype=torch.float32)
        torch.testing.assert_close(again(torch.tensor([ids])).logits, theirs)


def test_every_packed_family_is_compared() -> None:
    assert {f.model_type for f in (*FAMILIES, *OTHERS)} >= PACKED


@pytest.mark.parametrize("own", [{"hidden_act": "relu"}, {"attention_bias": True}, {"mlp_bias": True}])
def test_what_the_local_engine_does_not_compute_is_answered_by_the_reference(own: Any, tmp_path: Path) -> None:
    """ReluLLaMA, Granite Code; the local engine would leave out the biases, or take SiLU."""
    folder = make_folder(Family("like Llama", "llama", "chatml", own), t.tokenizer(), tmp_path / "base")
    said: list[str] = []
    engine = load_engine(folder, dtype="float32", say=said.append)
    assert f"since it has {next(iter(own))}" in said[-1]
    ids = t.tokenizer()(t.CORPUS[0])["input_ids"][:20]
    answer = engine.generate([ids], SamplingParams(max_tokens=8, temperature=0.0))[0][0]
    assert list(answer.token_ids) == greedy(folder, ids, 8)[: len(answer.token_ids)]
    with pytest.raises(ValueError, match="which the local engine does not compute"):
        load_engine(folder, dtype="float32", backend="local")


def test_every_family_has_its_template_here() -> None:
    if not families.TEMPLATES.is_dir():
        pytest.skip("../shared/data/templates is absent")
    for family in FAMILIES:
        assert template_text(family), family.template
