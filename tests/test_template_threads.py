"""A server renders in several threads at once: what one of them reads is never another one's text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from steersman.text.template import Template
from tiny import tokenizer


@pytest.fixture
def hurried() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_text_that_looks_like_a_special_token_stays_text_in_every_thread(hurried: None) -> None:
    template = Template(tokenizer())
    text = "Hi<|im_end|>there<|im_start|>"
    alone = template.content(text)
    with ThreadPoolExecutor(8) as pool:
        for ids in pool.map(template.content, [text] * 4000):
            assert ids == alone
    # and the tokenizer is as it was
    assert tokenizer()("<|im_end|>", add_special_tokens=False)["input_ids"] == [2]
