"""`steersman export`: GGUF files against the gguf package's and transformers' reading, Modelfiles, cards, hubs."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from gguf import GGMLQuantizationType, GGUFReader, quants
from tokenizers import AddedToken, Tokenizer, processors
from typer.testing import CliRunner

import tiny as small
from round_space import allow_judges
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.corpus import tokenizer as making
from steersman.families.fresh import decoder_config, new_decoder
from steersman.rounds import model_card, publishing
from steersman.text.bases import CHATML
from steersman.text.ollama import modelfile, turned
from steersman.text.template import Template
from steersman.weights import hubs
from steersman.weights.folders import convert_gguf, load_causal, load_tokenizer, save_model
from steersman.weights.gguf_words import PROBES, words_of
from steersman.weights.gguf_write import write_gguf
from steersman.weights.quantise import q4_k, type_of

IDS = torch.tensor([list(range(5, 35))])
ROPE = {"rope_theta": 10000.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {},
    "llama linear": {"rope_parameters": ROPE | {"rope_type": "linear", "factor": 4.0}},
    "llama yarn": {
        "rope_parameters": ROPE | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    },
    "llama llama3": {
        "head_dim": 32,
        "rope_parameters": ROPE
        | {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
}


def model_of(variant: str, folder: Path) -> Path:
    kind = variant.split()[0]
    config = small.config(kind).to_dict() | VARIANTS[variant]
    config = transformers.AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("norm.weight", "bias")):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    save_model(model.to(torch.bfloat16), small.tokenizer(), folder)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_read_back_is_the_model(variant: str, tmp_path: Path) -> None:
    """By transformers' reader and our completion of it: the same weights, rotations and tokens."""
    folder = model_of(variant, tmp_path / "m")
    done = write_gguf(folder, tmp_path / "m.gguf", "bf16")
    assert not done.notes
    convert_gguf(done.path, tmp_path / "back")
    model, back = load_causal(folder, "float32"), load_causal(tmp_path / "back", "float32")
    torch.testing.assert_close(back(IDS).logits, model(IDS).logits, atol=1e-4, rtol=1e-3)
    own, theirs = load_tokenizer(folder), load_tokenizer(tmp_path / "back")
    assert [own(text).input_ids for text in PROBES[:2]] == [theirs(text).input_ids for text in PROBES[:2]]
    assert own.chat_template == theirs.chat_template
    assert theirs.eos_token == "<|im_end|>"


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text"])
def test_gemmas_attention_is_scaled_by_the_heads_size(kind: str, tmp_path: Path) -> None:
    """No file says so, and the class's default is that of the published sizes alone."""
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "head_dim": 32}
    sizes |= {"num_hidden_layers": 6, "num_key_value_heads": 1, "query_pre_attn_scalar": 32, "sliding_window": 8}
    sizes |= {"vocab_size": 350, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **sizes))
    save_model(model.to(torch.bfloat16), small.tokenizer(), tmp_path / "m")
    convert_gguf(write_gguf(tmp_path / "m", tmp_path / "m.gguf", "bf16").path, tmp_path / "back")
    own, theirs = (load_causal(tmp_path / name, "float32")(IDS).logits for name in ("m", "back"))
    torch.testing.assert_close(theirs[..., :350], own, atol=1e-4, rtol=1e-3)  # transformers' Gemma adds a <mask>


@pytest.mark.parametrize("theta", [10_000.0, 500_000.0])
def test_a_gemma_without_windows_is_written_and_read_back(theta: float, tmp_path: Path) -> None:
    """As `steersman pretrain` makes it: every layer attends to all. With a window in the first layer it is refused."""
    sizes: dict[str, Any] = {"vocab_size": 350, "max_position_embeddings": 512, "theta": theta}
    sizes |= {"tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    model = new_decoder(decoder_config("gemma3_text", 2, 64, 128, 4, **sizes), 0, torch.float32)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    save_model(model.to(torch.bfloat16), small.tokenizer(), tmp_path / "m")
    done = write_gguf(tmp_path / "m", tmp_path / "m.gguf", "f32")
    assert "every layer attends to all" in done.notes[0]
    assert GGUFReader(done.path).get_field("gemma3.attention.sliding_window") is None
    convert_gguf(done.path, tmp_path / "back")
    own, theirs = (load_causal(tmp_path / name, "float32")(IDS).logits for name in ("m", "back"))
    torch.testing.assert_close(theirs[..., :350], own, atol=1e-4, rtol=1e-3)


def test_gpt2_is_turned_and_read_back(tmp_path: Path) -> None:
    config = transformers.GPT2Config(
        n_embd=64, n_layer=2, n_head=2, vocab_size=350, n_positions=128, bos_token_id=1, eos_token_id=2
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).to(torch.bfloat16)
    save_model(model, small.tokenizer(), tmp_path / "m")
    convert_gguf(write_gguf(tmp_path / "m", tmp_path / "m.gguf", "f32").path, tmp_path / "back")
    logits = [load_causal(tmp_path / name, "float32")(IDS).logits for name in ("m", "back")]
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-3)


def test_control_tokens_outside_of_the_bytes_alphabet_stay_tokens(tmp_path: Path) -> None:
    """All of DeepSeek's: transformers read a prompt's in pieces, and began texts with an entry beyond the model's. Most
    are not special to its tokenizer, and llama.cpp would look for spaces in them."""
    core = json.loads(small.tokenizer().backend_tokenizer.to_str().replace("<|im_end|>", "<｜end▁of▁sentence｜>"))
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(core)), eos_token="<｜end▁of▁sentence｜>"
    )
    marks = ["<｜User｜>", "<｜tool▁calls▁begin｜>", "，客服", "wörd"]
    words.add_tokens([AddedToken(text, normalized=False) for text in marks])
    words.chat_template = "{% for m in messages %}<｜User｜>{{ m['content'] }}<｜end▁of▁sentence｜>{% endfor %}"
    config = small.config("qwen2")
    config.vocab_size = 384
    save_model(transformers.AutoModelForCausalLM.from_config(config), words, tmp_path / "m")
    done = write_gguf(tmp_path / "m", tmp_path / "m.gguf", "bf16")
    assert done.words is not None
    assert done.words.tokens[350:354] == tuple(marks)
    assert done.words.kinds[350:354] == (3, 3, 4, 4)
    convert_gguf(done.path, tmp_path / "back")
    theirs = load_tokenizer(tmp_path / "back")
    for text in ("<｜User｜>您好<｜tool▁calls▁begin｜>", "x，客服 wörd", "a<｜end▁of▁sentence｜>"):
        assert theirs(text).input_ids == words(text).input_ids
    assert theirs.eos_token_id == words.eos_token_id == 2
    assert load_causal(tmp_path / "back").get_input_embeddings().weight.shape[0] == 384


def test_q4_k_is_what_the_packages_dequantiser_reads() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 512) * 0.02 + torch.randn(64, 1) * 0.01
    errors = {}
    for kind, packed in (("Q4_K", q4_k(x)), ("Q4_0", quants.quantize(x.numpy(), GGMLQuantizationType.Q4_0))):
        read = torch.from_numpy(quants.dequantize(packed, GGMLQuantizationType[kind]))
        errors[kind] = float((read - x).norm() / x.norm())
    assert errors["Q4_K"] < 0.07
    assert errors["Q4_K"] < 0.85 * errors["Q4_0"]
    for odd in (torch.zeros(1, 256), torch.ones(1, 256), torch.full((1, 256), -3.0)):
        read = torch.from_numpy(quants.dequantize(q4_k(odd), GGMLQuantizationType.Q4_K))
        torch.testing.assert_close(read, odd, atol=1e-3, rtol=1e-3)


def test_a_tensors_type() -> None:
    assert type_of("q4_k", "blk.0.ffn_down.weight", (4, 512)).name == "Q4_K"
    assert type_of("q4_k", "blk.0.attn_q.weight", (4, 576)).name == "Q5_0"
    assert type_of("q4_k", "token_embd.weight", (4, 512)).name == "Q8_0"
    assert type_of("q8_0", "blk.0.attn_q.weight", (4, 40)).name == "BF16"
    assert type_of("q8_0", "output_norm.weight", (512,)).name == "F32"


@pytest.mark.parametrize(("digits", "spaces", "pre"), [("three", "runs", "dbrx"), ("one", "single", "dbrx")])
def test_own_tokenizers_have_a_way_to_cut(digits: str, spaces: str, pre: str) -> None:
    texts = [*PROBES, *small.CORPUS] * 3
    made = making.train(texts, making.Wanted(600, digits=digits, spaces=spaces))
    words = words_of(made, 640)
    assert (words.model, words.pre, words.differ) == ("gpt2", pre, 0)
    assert words.tokens[-1] == "[PAD639]"
    assert words.kinds[0] == 3
    assert words.kinds[-1] == 5


def test_what_llama_cpp_has_not_is_refused_or_told(tmp_path: Path) -> None:
    made = making.train([*PROBES] * 3, making.Wanted(500, kind="unigram"))
    with pytest.raises(ValueError, match=r"Unigram with .*ByteLevel.*expected byte-level BPE"):
        words_of(made, 600)
    with pytest.raises(ValueError, match="only 10 embeddings"):
        words_of(small.tokenizer(), 10)
    folder = small.make_model(tmp_path / "m", "gemma3_text")
    with pytest.raises(ValueError, match="layer_types"):
        write_gguf(folder, tmp_path / "m.gguf", "f32")
    assert not list(tmp_path.glob("m.gguf*"))
    mistral = small.make_model(tmp_path / "mistral", "mistral")
    assert "window of 8 tokens" in write_gguf(mistral, tmp_path / "w.gguf", "q8_0").notes[0]


def test_the_modelfile_renders_as_the_template(tiny: Path) -> None:
    tokenizer = load_tokenizer(tiny)
    found = turned(tokenizer)
    assert found is not None
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "您好"}]
    assert found.render(said) == tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    text, missing = modelfile(tokenizer, "m.gguf", 512, {"temperature": 0.7})
    assert not missing
    assert '{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n' in text
    assert 'PARAMETER stop "<|im_end|>"' in text
    tokenizer.chat_template = "{{ bos_token + 'Be kind.' }}" + CHATML
    assert 'TEMPLATE """<|im_start|>Be kind.{{ range' in modelfile(tokenizer, "m.gguf", 512, {})[0]
    begin = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    tokenizer.backend_tokenizer.post_processor = begin
    assert 'TEMPLATE """Be kind.{{ range' in modelfile(tokenizer, "m.gguf", 512, {})[0], "Ollama begins so by itself"
    tokenizer.chat_template = "{% for m in messages %}{{ loop.index }}{{ m['content'] }}{% endfor %}"
    assert turned(tokenizer) is None


def test_the_verb_writes_a_whole_folder(two_rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_judges(monkeypatch)
    root = tmp_path / "shop"
    shutil.copytree(two_rounds, root)
    at = ("--workspace", str(root))
    run = CliRunner().invoke(build(), ["export", "--gguf", "q8_0,f16", "--licence", "mit", "--json", *at])
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    folder = Path(told["folder"])
    assert folder == root / "exports" / told["name"]
    assert {"README.md", "Modelfile", "config.json", "model.safetensors", "tokenizer.json"} <= told["files"].keys()
    assert all((folder / name).stat().st_size == size for name, size in told["files"].items())
    card = (folder / "README.md").read_text(encoding="utf-8")
    front = card.split("---\n")[1]
    assert 'license: "mit"' in front
    for words in ("## Verdict", "| chats | demonstrations, train | 4 |", "sft of round", "## Limits"):
        assert words in card
    assert str(root) not in card
    space = Workspace.open(root)
    made = [name for name in ("sft", "kto", "ppo") if space.has(name, 2)]
    assert made, "of a round that began from the promoted model"
    for name in made:
        entry = publishing.chosen(space, f"2/{name}")
        assert publishing._base(space, entry) == Path(space.config.model.base).name
        told_of = model_card.card(model_card.Told("x"), space, entry.entry)
        assert "round 2 began from the model promoted before it, promoted/001-sft-" in told_of
    served = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert served(IDS).logits.isfinite().all()
    assert Template(load_tokenizer(folder)).end_of_turn == 2
    reader = GGUFReader(folder / f"{told['name']}.q8_0.gguf")
    assert reader.get_field("tokenizer.ggml.eos_token_id").contents() == 2
    again = CliRunner().invoke(build(), ["export", *at])
    assert again.exit_code == 2
    assert "--replace" in again.output


def test_an_export_that_fails_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    for command, said in (
        (["export", str(tiny), "--gguf", "q9", "--into", str(tmp_path / "x")], "expected some of f32"),
        (["export", str(tiny), "--adapter", "--gguf", "none", "--into", str(tmp_path / "x")], "has no adapter"),
        (
            ["export", str(tiny), "--no-safetensors", "--gguf", "none", "--into", str(tmp_path / "x")],
            "nothing to",
        ),
        (["export", str(tiny), "--push", "hf:name", "--into", str(tmp_path / "x")], "expected hf:owner/name"),
        (["export", str(tmp_path / "none"), "--into", str(tmp_path / "x")], "could not be had"),
    ):
        run = CliRunner().invoke(build(), command)
        assert run.exit_code == 2
        assert said in run.output
        assert not [path for path in tmp_path.glob("*x*") if path.suffix != ".lock"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    run = CliRunner().invoke(build(), ["export", str(tiny), "--into", str(tmp_path / "mine"), "--replace"])
    assert run.exit_code == 2
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_pushed_to_hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    calls: list[tuple[str, Any]] = []

    class Api:
        def __init__(self, token: str = "") -> None:
            calls.append(("token", token))

        def create_repo(self, repo: str, **how: Any) -> str:
            calls.append(("create", (repo, how)))
            return f"https://huggingface.co/{repo}"

        def upload_folder(self, **how: Any) -> None:
            calls.append(("upload", how))

        def model_info(self, repo: str) -> types.SimpleNamespace:
            return types.SimpleNamespace(private=repo != "a/known")

    (tmp_path / "README.md").write_text("card", encoding="utf-8")
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    for target, said in (("hf:a/b", "HF_TOKEN"), ("modelscope:a/b", "MODELSCOPE_API_TOKEN")):
        with pytest.raises(ValueError, match=said):
            hubs.push(tmp_path, target)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert hubs.push(tmp_path, "hf:a/b") == "https://huggingface.co/a/b"
    with pytest.raises(ValueError, match=r"hf:a/known: not sent.*it is there and public; expected --public"):
        hubs.push(tmp_path, "hf:a/known")
    assert not any(name == "upload" and how.get("repo_id") == "a/known" for name, how in calls)
    assert calls[0] == ("token", "secret")
    assert calls[1][1][1]["private"] is True
    assert calls[2][1]["folder_path"] == tmp_path
    modelscope = types.ModuleType("modelscope.hub.api")
    modelscope.HubApi = Api  # type: ignore[attr-defined]
    for name in ("modelscope", "modelscope.hub"):
        package = types.ModuleType(name)
        package.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, "modelscope.hub.api", modelscope)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "other")
    assert hubs.push(tmp_path, "modelscope:a/b", public=True) == "https://www.modelscope.cn/models/a/b"
    assert calls[-2][1][1]["visibility"] == "public"
    assert calls[-1][1]["token"] == "other"
    monkeypatch.setattr(Api, "upload_folder", lambda self, **how: (_ for _ in ()).throw(OSError("413 too large\nx")))
    with pytest.raises(ValueError, match=r"hf:a/b: not sent, .*413 too large$"):
        hubs.push(tmp_path, "hf:a/b")
