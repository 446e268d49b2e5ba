"""Chats and feedback on answers: queries on an open session."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, delete, func, or_, select, true
from sqlalchemy.orm import Session

from steersman.data.clean import bare
from steersman.parts import Citation, Image, Said, Text, text_of
from steersman.store.chat_records import Chat, ChatMessage
from steersman.store.refusals import NotFound, Outdated, clean_text, expect
from steersman.store.said import column, images_of, read, without_named
from steersman.store.schema import ConversationRow, FeedbackRow, MessageRow, TaskRow, iso, utc_now
from steersman.store.standing import corrected, edit_holds, judged_text, standing
from steersman.types import FEEDBACK_KINDS, Completion, Conversation, Feedback, FeedbackKind, Message

TITLE_LIMIT = 60
"""Characters of the first user message that become a chat's title."""
_PAGE = 200

Reaction = Literal["like", "dislike", "edit", "regenerate", "flag", "clear", "withdraw"]


def new_id() -> str:
    return uuid.uuid4().hex


def _title(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= TITLE_LIMIT else words[: TITLE_LIMIT - 1].rstrip() + "…"


def _chat_row(session: Session, id_: str) -> ConversationRow:
    row = session.scalar(select(ConversationRow).where(ConversationRow.id == id_))
    if row is None:
        raise NotFound(f"no conversation {id_!r}")
    return row


def _message_row(session: Session, id_: str) -> MessageRow:
    row = session.scalar(select(MessageRow).where(MessageRow.id == id_))
    if row is None:
        raise NotFound(f"no message {id_!r}")
    return row


def _to_chat(row: ConversationRow) -> Chat:
    times = iso(row.created), iso(row.updated)
    return Chat(row.id, row.title, row.system_prompt, *times, row.settings or {}, row.folder, row.pinned)


def _said(session: Session, *about: ColumnElement[bool]) -> Mapping[str, list[FeedbackRow]]:
    """All feedback, in order, on each message that meets the conditions."""
    out: dict[str, list[FeedbackRow]] = defaultdict(list)
    chosen = FeedbackRow.message_id.in_(select(MessageRow.id).where(*about))
    for row in session.scalars(select(FeedbackRow).where(chosen).order_by(FeedbackRow.seq)):
        out[row.message_id].append(row)
    return out


def _to_messages(session: Session, rows: Sequence[MessageRow]) -> list[ChatMessage]:
    said = _said(session, MessageRow.id.in_([row.id for row in rows]))
    return [_to_message(row, said[row.id]) for row in rows]


def _to_message(row: MessageRow, said: Sequence[FeedbackRow]) -> ChatMessage:
    now = standing(row.content, said)
    return ChatMessage(
        row.id,
        row.conversation_id,
        row.parent_id,
        "user" if row.role == "user" else "assistant",
        row.content,
        row.policy_version,
        row.finish_reason,
        row.sampling,
        row.tokens,
        iso(row.created),
        now.liked,
        now.edited,
        now.comment,
        now.edited is not None and now.judged == now.edited,
        read(row) if row.parts is not None else (),
    )


def create(session: Session, title: str, system_prompt: str, owner: str = "") -> Chat:
    clean_text(title, "title", limit=200, empty=True)
    clean_text(system_prompt, "system_prompt", empty=True)
    time = utc_now()
    text = {"title": title.strip(), "system_prompt": system_prompt}
    row = ConversationRow(id=new_id(), created=time, updated=time, owner=owner, **text)
    session.add(row)
    return _to_chat(row)


def list_chats(session: Session, owners: Collection[str] | None) -> list[Chat]:
    order = (ConversationRow.updated.desc(), ConversationRow.seq.desc())
    mine = true() if owners is None else ConversationRow.owner.in_(owners)
    return [_to_chat(row) for row in session.scalars(select(ConversationRow).where(mine).order_by(*order))]


def get(session: Session, id_: str) -> Chat:
    return _to_chat(_chat_row(session, id_))


def remove(session: Session, id_: str) -> list[Image]:
    """Delete a chat with all its messages and feedback. Returns images that nothing in the store names any more."""
    images = images_of(session, _chat_row(session, id_).id)
    session.execute(delete(TaskRow).where(TaskRow.conversation_id == id_))
    session.execute(delete(ConversationRow).where(ConversationRow.id == id_))
    return without_named(session, images)


def messages(session: Session, conversation_id: str) -> list[ChatMessage]:
    """Every node of the tree in the order of creation."""
    _chat_row(session, conversation_id)
    query = select(MessageRow).where(MessageRow.conversation_id == conversation_id).order_by(MessageRow.seq)
    return _to_messages(session, list(session.scalars(query)))


def message(session: Session, id_: str) -> ChatMessage:
    return _to_messages(session, [_message_row(session, id_)])[0]


def _parent(session: Session, chat: ConversationRow, parent_id: str | None, role: str) -> None:
    """The parent message; a question must follow an answer or nothing, an answer a question."""
    if parent_id is None:
        expect(role == "user", "parent_id: an answer needs the question that it answers")
        return
    parent = _message_row(session, parent_id)
    expect(parent.conversation_id == chat.id, f"parent_id: message {parent_id!r} belongs to another conversation")
    wanted = "assistant" if role == "user" else "user"
    expect(parent.role == wanted, f"parent_id: expected a message of the {wanted}, got one of the {parent.role}")


def check_parent(session: Session, conversation_id: str, parent_id: str | None) -> None:
    _parent(session, _chat_row(session, conversation_id), parent_id, "user")


def add_question(
    session: Session, conversation_id: str, content: str | Sequence[Said], parent_id: str | None, known: int | None
) -> ChatMessage:
    chat = _chat_row(session, conversation_id)
    said = (Text(content),) if isinstance(content, str) else tuple(content)
    content = clean_text(text_of(said), "content", empty=any(isinstance(part, Image) for part in said))
    _parent(session, chat, parent_id, "user")
    if known is not None:
        there = (MessageRow.conversation_id == chat.id, MessageRow.parent_id == parent_id)
        asked = session.scalar(select(func.count()).where(*there)) or 0
        if asked != known:
            raise Outdated(f"known: this chat has {asked} questions there and not {known}; it went on elsewhere")
    row = MessageRow(
        id=new_id(),
        conversation_id=chat.id,
        parent_id=parent_id,
        role="user",
        content=content,
        policy_version="",
        created=utc_now(),
        parts=column(said),
    )
    session.add(row)
    session.flush()
    chat.updated = row.created
    chat.title = chat.title or _title(content)
    return _to_messages(session, [row])[0]


def add_answer(
    session: Session,
    parent_id: str,
    completion: Completion,
    sampling: Mapping[str, Any],
    id_: str | None,
    citations: Sequence[Citation] = (),
) -> ChatMessage:
    question = _message_row(session, parent_id)
    chat = _chat_row(session, question.conversation_id)
    row = _part_row(session, question, id_ or new_id())
    row.content = clean_text(completion.text, "answer", empty=True)
    row.parts = column((Text(row.content), *citations))
    row.policy_version, row.finish_reason = completion.policy_version, completion.finish_reason
    row.sampling, row.tokens = dict(sampling), completion.tokens
    session.flush()
    chat.updated = utc_now()
    return _to_messages(session, [row])[0]


def keep_part(session: Session, id_: str, parent_id: str, text: str, version: str, sampling: Mapping[str, Any]) -> None:
    """Store an answer's text so far, unless the whole is stored already."""
    row = _part_row(session, _message_row(session, parent_id), id_)
    if row.finish_reason is None:
        row.content, row.policy_version = clean_text(text, "answer", empty=True), version
        row.sampling = dict(sampling)


def _part_row(session: Session, question: MessageRow, id_: str) -> MessageRow:
    """The row of an answer, created if missing."""
    row = session.scalar(select(MessageRow).where(MessageRow.id == id_))
    if row is None:
        _parent(session, _chat_row(session, question.conversation_id), question.id, "assistant")
        row = MessageRow(
            id=id_,
            conversation_id=question.conversation_id,
            parent_id=question.id,
            role="assistant",
            content="",
            policy_version="",
            created=utc_now(),
        )
        session.add(row)
    return row


def _upwards(nodes: Mapping[str, MessageRow], id_: str | None) -> list[MessageRow]:
    """The nodes from the root down to `id_`."""
    path: list[MessageRow] = []
    while id_ is not None:
        path.append(nodes[id_])
        id_ = nodes[id_].parent_id
    return path[::-1]


def _conversation(
    chat: ConversationRow, path: Sequence[MessageRow], said: Mapping[str, Sequence[FeedbackRow]], *, marked: bool
) -> Conversation:
    """The dialogue with present edits; `marked`: answers without approval get `learn=False`."""

    def turn(row: MessageRow) -> Message:
        if row.role == "user":
            return Message("user", read(row))
        now = standing(row.content, said[row.id])
        words = row.content if now.edited is None else corrected(now.edited, row.content)[0] or now.edited
        parts = read(row) if words == row.content else [Text(words)]
        return Message("assistant", parts, learn=now.learn or not marked)

    system = [Message("system", chat.system_prompt)] if chat.system_prompt else []
    return Conversation(path[-1].id if path else chat.id, (*system, *map(turn, path)))


def dialogue(session: Session, conversation_id: str, last_id: str | None) -> Conversation:
    """The dialogue from the chat's system prompt down to message `last_id`; alternatives are left out."""
    chat = _chat_row(session, conversation_id)
    query = select(MessageRow).where(MessageRow.conversation_id == chat.id)
    nodes = {row.id: row for row in session.scalars(query)}
    if last_id is not None and last_id not in nodes:
        raise NotFound(f"no message {last_id!r} in conversation {conversation_id!r}")
    path = _upwards(nodes, last_id)
    return _conversation(chat, path, _said(session, MessageRow.conversation_id == chat.id), marked=False)


def add_feedback(
    session: Session, message_id: str, kind: Reaction, edited: str | None, comment: str, user: str
) -> ChatMessage:
    """Append one reaction and return the message as it stands after it."""
    row = _message_row(session, message_id)
    expect(row.role == "assistant", "feedback: expected an answer's id, got that of a user's message")
    expect(
        kind in (*FEEDBACK_KINDS, "clear", "withdraw"),
        f"kind: expected one of {', '.join(FEEDBACK_KINDS)}, clear, withdraw, got {kind!r}",
    )
    if kind == "edit":
        written = bare(clean_text(edited, "edited"), Counter())
        expect(bool(written), "edited: expected words beside special tokens")
        expect(written != bare(row.content, Counter()), "edited: expected another text than the answer itself")
    else:
        expect(edited is None, f"edited: expected nothing with kind {kind!r}")
    if kind == "withdraw":
        now = standing(row.content, _said(session, MessageRow.id == message_id)[message_id])
        expect(now.edited is not None, "kind: expected an answer that somebody improved, to withdraw that")
    session.add(
        FeedbackRow(
            message_id=message_id,
            kind=kind,
            edited=edited,
            comment=clean_text(comment, "comment", limit=10_000, empty=True),
            user=clean_text(user, "user", limit=100, empty=True),
            created=utc_now(),
        )
    )
    session.flush()
    return _to_messages(session, [row])[0]


def check_kinds(kinds: Collection[str] | None) -> tuple[str, ...]:
    if kinds is None:
        return FEEDBACK_KINDS
    for kind in kinds:
        expect(kind in FEEDBACK_KINDS, f"kinds: expected some of {', '.join(FEEDBACK_KINDS)}, got {kind!r}")
    return tuple(kinds)


def feedback_page(session: Session, kinds: Sequence[str], after: int) -> tuple[list[Feedback], int | None]:
    """A page of feedback in order, and the next page's start (None at the end).

    Per user and answer the last like or dislike counts, the last edit and the last flag; every regeneration counts.
    Withdrawn feedback does not.
    """
    slot = case((FeedbackRow.kind == "edit", 1), (FeedbackRow.kind == "flag", 2), else_=0)
    repeated = FeedbackRow.kind.not_in(("regenerate", "withdraw"))
    latest = select(func.max(FeedbackRow.seq)).where(repeated).group_by(FeedbackRow.message_id, FeedbackRow.user, slot)
    query = (
        select(FeedbackRow)
        .where(FeedbackRow.seq > after, FeedbackRow.kind.in_(kinds))
        .where(or_(FeedbackRow.kind == "regenerate", FeedbackRow.seq.in_(latest)))
        .order_by(FeedbackRow.seq)
        .limit(_PAGE)
    )
    rows = list(session.scalars(query))
    if not rows:
        return [], None
    about = select(MessageRow.conversation_id).where(MessageRow.id.in_({r.message_id for r in rows})).distinct()
    chats = {c.id: c for c in session.scalars(select(ConversationRow).where(ConversationRow.id.in_(about)))}
    nodes = {m.id: m for m in session.scalars(select(MessageRow).where(MessageRow.conversation_id.in_(chats)))}
    said = _said(session, MessageRow.conversation_id.in_(chats))
    out = []
    for row in rows:
        answer = nodes[row.message_id]
        text = _answer_meant(row, answer, said[answer.id])
        if text is not None:
            # Turns that did not fit were not in the prompt, so they are no context for training either.
            asked = _upwards(nodes, answer.parent_id)[_to_message(answer, ()).left_out :]
            prompt = _conversation(chats[answer.conversation_id], asked, said, marked=True)
            out.append(_to_feedback(row, answer, text, prompt))
    return out, rows[-1].seq


def _answer_meant(row: FeedbackRow, answer: MessageRow, said: Sequence[FeedbackRow]) -> str | None:
    """The text of the answer that this feedback is about; None where the feedback no longer counts."""
    if row.kind in ("like", "dislike"):
        return judged_text(answer.content, said, row)
    return answer.content if row.kind != "edit" or edit_holds(answer.content, said, row) else None


def _to_feedback(row: FeedbackRow, answer: MessageRow, text: str, prompt: Conversation) -> Feedback:
    kind: FeedbackKind = row.kind  # type: ignore[assignment]  # the query admits no other
    return Feedback(
        f"{row.message_id}-{row.seq}",
        kind,
        prompt,
        text,
        row.edited,
        row.comment,
        answer.policy_version,
        row.user,
        iso(row.created),
    )
