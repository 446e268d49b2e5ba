"""Records made of several: columns of lists, Self-Instruct's instances, answers with a label each, OASST's trees."""

from __future__ import annotations

import itertools
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steersman.data.formats import exports
from steersman.data.formats.annotated import annotated
from steersman.data.formats.feedback import labels_of
from steersman.data.formats.fields import Fields, empty, plain, shown
from steersman.data.formats.markup import plain_text
from steersman.data.formats.sides import flagged
from steersman.data.formats.turn_lists import as_dialogue
from steersman.data.formats.turns import ROLES
from steersman.data.shelves import Numbers, Shelf

Record = Mapping[str, Any]
REPLY = "\0reply"
"""Key of rows that reply to each other, of which the first may be missing: whether names before it were left out."""
ROOT, LOST, AGAIN = -1, -2, -3
"""In place of a parent's place: it has none; it is missing; a later row has the same id."""


def expanded(record: Record, fields: Fields, kind: str | None = None) -> list[Record]:
    """The records inside one record, usually only itself. `kind`: how trees are converted."""
    tree = record.get("prompt")
    if isinstance(tree, Mapping) and isinstance(tree.get("replies"), list):
        return _tree(tree, str(record.get("message_tree_id", "")), kind, fields)
    instances = record.get("instances")
    if isinstance(instances, list) and instances and all(isinstance(i, Mapping) for i in instances):
        rest = {k: v for k, v in record.items() if k != "instances"}
        return [_numbered(rest | dict(one), i) for i, one in enumerate(instances)]
    if (exported := exports.as_turns(record, fields)) is not None:
        return [{**piece, exports.DESK: True} for piece in exports.parted(exported, fields)]
    if (found := annotated(record, fields)) is not None:
        return [_numbered(dict(one), i) for i, one in enumerate(found)]
    if (other := _scored(record, fields) or _nested(record) or as_dialogue(record, fields)) is not None:
        return [other]
    if (rows := _columns(record, fields)) is not None:
        return rows
    return _labelled(record, fields)


def _scored(record: Record, fields: Fields) -> Record | None:
    """ELI5's answers (an object with a list of texts and a list of scores) as a list of objects."""
    key = next((k for n in fields.names("answers") if (k := fields.keys.get(n)) and isinstance(record[k], Mapping)), "")
    lists = [record[key].get(name) for name in ("text", "score")] if key else []
    if not lists or not all(isinstance(v, list) and v for v in lists) or len(lists[0]) != len(lists[1]):
        return None
    return {**record, key: [{"text": t, "score": s} for t, s in zip(*lists, strict=True)]}


def _nested(record: Record) -> Record | None:
    """A record whose question and answer lie in nested objects: LangSmith's runs, OpenAI's compared summaries."""
    asked, said = record.get("inputs"), record.get("outputs")
    if isinstance(asked, Mapping) and isinstance(said, Mapping):
        return {k: v for k, v in record.items() if k not in ("inputs", "outputs")} | dict(asked) | dict(said)
    info, pair = record.get("info"), record.get("summaries")
    if not (isinstance(info, Mapping) and isinstance(pair, list) and len(pair) == 2 and "choice" in record):
        return None
    asked = info.get("post") or info.get("article")
    texts = {f"response_{i}": one.get("text") for i, one in enumerate(pair) if isinstance(one, Mapping)}
    return {"id": str(info.get("id") or ""), "prompt": asked, **texts, "better_response_id": record["choice"]}


def _numbered(record: dict[str, Any], i: int) -> dict[str, Any]:
    return record | ({"id": f"{record['id']}-{i + 1}"} if i and "id" in record else {})


def _columns(record: Record, fields: Fields) -> list[Record] | None:
    """Rows of a record whose question and answer are lists of one length, one item a row (TRL's examples)."""
    ask, answer = fields.find("question"), fields.find("answer")
    if ask is None or answer is None or not all(isinstance(record[k], list) for k in (ask, answer)):
        return None
    n = len(record[ask])
    lists = {k: v for k, v in record.items() if isinstance(v, list) and len(v) == n}
    whole = all(isinstance(v, str) for v in record[ask]) or all(isinstance(v, list) for v in record[ask])
    if n == 0 or not whole or answer not in lists:
        return None
    return [_numbered({**record, **{k: v[i] for k, v in lists.items()}}, i) for i in range(n)]


def _labelled(record: Record, fields: Fields) -> list[Record]:
    """One record per answer where each of several answers to one prompt has a label of its own."""
    key = labels_of(fields)
    answers = next(
        (k for n in fields.names("answers") if (k := fields.keys.get(n)) and isinstance(record[k], list)), None
    )
    if key is None or answers is None or len(record[answers]) != len(record[key]):
        return [record]
    if {plain(k) for k in (key, answers)} == {"labels", "completions"} and "answers" not in fields.mapping:
        raise ValueError(
            f"{key}: 'completions' with 'labels' are steps of one answer in TRL's form, which cannot be learned yet; "
            f"if they are answers by themselves: --map answers={answers},label={key}"
        )
    rest = {k: v for k, v in record.items() if k not in (key, answers)}
    pairs = zip(record[answers], record[key], strict=True)
    return [_numbered({**rest, "completion": text, "label": label}, i) for i, (text, label) in enumerate(pairs)]


def _tree(root: Mapping[str, Any], name: str, kind: str | None, fields: Fields) -> list[Record]:
    """An OASST tree as the path of its best answers, or for rankings one record per question with ranked answers."""
    if kind == "rankings":
        return list(_ranked(root, [], name))
    turns, node = [_tree_turn(root)], root
    while replies := _replies(node):
        node = replies[0]
        turns.append(_tree_turn(node))
    if REPLY in root:
        return [{"id": name, "messages": exports.answered(turns, fields.notes), exports.DESK: True}]
    if len(turns) > 1 and turns[-1]["role"] == "user":
        turns.pop()  # a question that nobody answered
    return [{"id": name, "messages": turns}]


def _ranked(node: Mapping[str, Any], before: list[dict[str, str]], name: str) -> list[Record]:
    turns = [*before, _tree_turn(node)]
    out: list[Record] = []
    replies = _replies(node)
    ranked = [r for r in replies if type(r.get("rank")) is int]
    if turns[-1]["role"] == "user" and len(ranked) > 1:
        texts, ranks = [r["text"] for r in ranked], [r["rank"] + 1 for r in ranked]
        out.append({"id": name, "prompt": turns, "answers": texts, "ranks": ranks})
    for reply in replies:
        out += _ranked(reply, turns, name)
    return out


def _replies(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Replies, the best ranked first; those without a rank last."""
    replies = [r for r in node.get("replies") or [] if isinstance(r, Mapping) and not r.get("deleted")]
    return sorted(replies, key=lambda r: r["rank"] if type(r.get("rank")) is int else 10**9)


def _tree_turn(node: Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(node.get("text"), str):
        raise ValueError(f"replies: expected a text in every message of the tree, got {shown(node.get('text'))}")
    role = "user" if node.get("role") in ("prompter", "user") else "assistant"
    return {"role": role, "content": node["text"]}


IDS = ("message_id", "tweet_id", "comment_id", "post_id", "msg_id", "id", "消息id")
PARENTS = (
    *("in_response_to_tweet_id", "in_reply_to", "in_response_to", "in_reply_to_id", "reply_to_id", "reply_to"),
    "回复id",
)
SAID = ("text", "body", "content", "message", "内容")
MENTIONS = re.compile(r"\A(?:@\w+\s+)+")
"""Pattern of whom a reply is to, before its words."""


def tree_row(value: Any) -> Record | None:
    """A row of a tree: a message of OASST's, or one that names the message it replies to and the side that spoke, in
    OASST's fields; None for other records."""
    if not isinstance(value, Mapping):
        return None
    if {"message_id", "parent_id", "text", "role"} <= value.keys():
        return value
    keys = {plain(str(key)): key for key in value}
    own, parent, said = (next((keys[n] for n in names if n in keys), None) for names in (IDS, PARENTS, SAID))
    if own is None or parent is None or said is None or not isinstance(value[said], str):
        return None
    told = (flagged(str(key), value[key]) for key in value)
    named = (ROLES.get(str(value[keys[n]]).casefold()) for n in ("role", "author_type", "sender_type") if n in keys)
    role = next((side for side in (*named, *told) if side in ("user", "assistant")), None)
    if role is None:
        return None
    text = MENTIONS.sub("", value[said])
    reply = {"message_id": str(value[own]), "role": role, "text": plain_text(text)}
    return reply | {"parent_id": None if empty(value[parent]) else str(value[parent]), REPLY: text != value[said]}


class Trees:
    """Rows of trees, in any order and on disk until all have come."""

    def __init__(self, notes: Counter[str]) -> None:
        self._notes, self._rows, self._places = notes, Shelf[tuple[int, Record]](), Numbers[str]()

    def add(self, line: int, row: Record) -> None:
        self._notes["names before a reply (@name) left out"] += bool(row.get(REPLY))
        self._places[str(row["message_id"])] = len(self._rows)
        self._rows.append((line, row))

    def gathered(self) -> Iterator[tuple[int, Record]]:
        """(line of the root, tree); replies without their parent are left out and counted."""
        parents = array("q", (self._parent(i, row) for i, (_, row) in enumerate(self._rows)))
        roots = array("q", (self._root(i, parents) for i in range(len(parents))))
        import numpy as np

        order = np.argsort(np.frombuffer(roots, np.int64), kind="stable").tolist()
        for root, places in itertools.groupby(order, key=roots.__getitem__):
            if root >= 0:
                yield self._tree(root, list(places), parents)
            for what, found in ((LOST, "whose parent is missing"), (AGAIN, "that come again")):
                if root == what:
                    self._notes[f"messages of trees {found} left out"] += sum(1 for _ in places)

    def _parent(self, place: int, row: Record) -> int:
        """The place of a row's parent, or one of ROOT, LOST and AGAIN."""
        if self._places[str(row["message_id"])] != place:
            return AGAIN
        if row["parent_id"] is None:
            return ROOT
        found = self._places.get(str(row["parent_id"]), LOST)
        self._notes["replies to a message that is not there, which begin a dialogue"] += found == LOST and REPLY in row
        return ROOT if found == LOST and REPLY in row else found

    def _root(self, place: int, parents: Sequence[int]) -> int:
        for _ in range(len(parents)):
            if parents[place] == ROOT:
                return place
            place = parents[place]
            if place < 0:
                return place
        return LOST

    def _tree(self, root: int, places: list[int], parents: Sequence[int]) -> tuple[int, Record]:
        rows = {place: self._rows[place] for place in places}
        nodes = {place: {**row, "replies": []} for place, (_, row) in rows.items()}
        for place in places:
            if place != root:
                nodes[parents[place]]["replies"].append(nodes[place])
        line, row = rows[root]
        if REPLY in row:
            beside = sum(max(0, len(node["replies"]) - 1) for node in nodes.values())
            self._notes["replies beside the first to the same message left out, with what follows them"] += beside
        return line, {"message_tree_id": row["message_id"], "prompt": nodes[root]}


def definition(value: Mapping[str, Any]) -> tuple[str, str]:
    """What an object says that all its records ask for, as Super-NaturalInstructions' tasks do, and in which field."""
    for name in ("Definition", "definition"):
        said = value.get(name)
        parts = said if isinstance(said, list) else [said]
        if parts and all(isinstance(part, str) and part.strip() for part in parts):
            return "\n".join(map(str, parts)), name
    return "", ""


def instance(told: str, item: dict[str, Any]) -> dict[str, Any]:
    """Several outputs of one are all right, not ordered as answers of a ranking are."""
    right = item.get("output")
    if isinstance(right, list) and right:
        item = {**item, "output": right[0], **({"also_right": right[1:]} if right[1:] else {})}
    return {"instruction": told, **item}
