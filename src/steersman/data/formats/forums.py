"""Topics of forums and issues of trackers -> the form that `exports` reads: a ticket with `comments`.

Discourse's topics, issues of Redmine, GitLab and GitHub (`gh issue list --json`). Who began a topic is the customer;
the team is who the system says it is, else everybody who answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steersman.data.formats.fields import maps

Record = Mapping[str, Any]
TEAM = ("staff", "moderator", "admin", "accepted_answer")
"""Fields of Discourse's posts with yes where the team wrote them, or what solved the question."""
WHISPER, NORMAL = 4, 1
MEMBERS = ("OWNER", "MEMBER", "COLLABORATOR")
LATER = "\0later"
"""Field of a ticket: how many of its messages the file does not hold."""


def as_ticket(record: Record) -> Record | None:
    """The ticket in the usual form; None for records of other kinds."""
    return _discourse(record) or _tracked(record) or _github(record)


def _items(value: Any) -> list[Record]:
    value = value.get("nodes") if isinstance(value, Mapping) else value
    return maps(value)


def _of(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _discourse(record: Record) -> Record | None:
    posts = _items(_of(record.get("post_stream"), "posts"))
    if not posts or not all("cooked" in post or "raw" in post for post in posts):
        return None
    asked = posts[0].get("user_id", posts[0].get("username"))
    ids = _of(record.get("post_stream"), "stream")
    comments = []
    for post in posts:
        who = post.get("user_id", post.get("username"))
        told = post.get("post_type", NORMAL)
        side = "user" if who == asked else "assistant" if any(post.get(key) is True for key in TEAM) else "system"
        side = "note" if told == WHISPER else side if told == NORMAL else "system"
        text = post.get("cooked") or post.get("raw")
        comments.append({"body": text, "side": side, "created_at": post.get("created_at")})
    later = len(ids) - len(posts) if isinstance(ids, list) else 0
    return {"id": record.get("id"), "comments": comments, LATER: max(0, later)}


def _tracked(record: Record) -> Record | None:
    """An issue of Redmine or GitLab: entries with their writers, which may be private, or a system's."""
    author = record.get("author")
    entries = _items(record.get("journals")) if "created_on" in record else _items(record.get("notes"))
    if not isinstance(author, Mapping) or not any("user" in one or "system" in one for one in entries or ()):
        return None
    asked = author.get("id", author.get("name"))
    comments = []
    for entry in entries:
        user = entry.get("user", entry.get("author"))
        incoming = isinstance(user, Mapping) and user.get("id", user.get("name")) == asked
        private = any(entry.get(key) is True for key in ("private_notes", "internal", "confidential"))
        told = entry.get("system") is True or not isinstance(user, Mapping)
        side = "system" if told else "user" if incoming else "assistant"
        comments.append(
            {
                "body": entry.get("notes") or entry.get("body") or "",
                "side": "note" if private else side,
                "created_at": entry.get("created_on", entry.get("created_at")),
            }
        )
    return {
        "id": record.get("id"),
        "description": record.get("description") or record.get("subject") or record.get("title"),
        "comments": comments,
    }


def _github(record: Record) -> Record | None:
    author, comments = record.get("author"), _items(record.get("comments"))
    if not isinstance(author, Mapping) or "login" not in author or not comments or "body" not in record:
        return None
    if not all(isinstance(one.get("author"), Mapping) and "body" in one for one in comments):
        return None
    told = any(one.get("authorAssociation") in MEMBERS for one in comments)
    made = []
    for one in comments:
        who = one["author"].get("login")
        member = one.get("authorAssociation") in MEMBERS or not told
        side = "user" if who == author["login"] else "assistant" if member else "system"
        side = "system" if one["author"].get("is_bot") is True or one.get("isMinimized") is True else side
        made.append({"body": one["body"], "side": side, "created_at": one.get("createdAt")})
    return {
        "id": record.get("number", record.get("id")),
        "description": record["body"] or record.get("title"),
        "comments": made,
    }
