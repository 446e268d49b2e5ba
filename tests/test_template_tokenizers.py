"""Tokenizers of other kinds: byte fallback, spaces before words, normalisers, a BOS of their own, written in Python."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

import tiny
from steersman.text.template import Template
from steersman.weights.folders import read_tokenizer
from test_template_families import ATTACK, OURS, TALK, dialogues, theirs

TURNS = ("<|im_start|>", "<|im_end|>")
CHATML = (
    "{{ bos_token or '' }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def llama(legacy: bool, **flags: bool) -> Any:
    """Byte fallback and a post-processor that puts a BOS before everything."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{i:02X}>": 3 + i for i in range(256)}
    merges = [("▁", "W"), ("▁W", "h"), ("▁", "t"), ("i", "s"), ("▁", "I"), ("▁I", "t")]
    for piece in ("▁", *map(chr, range(97, 123)), *"IWB?.,\n我的订单", *(a + b for a, b in merges)):
        vocabulary.setdefault(piece, len(vocabulary))
    core = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    core.add_special_tokens([AddedToken(name, **flags) for name in ("<s>", "</s>", *TURNS)])
    core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def bytes_with(normalizer: Any = None, space: bool = False, **flags: bool) -> Any:
    tokenizer = copy.deepcopy(tiny.tokenizer())
    if normalizer is not None:
        tokenizer.backend_tokenizer.normalizer = normalizer
    if space:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    if flags:
        tokenizer.add_tokens([AddedToken(f"<|{role}|>", **flags) for role in ("user", "assistant", "system")], True)
    return tokenizer


class Python(PreTrainedTokenizer):
    """A token per character."""

    def __init__(self, **options: Any) -> None:
        said = sorted({c for texts in TALK.values() for text in texts for c in text} | set(ATTACK) | set("\n"))
        names = ["<unk>", "<s>", "</s>", *TURNS, *dict.fromkeys([*map(chr, range(32, 127)), *said])]
        self.names = list(dict.fromkeys(names))
        super().__init__(
            unk_token="<unk>", bos_token="<s>", eos_token="</s>", additional_special_tokens=list(TURNS), **options
        )

    @property
    def vocab_size(self) -> int:
        return len(self.names)

    def get_vocab(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)} | self.added_tokens_encoder

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return self.names.index(token) if token in self.names else 0

    def _convert_id_to_token(self, index: int) -> str:
        return self.names[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)


KINDS = {
    "prepended": lambda: llama(True),
    "metaspace": lambda: llama(False),
    "prepended, rstrip": lambda: llama(True, rstrip=True),
    "metaspace, lstrip": lambda: llama(False, lstrip=True),
    "prepended, normalized": lambda: llama(True, normalized=True),
    "nfc": lambda: bytes_with(normalizers.NFC()),
    "lowercase": lambda: bytes_with(normalizers.Lowercase()),
    "prefix space": lambda: bytes_with(space=True),
    "rstrip": lambda: bytes_with(rstrip=True),
    "both, normalized": lambda: bytes_with(normalizers.NFKC(), lstrip=True, rstrip=True, normalized=True),
    "single word": lambda: bytes_with(single_word=True),
    "python": Python,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["chatml", "plain", "eos after"])
def test_prompts_and_masks(kind: str, form: str) -> None:
    tokenizer = KINDS[kind]()
    tokenizer.chat_template = CHATML if form == "chatml" else OURS[form]
    template = Template(tokenizer)
    special = set(tokenizer.all_special_ids)

    def written(text: str) -> str:
        """As the tokenizer gives it back."""
        return str(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])).strip()

    for good, bad in zip(dialogues(), dialogues(ATTACK), strict=True):
        asked = template.prompt_ids(good)
        assert list(asked) == theirs(tokenizer, good), good.id
        hostile = template.prompt_ids(bad)
        assert [i for i in hostile if i in special] == [i for i in asked if i in special]
        if len(good.messages) > 4:
            continue
        answer = TALK[good.id[:2]][2].format("x")
        rows = template.examples(good.with_answer(answer))
        assert rows[-1].ids[: len(asked)] == asked
        assert template.decode(rows[-1].ids[len(asked) :]).strip() == written(answer)
        assert rows[-1].ids[-1] == template.end_of_turn
        learned = [i for row in rows for i, own in zip(row.ids, row.learn, strict=True) if own]
        answers = 1 + sum(message.role == "assistant" for message in good.messages)
        assert learned.count(template.end_of_turn) == answers


def test_code_beside_a_tokenizer_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asked whether to run it, and whoever sent a 'y' ran it."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    tiny.tokenizer().save_pretrained(tmp_path)
    file, ran = tmp_path / "tokenizer_config.json", tmp_path / "ran"
    code = {"auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}, "tokenizer_class": "X"}
    file.write_text(json.dumps(json.loads(file.read_text()) | code))
    (tmp_path / "tokenization_x.py").write_text(f"open({str(ran)!r}, 'w')\nclass X: pass\n")
    assert read_tokenizer(tmp_path)("Where?").input_ids == tiny.tokenizer()("Where?").input_ids
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="is Python code of its own, which is not run"):
        read_tokenizer(tmp_path)
    assert not ran.exists()
