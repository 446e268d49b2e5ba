"""Dialogues as one text: ChatYuan's form for tokenizers of any kind, and newlines that come back."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers

import tiny as t
from seq2seq import sentences
from steersman.data.formats import parse
from steersman.engine.prompts import Prompts
from steersman.text.bases import add_chat_template
from steersman.text.length import without_middle
from steersman.text.template import Template
from steersman.train.sft import to_trees
from steersman.types import Conversation, Message
from steersman.weights.folders import read_tokenizer

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


def test_a_tokenizer_without_latin_letters_has_no_unknown_token_in_its_prompts(tmp_path: Path) -> None:
    """What it puts around a text was looked for with the letter a, so that each prompt ended in an unknown token, and
    ChatYuan's names were said to be missing."""
    tokenizer = words(tmp_path, "用户：小元，订单。1\\")
    assert add_chat_template(tokenizer, "chatyuan") == "chatyuan"
    asked = Template(tokenizer).prompt_ids(Conversation("x", (Message("user", "订单"),)))
    assert tokenizer.convert_ids_to_tokens(asked) == [
        *["[CLS]", "用", "户", "：", "订", "单"],
        *["小", "元", "：", "[SEP]"],
    ]


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


def test_chatyuans_names_are_a_template_of_decoders_too(tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(t.tokenizer())
    tokenizer.chat_template = None
    add_chat_template(tokenizer, "chatyuan")
    turns = (TURNS[1], Message("assistant", "好"), Message("user", "谢谢"), Message("assistant", "再见"))
    last = Template(tokenizer).examples(Conversation("x", turns))[-1]
    assert tokenizer.decode(last.ids) == "用户：您好\n订单\n小元：好\n用户：谢谢\n小元：再见<|im_end|>"
    assert tokenizer.decode([i for i, learn in zip(last.ids, last.learn, strict=True) if learn]) == "再见<|im_end|>"
    with pytest.raises(ValueError, match="'chatyuan': the tokenizer has no characters"):
        add_chat_template(words(tmp_path, "abc"), "chatyuan")


def test_newlines_of_its_transcripts_are_read() -> None:
    record = {"input": "用户：写诗\\n两行\\n小元：春眠\\n不觉晓\\n用户：好\\n小元：", "target": "谢谢"}
    said = parse("input_target", record)
    assert isinstance(said, Conversation)
    assert [m.text for m in said.messages] == ["写诗\n两行", "春眠\n不觉晓", "好", "谢谢"]


def test_whole_exchanges_are_left_out_but_for_the_first() -> None:
    turns = [Message("system", "规则")]
    for i in range(5):
        turns += [Message("user", f"问{i}" * 10), Message("assistant", f"答{i}")]
    whole = Conversation("x", tuple(turns))

    def size(dialogue: Conversation) -> int:
        return sum(len(m.text) for m in dialogue.messages)

    kept = without_middle(whole, lambda c: size(c) <= 70)
    assert kept is not None
    assert [m.text[:2] for m in kept.messages] == ["规则", "问0", "答0", "问3", "答3", "问4", "答4"]
    newest = without_middle(whole, lambda c: size(c) <= 30)
    assert newest is not None
    assert [m.text[:2] for m in newest.messages] == ["规则", "问4", "答4"]
    assert without_middle(whole, lambda c: size(c) <= 20) is None
    template = Template(given(t.tokenizer()))
    room = max(len(row.ids) for row in template.examples(kept))
    trees, skipped = to_trees(template, [whole], room, "keep_turns")
    assert (max(tree.size for tree in trees) <= room, skipped) == (True, 0)
    assert sum(template.notes.values()) == 1


def test_the_bytes_of_byt5_make_characters() -> None:
    """Its decoder leaves out bytes that are no whole character, so that an answer in Chinese had no text."""
    tokenizer = given(transformers.ByT5Tokenizer())
    template, growing = Template(tokenizer), Prompts(tokenizer).growing()
    ids = template.answer_ids("您好。\n🙂 é")
    assert list(ids) == tokenizer("您好。\n🙂 é")["input_ids"]
    assert "".join(growing.grow([i]) for i in ids) == "您好。\n🙂 é"


@pytest.mark.filterwarnings("ignore:Recommended")
def test_answers_have_the_vocabulary_that_marian_answers_with(tmp_path: Path) -> None:
    """They were encoded by the prompt's, of which half the words were unknown; streamed words had no spaces."""
    vocabulary = ["</s>", "<unk>"]
    for name, lines in {"source.spm": t.CORPUS[2:], "target.spm": t.CORPUS[:2]}.items():
        with (tmp_path / name).open("wb") as made:
            how = {"vocab_size": 300, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1}
            sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines * 9), model_writer=made, **how)
        pieces = sentencepiece.SentencePieceProcessor(str(tmp_path / name))
        vocabulary += [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    names = {word: i for i, word in enumerate(dict.fromkeys([*vocabulary, "<pad>"]))}
    (tmp_path / "vocab.json").write_text(json.dumps(names))
    tokenizer = given(transformers.MarianTokenizer.from_pretrained(tmp_path, source_lang="zh", target_lang="en"))
    template, growing = Template(tokenizer), Prompts(tokenizer).growing()
    ids = template.answer_ids("Your parcel arrives on 6 May.")
    assert list(ids) == tokenizer(text_target="Your parcel arrives on 6 May.")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    dialogue = Conversation("x", (Message("user", "您好"), Message("assistant", "Your parcel arrives on 6 May.")))
    (row,) = template.examples(dialogue)
    assert row.ids[-len(ids) :] == ids
    assert "".join(growing.grow([i]) for i in ids) == template.decode(ids) == "Your parcel arrives on 6 May."


def test_words_of_berts_kind_in_the_folder_of_a_chinese_bart(tmp_path: Path) -> None:
    """Its card says to read them with BertTokenizer, no file does: it was refused as if vocab.txt were missing."""
    words(tmp_path, "用户：小元，订单。")
    (tmp_path / "tokenizer_config.json").unlink()
    for kind in ("bart", "pegasus", "gpt2", "deberta-v2"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 99}))
        assert read_tokenizer(tmp_path).tokenize("订单") == ["订", "单"]


def test_ids_without_a_token_are_no_text(tmp_path: Path) -> None:
    """Embeddings have spare rows; a drawn one ended ByT5's answer with an error, or became a letter."""
    transformers.ByT5Tokenizer(extra_ids=5).save_pretrained(tmp_path)
    tokenizer = given(read_tokenizer(tmp_path))
    ids = (*tokenizer("ab", add_special_tokens=False)["input_ids"], 300, 381)
    growing = Prompts(tokenizer).growing()
    assert "".join(growing.grow([i]) for i in ids) == Template(tokenizer).decode(ids) == "ab"
