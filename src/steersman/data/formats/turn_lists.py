"""Dialogues whose fields no form names, known by their turns: objects that say who spoke and what, pairs, columns.

Why so: decisions 106 and 108 in docs/LOG.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data.formats.fields import Fields, parsed_json, plain, said_in
from steersman.data.formats.sides import flagged
from steersman.data.formats.turns import ROLES as SPEAKERS
from steersman.data.formats.turns import SPEAKER_KEYS, TEXT_KEYS, in_rows, speaks_both, told_by_role

Record = Mapping[str, Any]
OTHERS = ("question", "answer", "text", "history", "context", "preference")
"""Roles by which a record is of a known form."""
NAMED = re.compile(
    r"(?:.*_)?(?:dialog(?:ue)?s?|conv(?:ersation)?s?|chat|utterances?|messages?|session|content|contents|对话|聊天|会话)(?:_.*)?"
)
"""Pattern of the name of a list whose items may be turns without speakers."""
ALIKE = 0.5
"""Share of the shorter's words that two renderings of one dialogue have in common."""
DEEP = 2
IDS = ("id", "dialog_id", "dialogue_id", "convo_id", "conversation_id")
ASKED = ("questions", "answers")


def as_dialogue(record: Record, fields: Fields) -> Record | None:
    """The record with its list of turns under `messages`; None for records of known forms and without such a list.

    Another list of the same dialogue (in small letters, with its names taken out) is not used, which is noted.
    ValueError where two lists are different dialogues.
    """
    asked = _asked_in_turn(record)
    if fields.mapping or (not asked and any(fields.has(role) for role in OTHERS)):
        return None
    key = fields.find("messages")
    if key is not None and not (isinstance(held := parsed_json(record[key]), Mapping) and "messages" not in held):
        return None
    found = asked or dict(_lists(record, "", 0))
    if not found:
        return None
    name, turns = next(iter(found.items()))
    for other, again in [*found.items()][1:]:
        if not _alike(turns, again):
            raise ValueError(
                f"record: two lists of turns, '{name}' and '{other}'; expected one dialogue a record: say which it is, "
                f"--map messages={name}"
            )
        fields.note(f"'{other}', the same turns as '{name}' once more: not used")
    own = next((record[k] for k in record if plain(str(k)) in IDS), None)
    rest = {k: v for k, v in record.items() if not any(f"{of}.".startswith(f"{k}.") for of in found) and k not in ASKED}
    story = {"context": record["story"]} if ASKED[0] in found and isinstance(record.get("story"), str) else {}
    return {**rest, **story, "messages": turns} | ({"id": str(own)} if own is not None else {})


def _asked_in_turn(record: Record) -> dict[str, list[Any]]:
    """CoQA's questions and answers about a story, which are one dialogue; {} of other records."""
    asked, said = (record.get(key) for key in ASKED)
    if not (isinstance(asked, list) and isinstance(said, list) and asked and len(asked) == len(said)):
        return {}
    every = [item for pair in zip(asked, said, strict=True) for item in pair]
    texts = [item.get("input_text") if isinstance(item, Mapping) else None for item in every]
    return {ASKED[0]: texts} if all(isinstance(text, str) for text in texts) else {}


def _lists(value: Record, before: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    for name, item in value.items():
        item = in_rows(parsed_json(item))
        if _is_turns(item, str(name)):
            yield f"{before}{name}", item
        elif isinstance(item, Mapping) and depth < DEEP:
            yield from _lists(item, f"{before}{name}.", depth + 1)


def _is_turns(value: Any, name: str) -> bool:
    if not isinstance(value, list) or len(value) < 2:
        return False
    if all(isinstance(item, str) for item in value):
        return bool(NAMED.fullmatch(plain(name)))
    if all(isinstance(item, list) and len(item) == 2 and all(isinstance(s, str) for s in item) for item in value):
        return len({item[0].strip().casefold() for item in value} & SPEAKERS.keys()) > 1
    if not all(isinstance(item, Mapping) for item in value):
        return False
    said = all(any(isinstance(item.get(key), str) for key in TEXT_KEYS) for item in value)
    if all(map(_is_turn, value)) or (said and told_by_role(value) is not value):
        return True
    return NAMED.fullmatch(plain(name)) is not None and all(map(speaks_both, value))


def _is_turn(item: Record) -> bool:
    said = any(isinstance(item.get(key), str) for key in TEXT_KEYS)
    named = any(isinstance(item.get(key), str | int) for key in SPEAKER_KEYS)
    return said and (named or any(flagged(str(key), value) for key, value in item.items()))


def _alike(turns: list[Any], others: list[Any]) -> bool:
    one, two = ({w for t in said_in(lot) for w in re.findall(r"\w+", t.casefold())} for lot in (turns, others))
    return len(one & two) >= ALIKE * min(len(one), len(two))
