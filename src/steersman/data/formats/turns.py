"""Lists of turns -> Messages: speaker, text, thoughts, calls of tools, and whether the turn is a training target."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.data.formats.calls import call_of, calls_in, result_text
from steersman.data.formats.field_names import NAMES
from steersman.data.formats.fields import Fields, parsed_json, plain, said_within, shown
from steersman.data.formats.one_writer import refuse_one_writer
from steersman.data.formats.sides import flagged, is_flag
from steersman.data.pictures import PLACE
from steersman.parts import Citation, Image, Text, text_of
from steersman.types import Json, Message, Role

ROLES: dict[str, Role | str] = {
    **dict.fromkeys(("user", "human", "usr", "prompter", "customer", "client", "visitor", "patient", "buyer"), "user"),
    **dict.fromkeys(("end-user", "end_user", "enduser", "requester", "caller", "lead", "contact", "kunde"), "user"),
    **dict.fromkeys(("question", "q", "guest", "用户", "客户", "顾客", "人类", "买家", "患者", "问"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "gpt4", "gpt-4", "bing", "bard", "model", "bot"), "assistant"),
    **dict.fromkeys(("chatbot", "ai", "claude", "gemini", "llm", "agent", "counselor", "answer", "sys"), "assistant"),
    **dict.fromkeys(("operator", "admin", "staff", "representative", "rep", "employee", "consultant"), "assistant"),
    **dict.fromkeys(
        ("外部联系人", "访客", "游客", "会员", "网友", "病人", "来访者", "求助者", "seeker", "apprentice"),
        "user",
    ),
    **dict.fromkeys(
        ("人工客服", "智能客服", "在线客服", "坐席", "座席", "商家", "卖家", "店铺", "店小二"), "assistant"
    ),
    **dict.fromkeys(
        ("大夫", "咨询师", "旗舰店", "专卖店", "专营店", "waiter", "supporter", "therapist", "wizard"), "assistant"
    ),
    **dict.fromkeys(("助手", "客服", "机器人", "医生", "答", "moss", "palm", "support", "doctor", "a"), "assistant"),
    **dict.fromkeys(("人工", "机器人客服", "商家客服", "客服人员", "kefu", "support agent", "live agent"), "assistant"),
    **dict.fromkeys(("human agent", "shop", "store", "merchant", "seller", "business"), "assistant"),
    **dict.fromkeys(("system", "developer", "系统"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "function_response", "ipython"), "tool"),
    **dict.fromkeys(("tool_result", "function_result", "tool_output", "environment", "api"), "tool"),
    **dict.fromkeys(("function_call", "function-call", "tool_call", "tool_calls", "functioncall"), "call"),
}
"""Name in data -> role. 'call' is an assistant's turn whose content is a call of a tool."""

HAPPENED = ("action", "event")
"""Speakers of pairs that tell what was done."""
EVENTS = ("sender_type", "author_type", "sender_role", "author", "sender")
"""Fields in which a system that speaks tells of what happened (who came, who left)."""
SPEAKER_KEYS = (
    *("role", "from", "speaker", *EVENTS[:3], "author_role", *EVENTS[3:], "agent", "actor_type", "speaker_role"),
    *("speaker_type", "participant_role", "角色", "说话人"),
)
TEXT_KEYS = ("content", "value", "text", "message", "parts", "utterance", "内容", "words", "sentence", "msg", "body")
PART_KEYS = ("text", "value", "thinking", "reasoning", "refusal", "content")
"""Fields of a part that contain its text."""
IMAGE_TYPES = ("image_url", "image", "input_image", "image_file")
NAMED = re.compile(r"\s*(?P<who>[^:：\n]{1,20}?)\s?[:：]\s*(?P<text>.*)", re.DOTALL)
"""Pattern of a text that begins with its speaker."""
EXCHANGE: tuple[tuple[Role, tuple[str, ...]], ...] = (
    ("system", ("system",)),
    ("user", ("input", "human", "user", "question", "prompt", "query", "instruction", *NAMES["question"])),
    ("assistant", ("output", "assistant", "answer", "response", "gpt", "bot", "completion", *NAMES["answer"])),
)
"""Fields of an object that holds a question and its answer."""
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
LEARN_KEYS = ("learn", "loss", "weight", "train", "trainable", "train_on_turn", "loss_weight", "training")
MASK_KEYS = ("masked", "mask", "context_only", "no_loss")
READ = {*SPEAKER_KEYS, *TEXT_KEYS, *THOUGHT_KEYS, *LEARN_KEYS, *MASK_KEYS, "name", "refusal", "tool_call_id"}
PAGE = re.compile(r"\s*<(p|ol|ul)\b[^>]*>.*</(p|ol|ul)>\s*", re.DOTALL | re.IGNORECASE)
PAGE_MARK = re.compile(r"<div class=\\?[\"'](markdown|flex|min-h)|<div[^>]*whitespace-pre-wrap", re.IGNORECASE)
THOUGHT = re.compile(
    r"\s*(?:<(think|thinking|thought|reasoning|seed:think)>(.*?)</\1>|<\|begin_of_thought\|>(.*?)<\|end_of_thought\|>"
    r"|(?P<open>(?:(?!<think>).)*?)</think>)\s*(.*)",
    re.DOTALL,
)


def split_thoughts(text: str) -> tuple[str, str]:
    """(thoughts, words) of an answer that begins with a block such as <think>...</think>."""
    match = THOUGHT.fullmatch(text)
    if match is None:
        return "", text
    said = match[5].removeprefix("<|begin_of_solution|>").removesuffix("<|end_of_solution|>")
    return (match[2] or match[3] or match["open"] or "").strip(), said.lstrip("\n") if said.strip() else ""


def turns_of(value: Any, field: str, fields: Fields) -> list[Message]:
    """The Messages of a list of turns: objects in the OpenAI, ShareGPT, Gemini or Anthropic way, [role, text] pairs,
    strings that alternate, or objects with a question and an answer each. ValueError names the turn."""
    value = in_rows(parsed_json(value))
    if isinstance(value, Mapping) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if not isinstance(value, list) or not value:
        raise ValueError(f"{field}: expected a non-empty list of turns, got {shown(value)}")
    told = value if fields.speakers.keys() & {*NOTES} else told_by_role(value)
    value = [turn for turn in told if not (isinstance(turn, Mapping) and turn.get("role") == NOTES[0])] or told
    fields.note("internal notes left out of tickets", len(told) - len(value))
    if (texts := _speakerless(value)) is not None:
        if (named := _named_in(texts)) is not None:
            return named
        if (who := _person(value, fields)) is not None and fields.speakers:
            by = [{"role": str(t[who]), "content": said_within(text)} for t, text in zip(value, texts, strict=True)]
            return turns_of(_by_time(by, value, fields), field, fields)
        if who is not None:
            raise ValueError(
                f"{field}: nothing tells whether '{who}' of each message is the customer or the team "
                f"({', '.join(dict.fromkeys(str(turn[who]) for turn in value))}); say who is who: --speakers '*,Agent' "
                f"(in a page of several conversations also --map conversation=FIELD,sender={who},message=FIELD)"
            )
        refuse_one_writer(value, field, fields)
        fields.note("turns without a speaker: taken for user and assistant in turn")
        return [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(texts)]
    found = [(item, _turn(item, f"{field}[{i}]", fields)) for i, item in enumerate(value)]
    every = [turn for _, turns in found for turn in turns]
    said = [turn for item, turns in found for turn in turns if not _tells(item, turns)]
    if len(said) < len(every) and any(turn.role == "assistant" for turn in said):
        fields.note("messages of others (in copy, systems) left out of tickets", len(every) - len(said))
        return said
    return _speaking_systems(every, fields)


NOTES = ("note", "internal", "internal_note", "private_note", "private", "whisper")
"""What messages to colleagues are called where others are called by who wrote them."""


def told_by_role(turns: list[Any]) -> list[Any]:
    """Turns whose speaker stands in a field of another name, known by its values: roles of both sides, or notes too."""
    if not all(isinstance(t, Mapping) and t.keys().isdisjoint(SPEAKER_KEYS) for t in turns):
        return turns
    for key in turns[0]:
        said = [str(t.get(key)).strip().casefold() for t in turns]
        sides = {ROLES.get(name) for name in said if name not in NOTES} - {"system"}
        if sides <= {"user", "assistant"} and len(sides) + any(name in NOTES for name in said) > 1:
            return [{**t, "role": NOTES[0] if name in NOTES else t[key]} for t, name in zip(turns, said, strict=True)]
    return turns


def in_rows(value: Any) -> Any:
    """Turns in columns ({"speaker": [...], "utterance": [...]}) as a list of turns; any other value unchanged."""
    if not isinstance(value, Mapping) or value.keys().isdisjoint(SPEAKER_KEYS) or value.keys().isdisjoint(TEXT_KEYS):
        return value
    if not all(isinstance(column, list) for column in value.values()) or len({*map(len, value.values())}) != 1:
        return value
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def speaks_both(item: Mapping[str, Any]) -> bool:
    """Whether an object holds a question and its answer."""
    names = {plain(str(key)) for key, value in item.items() if isinstance(value, str)}
    return all(not names.isdisjoint(of) for role, of in EXCHANGE if role != "system")


def speaks(item: Any) -> bool:
    """Whether an item of a list may be a turn, or a question with its answer."""
    known = {*SPEAKER_KEYS, *(name for _, names in EXCHANGE for name in names)}
    return not isinstance(item, Mapping) or not known.isdisjoint(plain(str(key)) for key in item)


def _tells(item: Any, turns: list[Message]) -> bool:
    """Whether a turn tells of what happened in the chat."""
    if not isinstance(item, Mapping):
        return str(item[0]).strip().casefold() in HAPPENED
    who = next((k for k in SPEAKER_KEYS if isinstance(item.get(k), str)), "")
    return who in EVENTS and [turn.role for turn in turns] == ["system"]


def _speakerless(turns: list[Any]) -> list[str] | None:
    """The texts of turns that are strings, or objects that name no speaker; None where some item names one."""
    texts = [next((t[k] for k in TEXT_KEYS if k in t), None) if isinstance(t, Mapping) else t for t in turns]
    named = any(
        isinstance(t, Mapping) and (t.keys() & {*SPEAKER_KEYS} or any(map(is_flag, map(str, t)))) for t in turns
    )
    said = [text for text in texts if isinstance(text, str)]
    return None if named or len(said) < len(texts) else said


STAMPS = ("created_at", "create_time", "timestamp", "time", "ts")
PERSON = re.compile(
    r"(?:person|user|sender|author|creator|member|account|agent|contact)(?:_?(?:id|name))?|(?:posted|created|written)_by"
)
"""Pattern of fields that name a message's writer."""


def _person(turns: list[Any], fields: Fields) -> str | None:
    """The field that names each message's writer, where there are several; first one whose people --speakers names."""
    if not all(isinstance(turn, Mapping) for turn in turns):
        return None
    keys = (key for key in turns[0] if PERSON.fullmatch(plain(str(key))) and all(key in turn for turn in turns))
    found = {k: names for k in keys if len(names := {str(turn[k]).casefold() for turn in turns}) > 1}
    return next((k for k, names in found.items() if names & fields.speakers.keys()), next(iter(found), None))


def _by_time(turns: list[Any], of: list[Any], fields: Fields) -> list[Any]:
    """The turns by the numbers that say when each was written, where all have one."""
    times = [next((item[k] for k in STAMPS if type(item.get(k)) is int), None) for item in of]
    if None in times or times == sorted(times):  # type: ignore[type-var]
        return turns
    fields.note("dialogues whose messages were put in order of time")
    return [turn for _, _, turn in sorted(zip(times, range(len(of)), turns, strict=True))]


def _named_in(texts: list[str]) -> list[Message] | None:
    """Turns from texts that each begin with their speaker ('Human: ...', '问：...'); None if some text does not."""
    found = [NAMED.fullmatch(text) for text in texts]
    roles = [ROLES.get(match["who"].strip().casefold()) if match else None for match in found]
    if not {"user", "assistant"} <= set(roles) or not set(roles) <= {"user", "assistant", "system"}:
        return None
    return [Message(role, m["text"]) for role, m in zip(roles, found, strict=True) if m]  # type: ignore[arg-type]


def _speaking_systems(turns: list[Message], fields: Fields) -> list[Message]:
    """In dialogues of 'user' and 'system' alone (SGD, MultiWOZ) the system is the assistant."""
    roles = [m.role for m in turns]
    if set(roles) != {"user", "system"} or roles[0] != "user":
        return turns
    fields.note("turns of 'system' that answer the user: taken for the assistant's", roles.count("system"))
    return [Message("assistant", m.said) if m.role == "system" else m for m in turns]


def _turn(item: Any, field: str, fields: Fields) -> list[Message]:
    if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str):
        who = item[0].strip().casefold()
        if who in HAPPENED:
            return [Message("system", str(item[1]))]
        pair = who in ROLES or item[0].casefold() in fields.speakers
        item = {"role": item[0], "content": item[1]} if pair else {"input": item[0], "output": item[1]}
    if not isinstance(item, Mapping):
        raise ValueError(f"{field}: expected an object with role and content, got {shown(item)}")
    speaker = next((k for k in SPEAKER_KEYS if isinstance(item.get(k), str)), None) or next(
        (k for k in item if is_flag(str(k)) or (k in SPEAKER_KEYS and type(item[k]) is int)), None
    )
    if speaker is None:
        return _exchange(item, field)
    role = flagged(speaker, item[speaker]) or _role(str(item[speaker]), f"{field}.{speaker}", fields)
    for name, value in item.items():
        if name not in READ and isinstance(value, str) and len(value.split()) > 3:
            fields.note(f"field '{name}' of turns not used")
    beside = [item[name] for name in ("attachments", "files") if isinstance(item.get(name), list)]
    fields.note("files that came with turns left out", sum(map(len, beside)))
    key = next((k for k in TEXT_KEYS if item.get(k) is not None), next((k for k in TEXT_KEYS if k in item), "content"))
    learn = role not in ("assistant", "call") or learned(item, field)
    if role == "call":
        return [Message("assistant", "", learn, tool_calls=tuple(calls_in(item.get(key), f"{field}.{key}")))]
    return _spoken(item, role, key, learn, field, fields)  # type: ignore[arg-type]


def _role(name: str, where: str, fields: Fields) -> str:
    known = re.sub(r"\A\d+_(?=[^\W\d])", "", name.strip().rstrip(":：").casefold())
    role = fields.speakers.get(known) or ROLES.get(known) or ROLES.get(plain(known)) or fields.speakers.get("*")
    if role is None:
        raise ValueError(
            f"{where}: expected one of {', '.join(list(ROLES)[:3])}, assistant, gpt, system, tool and the like, got "
            f"{shown(name)}; say who is who with --speakers USER,ASSISTANT"
        )
    return role


def _exchange(item: Mapping[str, Any], field: str) -> list[Message]:
    """An object that holds a question and its answer (xTuner), optionally a system text."""
    names = {plain(str(k)): v for k, v in item.items()}
    found = [(role, next((names[n] for n in keys if isinstance(names.get(n), str)), None)) for role, keys in EXCHANGE]
    turns = [Message(role, text) for role, text in found if text is not None and (text or role != "system")]
    if not any(m.role != "system" for m in turns):
        raise ValueError(f"{field}: expected an object with role and content, got {shown(dict(item))}")
    return turns


def learned(item: Mapping[str, Any], field: str) -> bool:
    """False where a turn says weight 0, loss false, train false, masked true or the like."""
    if any(isinstance(piece, Mapping) and piece.get("train") is False for piece in item.get("train_detail") or ()):
        raise ValueError(
            f"{field}.train_detail: expected a turn that is learned as a whole or not; parts cannot be yet"
        )
    for keys, negative in ((LEARN_KEYS, False), (MASK_KEYS, True)):
        for key in keys:
            value = item.get(key)
            if value is None:
                continue
            value = {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
            if not isinstance(value, bool | int | float) or value not in (0, 1):
                raise ValueError(f"{field}.{key}: expected true or false (or 1 or 0), got {shown(item[key])}")
            if bool(value) == negative:
                return False
    return True


def _spoken(item: Mapping[str, Any], role: Role, key: str, learn: bool, field: str, fields: Fields) -> list[Message]:
    calls = item.get("tool_calls") or ([item["function_call"]] if item.get("function_call") else [])
    calls = [call_of(call, f"{field}.tool_calls[{i}]") for i, call in enumerate(parsed_json(calls))]
    thoughts = [item[k] for k in THOUGHT_KEYS if isinstance(item.get(k), str) and item[k].strip()]
    content: Any = item.get(key)
    before: list[Message] = []
    said: list[Text | Image] = []
    if isinstance(content, list | Mapping) and role == "tool" and not _is_parts(content):
        content = result_text(content)
    if isinstance(content, Mapping):
        content = content.get("parts") if isinstance(content.get("parts"), list) else [content]
    if isinstance(content, list):
        said, thought, asked, before = _parts(content, f"{field}.{key}", fields)
        thoughts, calls = thoughts + thought, calls + asked
        content = text_of(said)
    if content is None:
        refusal = item.get("refusal")
        content = refusal if isinstance(refusal, str) else ""
        if not (calls or thoughts or before or role == "assistant" or key in item):
            raise ValueError(f"{field}.{key}: expected a string, got no such field")
    if not isinstance(content, str):
        raise ValueError(f"{field}.{key}: expected a string, got {shown(content)}")
    if role in ("user", "assistant") and (
        PAGE_MARK.search(content) or (role == "assistant" and PAGE.fullmatch(content))
    ):
        raise ValueError(f"{field}.{key}: expected text, got HTML of the page that it was copied from")
    if role == "assistant":
        thought_text, content = split_thoughts(content)
        thoughts += [thought_text] if thought_text else []
        fields.note("thoughts kept apart from what is said", bool(thoughts))
    elif role == "tool":
        name, call_id = (str(item.get(k) or "") for k in ("name", "tool_call_id"))
        return [Message("tool", said or content, tool_call_id=call_id, name=name)]
    pictured = any(isinstance(part, Image) for part in said)
    own = content or calls or pictured or not before
    message = Message(role, said if pictured else content, learn, "\n\n".join(dict.fromkeys(thoughts)), tuple(calls))
    return [*before, *([_cited(message, item, field, fields)] if own else [])]


def _cited(message: Message, item: Mapping[str, Any], field: str, fields: Fields) -> Message:
    """A turn with the sources in its annotations as citations."""
    found = item.get("annotations")
    found = found if isinstance(found, list) else []
    cited = [a for a in found if isinstance(a, Mapping) and a.get("type") == "url_citation"]
    fields.note("annotations of turns that are no citations of addresses left out", len(found) - len(cited))
    if not cited:
        return message
    where = f"{field}.annotations"
    return message.saying([*message.said, *(Citation.from_json(a, f"{where}[{i}]") for i, a in enumerate(cited))])


def _is_parts(content: Any) -> bool:
    if not isinstance(content, list) or not content:
        return False
    kinds = ("text", "tool_result", *IMAGE_TYPES)
    return all(
        isinstance(p, str) or (isinstance(p, Mapping) and (p.get("type") in kinds or "text" in p)) for p in content
    )


def _parts(
    parts: Sequence[Any], field: str, fields: Fields
) -> tuple[list[Text | Image], list[str], list[Json], list[Message]]:
    """(words and images, thoughts, calls, results of tools) of a turn's content that comes in parts."""
    spoken: list[Text | Image] = []
    thoughts, calls, results = [], [], []
    for i, part in enumerate(parts):
        where = f"{field}[{i}]"
        if isinstance(part, str):
            spoken.append(Text(part))
            continue
        if not isinstance(part, Mapping):
            raise ValueError(f"{where}: expected a part of a turn such as text, got {shown(part)}")
        kind = part.get("type")
        said = next((part[k] for k in PART_KEYS if isinstance(part.get(k), str)), None)
        result = part.get("functionResponse") or part.get("toolResult") or (part if kind == "tool_result" else None)
        call = part.get("functionCall") or part.get("toolUse") or (part if kind == "tool_use" else None)
        if kind in ("thinking", "reasoning", "redacted_thinking") or part.get("thought") is True:
            thoughts.append(said or "")
        elif kind in ("tool_call", "function_call"):
            calls += calls_in(part.get("value", part.get("function", part)), where)
        elif call is not None:
            calls.append(call_of(call, where))
        elif result is not None:
            results.append(_result(result, where, fields))
        elif said is not None and kind in (None, "text", "input_text", "output_text", "refusal"):
            spoken.append(Text(said))
        elif fields.pictures is not None and _is_image(part):
            spoken.append(_image(part, where, fields))
        else:
            raise ValueError(
                f"{where}: expected text; a part of type {shown(kind or list(part))} cannot be learned yet"
            )
    return spoken, thoughts, calls, results


def _is_image(part: Mapping[str, Any]) -> bool:
    inline = part.get("inlineData") or part.get("inline_data")
    kind = str(inline.get("mimeType") or inline.get("mime_type")) if isinstance(inline, Mapping) else ""
    return part.get("type") in IMAGE_TYPES or kind.startswith("image/") or (not part.get("type") and "image" in part)


def _image(part: Mapping[str, Any], where: str, fields: Fields) -> Image:
    """The image of a part; a PLACE for a part without data, whose image is in another field."""
    assert fields.pictures is not None
    own = {key: value for key, value in part.items() if key not in ("type", "text", "index") and value}
    return fields.pictures.take(part, where) if own else PLACE


def _result(said: Mapping[str, Any], field: str, fields: Fields) -> Message:
    value = said.get("response", said.get("content", ""))
    body = _parts(value, field, fields)[0] if _is_parts(value) else result_text(value)
    call_id = str(said.get("tool_use_id") or said.get("toolUseId") or said.get("id") or "")
    return Message("tool", body, tool_call_id=call_id, name=str(said.get("name") or ""))
