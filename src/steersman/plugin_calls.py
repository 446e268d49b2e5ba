"""Calls of users' functions: their arguments, checks of their results, and errors that name function and example."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.plugins import Plugin, load, prints_aside
from steersman.types import Conversation, Message, NamedScores

FAILURES = (Exception, SystemExit)
"""What a function may end in. One that calls exit() would else end the verb, with its own exit code and not a word."""


def _called(plugin: Plugin, *given: Any) -> Any:
    """What the function returns. What it prints goes to stderr."""
    with prints_aside():
        found = plugin.call(*given)
    if inspect.iscoroutine(found) or inspect.isasyncgen(found):
        if inspect.iscoroutine(found):
            found.close()  # else Python warns that nobody awaited it
        raise TypeError("it is async; expected a plain function, which returns its result")
    return found


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # an object may have no text, and a number too many digits
        return f"a {type(value).__name__}"


def _failed(plugin: Plugin, error: BaseException, about: str) -> ValueError:
    return ValueError(f"{plugin.name}: {type(error).__name__}: {_text(error)} ({about})")


def _number(plugin: Plugin, value: Any, about: str, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float within bounds. numpy's and torch's scalars are taken too."""
    try:
        number = float(value) if not isinstance(value, str) else math.nan
    except Exception:  # no number, one that is too large, or an object that fails in becoming one
        number = math.nan
    if not math.isfinite(number) or not low <= number <= high:
        bounds = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
        raise ValueError(f"{plugin.name}: expected a number{bounds}, got {_text(value)[:80]!r} ({about})")
    return number


def _about(number: int, conversation: Conversation) -> str:
    return f"example {number}, prompt '{conversation.id}'" if conversation.id else f"example {number}"


@dataclass(frozen=True)
class FunctionJudge:
    """`judge(conversation, answer)` -> a number from 0 to 1, or such numbers by the name of what was judged."""

    plugin: Plugin
    simulated_people = True
    _axes: list[tuple[str, ...]] = field(default_factory=list)
    """Names of the first answer's scores, which all other answers must have too."""

    @property
    def name(self) -> str:
        return self.plugin.name

    def score(self, prompt: Conversation, answer: str) -> NamedScores:
        about = f"prompt '{prompt.id}'" if prompt.id else f"prompt {prompt.last_user[:40]!r}"
        try:
            found = _called(self.plugin, prompt, answer)
        except FAILURES as error:
            raise _failed(self.plugin, error, about) from error
        values = found if isinstance(found, Mapping) else {"score": found}
        axes = {str(name): _number(self.plugin, value, f"{name}, {about}", 0, 1) for name, value in values.items()}
        if not axes:
            raise ValueError(f"{self.name}: expected a number or numbers by name, got none ({about})")
        if not self._axes:
            self._axes.append(tuple(sorted(axes)))
        if tuple(sorted(axes)) != self._axes[0]:
            raise ValueError(f"{self.name}: expected scores of {self._axes[0]}, got {tuple(sorted(axes))} ({about})")
        return NamedScores(axes)


def judge_of(name: str) -> FunctionJudge:
    """The judge that `project.judge` names."""
    return FunctionJudge(load(name, "judges", "project.judge"))


def rewards(plugin: Plugin, conversations: Sequence[Conversation], answers: Sequence[str]) -> list[float]:
    """`reward(conversations, answers)` -> as many numbers."""
    try:
        with prints_aside():
            found = list(_called(plugin, list(conversations), list(answers)))
    except FAILURES as error:
        raise _failed(plugin, error, _culprit(plugin, conversations, answers)) from error
    if len(found) != len(answers):
        raise ValueError(f"{plugin.name}: expected {len(answers)} numbers, one per answer, got {len(found)}")
    return [_number(plugin, value, _about(i, conversations[i])) for i, value in enumerate(found)]


def _culprit(plugin: Plugin, conversations: Sequence[Conversation], answers: Sequence[str]) -> str:
    """The example on which a reward fails, found by calling it with each alone."""
    for i, (conversation, answer) in enumerate(zip(conversations, answers, strict=True)):
        try:
            list(_called(plugin, [conversation], [answer]))
        except FAILURES:
            return _about(i, conversation)
    return f"a batch of {len(answers)} examples; each by itself is well"


def imported(plugin: Plugin, path: Path) -> Iterator[Any]:
    """`importer(path)` -> records as plain JSON objects, of whatever the function yields."""
    count, end = 0, object()
    try:
        records = iter(_called(plugin, path))
        while True:
            with prints_aside():
                record = next(records, end)
            if record is end:
                return
            count += 1
            yield record.to_json() if hasattr(record, "to_json") else record
    except FAILURES as error:
        raise _failed(plugin, error, f"{path}, after {count} records") from error


def reader(name: str) -> tuple[Plugin, Callable[[Path], Iterator[Any]]]:
    """The importer of --as."""
    plugin = load(name, "importers", "--as")
    return plugin, lambda path: imported(plugin, path)


@dataclass(frozen=True)
class FunctionTask:
    """`task()` -> (prompts, score): what to ask, and a function of a conversation and its answer."""

    plugin: Plugin
    prompts: tuple[Conversation, ...]
    scorer: Callable[[Conversation, str], Any]

    @property
    def name(self) -> str:
        return self.plugin.name

    def score(self, number: int, answer: str) -> float:
        prompt = self.prompts[number]
        try:
            with prints_aside():
                value = self.scorer(prompt, answer)
        except FAILURES as error:
            raise _failed(self.plugin, error, _about(number, prompt)) from error
        return _number(self.plugin, value, _about(number, prompt))


def task_of(name: str, known: Mapping[str, Callable[..., Any]]) -> FunctionTask:
    """The task that `eval.tasks` names; its prompts are checked."""
    plugin = load(name, "tasks", "eval.tasks", known)
    try:
        given, scorer = _called(plugin)
        with prints_aside():
            items = [*_each(given)]
    except FAILURES as error:
        raise _failed(plugin, error, "expected to return (prompts, score)") from error
    prompts = tuple(_prompt(plugin, i, item) for i, item in enumerate(items))
    if not prompts or not callable(scorer):
        raise ValueError(f"{name}: expected (prompts, score), at least one prompt and a function, got {len(prompts)}")
    return FunctionTask(plugin, prompts, scorer)


def _each(given: Iterable[Any]) -> Iterable[Any]:
    return [given] if isinstance(given, str) else given


def _prompt(plugin: Plugin, number: int, item: Any) -> Conversation:
    """A prompt: what the user says, a Conversation, or one as JSON ({"messages": [...]})."""
    name = f"{plugin.name}-{number}"
    if isinstance(item, str):
        return Conversation(name, (Message("user", item),))
    try:
        made = item if isinstance(item, Conversation) else Conversation.from_json({"id": name, **item})
    except (TypeError, ValueError, KeyError) as error:
        shown = json.dumps(item, default=str, ensure_ascii=False)[:80]
        raise ValueError(f"{plugin.name}: prompt {number}: {error}, got {shown}") from None
    if not made.is_prompt:
        raise ValueError(f"{plugin.name}: prompt {number}: expected a dialogue that ends with the user")
    return made
