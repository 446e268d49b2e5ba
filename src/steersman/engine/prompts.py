"""Between text and token ids: prompts in any of their three forms, and answers."""

from __future__ import annotations

from typing import Any

from steersman.engine.protocol import Prompt
from steersman.text.template import Template
from steersman.types import Conversation


class Prompts:
    """For one tokenizer. Without a chat template (an encoder-decoder may have none) it takes text and ids only."""

    def __init__(self, tokenizer: Any, thinking: str = "keep") -> None:
        self._tokenizer = tokenizer
        self.template = Template(tokenizer, thinking) if tokenizer.chat_template else None
        self.ends: set[int] = {tokenizer.eos_token_id} - {None}
        """Tokens that end an answer."""
        if self.template is not None:
            self.ends |= self.template.ends

    def ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids [T]: a conversation by the chat template, a string as text to be continued, ids as they are."""
        if isinstance(prompt, Conversation):
            if self.template is None:
                raise ValueError("the tokenizer has no chat template; expected a prompt of text or token ids")
            return self.template.prompt_ids(prompt)
        if isinstance(prompt, str):
            return tuple(self._tokenizer(prompt)["input_ids"])
        return tuple(prompt)

    def decode(self, ids: list[int]) -> str:
        """Text of an answer's ids, without special tokens."""
        if self.template is not None:
            return self.template.decode(ids)
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def token_text(self, token: int) -> str:
        """A token as text, special tokens by their name."""
        text: str = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return text
