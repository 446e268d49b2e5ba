"""The only renderer: Conversation -> token ids and loss mask, for every chat template that transformers can render.

A prompt equals transformers' rendering, token for token, with the generation prompt; only people's text that looks
like a control token stays text (`text.spans`). Training rows contain each answer after exactly the prompt that
precedes it in generation: where one prompt begins with the prompt and answer before it, they share a row, and where a
template renders earlier turns otherwise once more follow (thoughts dropped, system text moved), each answer has a row
of its own. The mask is known and not recovered, because prompt and answer are tokenised apart.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.parts import CannotTake
from steersman.text.bases import CHATML, GEMMA, KNOWN, add_chat_template
from steersman.text.dialogue import FORMS, Form, Turns, apply, needed, readings, to_message
from steersman.text.dropped import MARK, Lost, called, left_out, written_in
from steersman.text.images import Images
from steersman.text.limits import Exhausted
from steersman.text.program import program
from steersman.text.spans import Spans, sources
from steersman.text.surroundings import read_shape
from steersman.text.text2text import closed_up, escaped, unescaped
from steersman.text.thoughts import Words, apart, split_thoughts, without_thoughts
from steersman.text.trace import Points, Traced
from steersman.text.trial import check_template
from steersman.types import Conversation, Message

__all__ = ["CHATML", "GEMMA", "Rendered", "Template", "add_chat_template"]
CONTEXT = 200
"""Characters of the prompt's end with which an answer is tokenised, where no control token is nearer."""
DAY = datetime.datetime(2026, 1, 1, 12)
"""The date in dialogues for training, since the day of later use is unknown."""
PROBE = Message("user", "Where is it?")


@dataclass(frozen=True)
class Rendered:
    """Token ids [T] of a dialogue and, per token, whether it is a target (assistant's words, end of turn)."""

    ids: tuple[int, ...]
    learn: tuple[bool, ...]


class Template:
    """Renders conversations for one tokenizer.

    `thinking`: treatment of thoughts. "keep": thoughts in data are rendered and learned; "drop": they are left out;
    "empty": also, prompts tell the model to answer without (`enable_thinking=False`); "show": as "keep", and thoughts
    are part of an answer's words.

    `today`: a template that writes a date writes today's, as transformers does and people who ask expect; stages say
    False and write `DAY`, so that training, and what is sampled and judged for it, gives the same tokens on every day,
    machine and after every interruption.

    `sees`: the model takes images, passed as to transformers' processors; otherwise an image raises CannotTake.
    """

    def __init__(self, tokenizer: Any, thinking: str = "keep", today: bool = True, sees: bool = False) -> None:
        self.tokenizer, self.thinking, self._day = tokenizer, thinking, None if today else DAY
        self._images = Images(tokenizer, sees, self._attempt)
        if not tokenizer.chat_template:
            raise ValueError(
                "the tokenizer has no chat template: this model was never taught to chat; set model.template to "
                f"{', '.join(KNOWN)} or a file"
            )
        for source in sources(tokenizer):
            check_template(source)
        self._spans = Spans(tokenizer)
        self._keeps = thinking in ("keep", "show")
        self._values = dict(tokenizer.special_tokens_map)
        if thinking == "empty":
            self._values |= {"enable_thinking": False, "thinking": False}
        self.notes: dict[str, int] = {}
        """Change made to dialogues for the template -> number of renderings with it."""
        try:
            self._no_tools, self._parts = self._find_form()
            source = tokenizer.get_chat_template()
            self._shape = read_shape(self._text, source, self._spans, tokenizer.eos_token or "")
            self.escapes = self._shape.escapes
        except Exhausted as error:
            raise ValueError(f"the chat template {error} for a short dialogue") from None
        except Exception as error:
            raise ValueError(f"the chat template does not render a question and its answer: {_told(error)}") from None
        self._steps = needed(self._attempt)
        self._tails = None if self.thinking == "empty" else self._find_tails()
        self.dated = self._is_dated()
        """Whether the template writes a date."""
        self.over = bool(self._shape.close) and self._shape.prompt.rstrip().endswith(self._shape.close)
        """Whether every prompt says that thoughts are over."""
        end = self._shape.end or tokenizer.eos_token
        if not end:
            raise ValueError("the chat template ends no answer, the tokenizer has no eos token: nothing could stop it")
        self.end_of_turn: int = tokenizer.convert_tokens_to_ids(end)
        """The token that ends an answer, which the model learns to say."""
        stops = {tokenizer.convert_tokens_to_ids(text) for text in self._shape.stops}
        self.ends: frozenset[int] = frozenset({self.end_of_turn, tokenizer.eos_token_id, *stops} - {None})
        """All tokens that end an answer."""
        self._words = Words(tokenizer, self._shape)
        added = tokenizer.added_tokens_decoder.items()
        self._special = frozenset(tokenizer.all_special_ids) | {i for i, token in added if token.special}
        """Removed by id: `decode` does not recognise special tokens whose names a normaliser changed."""

    # text

    def _text(
        self, conversation: Conversation, generate: bool = False, go_on: bool = False, form: Form = FORMS[0]
    ) -> str:
        """The dialogue as transformers renders it, people's control tokens marked. Raises Jinja's own errors."""
        tools = self._spans.mark(conversation.tools) or self._no_tools
        written = program(self.tokenizer.get_chat_template(None, tools))
        messages = [self._marked(turn, form) for turn in conversation.messages]
        render = written.go_on if go_on else written.render
        return render(messages, self._day, tools=tools, add_generation_prompt=generate, **self._values)

    def _trace(self, conversation: Conversation, generate: bool = False) -> Traced | None:
        """As `_text`, with where turns end; None where the template does not go turn by turn, or refuses it."""
        written = program(self.tokenizer.get_chat_template(None, self._no_tools))
        messages = [self._marked(turn, FORMS[0]) for turn in conversation.messages]
        try:
            return written.trace(
                messages, self._day, tools=self._no_tools, add_generation_prompt=generate, **self._values
            )
        except Exhausted:
            raise
        except Exception:  # refused dialogues are rendered turn by turn
            return None

    def _find_tails(self) -> tuple[str, str] | None:
        """Text after the turns of a dialogue, with and without the generation prompt; None: see `_trace`."""
        turns = (PROBE, Message("assistant", MARK), PROBE)
        probe = Conversation("probe", apply(self._steps, (Message("system", MARK), *turns))[1])
        asked, done = self._trace(probe, True), self._trace(probe)
        if asked is None or done is None or asked.before(2) is None:
            return None
        if asked.text != self._text(probe, True) or done.text != self._text(probe):
            return None
        return asked.text[asked.log.end :], done.text[done.log.end :]

    def _points(self, whole: Conversation) -> Points | None:
        """The prompts of a dialogue from one rendering; None where each needs its own rendering."""
        plain = all(
            turn.role != "tool"
            and not (turn.tool_calls or turn.images or turn.thinking or split_thoughts(turn.text)[0])
            for turn in whole.messages
        )
        if self._tails is None or whole.tools or not plain:
            return None
        try:
            traced = self._trace(whole)
        except Exhausted as error:
            raise ValueError(f"conversation '{whole.id}': the chat template {error}") from None
        if traced is None:
            return None
        self._note([*self._left_out(whole, traced.text)])
        return Points(traced, self._tails, self._spans)

    def _marked(self, turn: Message, form: Form) -> dict[str, Any]:
        own = turn.role == "assistant"
        return {
            key: value if key == "role" else self._spans.mark(value, own and key != "tool_calls")
            for key, value in to_message(turn, form, self._parts).items()
        }

    def _find_form(self) -> tuple[list[Any] | None, bool]:
        """(value for "no tools", whether content is a list of parts) with which the template renders people's words.

        Templates for tools go through their list, be it empty; those of models that see go through a message's parts.
        """
        forms: list[tuple[list[Any] | None, bool]] = [(None, False), (None, True), ([], False), ([], True)]
        for form in forms:
            self._no_tools, self._parts = form
            if PROBE.text in (self._attempt((PROBE,)) or ""):
                return form
        self._no_tools, self._parts = None, False
        self._text(Conversation("probe", (PROBE,)), True)
        raise ValueError("it leaves out what people say")

    def _attempt(self, turns: Turns) -> str | None:
        """The text of a dialogue for probing; None where the template refuses it."""
        try:
            return self._text(Conversation("probe", turns), generate=True)
        except Exhausted:
            raise
        except Exception:  # a template is a program: it may raise anything
            return None

    def _read(self, conversation: Conversation, generate: bool, go_on: bool = False) -> str:
        """Rendered text of a dialogue, in the reading that the template takes. Raises ValueError naming the turn."""
        first: Exception | None = None
        done, turns = apply(self._steps, conversation.messages)
        ruled = dataclasses.replace(conversation, messages=turns)
        calls = any(turn.tool_calls for turn in turns)
        for more, reading in readings(ruled):
            if go_on and reading.messages[-1].role != "assistant":
                continue
            for form in FORMS if calls else FORMS[:1]:
                try:
                    text = self._text(reading, generate, go_on, form)
                    notes = [*done, *more, *self._left_out(reading, text, form)]
                except Exhausted as error:
                    raise ValueError(f"conversation '{conversation.id}': the chat template {error}") from None
                except Exception as error:
                    first = first or error
                    continue
                self._note(notes)
                return text
        assert first is not None
        if isinstance(first, Lost):
            raise ValueError(f"conversation '{conversation.id}': {first}")
        raise ValueError(
            f"conversation '{conversation.id}': the chat template refuses {self._culprit(conversation)}: {_told(first)}"
        )

    def _note(self, notes: Sequence[str]) -> None:
        for note in dict.fromkeys(notes):
            self.notes[note] = self.notes.get(note, 0) + 1

    def _culprit(self, conversation: Conversation) -> str:
        """The first turn that makes the template refuse the dialogue."""
        for i in range(len(conversation.messages)):
            part = dataclasses.replace(conversation, messages=conversation.messages[: i + 1])
            try:
                self._text(part)
            except Exception:
                return f"messages[{i}] ({conversation.messages[i].role})"
        return "it with a generation prompt"

    def _is_dated(self) -> bool:
        """Whether the prompt depends on the date."""
        now, self._day = self._day, DAY.replace(year=1987)
        other, self._day = self._attempt((PROBE,)), now
        return other != self._attempt((PROBE,))

    def _left_out(self, conversation: Conversation, text: str, form: Form = FORMS[0]) -> Iterator[str]:
        return left_out(conversation, text, self._spans, lambda other: self._text(other, form=form))

    # ids

    def content(self, text: str) -> tuple[int, ...]:
        """Ids of somebody's words; text that looks like a control token is encoded as ordinary characters."""
        return self._spans.encode(self._spans.mark(text))

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """Ids [T] of a dialogue, ready for the assistant's words, or for more of them where it ends with the assistant.

        Raises ValueError naming record and turn where the template refuses the dialogue.
        """
        return self._spans.encode(self._prompt(conversation))

    def _prompt(self, conversation: Conversation, go_on: bool = True) -> str:
        self._images.check(conversation)
        conversation = conversation if self._keeps else without_thoughts(conversation)
        messages = conversation.messages
        if go_on and messages and messages[-1].role == "assistant":
            if messages[-1].text.strip():
                return self._read(conversation, False, go_on=True)
            # the last turn has no words to continue
            conversation = dataclasses.replace(conversation, messages=messages[:-1])
        if not conversation.messages:
            raise ValueError(f"conversation '{conversation.id}': nothing is said in it")
        text = self._read(conversation, True)
        shape = self._shape
        if self.thinking == "empty" and shape.inside and shape.thoughts and text.endswith(shape.prompt[-CONTEXT:]):
            return text + shape.thoughts[1]  # a template without the switch: write empty thoughts
        return text

    def written(self, conversation: Conversation) -> str:
        """The text of a prompt, or of a dialogue that the assistant ends. ValueError where the template refuses it."""
        ends = conversation.messages[-1].role == "assistant"
        return self._read(conversation, False) if ends else self._prompt(conversation, go_on=False)

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """Ids of an answer that follow `prompt_ids`, end of turn included."""
        shape = self._shape
        words = str(self._spans.mark(text, own=True))
        words = words.lstrip() if shape.trims[0] else words
        words = words.rstrip() if shape.trims[1] else words
        words = escaped(words) if shape.escapes else words
        opening = "" if self.thinking == "empty" and shape.inside else shape.opening
        return (*self._behind(shape.prompt, opening + words + (shape.closing if shape.end else "")), self.end_of_turn)

    def examples(self, conversation: Conversation) -> tuple[Rendered, ...]:
        """Rows that contain every learned answer once, after the prompt that precedes it in generation.

        Raises ValueError naming record and turn where the template refuses the dialogue; () where nothing is learned.
        """
        self._images.check(conversation)
        conversation = conversation if self._keeps else without_thoughts(conversation)
        done, turns = apply(self._steps, conversation.messages)
        whole = dataclasses.replace(conversation, messages=turns)
        self._note(done)
        points = self._points(whole)
        rows: list[Rendered] = []
        ids: tuple[int, ...] = ()
        learn: list[bool] = []
        for i, turn in enumerate(whole.messages):
            if turn.role != "assistant" or not turn.learn:
                continue
            if not i:
                self._note(["an answer that begins a dialogue is context alone: nothing was asked before it"])
                continue
            if turn.images:
                raise CannotTake(f"conversation '{conversation.id}': messages[{i}]: an image cannot be an answer")
            point = points.at(i) if points is not None else None
            if point is not None:
                prompt, asked, said = point
            else:
                prompt = self._prompt(dataclasses.replace(conversation, messages=whole.messages[:i]), go_on=False)
                asked = self._spans.encode(prompt)
                turn = apart(turn) if self._shape.shows else turn
                said = self._read(dataclasses.replace(conversation, messages=(*whole.messages[:i], turn)), False)
            if asked[: len(ids)] != ids:
                rows.append(Rendered(ids, tuple(learn)))
                ids, learn = (), []
            words = self._answer(prompt, said, turn)
            for name, _ in map(called, turn.tool_calls):
                if not written_in(str(self._spans.mark(name)), words):  # the list of tools has it too
                    raise ValueError(
                        f"conversation '{conversation.id}': the chat template leaves out the call of '{name}' in "
                        f"messages[{i}] (assistant)"
                    )
            answer = (*self._behind(prompt, words), self.end_of_turn)
            learn += [False] * (len(asked) - len(ids)) + [True] * len(answer)
            ids = asked + answer
        return (*rows, Rendered(ids, tuple(learn))) if ids else ()

    def _answer(self, prompt: str, whole: str, turn: Message) -> str:
        """The model's text after `prompt` in the last turn of `whole`, without the end of turn."""
        shape, content = self._shape, str(self._spans.mark(turn.text, own=True))
        thought, said = str(self._spans.mark(turn.thinking, own=True)).strip(), content.strip()
        if not thought:
            thought, said = (text.strip() for text in split_thoughts(content))
        over = prompt.rstrip().endswith(shape.close) if shape.close else False
        eos = self.tokenizer.eos_token or shape.end
        base = prompt.removesuffix(shape.beyond)
        if whole.startswith(prompt):
            words = shape.without_end(whole[len(prompt) :], said, eos)
        elif whole.startswith(base):
            words = shape.without_end(whole[len(base) :].removeprefix(shape.again), said, eos)
            if over:
                words = words.lstrip()[len(shape.close) :] if words.lstrip().startswith(shape.close) else words
            elif thought and thought in words:
                words = words[words.find(thought) :] if shape.inside else words
            elif shape.inside and shape.thoughts and not words.lstrip().startswith(shape.close):
                words = shape.thoughts[1] + words.removeprefix(shape.thoughts[0].strip())
        elif said and said in whole:
            words = shape.without_end(shape.spoken(whole, said), said, eos)
        elif turn.tool_calls and (mark := self._spans.tail(prompt)) in whole:  # Mistral: earlier turns are written anew
            words = shape.without_end(whole[whole.rfind(mark) + len(mark) :], said, eos)
        else:
            raise ValueError(f"the chat template does not write the answer {turn.text[:40]!r} where it is the last")
        if not thought or thought in words:
            return words
        if over:
            self._note(["the prompt says that thoughts are over: those of the data are not learned"])
            return words
        return shape.with_thought(words, thought)

    def _behind(self, prompt: str, words: str) -> tuple[int, ...]:
        """Ids of words after the prompt, without changing the prompt's ids: where a token would span the border, the
        words are tokenised after the last control token, or alone.
        """
        if self._spans.answers is not None:
            return self._spans.answers.encode(words)
        marks = list(self._spans.controls(prompt))
        near = prompt[marks[-1].start() :] if marks else prompt[-CONTEXT:]
        for context in dict.fromkeys((near, marks[-1][0] if marks else near)):
            before, both = self._spans.encode(context), self._spans.encode(context + words)
            if both[: len(before)] == before:
                return both[len(before) :]
        return self._spans.encode(words, begins=False)

    # words

    @property
    def hides(self) -> bool:
        """Whether answers may contain text that is not meant for people."""
        return self.thinking != "show"

    def words_from(self, ids: Sequence[int]) -> int:
        """Number of an answer's tokens before the words meant for people: thoughts, a channel's name."""
        return self._words.start(ids) if self.hides else 0

    def decode(self, ids: Sequence[int]) -> str:
        """The words for people in an answer's ids, without special tokens and thoughts."""
        words = [i for i in ids[self.words_from(ids) :] if i not in self._special]
        text: str = self.tokenizer.decode(words, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        text = text.replace("\x00", "")  # no database can hold U+0000
        text = closed_up(self.tokenizer, unescaped(text) if self.escapes else text)
        blank = [part for part in (self._shape.opening, self._shape.closing) if part and not part.strip()]
        return text.strip("".join(blank)) if blank and self.hides else text


def _told(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
