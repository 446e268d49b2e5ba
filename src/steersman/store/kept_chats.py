"""How chats are kept: their settings, folders and pins, full-text search, and links that share them.

Search is by substrings, so that it finds words of languages without spaces, on every database.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, true
from sqlalchemy.orm import Session

from steersman.store import chats
from steersman.store.chat_records import Chat, ChatMessage
from steersman.store.database import Database
from steersman.store.refusals import NotFound, clean_text
from steersman.store.schema import ConversationRow, MessageRow, iso, utc_now
from steersman.store.schema_chat import ShareRow

FOLDER, SYSTEM = 100, 32_000
"""Most characters of a folder's name and of a system prompt."""
QUERY, WORDS, HITS = 200, 8, 50
"""Most characters and words of a query, and most chats found."""
_BEFORE, _AFTER = 40, 110
"""Characters of an excerpt around the first word found."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chat that a search found: by its title alone, or by the latest message with all words in it."""

    chat: Chat
    message_id: str
    role: str
    excerpt: tuple[tuple[str, bool], ...]
    """Pieces of the message, each with whether it was searched for."""


@dataclass(frozen=True, slots=True)
class Share:
    token: str
    conversation_id: str
    last_id: str
    created: str


class Shelf:
    """Queries of an open store, each one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def arrange(
        self,
        id: str,
        *,
        title: str | None = None,
        folder: str | None = None,
        pinned: bool | None = None,
        system_prompt: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Chat:
        """Change what is given of a chat. `settings` replaces all of them."""
        with self._db.write() as session:
            chat = chats.get(session, id)
            row = session.scalars(select(ConversationRow).where(ConversationRow.id == chat.id)).one()
            if title is not None:
                row.title = clean_text(title, "title", limit=200).strip()
            if folder is not None:
                row.folder = " ".join(clean_text(folder, "folder", limit=FOLDER, empty=True).split())
            if pinned is not None:
                row.pinned = pinned
            if system_prompt is not None:
                row.system_prompt = clean_text(system_prompt, "system_prompt", limit=SYSTEM, empty=True)
            if settings is not None:
                row.settings = dict(settings) or None
            session.flush()
            return chats.get(session, id)

    def search(self, query: str, owners: Collection[str] | None = None) -> list[Hit]:
        """The chats that have every word of the query in their title or in one message, the last used first.

        Of all chats, or of some users' ('': begun without accounts)."""
        words = clean_text(query, "q", limit=QUERY, empty=True).split()[:WORDS]
        if not words:
            return []
        mine = true() if owners is None else ConversationRow.owner.in_(owners)
        with self._db.read() as session:
            said = and_(*(_has(MessageRow.content, word) for word in words))
            latest = (
                select(MessageRow.conversation_id, func.max(MessageRow.seq).label("seq"))
                .where(said)
                .group_by(MessageRow.conversation_id)
                .subquery()
            )
            titled = and_(*(_has(ConversationRow.title, word) for word in words))
            found = session.execute(
                select(ConversationRow, MessageRow)
                .outerjoin(latest, latest.c.conversation_id == ConversationRow.id)
                .outerjoin(MessageRow, MessageRow.seq == latest.c.seq)
                .where(or_(titled, latest.c.seq.is_not(None)), mine)
                .order_by(ConversationRow.updated.desc(), ConversationRow.seq.desc())
                .limit(HITS)
            )
            return [_hit(session, chat, message, words) for chat, message in found]

    def share(self, id: str, last_id: str) -> Share:
        """A link to the chat down to `last_id`; the same one where there is one already."""
        with self._db.write() as session:
            if all(message.id != last_id for message in chats.messages(session, id)):
                raise NotFound(f"no message {last_id!r} in conversation {id!r}")
            there = select(ShareRow).where(ShareRow.conversation_id == id, ShareRow.last_id == last_id)
            row = session.scalar(there)
            if row is None:
                row = ShareRow(token=secrets.token_urlsafe(24), conversation_id=id, last_id=last_id, created=utc_now())
                session.add(row)
                session.flush()
            return _share(row)

    def shares(self, id: str) -> list[Share]:
        with self._db.read() as session:
            chats.get(session, id)
            rows = session.scalars(select(ShareRow).where(ShareRow.conversation_id == id).order_by(ShareRow.seq))
            return [_share(row) for row in rows]

    def unshare(self, id: str, token: str) -> None:
        """Take a link of this chat back. Raises NotFound."""
        with self._db.write() as session:
            mine = (ShareRow.conversation_id == id, ShareRow.token == token)
            if not session.execute(delete(ShareRow).where(*mine)).rowcount:  # type: ignore[attr-defined]
                raise NotFound("no such link")

    def shared(self, token: str) -> tuple[Chat, Share, list[ChatMessage]]:
        """The chat behind a link, with the messages down to the last shared one. Raises NotFound."""
        with self._db.read() as session:
            row = session.scalar(select(ShareRow).where(ShareRow.token == token))
            if row is None or not hmac.compare_digest(row.token.encode(), token.encode()):
                raise NotFound("no such link; it may have been taken back")
            nodes = {m.id: m for m in chats.messages(session, row.conversation_id)}
            path: list[ChatMessage] = []
            at: str | None = row.last_id
            while at is not None:
                path.append(nodes[at])
                at = nodes[at].parent_id
            return chats.get(session, row.conversation_id), _share(row), path[::-1]


def _has(column: Any, word: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = column.icontains(word, autoescape=True)
    return found


def _share(row: ShareRow) -> Share:
    return Share(row.token, row.conversation_id, row.last_id, iso(row.created))


def _hit(session: Session, chat: ConversationRow, message: MessageRow | None, words: Sequence[str]) -> Hit:
    of = chats.get(session, chat.id)
    if message is None:
        return Hit(of, "", "", ())
    return Hit(of, message.id, message.role, excerpt(message.content, words))


def excerpt(text: str, words: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """The text around the first word found, in pieces of which those that were searched for say so."""
    flat = " ".join(text.split())
    lower, small = flat.lower(), [word.lower() for word in words]
    if len(lower) != len(flat):  # a letter whose small form has another length: places would not agree
        lower = flat
    places = [at for at in (lower.find(word) for word in small) if at >= 0]
    first = min(places, default=0)
    start, end = max(0, first - _BEFORE), min(len(flat), first + _AFTER)
    pieces: list[tuple[str, bool]] = [("…", False)] if start else []
    at = start
    while at < end:
        ahead = [(lower.find(word, at, end), -len(word), word) for word in small]
        place, _, word = min((one for one in ahead if one[0] >= 0), default=(end, 0, ""))
        if place > at:
            pieces.append((flat[at:place], False))
        if word:
            pieces.append((flat[place : place + len(word)], True))
        at = place + len(word) if word else end
    return (*pieces, ("…", False)) if end < len(flat) else tuple(pieces)
