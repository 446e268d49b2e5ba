"""The only renderer: Conversation -> token ids and loss mask, for every chat template that transformers can render.

What a model is asked is what transformers renders, token for token, with the generation prompt; only people's text
that looks like a control token stays text (`text.spans`). What it learns is each answer behind exactly the prompt that
it would be asked with: where one prompt begins with the prompt and answer before it, they share a row, and where a
template renders earlier turns otherwise once more follow (thoughts dropped, system text moved), each answer has a row
of its own. The mask is known and not recovered, because prompt and answer are tokenised apart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.text.bases import CHATML, GEMMA, KNOWN, add_chat_template
from steersman.text.dialogue import readings, to_messages
from steersman.text.guard import check_template
from steersman.text.spans import Spans
from steersman.types import Conversation, Message

__all__ = ["CHATML", "GEMMA", "Rendered", "Template", "add_chat_template"]
MORE_ENDS = ("<|eom_id|>", "<|call|>")
"""Tokens that end an answer which calls a tool, in the families that have them."""
OPENS, CLOSES = "<think>", "</think>"
FINAL = "<|channel|>final<|message|>"
"""What stands before the words that are meant for people in gpt-oss's answers."""
PROBE = Message("user", "Where is it?")


@dataclass(frozen=True)
class Rendered:
    """Token ids [T] of a dialogue and, per token, whether the model learns it (the assistant's words, end of turn)."""

    ids: tuple[int, ...]
    learn: tuple[bool, ...]


class Template:
    """Renders conversations for one tokenizer.

    `thinking`: what becomes of thoughts. "keep": those of the data are rendered and learned where the template can;
    "drop": they are not; "empty": besides, the model is asked to answer without (`enable_thinking=False`); "show": as
    "keep", and they are part of an answer's words.
    """

    def __init__(self, tokenizer: Any, thinking: str = "keep") -> None:
        self.tokenizer, self.thinking = tokenizer, thinking
        if not tokenizer.chat_template:
            raise ValueError(
                "the tokenizer has no chat template: this model was never taught to chat; set model.template to "
                f"{', '.join(KNOWN)} or a file"
            )
        check_template(tokenizer.get_chat_template())
        self._spans = Spans(tokenizer)
        self._keeps = thinking in ("keep", "show")
        self.notes: dict[str, int] = {}
        """What was changed in dialogues so that the template takes them -> in how many renderings."""
        self._no_tools, self._parts = self._find_form()
        self._end = self._find_end()
        self._head = self._find_head()
        names = [n for n in MORE_ENDS if n in tokenizer.get_chat_template()]
        known = {tokenizer.convert_tokens_to_ids(name) for name in names} - {tokenizer.unk_token_id, None}
        self.end_of_turn: int = tokenizer.convert_tokens_to_ids(self._end)
        """The token that ends an answer, which the model learns to say."""
        self.ends: frozenset[int] = frozenset({self.end_of_turn, tokenizer.eos_token_id, *known} - {None})
        """All tokens that end an answer."""
        self._end_texts = [tokenizer.convert_ids_to_tokens(i) for i in sorted(self.ends)]
        self._find_thoughts()

    # text

    def _text(
        self, conversation: Conversation, generate: bool = False, go_on: bool = False, written: bool = False
    ) -> str:
        """The dialogue as transformers renders it, people's control tokens marked. Jinja's errors come as they are."""
        options = {"enable_thinking": False, "thinking": False} if self.thinking == "empty" else {}
        messages = to_messages(conversation.messages, self._keeps, self._parts, written)
        text: str = self.tokenizer.apply_chat_template(
            self._spans.mark(messages),
            tools=self._spans.mark(conversation.tools) or self._no_tools,
            add_generation_prompt=generate,
            continue_final_message=go_on,
            tokenize=False,
            **options,
        )
        return text

    def _read(self, conversation: Conversation, generate: bool, go_on: bool = False) -> tuple[str, Conversation]:
        """Rendered text and the reading of the dialogue that the template takes. Raises ValueError naming the turn."""
        first: Exception | None = None
        for done, reading in readings(conversation):
            if go_on and reading.messages[-1].role != "assistant":
                continue
            try:
                text = self._text(reading, generate, go_on)
            except Exception as error:  # a template is a program: it may raise anything
                first = first or error
                if not (text := self._with_written_arguments(reading, generate, go_on)):
                    continue
            for note in (*done, *self._left_out(reading, text)):
                self.notes[note] = self.notes.get(note, 0) + 1
            return text, reading
        assert first is not None
        raise ValueError(
            f"conversation '{conversation.id}': the chat template refuses {self._culprit(conversation)}: "
            f"{str(first).splitlines()[0] if str(first) else type(first).__name__}"
        )

    def _with_written_arguments(self, conversation: Conversation, generate: bool, go_on: bool) -> str:
        """The text where the template wants the arguments of tool calls as a string; '' where that does not help."""
        if not any(turn.tool_calls for turn in conversation.messages):
            return ""
        with contextlib.suppress(Exception):
            return self._text(conversation, generate, go_on, written=True)
        return ""

    def _culprit(self, conversation: Conversation) -> str:
        """The first turn with which the template refuses the dialogue."""
        for i in range(len(conversation.messages)):
            part = dataclasses.replace(conversation, messages=conversation.messages[: i + 1])
            try:
                self._text(part)
            except Exception:
                return f"messages[{i}] ({conversation.messages[i].role})"
        return "it with a generation prompt"

    def _left_out(self, conversation: Conversation, text: str) -> Iterator[str]:
        """What the template drops without a word."""
        for turn in conversation.messages:
            words = self._spans.mark(turn.content).strip()
            if words and words not in text and _spoken(words) not in text:
                yield f"the chat template leaves out or alters the words of {turn.role} turns"
            if any(_name(call) not in text for call in turn.tool_calls):
                yield "the chat template leaves out tool calls"
        if any(_name(tool) not in text for tool in conversation.tools):
            yield "the chat template leaves out the tools"

    # the form of a dialogue and the end of a turn, found once

    def _find_form(self) -> tuple[list[Any] | None, bool]:
        """(what stands for no tools, whether content is a list of parts), so that what people say is rendered.

        Templates for tools go through their list, be it empty; those of models that see go through a message's parts.
        """
        forms: list[tuple[list[Any] | None, bool]] = [(None, False), (None, True), ([], False), ([], True)]
        for form in forms:
            self._no_tools, self._parts = form
            with contextlib.suppress(Exception):
                if PROBE.content in self._text(Conversation("probe", (PROBE,)), generate=True):
                    return form
        self._no_tools, self._parts = None, False
        self._read(Conversation("probe", (PROBE,)), True)
        raise ValueError("the chat template leaves out what people say")

    def _find_end(self) -> str:
        """The control token that follows an answer; the tokenizer's eos token where the template writes none."""
        said = "Rone"
        for later in ((), (Message("user", "Qtwo"),)):
            text, _ = self._read(Conversation("probe", (PROBE, Message("assistant", said), *later)), False)
            _, found, rest = text.rpartition(said)
            rest = rest.partition("Qtwo")[0]
            control = next(self._spans.controls(rest), None) if found else None
            if (
                control
                and not rest[: control.start()].strip()
                and (not later or control[0] == self.tokenizer.eos_token)
            ):
                return control[0]
        self.notes.clear()
        if not self.tokenizer.eos_token:
            raise ValueError(
                "the chat template ends no answer and the tokenizer has no eos token; nothing could stop it"
            )
        return str(self.tokenizer.eos_token)

    def _find_head(self) -> str:
        """What the template writes between the generation prompt and an answer's first word."""
        prompt, _ = self._read(Conversation("probe", (PROBE,)), True)
        whole, _ = self._read(Conversation("probe", (PROBE, Message("assistant", "Rone"))), False)
        self.notes.clear()
        return whole[len(prompt) :].partition("Rone")[0] if whole.startswith(prompt) else ""

    def _find_thoughts(self) -> None:
        """The tokens around what is not meant for people."""

        def token(text: str) -> int | None:
            ids = self._spans.encode(text, begins=False)
            return ids[0] if len(ids) == 1 and text in self.tokenizer.get_chat_template() else None

        self._opens, self._closes = token(OPENS), token(CLOSES)
        self._channel = token("<|channel|>")
        self._final = list(self._spans.encode(FINAL, begins=False))
        self._head_ids = [] if self._channel else list(self._spans.encode(self._head, begins=False))
        self._opened = self._prompt(Conversation("probe", (PROBE,))).rstrip().endswith(OPENS)

    # ids

    def content(self, text: str) -> tuple[int, ...]:
        """Ids of somebody's words; text that looks like a control token is spelled out, never obeyed."""
        return self._spans.encode(self._spans.mark(text))

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """Ids [T] of a dialogue, ready for the assistant's words, or for more of them where it ends with the assistant.

        Raises ValueError naming record and turn where the template cannot say it.
        """
        return self._spans.encode(self._prompt(conversation))

    def _prompt(self, conversation: Conversation) -> str:
        messages = conversation.messages
        if messages[-1].role == "assistant" and messages[-1].content.strip():
            return self._read(conversation, False, go_on=True)[0]
        if messages[-1].role == "assistant":  # nothing was said yet that could be gone on from
            conversation = dataclasses.replace(conversation, messages=messages[:-1])
        if not conversation.messages:
            raise ValueError(f"conversation '{conversation.id}': nothing is said in it")
        return self._read(conversation, True)[0]

    def _answer(self, prompt: str, before: Conversation, answer: Message) -> str:
        """What the model says after `prompt` where it gives `answer`, its end of turn included, as rendered."""
        words = self._spans.mark(answer.content).strip()
        said, _ = self._read(dataclasses.replace(before, messages=(*before.messages, answer)), False)
        if said.startswith(prompt) and (words in said[len(prompt) :] or answer.tool_calls):
            tail = said[len(prompt) :]
        elif answer.tool_calls:
            tail = self._behind_header(prompt, said, before)
        else:  # the template renders what is asked and what is answered in two ways
            thoughts = answer.thinking if self._keeps and self._closes is not None else ""
            opened = prompt.rstrip().endswith(OPENS)
            think = f"{'' if opened else OPENS}\n{thoughts}\n{CLOSES}\n\n" if thoughts else f"{CLOSES}\n\n" * opened
            tail = f"{think or self._head}{words}"
        if any(_name(call) not in tail for call in answer.tool_calls):
            raise ValueError(f"conversation '{before.id}': the chat template cannot say the tool calls of an answer")
        start = max(0, tail.rfind(words)) + len(words) if words else 0
        for control in self._spans.controls(tail, start):
            if control[0] in self._end_texts:
                return tail[: control.end()]
        return tail.rstrip("\n") + self._end

    def _behind_header(self, prompt: str, said: str, before: Conversation) -> str:
        """What `said` says behind the header of the answer, where `prompt` opens thoughts that it has not."""
        history, _ = self._read(before, False)
        if not (said.startswith(history) and prompt.startswith(history)):
            raise ValueError(
                f"conversation '{before.id}': the chat template renders earlier turns otherwise once a tool is called"
            )
        header, rest = prompt[len(history) :], said[len(history) :]
        same = next(
            (i for i, (a, b) in enumerate(zip(header, rest, strict=False)) if a != b), min(len(header), len(rest))
        )
        return (f"{CLOSES}\n\n" if header[same:].rstrip().endswith(OPENS) else "") + rest[same:]

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Ids of an answer, end of turn included, as they follow `prompt_ids`."""
        answer = self._answer(self._probe_prompt, Conversation("answer", (PROBE,)), Message("assistant", text))
        return self._spans.encode(answer, begins=False)

    @functools.cached_property
    def _probe_prompt(self) -> str:
        return self._prompt(Conversation("answer", (PROBE,)))

    def examples(self, conversation: Conversation) -> tuple[Rendered, ...]:
        """Rows in which every answer that is learned stands once, behind the prompt that it would be asked with.

        Raises ValueError naming record and turn where the template cannot say it; () where nothing is learned.
        """
        rows: list[Rendered] = []
        ids: tuple[int, ...] = ()
        learn: list[bool] = []
        _, whole = self._read(conversation, False)
        for i, turn in enumerate(whole.messages):
            if turn.role != "assistant" or not turn.learn or not i:
                continue
            before = dataclasses.replace(whole, messages=whole.messages[:i])
            prompt = self._prompt(before)
            asked = self._spans.encode(prompt)
            if asked[: len(ids)] != ids:
                rows.append(Rendered(ids, tuple(learn)))
                ids, learn = (), []
            answer = self._spans.encode(self._answer(prompt, before, turn), begins=False)
            learn += [False] * (len(asked) - len(ids)) + [True] * len(answer)
            ids = asked + answer
        return (*rows, Rendered(ids, tuple(learn))) if ids else ()

    # words

    @property
    def hides(self) -> bool:
        """Whether anything of an answer may not be meant for people."""
        told = self._channel or self._head_ids or self._closes is not None or self._opened
        return self.thinking != "show" and bool(told)

    def words_from(self, ids: Sequence[int]) -> int:
        """How many of an answer's tokens come before the words meant for people: thoughts, a channel's name."""
        if self.thinking == "show":
            return 0
        ids = list(ids)
        if self._channel:
            at = _last(ids, self._final)
            return at + len(self._final) if at >= 0 else len(ids) if self._channel in ids else 0
        start = len(self._head_ids) if ids[: len(self._head_ids)] == self._head_ids else 0
        if self._closes is not None:
            if self._closes in ids:
                start = len(ids) - ids[::-1].index(self._closes)
                while start < len(ids) and not self.tokenizer.decode(ids[start : start + 1]).strip():
                    start += 1
            elif self._opens in ids or self._opened:
                return len(ids)
        return start

    def decode(self, ids: Sequence[int]) -> str:
        """The words of an answer's ids that are meant for people: without special tokens and thoughts."""
        words = list(ids[self.words_from(ids) :])
        text: str = self.tokenizer.decode(words, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.replace("\x00", "")  # no database keeps it, and no one means it


def _last(ids: list[int], run: list[int]) -> int:
    """Where `run` stands last in `ids`; -1 where it does not."""
    return next((i for i in range(len(ids) - len(run), -1, -1) if ids[i : i + len(run)] == run), -1)


def _name(tool: dict[str, Any]) -> str:
    """The name of a tool, or of the one that a call is for."""
    return str(tool.get("function", tool).get("name", ""))


def _spoken(text: str) -> str:
    """Text without the thoughts at its beginning."""
    return text.rpartition(CLOSES)[2].lstrip()
