"""The only renderer: Conversation -> token ids and loss mask, built turn by turn.

The mask is right by construction: each piece of text is tokenised on its own and known to be the model's words
or not, so nothing has to be recovered from a rendered string. What a turn looks like is read off the tokenizer's
chat template once (`Template.from_tokenizer`), and checked against transformers' own rendering, so a checkpoint
behaves the same in any other software. People's text is never parsed for special tokens.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from steersman.types import Conversation

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n'"
    " + (first if loop.first else '') + message['content']"
    " + (eos_token if message['role'] == 'assistant' else '<end_of_turn>') + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Rendered:
    """Token ids [T] of a dialogue and, per token, whether the model learns it (the assistant's words, end of turn)."""

    ids: tuple[int, ...]
    learn: tuple[bool, ...]


@dataclass(frozen=True)
class Turns:
    """The text around each turn's content, as the chat template writes it."""

    no_system: str
    """What stands before the first user turn when the dialogue has no system message."""
    before_system: str
    after_system: str
    before_user: str
    after_user: str
    """Between a user's words and the assistant's; includes the generation prompt."""
    end_of_turn: str
    """Ends the assistant's words; the model learns to say it."""
    after_assistant: str
    """Between the end of turn and the next user turn."""


def add_chat_template(tokenizer: Any) -> None:
    """Give a base model's tokenizer a chat template made of special tokens it already has."""
    vocabulary = tokenizer.get_vocab()
    if {"<start_of_turn>", "<end_of_turn>", "<eos>"} <= vocabulary.keys():
        # A base model never saw <end_of_turn>: in its vocabulary that is one of thousands of untrained tokens that look
        # the same, and a model that learns to say it says any of them. How a document ends it does know.
        tokenizer.chat_template, tokenizer.eos_token = GEMMA, "<eos>"
    elif "<|im_start|>" in vocabulary and "<|im_end|>" in vocabulary:
        tokenizer.chat_template, tokenizer.eos_token = CHATML, "<|im_end|>"
    else:
        raise ValueError(
            "the tokenizer has no chat template and no turn tokens of ChatML or Gemma; set tokenizer.chat_template"
        )


def _probe(tokenizer: Any) -> Turns:
    """Read the turn texts off the chat template by rendering sentinels."""

    def render(*roles_and_texts: str, generate: bool = False) -> str:
        pairs = zip(roles_and_texts[::2], roles_and_texts[1::2], strict=True)
        messages = [{"role": role, "content": text} for role, text in pairs]
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        return text

    def cut(text: str, *marks: str) -> list[str]:
        pieces = []
        for mark in marks:
            head, found, text = text.partition(mark)
            if not found:
                raise ValueError("the chat template drops or alters a turn; a turn-wise template is needed")
            pieces.append(head)
        return [*pieces, text]

    chat = ("user", "Qone", "assistant", "Rone", "user", "Qtwo", "assistant", "Rtwo")
    no_system, q_r, r_q, q_r2, tail = cut(render(*chat), "Qone", "Rone", "Qtwo", "Rtwo")
    prompt_tail = cut(render(*chat[:2], generate=True), "Qone")[1]
    if q_r != q_r2 or prompt_tail != q_r:
        raise ValueError("the chat template renders turns differently by position; a turn-wise template is needed")
    try:
        before_system, after_system, *_ = cut(render("system", "Szero", *chat), "Szero", "Qone")
    except Exception as error:
        raise ValueError(f"the chat template does not take a system message: {error}") from None
    shared = 0
    while shared < min(len(tail), len(r_q)) and tail[shared] == r_q[shared]:
        shared += 1
    end = tail[:shared].rstrip("\n ") or tail[:shared]
    return Turns(no_system, before_system, after_system, "", q_r, end, r_q[len(end) :])


class Template:
    """Renders conversations for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise ValueError("the tokenizer has no chat template; this model was never taught to chat")
        # A copy of its own: several threads render, and one that set the tokenizer's flag and back would have another
        # one's text parsed for special tokens in between.
        self._spelling = copy.deepcopy(tokenizer.backend_tokenizer)
        self._spelling.encode_special_tokens = True
        turns = _probe(tokenizer)
        self._no_system = self._special(turns.no_system)
        self._before_system = self._special(turns.before_system)
        self._after_system = self._special(turns.after_system)
        self._to_assistant = self._special(turns.after_user)
        self._end = self._special(turns.end_of_turn)
        self._to_user = self._special(turns.after_assistant)
        assert self._end, "a chat template needs an end of turn"
        self._check()

    @property
    def end_of_turn(self) -> int:
        """The token that ends an answer."""
        return self._end[0]

    def _special(self, text: str) -> tuple[int, ...]:
        """Ids of template text, special tokens recognised."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()

    def content(self, text: str) -> tuple[int, ...]:
        """Ids of somebody's words; text that looks like a special token is spelled out, never obeyed."""
        # encode_batch, since encode holds Python's lock, for a second where the text is a megabyte
        return tuple(self._spelling.encode_batch([text], add_special_tokens=False)[0].ids)

    def render(self, conversation: Conversation) -> Rendered:
        """Ids and mask of a whole dialogue; of a prompt, everything up to where the assistant starts to speak."""
        ids: list[int] = []
        learn: list[bool] = []

        def add(piece: tuple[int, ...], own: bool = False) -> None:
            ids.extend(piece)
            learn.extend([own] * len(piece))

        messages = conversation.messages
        if messages[0].role == "system":
            add(self._before_system)
            add(self.content(messages[0].content))
            add(self._after_system)
            messages = messages[1:]
        else:
            add(self._no_system)
        for i, message in enumerate(messages):
            if message.role == "user":
                add(self._to_user if i else ())
                add(self.content(message.content))
                add(self._to_assistant)
            else:
                add(self.content(message.content), own=True)
                add(self._end[:1], own=True)
                add(self._end[1:])
        return Rendered(tuple(ids), tuple(learn))

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """Ids [T] of a dialogue that ends with the user, ready for the assistant's words."""
        if not conversation.is_prompt:
            raise ValueError(f"conversation '{conversation.id}': expected the last turn to be the user's")
        return self.render(conversation).ids

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Ids of an answer, end of turn included, as they follow `prompt_ids`."""
        return (*self.content(text), self._end[0])

    def decode(self, ids: tuple[int, ...] | list[int]) -> str:
        """Text of an answer's ids, without special tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.replace("\x00", "")  # no database keeps it, and no one means it

    def _check(self) -> None:
        """The pieces must add up to what transformers renders, or other software would see another prompt."""
        from steersman.types import Message

        turns = [Message("user", "Where is it?"), Message("assistant", "On its way."), Message("user", "好的，谢谢。")]
        for messages in (turns, [Message("system", "You help."), *turns]):
            ours = list(self.prompt_ids(Conversation("check", tuple(messages))))
            theirs = self.tokenizer.apply_chat_template(
                [m.to_json() for m in messages], add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
            if ours != theirs:
                raise ValueError(
                    "the chat template cannot be rendered turn by turn; its tokens differ from transformers'"
                )
