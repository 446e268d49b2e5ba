"""Dialogues as one text: ChatYuan's form for tokenizers of any kind, and newlines that come back."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import transformers

import tiny as t
from seq2seq import sentences
from steersman.engine.prompts import Prompts
from steersman.text.bases import add_chat_template
from steersman.text.template import Template
from steersman.types import Conversation, Message

TURNS = (
    Message("system", "请耐心"),
    Message("user", "您好\n订单"),
    Message("assistant", "请问\n什么时候"),
    Message("user", "Where is it?"),
    Message("assistant", "On\tits \n way."),
)


def given(tokenizer: Any) -> Any:
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = None
    assert add_chat_template(tokenizer, "text2text") == "text2text"
    return tokenizer


def words(folder: Path, characters: str) -> Any:
    """BERT's kind of tokenizer, which Chinese BARTs and T5s have: no end token of its own, spaces when decoded."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters)]
    (folder / "vocab.txt").write_text("\n".join(names), encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_a_prompt_is_what_chatyuan_would_be_asked() -> None:
    """The tokens are those that its tokenizer makes of the whole text, its end among them."""
    tokenizer = given(sentences())
    template = Template(tokenizer)
    text = "请耐心\\n用户：您好\\n订单\\n小元：请问\\n什么时候\\n用户：Where is it?\\n小元："
    asked = template.prompt_ids(Conversation("x", TURNS[:-1]))
    assert list(asked) == tokenizer(text)["input_ids"]
    assert asked[-1] == template.end_of_turn == tokenizer.eos_token_id


def test_each_answer_is_an_example_behind_its_prompt() -> None:
    template = Template(given(sentences()))
    rows = template.examples(Conversation("x", TURNS))
    assert len(rows) == 2
    for row, end in zip(rows, (3, 5), strict=True):
        prompt = template.prompt_ids(Conversation("x", TURNS[: end - 1]))
        answer = template.answer_ids(TURNS[end - 1].text)
        assert row.ids == prompt + answer
        assert row.learn == (False,) * len(prompt) + (True,) * len(answer)
    assert not template.notes, "nothing is left out"


def test_newlines_come_back_whole_and_streamed() -> None:
    tokenizer = given(sentences())
    template, growing = Template(tokenizer), Prompts(tokenizer).growing()
    ids = template.answer_ids("On its way.\nYour\tparcel")
    assert "\\n" in tokenizer.decode(ids)
    assert template.decode(ids) == "On its way.\nYour\tparcel"
    pieces = [growing.grow([i]) for i in ids]
    assert "".join(pieces) == "On its way.\nYour\tparcel"
    assert not any("\\" in piece for piece in pieces)


def test_a_tokenizer_that_knows_newlines_writes_them() -> None:
    tokenizer = given(t.tokenizer())
    template = Template(tokenizer)
    assert tokenizer.decode(template.prompt_ids(Conversation("x", TURNS[1:2]))) == "用户：您好\n订单\n小元："
    assert not template.escapes


def test_without_chinese_the_names_are_english(tmp_path: Path) -> None:
    letters = "".join(map(chr, range(33, 127)))
    tokenizer = given(words(tmp_path, letters))
    asked = Template(tokenizer).prompt_ids(Conversation("x", TURNS[3:4]))
    assert list(asked) == tokenizer("User: Where is it? Assistant:")["input_ids"]


def test_words_end_and_close_up(tmp_path: Path) -> None:
    tokenizer = given(words(tmp_path, "用户小元：您好请问在哪里。abc"))
    assert tokenizer.eos_token == "[SEP]"
    template, growing = Template(tokenizer), Prompts(tokenizer).growing()
    ids = template.answer_ids("您好。在哪里 abc")
    assert ids[-1] == tokenizer.sep_token_id
    assert template.decode(ids) == "您好。在哪里 abc"
    assert "".join(growing.grow([i]) for i in ids) == "您好。在哪里 abc"


def test_what_it_cannot_say_is_named() -> None:
    turns = (TURNS[1], Message("assistant", "", tool_calls=({"function": {"name": "look", "arguments": {}}},)))
    turns = (*turns, Message("tool", "3 May", name="look"))
    with pytest.raises(ValueError, match="conversation 'x'"):
        Template(given(sentences())).prompt_ids(Conversation("x", turns))
