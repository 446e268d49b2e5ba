"""Canary: a share of new chats goes to a candidate model, and people's votes say whether it is better.

    canary.json: {"canaries": [{round, stage, identity, version, served, served_identity, share, salt, started, ...}]}

The last one is present while it has not `ended`. A chat belongs to one of the two models by a hash of its id, so that
it stays with it; chats begun before stay with the served model. In the API the user that a request names takes the
chat's place, or the dialogue's beginning. The first look at which the interval of the
difference excludes 0 decides, and is recorded; the interval is valid at every look (`rounds.sequential`).

Why so: decision 70 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steersman import locks
from steersman.artifact.files import read_object, write_json
from steersman.artifact.manifest import identity, read_manifest
from steersman.artifact.workspace import Workspace, renamed
from steersman.rounds import gate, registry
from steersman.rounds.sequential import Votes
from steersman.store import Chat, Store
from steersman.store.schema import iso, utc_now

CANARY, COUNTS = "canary.json", ".canary"
LEVEL = 0.95
Word = Literal["better", "worse", "undecided"]


class NotStarted(gate.Refused):
    """A report calls the candidate worse, or there is none."""

    def __init__(self, why: str) -> None:
        ValueError.__init__(self, f"not started: {why}. Start it all the same with: steersman canary start --force")
        self.option = "force"


@dataclass(frozen=True)
class Canary:
    """One comparison of a candidate with the served model. Times are ISO 8601, UTC."""

    round: int
    stage: str
    identity: str
    version: str
    """Stamped on the candidate's answers, such as 002/ppo; `served` on the other's."""
    served: str
    served_identity: str
    share: float
    """Of new chats that go to the candidate."""
    salt: str
    started: str
    decided: Mapping[str, Any] | None = None
    """The first look that decided: word, time, difference, low, high, likes and votes of served model and candidate."""
    ended: str = ""
    outcome: str = ""
    """promoted, worse, stopped, or overtaken: another model was promoted meanwhile."""

    def candidate_answers(self, chat: Chat) -> bool:
        """Whether this chat belongs to the candidate."""
        return chat.created >= self.started and self.has(chat.id)

    def has(self, key: str) -> bool:
        """Whether what `key` names (a chat, a user of the API) belongs to the candidate."""
        digest = hashlib.sha256(f"{self.salt}:{key}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64


@dataclass(frozen=True)
class Standing:
    """Votes so far and what they say; the interval is of the candidate's share of likes minus the served model's."""

    canary: Canary
    votes: Votes
    low: float
    high: float
    api: tuple[int, int] = (0, 0)
    """Answers through the API of the served model and of the candidate; nobody votes on them."""

    @property
    def word(self) -> Word:
        return "better" if self.low > 0 else "worse" if self.high < 0 else "undecided"

    def figures(self) -> dict[str, Any]:
        return {
            "word": self.word,
            "difference": round(self.votes.difference, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "level": LEVEL,
            "likes": list(self.votes.likes),
            "votes": list(self.votes.votes),
        }

    def to_json(self) -> dict[str, Any]:
        return {"canary": dataclasses.asdict(self.canary), "now": self.figures() | {"api_answers": list(self.api)}}


def canaries(space: Workspace) -> list[Canary]:
    """Every canary of the workspace, the oldest first. ValueError where the file is damaged."""
    path = space.root / CANARY
    if not path.is_file():
        return []
    entries: Any = read_object(path, "a list of canaries").get("canaries")
    try:
        found = [Canary(**entry) for entry in entries]
        good = all(_is_typed(one) for one in found)
    except TypeError:
        good = False
    if not good:
        raise ValueError(f"{path}: expected an object with a list 'canaries'; restore the file or remove it")
    return found


def _is_typed(one: Canary) -> bool:
    decided = one.decided is None or isinstance(one.decided, dict)
    texts = [getattr(one, field.name) for field in dataclasses.fields(one) if field.type == "str"]
    return decided and type(one.round) is int and isinstance(one.share, float) and {*map(type, texts)} == {str}


def present(space: Workspace) -> Canary | None:
    """The canary that is under way."""
    known = canaries(space)
    return known[-1] if known and not known[-1].ended else None


def start(space: Workspace, round_: int, stage: str, share: float, force: bool = False) -> Canary:
    """Begin to send `share` of new chats to the round's model; of its furthest stage where `stage` is empty.

    ValueError where that cannot be; NotStarted where its report says that it is worse, unless `force`.
    """
    if not (0 < share <= 0.9 and math.isfinite(share)):
        raise ValueError(f"share: expected a part of new chats above 0 and at most 0.9, got {share}")
    stage = renamed(stage) or _furthest(space, round_)
    gate.check(space, stage, round_)
    history = space.history()
    if not history:
        raise ValueError("canary: no model is promoted to compare with; promote one: steersman promote")
    served = history[-1]
    mark = identity(read_manifest(space.stage_dir(stage, round_)))
    if mark == served["identity"]:
        raise ValueError(f"canary: {round_:03d}/{stage} is the served model itself; expected another")
    if not force and (why := gate.refusal(space, stage, round_)):
        raise NotStarted(why)
    with locks.brief(space.root / CANARY):
        known = canaries(space)
        if known and not known[-1].ended:
            raise ValueError(f"canary: {known[-1].version} is compared already; end that: steersman canary stop")
        versions = (f"{round_:03d}/{stage}", f"{served['round']:03d}/{served['stage']}")
        began = iso(utc_now())
        new = Canary(round_, stage, mark, *versions, served["identity"], share, secrets.token_hex(8), began)
        _write(space.root / CANARY, [*known, new])
    return new


def _furthest(space: Workspace, round_: int) -> str:
    there = [s for s in registry.models() if space.has(s.name, round_)]
    names = [s.name for s in sorted(there, key=lambda s: not s.improved)]
    return names[0] if names else registry.improved()[0].name


def _write(path: Path, known: list[Canary]) -> None:
    write_json(path, {"canaries": [dataclasses.asdict(one) for one in known]})


def _change(space: Workspace, canary: Canary, **changes: Any) -> Canary:
    """The canary with these fields, written, unless it has ended or what is to be recorded stands there already."""
    with locks.brief(space.root / CANARY):
        known = canaries(space)
        if not known or known[-1].salt != canary.salt or known[-1].ended:
            return canary
        if "decided" in changes and known[-1].decided:
            return known[-1]
        known[-1] = dataclasses.replace(known[-1], **changes)
        _write(space.root / CANARY, known)
    return known[-1]


def end(space: Workspace, outcome: str) -> Canary:
    """End the present canary: all new chats go to the served model. ValueError where there is none."""
    canary = present(space)
    if canary is None:
        raise ValueError("canary: none is under way; start one: steersman canary start ROUND")
    return _change(space, canary, ended=iso(utc_now()), outcome=outcome)


def look(space: Workspace, store: Store) -> Standing | None:
    """The present canary, or the last one, as the votes say now; records a decision, and ends one that is overtaken."""
    known = canaries(space)
    if not known:
        return None
    canary, history = known[-1], space.history()
    current = history[-1]["identity"] if history else ""
    if not canary.ended and current != canary.served_identity:
        outcome = "promoted" if current == canary.identity else "overtaken"
        canary = _change(space, canary, ended=iso(utc_now()), outcome=outcome)
    found = dataclasses.replace(standing(canary, store), api=api_answers(space.root, canary))
    if not canary.ended and canary.decided is None and found.word != "undecided":
        decided = found.figures() | {"time": iso(utc_now())}
        found = dataclasses.replace(found, canary=_change(space, canary, decided=decided))
    return found


def count_api_answer(root: Path, canary: Canary, candidate: bool) -> None:
    """Count an answer through the API: a byte in a file, which several processes may write to at once."""
    path = _counted(root, canary, candidate)
    path.parent.mkdir(exist_ok=True)
    with open(path, "ab") as file:
        file.write(b".")


def api_answers(root: Path, canary: Canary) -> tuple[int, int]:
    """Answers through the API since it started, of the served model and of the candidate."""
    paths = [_counted(root, canary, candidate) for candidate in (False, True)]
    served, candidate = (path.stat().st_size if path.is_file() else 0 for path in paths)
    return served, candidate


def _counted(root: Path, canary: Canary, candidate: bool) -> Path:
    return root / COUNTS / f"{canary.salt}.{'candidate' if candidate else 'served'}"


def standing(canary: Canary, store: Store) -> Standing:
    """Votes of the chats begun since it started, and until it ended, that one of its two models answered."""
    models = {canary.served: 0, canary.version: 1}
    cast = [
        (models[vote.policy_version], vote.liked)
        for vote in store.votes(dt.datetime.fromisoformat(canary.started))
        if vote.policy_version in models and (not canary.ended or vote.created <= canary.ended)
    ]
    counted = Votes.of(cast)
    return Standing(canary, counted, *counted.interval(LEVEL))


def read_choice(text: str) -> tuple[int, str]:
    """(round, stage) of 'ROUND' or 'ROUND/STAGE'; the stage is '' where none is named."""
    found = re.fullmatch(r"0*([1-9][0-9]{0,5})(?:/(.+))?", text)
    if found is None:
        raise ValueError(f"canary {text!r}: expected a round's number, or one with a stage, such as 2 or 2/dpo")
    return int(found[1]), found[2] or ""


def check_unchanged(space: Workspace, canary: Canary) -> None:
    """ValueError where the candidate's model is another than the one that votes were cast for."""
    if identity(read_manifest(space.stage_dir(canary.stage, canary.round))) != canary.identity:
        raise ValueError(f"canary: {canary.version} was made anew since; stop the canary and start another")


def promote(space: Workspace, store: Store, force: bool = False) -> gate.Promotion:
    """Promote the candidate that the votes call better, and end the canary; `force`: whatever votes and report say.

    Votes settle a report's doubts ("no evidence"), not that it calls the model worse.
    """
    found = look(space, store)
    if found is None or found.canary.ended:
        raise ValueError("canary: none is under way; start one: steersman canary start ROUND")
    canary = found.canary
    word = (canary.decided or {"word": "undecided"})["word"]
    if word != "better" and not force:
        raise gate.Refused(f"canary: votes do not call {canary.version} better than {canary.served} ({word})", "force")
    check_unchanged(space, canary)
    made = gate.promote(space, canary.stage, canary.round, anyway=True, force=force)
    look(space, store)  # which sees that it was promoted
    return made
