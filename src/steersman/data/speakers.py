"""Who of a chat's speakers is the user and who the assistant: by --speakers, or by what they are called."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from steersman.data import stamps
from steersman.data.formats.turns import ROLES
from steersman.data.reading import Reading

ANYBODY = "*"
"""In --speakers: every name that is not on the other side."""
SIDES_SHOWN = 4
CALLED = "chats whose sides were taken from what the speakers are called (--speakers says others)"
HAN = re.compile("[\u4e00-\u9fff]")
ALSO_NAMES = frozenset(["a", "q", "claude", "gemini", "bard", "bing", "palm", "moss", "lead", "model", "contact"])
"""Roles of turns in data sets that are names of people, or words, in a chat's log."""
TEAM = re.compile(
    r"[^\W\d_]+[\s_-]+(?:[^\W\d_]+[\s_-]+)?(?:services?|support|care|success|relations|resources|cent(?:er|re)|team|desk|managers?|"
    r"office|department|experience|protection|operations|help|hotline|bot|assistant|betreu(?:ung|er|erin)|berat(?:ung|er|erin))\b.*"
    r"|(?:客户|顾客|用户|会员|买家|访客)(?:服务|经理|运营|中心|支持|专员|关怀|顾问|代表|成功|体验|热线|助手|机器人|部).*",
    re.S,
)
"""Pattern of names that begin with what the other side is called, and are of those who answer it."""
NUMBERED = re.compile(r"\s*(?:\([\w@.+-]{3,}\)|<[^<>\s]+@[^<>\s]+>|(?<=[^\W\d_])\s\d{6,})$")
"""Pattern of a name's number or address."""


@dataclass(frozen=True, slots=True)
class Speakers:
    """The names of the user's and the assistant's side."""

    users: frozenset[str]
    assistants: frozenset[str]

    def role(self, name: str) -> str | None:
        key = name_key(name)
        sides = (("user", self.users), ("assistant", self.assistants))
        shop = re.split("[:：]", key)[0].strip()  # whose people are called SHOP:PERSON (Taobao)
        named = (role for one in (key, shop) for role, names in sides if one in names)
        return next(named, None) or next((role for role, names in sides if ANYBODY in names and key), None)

    @property
    def named(self) -> frozenset[str]:
        return (self.users | self.assistants) - {ANYBODY}


def name_key(name: str) -> str:
    """A name's form for comparison: without marks, '~' of unknown contacts, title, number or address, in lower case."""
    name = re.sub(r"\s+", " ", stamps.MARKS.sub("", name)).strip().lstrip("~").strip()
    name = re.sub(r"^【[^】]{1,12}】(?=.)", "", name)
    return NUMBERED.sub("", name).casefold() or name.casefold()


def speakers_of(text: str) -> Speakers | None:
    """--speakers USER,ASSISTANT; several names of a side with '|', '*' for everybody else. None where it is empty."""
    if not text:
        return None
    sides = [frozenset(name_key(n) for n in side.split("|") if n.strip()) for side in re.split("[,，]", text)]
    if len(sides) != 2 or not all(sides) or sides[0] & sides[1]:
        raise ValueError(
            f"--speakers {text}: expected two names, the user's first, such as Customer,Agent; several of one side as "
            "Customer,Ann|Bob, and '*' for everybody else, as in '*,Agent'"
        )
    return Speakers(sides[0], sides[1])


def with_writers(path: object, kind: str, speakers: str) -> str:
    """The kind of records that was found. ValueError where --speakers would have named nobody."""
    if speakers and kind == "texts":
        raise ValueError(
            f"{path}: --speakers was given, but no messages with their writers were found, and all would be read as "
            "texts; say which columns they are: --map conversation=COLUMN,sender=COLUMN,message=COLUMN,time=COLUMN, "
            "or --kind texts"
        )
    return kind


def role_called(name: str) -> str:
    """'user' or 'assistant' of a speaker who is called so, alone or with a name beside it (客服小美, Agent Smith)."""
    key = name_key(name)
    first = re.split(r"[\s_-]", key)[0]
    if key not in ROLES and TEAM.fullmatch(key) and (HAN.search(key) or ROLES.get(first) == "user"):
        return "assistant"
    words = (key, re.split(r"[\s_\-(（:：|]", key)[0], *((key[:2], key[-2:], key[-3:]) if HAN.search(key) else ()))
    roles = (ROLES.get(word) for word in words if word not in ALSO_NAMES)
    return next((role for role in roles if role in ("user", "assistant")), "")


def by_roles(counts: Counter[str], name: str, reading: Reading) -> Speakers:
    """The sides of a log's speakers by what they are called. ValueError with the names where that does not tell."""
    sides = [{n for n in counts if role_called(n) == role} for role in ("user", "assistant")]
    if len(counts) == 2 and sum(map(len, sides)) == 1:
        sides = [side or counts.keys() - sides[1 - i] for i, side in enumerate(sides)]
    if not all(sides) or 2 * sum(counts[n] for side in sides for n in side) < counts.total():
        raise ValueError(f"{name}: {ask_speakers(listed(counts))}")
    users, assistants = (" and ".join(sorted(side)[:SIDES_SHOWN]) for side in sides)
    reading.tell(f"note: {name}: {users} is read as the user, {assistants} as the assistant; otherwise --speakers")
    reading.changed[CALLED] += 1
    return Speakers(*(frozenset(map(name_key, side)) for side in sides))


def ask_speakers(found: str) -> str:
    example = "'*,@firm.example'" if "@" in found else "Customer,Agent"
    return (
        f"expected two names as --speakers USER,ASSISTANT, the user's first, such as {example}; the log has: "
        f"{found or 'nobody'}"
    )


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{who} ({n})" for who, n in counts.most_common(12))
