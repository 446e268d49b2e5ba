"""Chat templates for bases that have none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.text.text2text import CHATYUAN, NAME, add_text_to_text

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n'"
    " + (first if loop.first else '') + message['content']"
    " + (eos_token if message['role'] == 'assistant' else '<end_of_turn>') + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Known:
    """A chat template, the tokens that it uses, and the token that ends an answer."""

    template: str
    tokens: tuple[str, ...]
    end: str


KNOWN = {
    # A base model never saw <end_of_turn>, which in its vocabulary is one of thousands of untrained tokens that look
    # the same, and a model that learns to say it says any of them. How a document ends it does know.
    "gemma": Known(GEMMA, ("<start_of_turn>", "<end_of_turn>", "<eos>"), "<eos>"),
    "chatml": Known(CHATML, ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "llama3": Known(LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>"),
}


def add_chat_template(tokenizer: Any, name: str = "auto") -> str:
    """Give a base model's tokenizer a chat template; returns the name of it.

    "auto" takes the first of KNOWN whose tokens the tokenizer has; "text2text" and "chatyuan" are for encoder-decoders
    and task models (`text.text2text`); another name takes that one, or the file of that name. Raises ValueError where
    tokens are missing.
    """
    if name in (NAME, CHATYUAN):
        add_text_to_text(tokenizer, name)
        return name
    vocabulary = tokenizer.get_vocab()
    if name == "auto":
        name = next((n for n, known in KNOWN.items() if vocabulary.keys() >= set(known.tokens)), "")
        if not name:
            raise ValueError(
                f"the tokenizer has no chat template and no turn tokens of {', '.join(KNOWN)}; set model.template to "
                "one of these (whose tokens must be in the vocabulary) or to a file with a Jinja template"
            )
    if name in KNOWN:
        given = KNOWN[name]
        if missing := [token for token in given.tokens if token not in vocabulary]:
            raise ValueError(f"model.template = '{name}': the tokenizer has no {', '.join(missing)}")
        tokenizer.chat_template, tokenizer.eos_token = given.template, given.end
        return name
    if not Path(name).is_file():
        raise ValueError(
            f"model.template = '{name}': expected {', '.join((*KNOWN, NAME, CHATYUAN))} or a file with a Jinja template"
        )
    tokenizer.chat_template = Path(name).read_text(encoding="utf-8")
    return name


def unlike(own: str, name: str) -> bool:
    """Whether a tokenizer's own template is another than the one called `name`, or in the file of that name."""
    if name in KNOWN:
        return own != KNOWN[name].template
    return Path(name).is_file() and own != Path(name).read_text(encoding="utf-8")


BESIDE = "chat_template.json"
"""Where processors of models with images kept the template before it had a file of its own form."""


def take_beside(tokenizer: Any, folder: Path) -> bool:
    """Give a tokenizer the template in BESIDE, where there is one; whether there was. ValueError for any other file."""
    path = folder / BESIDE
    if not path.is_file():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object with 'chat_template': {error}") from None
    given = found.get("chat_template") if isinstance(found, dict) else None
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{path}: expected a JSON object with 'chat_template', a text")
    tokenizer.chat_template = given
    return True
