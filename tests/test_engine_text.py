"""From tokens to text: whole characters alone, bytes that are the text, stop strings found once per character."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import tiny as t
from steersman.engine.detokenize import ByteText, Stops, TokenBytes, Words, ending_whole, shown
from steersman.engine.load import load_engine
from steersman.engine.prompts import Prompts
from steersman.engine.sequence import Answer
from steersman.types import Completion, SamplingParams

CHARACTERS = "ab c你好吗？é🙂\n▁"


def sentencepiece(strip: bool) -> PreTrainedTokenizerFast:
    """As Llama 2's (`strip`) and Gemma's: spaces as ▁, bytes as <0xE4>."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{i:02X}>": 3 + i for i in range(256)}
    for character in ("▁", *map(chr, range(33, 127)), "好", "▁W"):
        vocabulary.setdefault(character, len(vocabulary))
    core = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[("▁", "W")], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    before = [normalizers.Prepend("▁")] if strip else []
    core.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])
    after = [decoders.Strip(" ", 1, 0)] if strip else []
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *after])
    core.add_special_tokens(["<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


def metaspace() -> PreTrainedTokenizerFast:
    """As T5's."""
    letters = [(c, -2.0) for c in f"▁{''.join(map(chr, range(33, 127)))}你好吗？é🙂，。谢1～2天的\n"]
    core = Tokenizer(models.Unigram([("<unk>", 0.0), *letters, ("▁th", -1.0)], unk_id=0))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<unk>", unk_token="<unk>")


def word_pieces() -> PreTrainedTokenizerFast:
    """As BERT's: what a token adds depends on those around it."""
    core = Tokenizer(models.WordPiece({"[UNK]": 0, "where": 1, "is": 2, "##it": 3, "it": 4}, unk_token="[UNK]"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="[UNK]", unk_token="[UNK]")


KINDS: dict[str, tuple[Callable[[], Any], bool]] = {
    "byte-level": (t.tokenizer, True),
    "llama2": (lambda: sentencepiece(True), True),
    "gemma": (lambda: sentencepiece(False), True),
    "t5": (metaspace, True),
    "bert": (word_pieces, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokens_bytes_are_what_it_adds(kind: str) -> None:
    make, exact = KINDS[kind]
    tokenizer = make()
    known = TokenBytes(tokenizer)
    assert known.exact == exact
    assert known.of(tokenizer.eos_token_id) == b""
    rng = random.Random(0)
    for _ in range(60 if exact else 0):
        text = "".join(rng.choice(CHARACTERS) for _ in range(20))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        theirs = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert b"".join(known.each(ids)).decode() == theirs
        growing, said = ByteText(known), ""
        for token in ids:
            said += growing.grow([token])
            assert theirs.startswith(ending_whole(said))
        assert said == theirs


def test_where_bytes_are_not_known_the_tokenizer_decodes() -> None:
    tokenizer = word_pieces()
    growing = Prompts(tokenizer).growing()
    assert "".join(growing.grow([token]) for token in (1, 2, 3)) == tokenizer.decode([1, 2, 3])


def test_bytes_of_a_character_are_told_apart() -> None:
    for tokenizer in (t.tokenizer(), sentencepiece(True)):
        prompts = Prompts(tokenizer)
        ids = [i for i in tokenizer("🙂", add_special_tokens=False)["input_ids"] if prompts.token_bytes(i) != b" "]
        assert b"".join(map(prompts.token_bytes, ids)) == "🙂".encode()
        assert [prompts.token_text(i) for i in ids] == ["\\xf0", "\\x9f", "\\x99", "\\x82"]
    assert Prompts(t.tokenizer()).token_text(2) == "<|im_end|>"


@pytest.mark.parametrize("kind", ["byte-level", "llama2", "gemma", "t5"])
def test_an_answer_without_a_template_continues_the_prompt(kind: str) -> None:
    tokenizer = copy.deepcopy(KINDS[kind][0]())  # which others share
    tokenizer.chat_template = None

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    for text in ("好", "Where", " is"):
        assert Prompts(tokenizer).said(text) == ids(f"a:{text}")[len(ids("a:")) :]
        assert Prompts(tokenizer, apart=True).said(text) == ids(text)  # as an encoder-decoder's answers were learned


def said(*pieces: bytes, real: str = "") -> str:
    """The text of an answer whose tokens are these bytes."""
    table = dict(enumerate(pieces, 10))
    growing = ByteText(TokenBytes(t.tokenizer()))
    growing._of = table.__getitem__  # type: ignore[method-assign]
    answer = Answer((1,), SamplingParams(), 99, random.Random(), growing)
    streamed = ""
    for token in table:
        answer.take(token, -1.0, ())
        streamed += answer.fresh()
    answer.finish("length")
    streamed += answer.fresh()
    assert streamed == answer.text
    return answer.text


def test_an_answer_ends_with_a_whole_character() -> None:
    ni = "你".encode()
    assert said(b"a", ni[:1], ni[1:]) == "a你"
    assert said(b"a", ni, ni[:1]) == "a你"
    assert said(b"a" + ni[:2]) == "a"
    assert said(b"\xf0\x9f", b"\x99") == ""
    # what is no character at all: nothing at the end, U+FFFD in mid-text, as everybody decodes it
    assert said(b"a\xff") == said(b"a\x80", b"\xbd") == "a"
    assert said(b"a\xff", b"b") == "a\ufffdb"
    assert said(ni, ni[:2], b"b") == (ni + ni[:2] + b"b").decode("utf-8", "replace") == "你\ufffdb"
    # a model may say that very character
    assert said("a\ufffd".encode()) == "a\ufffd"
    assert said("\ufffd".encode(), ni[:2]) == "\ufffd"
    assert shown("a\udcff\udc80b") == b"a\xff\x80b".decode("utf-8", "replace")


@pytest.mark.parametrize("backend", ["local", "reference"])
def test_no_answer_of_any_kind_ends_in_half_a_character(tiny: Path, backend: str) -> None:
    """A random model says random bytes: cut by length, by stop strings, cancelled; streamed and not."""
    engine: Any = load_engine(tiny, dtype="float32", backend=backend)
    prompt = t.conversation("我想退货")
    for seed in range(12):
        for options in ({}, {"stop": ("e", "1")}, {"logit_bias": dict.fromkeys(range(130, 250), 3.0)}):
            params = SamplingParams(max_tokens=3 + seed, seed=seed, **options)  # type: ignore[arg-type]
            answer = engine.generate([prompt], params)[0][0]
            *pieces, last = engine.stream(prompt, params)
            assert "".join(pieces) == last.text == answer.text
            raw = b"".join(map(engine.token_bytes, answer.token_ids)).decode("utf-8", "replace")
            assert raw.startswith(answer.text)
            assert not answer.text.endswith("\ufffd") or raw[: len(answer.text)].encode().endswith(b"\xef\xbf\xbd")
            assert not answer.text.endswith("\ufffd")


def naive(strings: list[str], text: str) -> int | None:
    for end in range(1, len(text) + 1):
        found = [s for s in strings if text[:end].endswith(s)]
        if found:
            return end - max(map(len, found))
    return None


def test_stop_strings_are_found_where_they_are_complete_first() -> None:
    rng = random.Random(0)
    for _ in range(1500):
        strings = ["".join(rng.choice("ab") for _ in range(rng.randint(1, 5))) for _ in range(rng.randint(1, 3))]
        text = "".join(rng.choice("abc") for _ in range(rng.randint(0, 20)))
        stops, at, found = Stops(strings), 0, None
        while at < len(text) and found is None:
            step = rng.randint(1, 4)
            found = stops.find(text[at : at + step])
            at += step
            if found is None:
                held = max(k for s in strings for k in range(len(s)) if text[:at].endswith(s[:k]))
                assert stops.held == held
        assert found == naive(strings, text)


def test_long_stop_strings_in_long_answers_take_no_longer_per_character() -> None:
    """Four strings of 4,000 characters that nearly match all the time: work grows with the text alone."""

    def seconds(size: int) -> float:
        stops = tuple("a" * 3999 + end for end in "bcde")
        answer = Answer((1,), SamplingParams(stop=stops), 10**9, random.Random(), ByteText(TokenBytes(t.tokenizer())))
        token = t.tokenizer().convert_tokens_to_ids("a")
        began = time.process_time()
        for _ in range(size):
            answer.take(token, -1.0, ())
            answer.fresh()
        assert not answer.finished
        return time.process_time() - began

    seconds(100)
    short, long = min(seconds(5_000) for _ in range(3)), min(seconds(20_000) for _ in range(3))
    assert long < 8 * short, (short, long)
    assert long < 2, "some 20 microseconds for each token and string; a quadratic search takes a minute"


def test_words_begin_after_thoughts() -> None:
    known = TokenBytes(t.tokenizer())
    ids = t.tokenizer()("ab cd")["input_ids"]
    cut = 2

    def words_from(all_ids: Any) -> int:
        return cut if len(all_ids) > 3 else 0

    answer = Answer((1,), SamplingParams(), 99, random.Random(), Words(lambda: ByteText(known), words_from))
    streamed = []
    for token in ids:
        answer.take(token, -1.0, ())
        streamed.append(answer.fresh())
    answer.finish("length")
    assert answer.text == t.tokenizer().decode(ids[cut:])
    assert "".join(streamed[3:]) == answer.text


def test_an_added_token_that_is_no_control_token_is_text() -> None:
    tokenizer = sentencepiece(False)
    tokenizer.add_tokens([AddedToken("<é>", special=False)])
    known = TokenBytes(tokenizer)
    assert known.of(tokenizer.convert_tokens_to_ids("<é>")) == "<é>".encode()


@pytest.mark.usefixtures("with_and_without_kernels")
def test_completions_of_a_stream_and_of_a_call_have_the_same_text(tiny: Path) -> None:
    engine: Any = load_engine(tiny)
    params = SamplingParams(max_tokens=40, seed=2, temperature=0.8, stop=("zzz",))
    last = list(engine.stream(t.conversation("Hi"), params))[-1]
    assert isinstance(last, Completion)
    assert last == engine.generate([t.conversation("Hi")], params)[0][0]


def test_added_words_are_written_as_they_are() -> None:
    """Decoders take the letters of an added word for bytes: 'Größe' was Gr, two signs of bytes that are none, and e."""
    tokenizer = copy.deepcopy(t.tokenizer())
    tokenizer.add_tokens(["Größe", "退货政策"])
    growing = ByteText(TokenBytes(tokenizer))
    assert "".join(growing.grow([i]) for i in tokenizer("die Größe 退货政策").input_ids) == "die Größe 退货政策"
