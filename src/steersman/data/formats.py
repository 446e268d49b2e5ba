"""Public record formats -> ours. Each importer maps one record to a Conversation, a Ranking or a text.

An importer knows nothing of files: it is given one JSON value and raises ValueError naming the field and what
was expected; who reads the file adds its name and line. `detect` recognises a format by a record's fields.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steersman.types import Conversation, Message, Ranking, to_objective

Parsed = Conversation | Ranking | str
Turn = tuple[str, str]

KEPT_META = ("source", "type", "category", "topic", "answer_choices", "meta")
"""Fields that travel with a record, where it has them."""

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
}
OPENAI_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
QUESTION_KEYS = ("prompt", "question", "instruction", "query")
PAIR_KEYS = (
    ("input", "target"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("query", "response"),
)
LIST_KEYS = ("answers", "output", "responses", "completions")
HH_TURN = re.compile(r"\n\n(Human|Assistant):")
CUE_TURN = re.compile(r"(?:^|\n|\\n)(用户|小元)[：:]")


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def expect_text(record: Mapping[str, Any], key: str) -> str:
    """record[key] as a string, or a ValueError naming the field."""
    value = record.get(key)
    if not isinstance(value, str):
        got = shown(value) if key in record else f"no such field (fields: {', '.join(map(str, record))})"
        raise ValueError(f"{key}: expected a string, got {got}")
    return value


def content_id(*parts: str) -> str:
    """A short id that depends on the content alone."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def conversation(turns: Sequence[Turn], field: str, record: Mapping[str, Any]) -> Conversation:
    """Turns as a Conversation: optional system, then user and assistant in turn. `field` names them in errors."""
    if not turns:
        raise ValueError(f"{field}: expected at least one turn, got none")
    first = 1 if turns[0][0] == "system" else 0
    if len(turns) == first:
        raise ValueError(f"{field}: expected a user turn after the system message")
    for i, (role, _) in enumerate(turns[first:]):
        want = "user" if i % 2 == 0 else "assistant"
        if role != want:
            raise ValueError(
                f"{field}[{i + first}]: expected the {want}'s turn (user and assistant alternate), got {role}"
            )
    messages = tuple(Message(role, text) for role, text in turns)  # type: ignore[arg-type]
    own = record.get("id", record.get("question_id"))
    name = str(own) if isinstance(own, str | int) and str(own) else content_id(*(f"{r}:{t}" for r, t in turns))
    meta: dict[str, Any] = {k: record[k] for k in KEPT_META if record.get(k) not in (None, "", [], {})}
    if isinstance(meta.get("meta"), Mapping):
        meta |= dict(meta.pop("meta"))
    return Conversation(name, messages, meta)


def ranking(
    prompt: Conversation, answers: Sequence[str], record: Mapping[str, Any], ranks: Sequence[int] | None = None
) -> Ranking:
    """Answers best first (or with `ranks`, 1 best) as a Ranking by the `objective` of the record, where it has one."""
    if not prompt.is_prompt:
        raise ValueError("prompt: expected a dialogue that ends with the user, it ends with the assistant")
    objective = to_objective(record.get("objective"), "objective")
    name = content_id(prompt.id, *answers, *([objective] if objective else []))
    return Ranking(name, prompt, tuple(answers), tuple(ranks or range(1, len(answers) + 1)), objective=objective)


def role_list(value: Any, field: str) -> list[Turn]:
    """Turns of an OpenAI list (role, content) or a ShareGPT list (from, value)."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"{field}: expected a non-empty list of turns, got {shown(value)}")
    return [_turn(item, f"{field}[{i}]") for i, item in enumerate(value)]


def _turn(item: Any, field: str) -> Turn:
    if not isinstance(item, Mapping):
        raise ValueError(f"{field}: expected an object with role and content, got {shown(item)}")
    speaker, text, roles = ("from", "value", SHAREGPT_ROLES) if "from" in item else ("role", "content", OPENAI_ROLES)
    role = roles.get(str(item.get(speaker, "")))
    if role is None:
        known = ", ".join(roles)
        raise ValueError(f"{field}.{speaker}: expected one of {known}, got {shown(item.get(speaker))}")
    content = item.get(text)
    if isinstance(content, list) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise ValueError(f"{field}.{text}: expected a string, got {shown(content)}")
    return role, content


def hh_turns(text: str, field: str) -> list[Turn]:
    """Turns of an HH-RLHF transcript; an empty last assistant turn (a prompt's cue) is left out."""
    pieces = HH_TURN.split(text)
    if pieces[0].strip() or len(pieces) < 3:
        raise ValueError(f"{field}: expected a transcript that begins with '\\n\\nHuman:', got {shown(text)}")
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [(roles[who], said.strip()) for who, said in zip(pieces[1::2], pieces[2::2], strict=True)]
    return turns[:-1] if turns[-1] == ("assistant", "") else turns


def text_turns(text: str, field: str) -> list[Turn]:
    """A prompt's text as turns: an HH transcript, a ChatYuan dialogue ('用户：…\\n小元：…') or one user turn."""
    if text.startswith("\n\nHuman:"):
        return hh_turns(text, field)
    pieces = CUE_TURN.split(text)
    if len(pieces) >= 3 and not pieces[0].strip() and pieces[1] == "用户":
        roles = {"用户": "user", "小元": "assistant"}
        turns = [(roles[who], said.strip()) for who, said in zip(pieces[1::2], pieces[2::2], strict=True)]
        return turns[:-1] if turns[-1] == ("assistant", "") else turns
    return [("user", text)]


def prompt_turns(record: Mapping[str, Any]) -> list[Turn]:
    """The prompt of a record, however it is said: a list of turns, or text with system, history and input."""
    for key in ("messages", "conversations"):
        if key in record:
            return role_list(record[key], key)
    key = next((k for k in QUESTION_KEYS if k in record), "prompt")
    if isinstance(record.get(key), list):
        return role_list(record[key], key)
    text = expect_text(record, key)
    extra = record.get("input", "")
    if extra and not isinstance(extra, str):
        raise ValueError(f"input: expected a string, got {shown(extra)}")
    turns = text_turns("\n\n".join(part for part in (text, extra) if part) if extra else text, key)
    history = record.get("history") or []
    if not isinstance(history, list):
        raise ValueError(f"history: expected a list of [question, answer] pairs, got {shown(history)}")
    past: list[Turn] = []
    for i, pair in enumerate(history):
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(x, str) for x in pair)):
            raise ValueError(f"history[{i}]: expected a pair [question, answer] of strings, got {shown(pair)}")
        past += [("user", pair[0]), ("assistant", pair[1])]
    system = record.get("system") or ""
    head = [("system", expect_text(record, "system"))] if system else []
    return [*head, *past, *turns]


def _one_answer(value: Any, field: str) -> str:
    """An answer said as a string, as one turn, or as a whole dialogue whose last turn it is."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, Mapping):
        return _turn(value, field)[1]
    if not isinstance(value, str):
        raise ValueError(f"{field}: expected a string or an assistant's turn, got {shown(value)}")
    return value


def from_messages(record: Mapping[str, Any]) -> Parsed:
    """OpenAI: messages of role and content."""
    return conversation(role_list(record.get("messages"), "messages"), "messages", record)


def from_steersman(record: Mapping[str, Any]) -> Parsed:
    """Our own JSON: a Conversation or a Ranking."""
    return Ranking.from_json(record) if "answers" in record else Conversation.from_json(record)


def from_alpaca(record: Mapping[str, Any]) -> Parsed:
    """Alpaca: instruction, input, output (a string), optional history and system."""
    return conversation([*prompt_turns(record), ("assistant", expect_text(record, "output"))], "turns", record)


def from_sharegpt(record: Mapping[str, Any]) -> Parsed:
    """ShareGPT: conversations of from and value, optional system."""
    turns = role_list(record.get("conversations"), "conversations")
    if record.get("system") and turns[0][0] != "system":
        turns = [("system", expect_text(record, "system")), *turns]
    return conversation(turns, "conversations", record)


def from_pair(record: Mapping[str, Any]) -> Parsed:
    """PromptCLUE and ChatYuan: input and target; also prompt/completion, prompt/response, question/answer."""
    ask, answer = next((pair for pair in PAIR_KEYS if pair[0] in record and pair[1] in record), PAIR_KEYS[0])
    turns = [*text_turns(expect_text(record, ask), ask), ("assistant", expect_text(record, answer).strip())]
    return conversation(turns, ask, record)


def from_hh(record: Mapping[str, Any]) -> Parsed:
    """HH-RLHF: chosen and rejected transcripts with one prompt, or prompt, chosen, rejected."""
    if "prompt" in record:
        return from_comparison(record)
    chosen, rejected = (hh_turns(expect_text(record, key), key) for key in ("chosen", "rejected"))
    for key, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1][0] != "assistant":
            raise ValueError(f"{key}: expected a transcript that ends with the Assistant's turn")
    if chosen[:-1] != rejected[:-1]:
        raise ValueError(
            "rejected: expected the same dialogue as chosen up to the last answer, but they differ before it"
        )
    return ranking(conversation(chosen[:-1], "chosen", record), [chosen[-1][1], rejected[-1][1]], record)


def from_comparison(record: Mapping[str, Any]) -> Parsed:
    """prompt (text or turns), chosen, rejected."""
    answers = [_one_answer(record.get(key), key).strip() for key in ("chosen", "rejected")]
    return ranking(conversation(prompt_turns(record), "prompt", record), answers, record)


def from_ranking(record: Mapping[str, Any]) -> Parsed:
    """A prompt and a list of answers, best first unless `ranks` says otherwise."""
    key = next((k for k in LIST_KEYS if isinstance(record.get(k), list)), "answers")
    values = record.get(key)
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"{key}: expected a list of at least two answers, got {shown(values)}")
    answers = [_one_answer(value, f"{key}[{i}]").strip() for i, value in enumerate(values)]
    ranks = record.get("ranks")
    good = isinstance(ranks, list) and len(ranks) == len(answers) and all(type(r) is int and r >= 1 for r in ranks)
    if ranks is not None and not good:
        raise ValueError(f"ranks: expected {len(answers)} integers, 1 for the best, got {shown(ranks)}")
    return ranking(conversation(prompt_turns(record), "prompt", record), answers, record, ranks)


def from_prompt(record: Mapping[str, Any]) -> Parsed:
    """A prompt alone: prompt, question, instruction or query."""
    return conversation(prompt_turns(record), "prompt", record)


def from_text(record: Mapping[str, Any]) -> Parsed:
    """Plain text for pretraining."""
    return expect_text(record, "text")


IMPORTERS: dict[str, Callable[[Mapping[str, Any]], Parsed]] = {
    "messages": from_messages,
    "steersman": from_steersman,
    "alpaca": from_alpaca,
    "sharegpt": from_sharegpt,
    "input_target": from_pair,
    "hh": from_hh,
    "comparisons": from_comparison,
    "rankings": from_ranking,
    "prompts": from_prompt,
    "text": from_text,
}
FILE_FORMATS = ("csv", "chatlog")
"""Formats of whole files rather than of records: see tables.py."""
FORMATS = (*IMPORTERS, *FILE_FORMATS)

DEFAULT_KIND = {
    "hh": "rankings",
    "comparisons": "rankings",
    "rankings": "rankings",
    "prompts": "prompts",
    "text": "texts",
}
"""What a format is imported as where --kind does not say; the others are demonstrations."""


def parse(name: str, record: Any) -> Parsed:
    """One record by the named format. Raises ValueError naming the field and what was expected."""
    if not isinstance(record, Mapping):
        raise ValueError(f"record: expected a JSON object, got {shown(record)}")
    return IMPORTERS[name](record)


def detect(record: Any) -> str:
    """The format of a record by its fields; ValueError lists what is known."""
    if not isinstance(record, Mapping):
        raise ValueError(f"record: expected a JSON object, got {shown(record)}")
    keys = set(record)
    if {"chosen", "rejected"} <= keys:
        lead = record.get("prompt", record["chosen"])
        return "hh" if isinstance(lead, str) and lead.startswith("\n\nHuman:") else "comparisons"
    if "answers" in keys and isinstance(record.get("prompt"), Mapping):
        return "steersman"
    if any(isinstance(record.get(k), list) for k in LIST_KEYS) and keys & {*QUESTION_KEYS, "messages", "conversations"}:
        return "rankings"
    if "messages" in keys:
        return "steersman" if keys <= {"id", "messages", "meta"} and "id" in keys else "messages"
    if "conversations" in keys:
        return "sharegpt"
    if {"instruction", "output"} <= keys:
        return "alpaca"
    if any({ask, answer} <= keys for ask, answer in PAIR_KEYS):
        return "input_target"
    if keys & set(QUESTION_KEYS):
        return "prompts"
    if "text" in keys:
        return "text"
    fields = ", ".join(map(str, record)) or "none"
    raise ValueError(
        f"record: no known format has these fields: {fields}; name one with --format: {', '.join(FORMATS)}"
    )


def to_line(record: Parsed) -> str:
    """A record as one line of our own JSON."""
    value = {"text": record} if isinstance(record, str) else record.to_json()
    return json.dumps(value, ensure_ascii=False)
