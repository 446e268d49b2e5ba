"""Chats that assistants and their programs export: DeepSeek, LM Studio, text-generation-webui, FastGPT, Gemini's
activities; traces of Langfuse and the like -> {"id", "messages"}."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data.formats.fields import ONE_KEPT, Fields, alternatives, maps, parsed_json
from steersman.data.formats.markup import text_of
from steersman.data.formats.turns import ROLES

Record = Mapping[str, Any]
Turn = dict[str, Any]
SPOKEN = {"REQUEST": "user", "RESPONSE": "assistant"}
TRACED = (
    *(("input", "output"), ("inputs", "outputs"), ("request_body", "response_body"), ("request", "response")),
    *(
        ("$ai_input", "$ai_output_choices"),
        ("input_messages", "output_messages"),
        ("input.messages", "output.messages"),
    ),
    ("gen_ai.input.messages", "gen_ai.output.messages"),
)
"""Fields of what a model was asked and what it said."""
LANGCHAIN = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
BEGINS = "<|BEGIN-VISIBLE-CHAT|>"
"""What text-generation-webui has for the user's words before the assistant's greeting."""
PROMPTED = "Prompted "
OTHER_BRANCHES = "messages of other branches (edited, regenerated) left out of exported chats"


def as_turns(record: Record, fields: Fields) -> list[Turn] | None:
    """The turns; None for records of other kinds."""
    for read in (_deepseek, _lm_studio, _webui, _activity, _trace):
        if (turns := read(record, fields)) is not None:
            return turns
    return None


def _deepseek(record: Record, fields: Fields) -> list[Turn] | None:
    """The branch that was written last. A message is fragments: what was asked, thought and answered."""
    nodes = record.get("mapping")
    if not isinstance(nodes, Mapping) or "current_node" in record or "inserted_at" not in record:
        return None
    messages = {
        k: n["message"] for k, n in nodes.items() if isinstance(n, Mapping) and isinstance(n.get("message"), Mapping)
    }
    name = max(messages, key=lambda k: str(messages[k].get("inserted_at")), default=None)
    path: list[Record] = []
    while isinstance(name, str) and name in messages and len(path) < len(messages):
        path.append(messages[name])
        name = nodes[name].get("parent")
    fields.note(OTHER_BRANCHES, len(messages) - len(path))
    turns: list[Turn] = []
    for message in reversed(path):
        thought = ""
        for part in maps(message.get("fragments")):
            text = str(part.get("content") or "")
            if part.get("type") == "THINK":
                thought += text
            elif part.get("type") in SPOKEN:
                more = {"reasoning_content": thought} if thought else {}
                turns.append({"role": SPOKEN[part["type"]], "content": text} | more)
                thought = ""
            else:
                fields.note("messages without text, or to and from tools, left out of exported chats")
        fields.note("files that came with turns left out", len(maps(message.get("files"))))
    return turns


def _lm_studio(record: Record, fields: Fields) -> list[Turn] | None:
    """Of each message the version that was shown last."""
    items = maps(record.get("messages"))
    if not items or not all(isinstance(m.get("versions"), list) and "currentlySelected" in m for m in items):
        return None
    prompt = record.get("systemPrompt")
    turns: list[Turn] = [{"role": "system", "content": prompt}] if isinstance(prompt, str) and prompt.strip() else []
    for item in items:
        fields.note(OTHER_BRANCHES, len(item["versions"]) - 1)
        place = item["currentlySelected"]
        version = dict(enumerate(item["versions"])).get(place) if isinstance(place, int) else None
        if not isinstance(version, Mapping):
            raise ValueError(
                f"currentlySelected: expected the place of a version, {len(item['versions'])} are there, got {place!r}"
            )
        steps = [version, *maps(version.get("steps"))]
        shown = [s for s in steps if not (isinstance(s.get("style"), Mapping) and s["style"].get("type") == "thinking")]
        texts = [str(p["text"]) for s in shown for p in maps(s.get("content")) if isinstance(p.get("text"), str)]
        turns.append({"role": version.get("role"), "content": "\n\n".join(texts)})
    return turns


def _webui(record: Record, fields: Fields) -> list[Turn] | None:
    """Pairs of what was said; the list `visible` has the same as HTML."""
    pairs = record.get("internal")
    if (
        "visible" not in record
        or not isinstance(pairs, list)
        or not all(isinstance(p, list) and len(p) == 2 for p in pairs)
    ):
        return None
    said = [(role, text) for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]
    return [
        {"role": role, "content": text} for role, text in said if isinstance(text, str) and text not in ("", BEGINS)
    ]


def _activity(record: Record, fields: Fields) -> list[Turn] | None:
    """One prompt of Google's "My Activity" with its answer; which belong to one chat is not in there."""
    if record.get("header") not in ("Gemini Apps", "Bard") or "title" not in record:
        return None
    title, items = str(record["title"]), maps(record.get("safeHtmlItem"))
    if items and not title.startswith(PROMPTED):
        raise ValueError(
            f"title: expected {PROMPTED!r} before what was asked (export it in English), got {title[:40]!r}"
        )
    if not items:
        return []
    fields.note("prompts of Gemini, each a dialogue by itself: its export does not tell chats apart")
    answer = "\n\n".join(text_of(str(item.get("html") or "")) for item in items)
    return [{"role": "user", "content": title.removeprefix(PROMPTED)}, {"role": "assistant", "content": answer}]


def _trace(record: Record, fields: Fields) -> list[Turn] | None:
    """Input and output of a trace, of which one at least is itself a request or an answer (Langfuse, LangSmith,
    Helicone, PostHog, Phoenix, OpenTelemetry)."""
    if {"messages", "instruction"} & record.keys():
        return None
    around = [record, *(v for k in ("attributes", "properties") if isinstance(v := record.get(k), Mapping))]
    around += [v for k in ("llm", "gen_ai") if isinstance(v := around[-1].get(k), Mapping)]
    for inside in reversed(around):
        for asked, said in TRACED:
            if asked in inside and said in inside:
                given, answer = parsed_json(inside[asked]), parsed_json(inside[said])
                if len(several := alternatives(answer)) > 1:
                    fields.note(ONE_KEPT)
                    answer = several[0]
                before, after = list(_turns(given, "user")), list(_turns(answer, "assistant"))
                if not any(isinstance(v, Mapping | list) for v in (given, answer)) or not before or not after:
                    return None
                if isinstance(inside[asked], str) and isinstance(inside[said], str) and _of_prose(given, answer):
                    return None
                first = parsed_json(inside.get("gen_ai.system_instructions"))
                system = [{"role": "system", "content": first}] if isinstance(first, list) and first else []
                return system + before + (after[len(before) :] if after[: len(before)] == before else after)
    return None


def _of_prose(given: Any, answer: Any) -> bool:
    """Whether a text of JSON beside prose is the task's own: it says nothing in the role of its side."""
    if isinstance(given, str) == isinstance(answer, str):
        return False
    turns, role = (_turns(answer, ""), "assistant") if isinstance(given, str) else (_turns(given, ""), "user")
    return not any(ROLES.get(turn["role"].casefold()) == role for turn in turns)


def _turns(value: Any, role: str) -> Iterator[Turn]:
    """The turns in a request or an answer; nothing of other values."""
    if isinstance(value, str):
        yield {"role": role, "content": value}
    elif isinstance(value, list):
        for item in value:
            yield from _turns(item, role) if not isinstance(item, str) else ()
    elif isinstance(value, Mapping) and isinstance(value.get("role"), str) and {"content", "parts"} & value.keys():
        yield dict(value)
    elif isinstance(value, Mapping) and isinstance(value.get("kwargs"), Mapping) and isinstance(value.get("id"), list):
        yield from _turns({**value["kwargs"], "type": str(value["id"][-1])}, role)  # LangChain's constructors
    elif isinstance(value, Mapping) and "content" in value and (known := LANGCHAIN.get(_kind(value))) is not None:
        yield {"role": known, **{k: value[k] for k in ("content", "tool_calls", "tool_call_id") if value.get(k)}}
    elif isinstance(value, Mapping):
        found: Any = next((value[k] for k in ("messages", "choices", "message", "generations") if k in value), None)
        yield from _turns(found, role) if isinstance(found, list | Mapping) else ()


def _kind(value: Record) -> str:
    return str(value.get("type")).casefold().removesuffix("chunk").removesuffix("message")
