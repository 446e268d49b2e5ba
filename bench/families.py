"""Which architectures work, and how far: every family on a small random model with a published chat template.

    .venv/bin/python bench/families.py --write docs/MODELS.md     # minutes on two cores

What is measured is what tests/test_families.py holds, on the same models (tests/families.py). Templates are read from
../shared/data/templates, which is no part of this repository; without it nothing is written.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from harness import say

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import families
import seq2seq
import test_train as stages
import tiny
from families import FAMILIES, LONG, make_folder, template_text, tokenizer_for
from steersman.compute.layers import is_known
from steersman.compute.packing import build_row
from steersman.engine.load import load_engine
from steersman.families.outputs import response_logprobs
from steersman.families.traits import is_packed
from steersman.text.template import Template
from steersman.types import Conversation, Message, SamplingParams
from steersman.weights.folders import load_causal, load_tokenizer, use_packed_rows
from test_models import trees

CHAT = (("user", "Where is it?"), ("assistant", "On its way."), ("user", "好的，谢谢。"))
HEAD = """# Models

Which architectures Steersman trains, answers with and exports. Each row is a small random model of the architecture
(transformers {version}) with the chat template of a published one, taken through the loop by
`.venv/bin/python bench/families.py --write docs/MODELS.md`. [tests/test_families.py](../tests/test_families.py) checks
the same in every build and compares log-probabilities and gradients with transformers' in float32. Whether a large
model of the family learns well is not measured here.

- **template**: the prompt of a dialogue of three turns equals transformers' rendering, token for token.
- **SFT**: of the whole model, of one layer and by LoRA; the held-out loss falls in each. Who computes the layers:
  *ours*: our own code; *rows*: transformers' layers over packed rows; *alone*: transformers' forward pass, a dialogue
  at a time (slower, but states of convolutions and recurrences would leak from one dialogue of a row into the next);
  *padded*: transformers' layers of an encoder-decoder, texts of similar length together.
- **PPO**: reward model and one round of PPO.
- **engine**: *local* is the fast one, *reference* is transformers' forward pass, a sequence at a time. Greedy answers
  equal transformers' in float32; in bfloat16 the engine only has to run.
- **export**: transformers alone loads what SFT and PPO wrote and computes the same.
- **reward model**: *elsewhere* where transformers has the class (`AutoModelForSequenceClassification`), else the folder
  loads in Steersman only.

Of a model that also sees or hears only the text decoder is trained; a line at load counts what is left out. Several
processes and checkpointing are for the families with *ours* and *padded* (several processes also for *rows*). Quantised
checkpoints other than GGUF are loaded as far as transformers loads them on this machine. A decoder that transformers
knows and this table does not takes the *alone* path; other encoder-decoders are served but not trained; anything else
is refused by its name. RWKV is served but not trained (transformers has no gradients of it), and CTRL can be no reward
model. BigBird and BigBird-Pegasus are computed by full attention: transformers leaves their sparse blocks for good at
the first short text.

Of a model's own generation_config.json the ends (`eos_token_id`) end answers here too; sampling settings, penalties,
beams and forbidden or forced tokens are not applied, and a line at load names those that `generate` of transformers
would apply.

"""
FOOT = """
## Encoder-decoders

The prompt goes through the encoder once, each answer through the decoder, which begins with `decoder_start_token_id`
and, where generation forces one, the first token (BART: `<s>`, mBART and NLLB: the language, or else
the tokenizer's `tgt_lang`). A dialogue becomes the source text by the model's own chat template, or else by
*text2text*, ChatYuan's form:

    用户：您好\\n小元：您好，请讲。\\n用户：我的订单在哪里？\\n小元：</s>

or `User: ` and `Assistant: ` where the tokenizer knows no Chinese; a system message stands before the first turn.
Newlines are written `\\n` where the tokenizer would make spaces of them (as ChatYuan's is used), and come back in
answers. The target is the answer and the end token; each answer of a dialogue is an example of its own.

- Reward model and critic: a linear layer `score` on the decoder's last state, saved in the folder beside the other
  weights. transformers' own classifiers pool in another way, so the folder loads in Steersman only.
- `train_layers` counts from the decoder's last layer down to the encoder's first; LoRA goes on every linear layer of
  those layers, and its files load in peft. Checkpointing works for all.
- Frozen layers are not shared between PPO's models; memory and time are not predicted (`steersman plan` says so); GGUF
  files of them are refused. The reference engine answers, a sequence at a time, so that PPO runs in one process.
"""


def tried(work: Callable[[], str]) -> str:
    """What it says, or the error."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return work()
    except Exception as error:
        return f"no: {str(error).splitlines()[0][:80] if str(error) else type(error).__name__}"


def measure(base: Path, place: Path, greedy: Callable[[Path, Sequence[int], int], list[int]]) -> dict[str, str]:
    """One row of the table, by columns. `greedy`: what transformers says."""
    model = use_packed_rows(load_causal(base, "float32"))
    encodes = model.config.is_encoder_decoder
    kind = transformers.AutoModelForSeq2SeqLM if encodes else transformers.AutoModelForCausalLM

    def template() -> str:
        tokenizer = load_tokenizer(base)
        messages = [{"role": role, "content": words} for role, words in CHAT]
        theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        ours = Template(tokenizer).prompt_ids(Conversation("x", tuple(Message(r, w) for r, w in CHAT)))
        if list(ours) != theirs:
            raise ValueError("its tokens differ from transformers'")
        return "yes"

    def sft() -> str:
        for name, changes in {"sft": {}, "one": {"train_layers": 1}, "lora": {"lora_rank": 2}}.items():
            metrics = stages.run_sft(base, place / name, **changes, **LONG)
            if not metrics["eval_loss"] < metrics["eval_loss_before"]:
                raise ValueError(f"{name}: the loss does not fall")
        if encodes:
            return "padded"
        return "ours" if is_known(model.config) else "rows" if is_packed(model) else "alone"

    def ppo() -> str:
        stages.run_reward(place / "sft", place / "reward", **LONG)
        stages.run_ppo(place / "sft", place / "reward", place / "ppo", iterations=1, **LONG)
        return "yes"

    def engine() -> str:
        ids = tuple(load_tokenizer(base)("Where is my order?")["input_ids"])
        params = SamplingParams(max_tokens=12, temperature=0, ignore_end=True)
        made = load_engine(base, dtype="float32")
        if list(made.generate([ids], params)[0][0].token_ids) != greedy(base, ids, 12):
            raise ValueError("greedy answers differ from transformers'")
        load_engine(base).generate([ids], params)
        return type(made).__name__.removesuffix("Engine").lower()

    def export() -> str:
        row = build_row(trees())
        for name in ("sft", "ppo"):
            plain = kind.from_pretrained(place / name, dtype=torch.float32)
            if getattr(plain.config, "attn_logit_softcapping", None):
                plain.set_attn_implementation("eager")
            ours = use_packed_rows(load_causal(place / name, "float32"))
            with torch.no_grad():
                one, two = (response_logprobs(m, row)[0] for m in (ours, plain))
            torch.testing.assert_close(one, two, atol=5e-5, rtol=1e-4)
            transformers.AutoTokenizer.from_pretrained(place / name)
        return "yes"

    def reward() -> str:
        try:
            _, told = transformers.AutoModelForSequenceClassification.from_pretrained(
                place / "reward", output_loading_info=True
            )
        except ValueError:
            return "here"
        return "here" if told["missing_keys"] else "elsewhere"

    columns = {"template": template, "SFT": sft, "PPO": ppo, "engine": engine, "export": export, "reward model": reward}
    return {name: tried(work) for name, work in columns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the file of the table; by default it is printed")
    parser.add_argument("--only", default="", help="families whose names contain this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rows: list[dict[str, Any]] = []
    for family in FAMILIES:
        if arguments.only.lower() not in family.name.lower():
            continue
        if (text := template_text(family)) is None:
            raise SystemExit("../shared/data/templates is absent; expected the published chat templates there")
        with tempfile.TemporaryDirectory() as place:
            base = make_folder(family, tokenizer_for(text), Path(place) / "base")
            found = measure(base, Path(place), families.greedy)
        say(f"{family.name}: {found}")
        rows.append(
            {"family": family.name, "model_type": f"`{family.model_type}`", "template of": family.template} | found
        )
    for name, (model_type, _) in seq2seq.KINDS.items():
        if arguments.only.lower() not in name.lower():
            continue
        tokenizer = copy.deepcopy(tiny.tokenizer())
        tokenizer.chat_template = None
        with tempfile.TemporaryDirectory() as place:
            base = seq2seq.make_folder(name, tokenizer, Path(place) / "base")
            found = measure(base, Path(place), seq2seq.greedy)
        say(f"{name}: {found}")
        rows.append({"family": name, "model_type": f"`{model_type}`", "template of": "text2text"} | found)
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0]), *(" | ".join(row.values()) for row in rows)]
    written = HEAD.format(version=transformers.__version__) + "".join(f"| {line} |\n" for line in lines) + FOOT
    if arguments.write:
        arguments.write.write_text(written, encoding="utf-8")
    else:
        print(written)


if __name__ == "__main__":
    main()
