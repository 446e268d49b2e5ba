"""How chats are kept: search, export as files, and links that share a chat inside the team."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from steersman.server.chat_export import branch, disposition, markdown, whole
from steersman.server.chat_schema import chat_json, message_json
from steersman.server.context import Ctx
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.server.request_text import Text
from steersman.store import ChatMessage
from steersman.store.kept_chats import QUERY, Hit, Share

router = APIRouter(prefix="/api")
TOKEN = 64


class Sharing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    last_id: Text
    """The last message that is shared; what is said afterwards is not."""


@router.get("/search")
def search(ctx: Ctx, who: Who, q: Annotated[Text, Query(max_length=QUERY)]) -> JSONResponse:
    """Chats that have all words of `q` in their title or in one message, with the place."""
    return JSONResponse([_hit_json(hit) for hit in ctx.store.shelf.search(q, who.owners)])


def _hit_json(hit: Hit) -> dict[str, Any]:
    pieces = [{"text": text, "hit": found} for text, found in hit.excerpt]
    return chat_json(hit.chat) | {"message_id": hit.message_id or None, "role": hit.role or None, "excerpt": pieces}


@router.get(
    "/conversations/{id}/export",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}, "application/json": {}}}},
)
def export(
    ctx: Ctx,
    id: str,
    form: Literal["markdown", "json"] = "markdown",
    last: Annotated[Text, Query(max_length=TOKEN)] | None = None,
    language: Literal["en", "zh"] | None = None,
) -> Response:
    """The chat as a file. Markdown is the branch down to the message `last`; JSON is every branch."""
    chat, messages = ctx.store.conversation(id), ctx.store.messages(id)
    if form == "json":
        headers = {"Content-Disposition": disposition(chat.title, "json")}
        return JSONResponse(whole(chat, messages), headers=headers)
    text = markdown(chat, _branch(messages, last), language or ctx.language)
    headers = {"Content-Disposition": disposition(chat.title, "md")}
    return Response(text, media_type="text/markdown; charset=utf-8", headers=headers)


def _branch(messages: list[ChatMessage], last: str | None) -> list[ChatMessage]:
    try:
        return branch(messages, last)
    except KeyError:
        raise ApiError(404, f"no message {last!r} in this conversation", param="last") from None


@router.get("/conversations/{id}/shares")
def shares(ctx: Ctx, id: str) -> list[dict[str, Any]]:
    return [_share_json(share) for share in ctx.store.shelf.shares(id)]


@router.post("/conversations/{id}/shares")
def share(ctx: Ctx, id: str, body: Sharing) -> dict[str, Any]:
    """A link to the chat down to one message, for whoever may use this server."""
    return _share_json(ctx.store.shelf.share(id, body.last_id))


@router.delete("/conversations/{id}/shares/{token}")
def unshare(ctx: Ctx, id: str, token: str) -> dict[str, Any]:
    ctx.store.shelf.unshare(id, token)
    return {"ok": True}


@router.get("/shared/{token}")
def shared(ctx: Ctx, token: str) -> JSONResponse:
    """What a link leads to, to be read only."""
    chat, link, messages = ctx.store.shelf.shared(token[:TOKEN])
    shown = [message_json(message) | {"feedback": None, "edited": message.edited} for message in messages]
    return JSONResponse({"title": chat.title, "shared": link.created, "messages": shown})


def _share_json(share: Share) -> dict[str, Any]:
    said = asdict(share)
    said.pop("conversation_id")
    return said | {"path": f"/shared/{share.token}"}
