"""Why does it not stop? Answered before training, and after it by plain transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny as t
from steersman.weights.folders import load_causal, load_tokenizer, save_model
from verbs import done as invoke

CPU = ["-s", "model.device=cpu", "-s", "model.dtype=float32"]
FAST = ["-s", "sft.lr=3e-3", "-s", "sft.epochs=8", "-s", "sft.batch_tokens=256"]


def base(tiny: Path, folder: Path, template: str | None = None, eos: str = "<|endoftext|>") -> Path:
    """A ChatML base that ends documents with <|endoftext|>, as many do; without a chat template unless given."""
    shutil.copytree(tiny, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token, tokenizer.chat_template = eos, template
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        values = json.loads((folder / name).read_text()) | {"eos_token_id": tokenizer.convert_tokens_to_ids(eos)}
        (folder / name).write_text(json.dumps(values))
    return folder


def demonstrations(folder: Path) -> Path:
    lines = [
        t.conversation(f"Where is {w}?", "On its way.").to_json() for w in ("it", "he", "my order", "the kettle") * 6
    ]
    return t.write_jsonl(folder / "chats.jsonl", lines)


@pytest.mark.parametrize("own_template", [False, True])
def test_after_training_plain_transformers_stops(tiny: Path, tmp_path: Path, own_template: bool) -> None:
    start = base(tiny, tmp_path / "base", t.tokenizer().chat_template if own_template else None)
    out = tmp_path / "sft"
    said = invoke("sft", "--model", start, "--data", demonstrations(tmp_path), "--output", out, *CPU, *FAST).stderr
    assert "end of turn: <|im_end|> (token 2), learned with every answer" in said
    assert ("chatml is used (model.template)" in said) is not own_template
    ends = json.loads((out / "generation_config.json").read_text())["eos_token_id"]
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out)
    assert tokenizer.eos_token == "<|im_end|>"
    assert ends == [2, 0]
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Where is it?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**asked, max_new_tokens=40, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert answer[-1] == 2, tokenizer.decode(answer)
    assert len(answer) < 40


def test_stages_keep_the_control_tokens_at_which_the_base_stopped(tiny: Path, tmp_path: Path) -> None:
    """Qwen names two in generation_config.json, of which its template and tokenizer know one."""
    folder = Path(shutil.copytree(tiny, tmp_path / "0"))
    tokenizer = t.tokenizer()
    ordinary, control = tokenizer("a").input_ids[0], tokenizer.convert_tokens_to_ids("<|endoftext|>")
    settings = json.loads((folder / "generation_config.json").read_text())
    for number in (1, 2):
        settings["eos_token_id"] = [control, 2, ordinary] if number == 1 else settings["eos_token_id"]
        (folder / "generation_config.json").write_text(json.dumps(settings))
        model, own = load_causal(folder, "float32"), load_tokenizer(folder)
        folder = tmp_path / str(number)
        save_model(model, own, folder)
        settings = json.loads((folder / "generation_config.json").read_text())
        assert (
            settings["eos_token_id"] == json.loads((folder / "config.json").read_text())["eos_token_id"] == [2, control]
        )


def test_a_base_whose_turn_tokens_say_nothing_needs_the_setting(tiny: Path, tmp_path: Path) -> None:
    start = base(tiny, tmp_path / "base")
    data = demonstrations(tmp_path)
    out = tmp_path / "sft"
    refused = invoke(
        "sft", "--model", start, "--data", data, "--output", out, *CPU, "-s", "model.template=llama3", code=2
    ).stderr
    assert "model.template = 'llama3': the tokenizer has no <|start_header_id|>" in refused
    own = tmp_path / "mine.jinja"
    own.write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m.content + '<|endoftext|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
    )
    invoke("sft", "--model", start, "--data", data, "--output", out, *CPU, "-s", f"model.template={own}")
    assert load_tokenizer(out).chat_template == own.read_text()


def test_nothing_to_learn_is_an_error_before_training(tiny: Path, tmp_path: Path) -> None:
    data = demonstrations(tmp_path)
    for mode in ("skip", "error"):
        settings = ["-s", "sft.row_tokens=8", "-s", f"sft.long_dialogues={mode}"]
        told = invoke(
            "sft", "--model", tiny, "--data", data, "--output", tmp_path / mode, *CPU, *settings, code=2
        ).stderr
        assert "sft.row_tokens = 8" in told
        assert "nan" not in told


def test_doctor_looks_at_a_model(tiny: Path, tmp_path: Path) -> None:
    start = base(tiny, tmp_path / "base")
    weights = load_file(start / "model.safetensors")
    shown = invoke("doctor", "--model", start, "--data", demonstrations(tmp_path)).stdout
    assert "<|im_end|> (token 2), learned with every answer" in shown
    assert "the model's own settings name 0" in shown
    assert "On its way.<|im_end|>" in shown
    assert "untrained" not in shown
    table = weights["model.embed_tokens.weight"]
    table[100:110] = table[2] + 1e-4 * torch.randn(10, table.shape[1], generator=torch.Generator().manual_seed(0))
    save_file(weights, start / "model.safetensors", metadata={"format": "pt"})
    told = json.loads(invoke("doctor", "--model", start, "--json").stdout)
    assert any("looks untrained: 10 other tokens have its embedding" in check["found"] for check in told["checks"])
    assert "gone: not a folder" in invoke("doctor", "--model", tmp_path / "gone", code=2).stderr
