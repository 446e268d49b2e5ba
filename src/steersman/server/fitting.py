"""What fits into the model's context: how many tokens a dialogue has, and what can be left out of it.

Everything here blocks for as long as it takes to tokenise; a text that is far too long is refused after a few pieces.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from dataclasses import dataclass

from steersman.engine.protocol import Engine, PromptTooLong
from steersman.types import Conversation, Message

_PIECE = 8192
"""Characters that are tokenised at a time where a text may be far too long; a tokenizer may hold Python's lock."""
_SEAM = 16
"""Tokens that a piece may have more than it has within its text: at its two ends, and those that begin every text."""


@dataclass(frozen=True)
class Fitted:
    prompt: Conversation
    tokens: int
    """Of the prompt."""
    room: int
    """Tokens that the answer may have."""
    left_out: int = 0
    """Turns of the dialogue, the earliest ones, that are not in the prompt."""


def fit(engine: Engine, prompt: Conversation, wanted: int, *, truncate: bool = False) -> Fitted:
    """The prompt with room for an answer of `wanted` tokens, or of as many as the context leaves.

    PromptTooLong where the context leaves none. With `truncate`, as many of the earliest turns (system messages and the
    last question apart) are left out as it takes to leave room for the answer, or for a quarter of the context.
    ValueError where the model's template cannot say the dialogue.
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
    """Without the turns before `cut`, but with their system messages."""
    rules = [message for message in prompt.messages[:cut] if message.role == "system"]
    return dataclasses.replace(prompt, messages=(*rules, *prompt.messages[cut:]))


def _count(engine: Engine, prompt: Conversation) -> int:
    """Tokens of the prompt; where its texts alone have more than the context holds, at least so many."""
    least = len(prompt.messages)  # none is said in less than a token
    texts = [_kept(message) for message in prompt.messages]
    if sum(map(len, texts)) > _PIECE:
        pieces = (text[at : at + _PIECE] for text in texts for at in range(0, len(text), _PIECE))
        while least <= engine.max_context and (piece := next(pieces, None)) is not None:
            least += max(0, engine.count_tokens(piece) - _SEAM)
    return least if least > engine.max_context else engine.count_tokens(prompt)


def _kept(message: Message) -> str:
    """What every template keeps of a turn; many drop white space around it, and thoughts."""
    text = message.text.rpartition("</think>")[2] if message.role == "assistant" else message.text
    return text.strip()
