"""A prompt in any of its three forms as token ids."""

from __future__ import annotations

from steersman.engine.protocol import Prompt
from steersman.text.template import Template
from steersman.types import Conversation


class Prompts:
    """Renders prompts with one tokenizer."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids [T]: a conversation by the chat template, a string as plain text to be continued, ids as they are."""
        if isinstance(prompt, Conversation):
            return self._template.prompt_ids(prompt)
        if isinstance(prompt, str):
            return tuple(self._template.tokenizer(prompt)["input_ids"])
        return tuple(prompt)

    def token_text(self, token: int) -> str:
        """A token as text, special tokens by their name."""
        text: str = self._template.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return text
