"""Images of chats: kept in the workspace with their question, deleted with it, and shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from steersman.artifact.media import Media
from steersman.parts import IMAGE_PATH, Image, Said
from steersman.rounds.forget import erase
from steersman.rounds.leaving import not_learned, space_at
from steersman.server.context import Context, Ctx
from steersman.server.errors import ApiError
from steersman.store import ChatMessage, NotFound, NotLearned
from steersman.types import Conversation

router = APIRouter(prefix="/api")
IMAGE_POLICY = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, max-age=31536000"}


def _media(ctx: Context) -> Media:
    if ctx.workspace is None:
        raise ApiError(400, "content: this server has no workspace to keep images in", param="content")
    return Media(ctx.workspace)


def kept(ctx: Context, said: Sequence[Said], add: Callable[[Sequence[Said]], ChatMessage]) -> ChatMessage:
    """Store a question's images, and the question by `add`: both or neither."""
    if not any(isinstance(part, Image) for part in said):
        return add(said)
    media = _media(ctx)
    with media.writing():
        return add([media.put(part) if isinstance(part, Image) else part for part in said])


def delete_chat(ctx: Context, id_: str, *, anyway: bool) -> None:
    """A chat, what rounds made of the feedback in it, and the images that nothing in the workspace has but it.

    NotLearned where feedback would be lost that no round has learned, unless `anyway` says that this is meant.
    """
    records, space = ctx.store.records(chat=id_), space_at(ctx.workspace)
    if not anyway and (lost := not_learned(space, ctx.store, records)):
        raise NotLearned(len(lost))
    if records and space is not None:
        try:
            erase(space, records)
        except ValueError as error:
            raise ApiError(409, f"{error}; delete the chat again then", code="busy") from None
    images = ctx.store.delete_conversation(id_)
    if images and ctx.workspace is not None:
        media = Media(ctx.workspace)
        with media.writing():
            media.drop_unused(ctx.store.without_named(images))


async def with_bytes(ctx: Context, prompt: Conversation) -> Conversation:
    """A dialogue with the bytes of its images, for an engine that sends them on."""
    if not any(message.images for message in prompt.messages):
        return prompt
    media = _media(ctx)

    def loaded() -> Conversation:
        return dataclasses.replace(
            prompt,
            messages=tuple(
                m.saying(media.loaded(part) if isinstance(part, Image) else part for part in m.said)
                for m in prompt.messages
            ),
        )

    try:
        return await run_in_threadpool(loaded)
    except ValueError:  # the error's text contains the file's path
        message = "An image of this dialogue is missing from the workspace, or damaged"
        raise ApiError(409, message, param="content", code="image_missing") from None


@router.get("/media/{folder}/{name}", response_class=FileResponse)
async def image(ctx: Ctx, folder: str, name: str) -> FileResponse:
    """An image of a chat, by the address that its message gives."""
    found = IMAGE_PATH.fullmatch(f"media/{folder}/{name}")
    path = ctx.workspace / found[0] if found and ctx.workspace is not None else None
    if path is None or not await run_in_threadpool(path.is_file):
        raise NotFound("no such image")
    kind = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}[path.suffix[1:]]
    return FileResponse(path, media_type=kind, headers=IMAGE_POLICY)
