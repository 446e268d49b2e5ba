"""Between text and token ids: prompts (conversation, text or ids) and answers."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from steersman.engine.detokenize import ByteText, DecodedText, Growing, TokenBytes, Unescaped, Words
from steersman.engine.protocol import Prompt, Refused
from steersman.text.call_form import CallForm
from steersman.text.call_probe import form_of
from steersman.text.spans import continued
from steersman.text.template import Template
from steersman.types import Conversation, Message

_PROBE = Conversation("probe", (Message("user", "Hello"),))


class Prompts:
    """Encodes prompts and decodes answers for one tokenizer; `vocabulary`: the model's number of tokens, if known.
    Without a chat template it takes text and ids only, which an answer continues, or, with `apart`, answers by a text
    of its own (an encoder-decoder). `ends`: tokens that end an answer besides the tokenizer's and the template's."""

    def __init__(
        self,
        tokenizer: Any,
        vocabulary: int | None = None,
        thinking: str = "keep",
        today: bool = True,
        apart: bool = False,
        ends: Collection[int] = (),
    ) -> None:
        self._tokenizer, self._vocabulary, self._apart = tokenizer, vocabulary, apart
        self._bytes = TokenBytes(tokenizer)
        self.template = Template(tokenizer, thinking, today) if tokenizer.chat_template else None
        self._today = today
        self.ends: set[int] = {tokenizer.eos_token_id, *ends} - {None}
        """Tokens that end an answer."""
        if self.template is not None:
            self.ends |= self.template.ends

    def ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids [T]: a conversation by the chat template, a string as text to be continued, ids unchanged.
        Refused where there are none, or ids outside the model's vocabulary."""
        ids = self._ids(prompt)
        if not ids:
            raise Refused("prompt: expected at least one token, got none")
        if self._vocabulary is not None and not 0 <= min(ids) <= max(ids) < self._vocabulary:
            wrong = next(i for i in ids if not 0 <= i < self._vocabulary)
            raise Refused(f"prompt: expected token ids from 0 to {self._vocabulary - 1}, got {wrong}")
        return ids

    def count(self, prompt: Prompt) -> int:
        """Number of tokens of a prompt, also of one that the model would refuse."""
        return len(self._ids(prompt))

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, Conversation):
            template = self._template(prompt)
            if template is None:
                raise ValueError("the tokenizer has no chat template; expected a prompt of text or token ids")
            return template.prompt_ids(prompt)
        if isinstance(prompt, str):
            return tuple(self._tokenizer(prompt)["input_ids"])
        return tuple(prompt)

    def said(self, text: str) -> tuple[int, ...]:
        """Token ids of a whole answer, without its end; of text that begins with a space as it continues a prompt."""
        if self.template is None:
            return tuple(self._plain(text) if self._apart else continued(self._plain, text, {}))
        return self.template.content(text) if text[:1].isspace() else self.template.answer_ids(text)[:-1]

    def _plain(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    @functools.cached_property
    def call_form(self) -> CallForm | None:
        """How the model writes calls of tools; None where it does not, or not so that they could be told from words."""
        return None if self.template is None else form_of(self.template)

    @functools.cached_property
    def unthinking(self) -> Template | None:
        """The template that asks for answers without thoughts; None where it knows no way to ask for that."""
        if self.template is None or self.template.thinking == "empty" or self.template.over:
            return self.template
        asking = Template(self._tokenizer, "empty", self._today)
        return asking if asking.prompt_ids(_PROBE) != self.template.prompt_ids(_PROBE) else None

    def _template(self, prompt: Prompt) -> Template | None:
        quiet = isinstance(prompt, Conversation) and not prompt.think
        return (self.unthinking or self.template) if quiet else self.template

    def growing(self, special: bool = False, prompt: Prompt = "") -> Growing:
        """A new `Growing` for the text of one answer to `prompt`, with special tokens' names where `special`."""
        template = self._template(prompt)
        if template is not None and template.hides:
            return Words(lambda: self._text(special), template.words_from)
        return self._text(special)

    def _text(self, special: bool) -> Growing:
        exact = self._bytes.exact
        text = ByteText(self._bytes, special) if exact else DecodedText(self._tokenizer, special)
        return Unescaped(text) if self.template is not None and self.template.escapes else text

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        """See `Engine.token_bytes`."""
        piece = self._bytes.of(token)
        return self._bytes.first(piece) if first else piece

    def token_text(self, token: int) -> str:
        """A token as text, special tokens by their name, bytes that are no whole character as \\xe4."""
        piece = self._bytes.of(token)
        text: str = piece.decode("utf-8", "backslashreplace")
        return text or str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False))


class Prompted:
    """What an engine says of prompts and tokens by its `Prompts` alone."""

    _prompts: Prompts

    def count_tokens(self, prompt: Prompt) -> int:
        return self._prompts.count(prompt)

    def call_form(self) -> CallForm | None:
        """See `WritesCalls`."""
        return self._prompts.call_form

    def stops_thinking(self) -> bool:
        """See `StopsThinking`."""
        return self._prompts.unthinking is not None

    def token_text(self, token: int) -> str:
        return self._prompts.token_text(token)

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        return self._prompts.token_bytes(token, first)
