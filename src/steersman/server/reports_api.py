"""The report of a round, of two rounds and of a data set, in the reader's language.

An artifact has its report in the workspace's language; in the other it is drawn from the same measurements when
somebody asks, by another process, and kept beside it.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import FileResponse, HTMLResponse, Response

from steersman.artifact.names import REPORT
from steersman.artifact.workspace import Workspace
from steersman.eval.page_languages import SPOKEN, page_of
from steersman.rounds import versus
from steersman.rounds.data_sets import info_of
from steersman.rounds.other_process import ask
from steersman.server.context import Ctx
from steersman.server.errors import plain_page
from steersman.server.pages import REPORT_HEADERS
from steersman.server.rounds_api import MOST, Number, space_of

router = APIRouter(include_in_schema=False)
Language = Annotated[str, Query(max_length=10)]
Accepted = Annotated[str, Header(alias="Accept-Language", max_length=1000)]


@router.api_route("/report", methods=["GET", "HEAD"])
def report(ctx: Ctx, lang: Language = "", accept_language: Accepted = "") -> Response:
    """The report of the round that was open when the server began."""
    path, wanted = ctx.report(), _wanted(lang, accept_language, ctx.language)
    if path is None or not path.is_file():
        return _nothing(
            wanted, "The models have not been compared yet: steersman eval", "还没有比较过模型：steersman eval"
        )
    round_ = _round_of(path)
    if ctx.workspace is None or round_ is None:
        return _page(path)
    return _page(_in_language(space_of(ctx), path, wanted, ctx.language, "report", "--round", str(round_)))


@router.api_route("/reports/{number}", methods=["GET", "HEAD"])
def report_of(ctx: Ctx, number: Number, lang: Language = "", accept_language: Accepted = "") -> Response:
    """The report of any round."""
    space = space_of(ctx)
    path, wanted = space.stage_dir("report", number) / REPORT, _wanted(lang, accept_language, ctx.language)
    if not path.is_file():
        return _nothing(wanted, f"Round {number} has no report yet.", f"第 {number} 轮还没有报告。")
    return _page(_in_language(space, path, wanted, ctx.language, "report", "--round", str(number)))


@router.api_route("/reports/{first}/{second}", methods=["GET", "HEAD"])
def comparison(ctx: Ctx, first: Number, second: Number, accept_language: Accepted = "") -> Response:
    """What `compare` wrote on two rounds, in the workspace's language."""
    path = space_of(ctx).root / versus.FOLDER / f"round_{first}-round_{second}" / REPORT
    if path.is_file():
        return _page(path)
    told = f"Rounds {first} and {second} have not been compared.", f"第 {first} 轮和第 {second} 轮还没有比较过。"
    return _nothing(_wanted("", accept_language, ctx.language), *told)


@router.api_route("/datasets/{name}/report", methods=["GET", "HEAD"])
def data_report(ctx: Ctx, name: str, lang: Language = "", accept_language: Accepted = "") -> Response:
    """What is in a data set, with pictures, and what cleaning did."""
    space, language = space_of(ctx), _wanted(lang, accept_language, ctx.language)
    try:
        info = info_of(space, name)
    except ValueError:
        return _nothing(language, "There is no such data set.", "没有这个数据集。")
    path = info.path.with_name(f"{info.name}.report{'' if language == ctx.language else f'.{language}'}.html")
    cleaning = info.path.with_name(f"{info.name}.cleaning.json")
    newest = max(made.stat().st_mtime for made in (info.path, cleaning) if made.is_file())
    if not path.is_file() or path.stat().st_mtime < newest:
        try:
            path = Path(ask(space, "data", "report", info.name, "--language", language)["report"])
        except ValueError as error:
            return _nothing(language, str(error), str(error))
    return _page(path)


def _round_of(path: Path) -> int | None:
    name = path.parent.parent.name
    return int(name) if path.parent.name == "report" and name.isdigit() and int(name) < MOST else None


def _wanted(lang: str, accepted: str, usual: str) -> str:
    """The language asked for, else the first that the browser accepts and there is, else the workspace's."""
    asked = [lang, *(part.split(";")[0].strip() for part in accepted.split(","))]
    return next((short for one in asked if (short := one[:2].lower()) in SPOKEN), usual)


def _in_language(space: Workspace, path: Path, wanted: str, usual: str, *command: str) -> Path:
    """The page in that language, drawn now where it is not there; as it is where it cannot be drawn."""
    if wanted == usual:
        return path
    other = page_of(path, wanted)
    if not other.is_file():
        try:
            ask(space, *command, "--language", wanted)
        except ValueError:  # an evaluation of an earlier version, or a disk that cannot be written to
            return path
    return other if other.is_file() else path


def _page(path: Path) -> Response:
    return FileResponse(path, media_type="text/html", headers=REPORT_HEADERS)


def _nothing(language: str, english: str, chinese: str) -> Response:
    title, text = ("还没有报告", chinese) if language == "zh" else ("No report yet", english)
    return HTMLResponse(plain_page(title, f"<p>{html.escape(text)}</p>", language), 404)
