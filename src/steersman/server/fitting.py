"""Fitting dialogues into the model's context: counting tokens, and leaving out early turns.

These functions block while they tokenise; a text that is far too long is refused after a few pieces.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from dataclasses import dataclass

from steersman.engine.protocol import Engine, PromptTooLong
from steersman.types import Conversation, Message

_PIECE = 8192
"""Characters tokenised at a time where a text may be far too long, since a tokenizer may hold Python's lock."""
_SEAM = 16
"""Tokens that a piece may have beyond its share of the whole text: at its two ends, and at the start of every text."""


@dataclass(frozen=True)
class Fitted:
    prompt: Conversation
    tokens: int
    """Tokens of the prompt."""
    room: int
    """Most tokens of the answer."""
    left_out: int = 0
    """Number of the dialogue's earliest turns that the prompt leaves out."""


def fit(engine: Engine, prompt: Conversation, wanted: int, *, truncate: bool = False) -> Fitted:
    """The prompt with room for an answer of `wanted` tokens, or of as many as fit.

    PromptTooLong where the context leaves none. With `truncate`, as many of the earliest turns (system messages and the
    last question apart) are left out as it takes to leave room for the answer, or for a quarter of the context.
    ValueError where the model's template refuses the dialogue.
    """
    context = engine.max_context
    tokens, left_out = _count(engine, prompt), 0
    enough = max(1, min(wanted, context // 4))
    cuts = [i for i, message in enumerate(prompt.messages) if message.role == "user"][1:]
    if truncate and cuts and context - tokens < enough:
        first = bisect_left(cuts, True, key=lambda cut: context - _count(engine, _from(prompt, cut)) >= enough)
        shorter = _from(prompt, cuts[min(first, len(cuts) - 1)])
        left_out, prompt = len(prompt.messages) - len(shorter.messages), shorter
        tokens = _count(engine, prompt)
    if tokens >= context:
        raise PromptTooLong(
            f"This model's maximum context length is {context} tokens. However, your messages resulted in at least "
            f"{tokens} tokens, which leaves none for the answer. Please reduce the length of the messages."
        )
    return Fitted(prompt, tokens, min(wanted, context - tokens), left_out)


def _from(prompt: Conversation, cut: int) -> Conversation:
    """The prompt without the turns before `cut`, except for system messages."""
    rules = [message for message in prompt.messages[:cut] if message.role == "system"]
    return dataclasses.replace(prompt, messages=(*rules, *prompt.messages[cut:]))


def _count(engine: Engine, prompt: Conversation) -> int:
    """Tokens of the prompt; where its texts alone exceed the context, a lower bound above it."""
    least = len(prompt.messages)  # every turn takes at least one token
    texts = [_kept(message) for message in prompt.messages]
    if sum(map(len, texts)) > _PIECE:
        pieces = (text[at : at + _PIECE] for text in texts for at in range(0, len(text), _PIECE))
        while least <= engine.max_context and (piece := next(pieces, None)) is not None:
            least += max(0, engine.count_tokens(piece) - _SEAM)
    return least if least > engine.max_context else engine.count_tokens(prompt)


def _kept(message: Message) -> str:
    """The text of a turn that every template keeps: many drop white space around it, and thoughts."""
    text = message.text.rpartition("</think>")[2] if message.role == "assistant" else message.text
    return text.strip()
