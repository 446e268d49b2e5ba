"""What a person owns: told, taken along as a file, and deleted; by themselves, and by admins for others."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from steersman.locks import Busy
from steersman.rounds.leaving import Left, leave, look, space_at
from steersman.server import passwords
from steersman.server.audit import Us
from steersman.server.buckets import address_of
from steersman.server.context import Context, Ctx
from steersman.server.cookies import delete_cookie
from steersman.server.errors import ApiError
from steersman.server.people import Who
from steersman.server.request_text import Text
from steersman.server.team import Team

router = APIRouter(prefix="/api")
Feedback = Literal["keep", "delete"]
_ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}


class Leaving(BaseModel):
    model_config = ConfigDict(extra="forbid")

    password: Annotated[Text, Field(max_length=passwords.MOST)] = ""
    """The person's, where they have one."""
    feedback: Feedback = "keep"
    """`delete`: also what no round has learned."""


@router.get("/me/owned")
def what_is_mine(us: Us, ctx: Ctx, who: Who) -> dict[str, Any]:
    """How much of what one has, and which rounds learned of it."""
    return look(space_at(ctx.workspace), us.store, who.id).to_json()


@router.get("/me/export", response_class=FileResponse, responses=_ZIP)
def export_mine(us: Us, ctx: Ctx, who: Who) -> FileResponse:
    """Everything that one owns, as a ZIP."""
    return _exported(us, ctx.workspace, who.id, who.id)


@router.post("/me/leave")
async def leave_myself(us: Us, ctx: Ctx, who: Who, request: Request, body: Leaving) -> Response:
    """Delete oneself with all that one owns. 409 `feedback_not_learned` as for a chat."""
    if await run_in_threadpool(us.store.accounts.password, who.name) is not None:
        await us.sign_in(who.name, body.password, address_of(request.scope))
    left = await _leave(us, ctx, who.id, "", body.feedback)
    answer = JSONResponse(left.to_json())
    delete_cookie(request, answer)
    return answer


@router.get("/people/{id}/owned")
def what_is_theirs(us: Us, ctx: Ctx, id: str) -> dict[str, Any]:
    """How much of what a person has, and which rounds learned of it; no words."""
    return look(space_at(ctx.workspace), us.store, id).to_json()


@router.get("/people/{id}/export", response_class=FileResponse, responses=_ZIP)
def export_theirs(us: Us, ctx: Ctx, who: Who, id: str) -> FileResponse:
    """Everything that a person owns, as a ZIP to be handed to them; the audit log says that it was made."""
    return _exported(us, ctx.workspace, id, who.id)


@router.delete("/people/{id}")
async def delete_person(us: Us, ctx: Ctx, who: Who, id: str, feedback: Feedback = "keep") -> dict[str, Any]:
    """Delete a person with all that they own. 409 `feedback_not_learned` as for a chat."""
    if id == who.id:
        raise ApiError(400, "You leave by /api/me/leave; another admin can delete you", param="id")
    return (await _leave(us, ctx, id, who.id, feedback)).to_json()


def _exported(us: Team, workspace: Path | None, id_: str, by: str) -> FileResponse:
    us.store.accounts.user(id_)
    handle, name = tempfile.mkstemp(prefix="steersman-export-", suffix=".zip")
    os.close(handle)
    file = Path(name)
    try:
        us.store.owned.export(id_, file, workspace)
        us.store.audit.add(by, "exported", id_)
    except BaseException:
        file.unlink()
        raise
    shown = f"steersman-{dt.datetime.now(dt.UTC):%Y%m%d}.zip"
    return FileResponse(file, media_type="application/zip", filename=shown, background=BackgroundTask(file.unlink))


async def _leave(us: Team, ctx: Context, id_: str, by: str, feedback: Feedback) -> Left:
    def deleted() -> tuple[list[str], Left]:
        chats = [chat.id for chat in us.store.conversations((id_,))]
        try:
            left = leave(space_at(ctx.workspace), us.store, id_, anyway=feedback == "delete")
        except Busy as error:
            raise ApiError(409, f"{error}; try again then", code="busy") from None
        us.store.audit.add(by, "user deleted", "", **left.noted())
        us.door.forget()
        return chats, left

    chats, left = await run_in_threadpool(deleted)
    for chat in chats:
        ctx.answers.cancel(chat)
    return left
