"""`steersman chat | serve`: talk to a model in the terminal, or in the browser and over the API."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steersman import progress
from steersman.artifact.names import REPORT
from steersman.artifact.workspace import STORE_VARIABLE, Workspace, renamed
from steersman.cli import serve_options as given
from steersman.cli import users
from steersman.cli.framework import PEOPLE, JsonOption, SetOption, WorkspaceOption, add, emit, open_workspace, say
from steersman.cli.serve_endpoint import endpoint_engine
from steersman.cli.serve_logs import set_up_logs, set_up_traces
from steersman.cli.serving_plan import serving_options
from steersman.cli.small_models import beside, made_of
from steersman.rounds import registry
from steersman.rounds.inputs import base_model, need, resolved
from steersman.terminal import safe
from steersman.types import Completion, Conversation, Message, SamplingParams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from steersman.engine.apart.process import Open
    from steersman.engine.protocol import Engine
    from steersman.server.encoders import Encoders
    from steersman.server.models import Following, Models
    from steersman.server.reach import Reach
    from steersman.server.workers import Worker

ModelChoice = Annotated[
    str,
    typer.Option(
        "--model",
        help=f"base, {', '.join(s.name for s in registry.models())}, or any model that model.base takes; default: the "
        "promoted one.",
    ),
]
WORKER = "STEERSMAN_WORKER"
"""The number of one of several web processes (`steersman.server.workers`)."""
DtypeChoice = Annotated[str, typer.Option("--dtype", help="bfloat16, float32, int8 or int4; default: serve.dtype.")]


def choose(space: Workspace, model: str) -> tuple[Path, str]:
    """(folder, version) of the model to talk to: the one named, else the promoted one, else the round's furthest."""
    if renamed(model) in [stage.name for stage in registry.models()]:
        return need(space, model), f"{space.round:03d}/{renamed(model)}"
    if model and model != "base":
        from steersman.weights.resolve import called

        return resolved(space.named(model)), called(space.named(model))
    if not model and (current := space.current()) is not None:
        if not (current / "config.json").is_file():
            raise ValueError(f"{current}: the promoted model is gone; promote another, or steersman rollback")
        entry = space.history()[-1]
        return current, f"{entry['round']:03d}/{entry['stage']}"
    if not model:
        for stage in sorted(registry.models(), key=lambda s: not s.improved):
            if space.has(stage.name):
                return space.stage_dir(stage.name), f"{space.round:03d}/{stage.name}"
    return base_model(space), "base"


def load(space: Workspace, model: str, dtype: str, opened: Open | None = None) -> Engine:
    if space.config.serve.endpoint and not model:
        return endpoint_engine(space, opened)
    if space.config.serve.endpoint:
        say(f"serve.endpoint is not asked: {model} was named by --model")
    return _loaded(space, *choose(space, model), dtype, opened)


def _loaded(space: Workspace, folder: Path, version: str, dtype: str, opened: Open | None = None) -> Engine:
    """The model's engine, by `opened`; else in this process, for the terminal."""
    from steersman.engine.apart.wire import Wanted

    options = serving_options(space.config, dtype) | {"version": version}

    def made() -> Engine:
        if opened is not None:
            most = max(space.config.serve.streams, 128)  # so that answers that were admitted do not wait for each other
            return opened(Wanted(str(folder), options | {"max_slots": most}, before), True)
        from steersman.engine.load import load_engine

        return load_engine(folder, say=say, **options)

    with progress.activity(f"loading {version}"):
        before = made_of(folder)
        engine = made()
        if made_of(folder) != before:  # made anew meanwhile: the reading may have mixed both versions
            before = made_of(folder)
            engine = made()
    if opened is not None and (room := getattr(engine, "room", None)) is not None:
        say(f"{version}: {room}")
    return engine


def chat(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelChoice = "",
    message: Annotated[str, typer.Option("--message", "-m", help="Ask this one thing, print the answer and end.")] = "",
    temperature: Annotated[float, typer.Option("--temperature", help="Default: serve.temperature.")] = -1.0,
    dtype: DtypeChoice = "",
) -> None:
    """Talk to the promoted model in the terminal."""
    space = open_workspace(workspace, settings)
    engine = load(space, model, dtype)
    serve_config = space.config.serve
    heat = serve_config.temperature if temperature < 0 else temperature
    params = SamplingParams(max_tokens=serve_config.max_tokens, temperature=heat)
    start = (Message("system", serve_config.system_prompt),) if serve_config.system_prompt else ()
    if message:
        answer = _answer(engine, (*start, Message("user", message)), params, show=not as_json)
        if as_json:
            emit(True, {"answer": answer.text, **answer.to_json()}, "")
        return
    if as_json:
        raise ValueError("chat --json: expected --message TEXT")
    progress.quiet()
    say(f"{engine.model_name} ({engine.policy_version}). An empty line starts over, Ctrl-D ends.")
    turns = start
    while True:
        print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            break
        if not line.strip():
            turns = start
            say("(new dialogue)")
            continue
        asked = (*turns, Message("user", line.strip()))
        try:
            answer = _answer(engine, asked, params, show=True)
        except ValueError as error:  # the dialogue has outgrown the context
            say(f"{error}; an empty line starts over")
            continue
        turns = (*asked, Message("assistant", answer.text))


def _answer(engine: Engine, turns: tuple[Message, ...], params: SamplingParams, show: bool) -> Completion:
    """Stream the answer to stdout. Ctrl-C stops it."""
    final: Completion | None = None
    for piece in engine.stream(Conversation("chat", turns), params):
        if isinstance(piece, Completion):
            final = piece
        elif show:
            print(safe(piece), end="", flush=True)
    if show:
        print()
    assert final is not None
    return final


def serve(
    workspace: WorkspaceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    model: ModelChoice = "",
    host: Annotated[str, typer.Option("--host", help="Default: serve.host.")] = "",
    port: Annotated[
        int | None,
        typer.Option("--port", help="Default: serve.port; the next free one where it is taken. 0: any free one."),
    ] = None,
    dtype: DtypeChoice = "",
    key: given.KeyOption = "",
    canary: given.CanaryOption = "",
    share: given.ShareOption = 0.1,
    also: given.AlsoOption = None,
    root_path: given.RootPathOption = "",
    log_json: given.LogJsonOption = False,
    auth: given.AuthOption = False,
    without_accounts: given.OpenOption = False,
    certfile: given.CertOption = "",
    keyfile: given.KeyfileOption = "",
    trusted_proxy: given.ProxyOption = "",
    endpoint: given.EndpointOption = "",
    endpoint_model: given.EndpointModelOption = "",
    workers: given.WorkersOption = 0,
    store: given.StoreOption = "",
) -> None:
    """Serve the chat page, the ranking page and the OpenAI-compatible API on this machine.

    Serves the promoted model, and after a promotion the new one, without dropping an answer; with --model that one.
    """
    if model and endpoint:
        wanted = "expected --endpoint-model for a model's name there, or no endpoint"
        raise ValueError(f"--model {model}: answers come from {endpoint}; {wanted}")
    if port is not None and not 0 <= port <= 65535:  # before a model is loaded
        raise ValueError(f"serve.port: expected a number from 0 to 65535, got {port}")
    if share != 0.1 and not canary:
        raise ValueError(f"--share {share:g}: expected --canary ROUND, the model that gets this share of new chats")
    told: dict[str, str | int] = {"root_path": root_path, "log_json": log_json, "workers": workers, "auth": auth}
    told |= {"without_accounts": without_accounts, "trusted_proxy": trusted_proxy, "certfile": certfile}
    told |= {"keyfile": keyfile, "endpoint": endpoint, "endpoint_model": endpoint_model}
    if store:  # workers, and stages that are started from the browser, have it from here
        os.environ[STORE_VARIABLE] = store
    space = open_workspace(workspace, [*(settings or []), *given.as_settings("serve", told)])
    if canary and WORKER not in os.environ:
        from steersman.rounds.canary import read_choice, start

        begun = start(space, *read_choice(canary), share)
        say(f"{begun.version} answers {100 * share:g} % of new chats: steersman canary status")
    run_server(
        space,
        model,
        host,
        port,
        lambda url: emit(as_json, {"url": url}, _where(url + space.config.serve.root_path)),
        dtype,
        key,
        also=also or (),
    )


def _where(url: str) -> str:
    return f"chat:   {url}\nrank:   {url}/rank\nrounds: {url}/rounds\nAPI:    {url}/v1   (Ctrl-C ends)"


def run_server(
    space: Workspace,
    model: str,
    host: str,
    port: int | None,
    on_ready: Callable[[str], None],
    dtype: str = "",
    key: str = "",
    also: Sequence[str] = (),
) -> None:
    """Load the models and serve until Ctrl-C: in this process, or by several that this one keeps alive."""
    from steersman.engine.apart.process import engines, opener
    from steersman.server.models import Following, Models
    from steersman.server.on_demand import OnDemand
    from steersman.server.reach import reach_of
    from steersman.server.workers import this_worker

    def ready(url: str) -> None:
        progress.quiet()
        on_ready(url)
        sys.stdout.flush()

    config = space.config.serve
    reach = reach_of(config, host or config.host)
    set_up_logs(config.log_json)
    place = (host or config.host, config.port if port is None else port)
    fixed = bool(model or config.endpoint)  # what is promoted changes nothing
    worker, history = this_worker(), [] if fixed else space.history()
    if worker is None and config.workers > 1:
        _serve_by_workers(space, model, dtype, place, reach, ready)
        return
    set_up_traces()
    with contextlib.ExitStack() as stack:
        if worker is not None and worker.link is not None:
            opened = opener(worker.link)
        else:
            opened = stack.enter_context(engines(config.engine_process))
        load_other = loader(space, dtype, opened)
        on_demand = OnDemand(space, load_other, config.on_demand)
        models = Models(load(space, model, dtype, opened), {name: load_other(name) for name in also}, on_demand)
        encoders = beside(space, opened, lambda name: models.find(name) is not None)
        served = history[-1]["identity"] if history else ""
        follow = functools.partial(Following, space, models=models, load=load_other, served=served, follow=not fixed)
        _serve(space, follow, models, encoders, place, reach, ready, key, worker)


def _serve_by_workers(
    space: Workspace, model: str, dtype: str, place: tuple[str, int], reach: Reach, ready: Callable[[str], None]
) -> None:
    from steersman.engine.apart.process import EngineProcess, opener
    from steersman.server.listening import listen, url_of
    from steersman.server.workers import run

    config = space.config.serve
    with contextlib.closing(listen(*place, reach)) as sock, contextlib.ExitStack() as stack:
        told: dict[str, str] = {}
        held: list[Engine] = []
        if config.engine_process:
            process = EngineProcess()
            stack.callback(process.stop)
            told = process.told()
            held.append(load(space, model, dtype, opener(process.link())))  # what cannot be loaded is said once, here

        def first() -> None:
            held.clear()  # the workers hold it now
            ready(url_of(sock, reach))

        run(config.workers, sock, told, config.grace_seconds, first)


def _serve(
    space: Workspace,
    follow: Callable[..., Following],
    models: Models,
    encoders: Encoders,
    place: tuple[str, int],
    reach: Reach,
    ready: Callable[[str], None],
    key: str,
    worker: Worker | None,
) -> None:
    from steersman.rounds.openers import openers
    from steersman.server.app import create_app
    from steersman.server.buckets import Buckets
    from steersman.server.generation import Generations
    from steersman.server.listening import serve as serve_app
    from steersman.server.mirrored import Mirror
    from steersman.store import Store

    def report() -> Path | None:
        path = space.stage_dir("report") / REPORT
        return path if path.is_file() else None

    config = space.config.serve
    buckets = Buckets(worker.counts if worker else None)
    with Store.open(space.store, space.config.rank.objective) as store:
        app = create_app(
            models,
            store,
            name=space.config.project.name,
            language="zh" if space.config.project.language == "zh" else "en",
            system_prompt=config.system_prompt,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            greeting=config.greeting,
            examples=lambda: openers(space),
            report=report,
            round=lambda: space.round,
            overlap=space.config.rank.overlap,
            workspace=space.root,
            team=users.team_of(space.config, store, reach, buckets),
            buckets=buckets,
            reach=reach,
            allowed_hosts=config.allowed_hosts,
            key=key or config.key,
            root_path=config.root_path,
            generations=Generations(most=config.streams),
            encoders=encoders,
        )
        with follow(store=store, promote=config.canary_promote).running():
            sock, link = (worker.sock, worker.link) if worker else (None, None)
            mirror = Mirror(link, app.state.context.answers) if link else None

            def begun(url: str) -> None:
                if mirror is not None:
                    mirror.start()
                ready(url)

            serve_app(app, *place, on_ready=begun, grace=config.grace_seconds, sock=sock)


def loader(space: Workspace, dtype: str, opened: Open) -> Callable[[str], Engine]:
    """The engine of the promoted model (''), of 'ROUND/STAGE', or of what else `--model` takes."""
    from steersman.rounds.canary import read_choice

    def made(which: str) -> Engine:
        if not re.fullmatch(r"\d+(/\w+)?", which):
            return load(space, which, dtype, opened)
        round_, stage = read_choice(which)
        there = dataclasses.replace(space, pinned=round_)
        return _loaded(there, need(there, stage), f"{round_:03d}/{stage}", dtype, opened)

    return made


def register(app: typer.Typer) -> None:
    chats = ["steersman chat", "steersman chat --model sft -m 'Where is my order?'"]
    add(app, chat, panel=PEOPLE, examples=chats, slow=True)
    serving = [
        "steersman serve",
        "steersman serve --dtype int8 --port 9000",
        "steersman serve --canary 2 --share 0.1",
        "steersman serve --endpoint http://127.0.0.1:8080/v1",
    ]
    add(app, serve, panel=PEOPLE, examples=serving, slow=True)
