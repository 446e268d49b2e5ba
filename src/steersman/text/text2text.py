"""Dialogues as one text, for models that read a text and write another (T5, BART).

The form is ChatYuan's: every turn after its speaker's name, the assistant's name at the end. Tokenizers without
Chinese use English names. Special tokens that the tokenizer adds to a text (T5: its end) enclose the whole dialogue.

Many of these tokenizers make a space of every newline. Where they can write a backslash, newlines and tabs are written
\\n and \\t, as ChatYuan's are, in prompts and answers, and an answer's text has them back.
"""

from __future__ import annotations

import json
import re
from typing import Any

NAME, CHATYUAN = "text2text", "chatyuan"
"""Names of the form in `model.template`: with the names of either language, or ChatYuan's own."""
SPEAKERS = (("用户：", "小元："), ("User: ", "Assistant: "))
"""Prefixes of the user's and the assistant's words."""
WRITTEN = (("\n", "\\n"), ("\t", "\\t"))
NEWLINES = ("\n", "\\n", " ")
WIDE = "[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]"
GAP = re.compile(f"(?<={WIDE}) (?={WIDE})")
"""A space between two wide characters."""


def escaped(text: str) -> str:
    """The text with newlines and tabs escaped."""
    for character, written in WRITTEN:
        text = text.replace(character, written)
    return text


def closed_up(tokenizer: Any, text: str) -> str:
    """A text that the tokenizer decoded: where its decoder puts a space between any two words, Chinese and Japanese
    characters are written without."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    return GAP.sub("", text) if type(decoder).__name__ == "WordPiece" else text


def unescaped(text: str) -> str:
    for character, written in WRITTEN:
        text = text.replace(written, character)
    return text


def add_text_to_text(tokenizer: Any, name: str = NAME) -> None:
    """Give a tokenizer the template, and if it names no end token, the token that it adds after a text.

    ValueError where the names are to be ChatYuan's and the tokenizer cannot write them."""
    if name == CHATYUAN and not _writes(tokenizer, "".join(SPEAKERS[0])):
        raise ValueError(f"model.template = '{CHATYUAN}': the tokenizer has no characters for {', '.join(SPEAKERS[0])}")
    tokenizer.chat_template = _template(tokenizer)
    if tokenizer.eos_token is None and (ends := _surroundings(tokenizer)[1]):
        tokenizer.eos_token = ends[-1]


def _template(tokenizer: Any) -> str:
    user, assistant = next((s for s in SPEAKERS if _writes(tokenizer, "".join(s))), SPEAKERS[-1])
    newline = next(n for n in NEWLINES if n == " " or (_writes(tokenizer, n) and _keeps(tokenizer, n)))
    change = "".join(f" | replace({_quoted(c)}, {_quoted(w)})" for c, w in WRITTEN) if newline == "\\n" else ""
    before, behind = map("".join, _surroundings(tokenizer))
    gap = "{{ " + _quoted(newline) + " }}"
    words = f"{{{{ message['content']{change} }}}}"
    return (
        f"{before}{{% for message in messages %}}"
        f"{{% if message['role'] == 'user' %}}{user}{words}"
        f"{{% elif message['role'] == 'assistant' %}}{assistant}{words}"
        f"{{% elif message['role'] == 'system' %}}{words}"
        "{% else %}{{ raise_exception('a text-to-text dialogue has no role ' + message['role']) }}{% endif %}"
        f"{{% if not loop.last or add_generation_prompt %}}{gap}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{assistant.rstrip()}{behind}{{% endif %}}"
    )


def _quoted(text: str) -> str:
    return json.dumps(text)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _writes(tokenizer: Any, text: str) -> bool:
    """Whether the tokenizer encodes a text without unknown tokens."""
    unknown, beside = tokenizer.unk_token_id, _letter(tokenizer)
    return unknown is None or unknown not in _ids(tokenizer, f"{beside}{text}{beside}")


def _letter(tokenizer: Any) -> str:
    """A letter that the tokenizer has: of texts for trial, whose ends it might strip. Some have no Latin ones."""
    return next((c for c in "a的1" if tokenizer.unk_token_id not in _ids(tokenizer, c)), "a")


def _keeps(tokenizer: Any, text: str) -> bool:
    """Whether decoding restores the text."""
    beside = _letter(tokenizer)
    ids = _ids(tokenizer, f"{beside}{text}{beside}")
    return text in tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def _surroundings(tokenizer: Any) -> tuple[list[str], list[str]]:
    """The special tokens that the tokenizer puts before and behind a text, by their names."""
    ids, special = list(tokenizer(_letter(tokenizer))["input_ids"]), set(tokenizer.all_special_ids)
    inner = [i for i, token in enumerate(ids) if token not in special]
    ends = (ids[: inner[0]], ids[inner[-1] + 1 :]) if inner else ([], [])
    before, behind = (list(tokenizer.convert_ids_to_tokens(part)) for part in ends)
    return before, behind
