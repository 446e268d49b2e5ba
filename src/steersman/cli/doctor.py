"""`steersman doctor`: what this machine can do, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group
from rich.text import Text

from steersman import installed, machine
from steersman.cli.framework import PROJECT, JsonOption, add, emit, open_workspace

if TYPE_CHECKING:
    from rich.console import RenderableType

    from steersman.chosen import Choice
    from steersman.config import ModelConfig
    from steersman.kernels.capabilities import Capabilities

HUBS = {
    "Hugging Face hub": "https://huggingface.co",
    "ModelScope": "https://modelscope.cn",
    "PyPI": "https://pypi.org/simple/pip/",
}
HUB_SECONDS = 3.0
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: 'error' stops Steersman from working, 'warn' makes it slower or narrower."""

    name: str
    level: Literal["ok", "warn", "error"]
    found: str
    advice: str = ""


def check_python() -> Check:
    found = platform.python_version()
    if tuple(map(int, found.split(".")[:2])) < (3, 11):
        return Check("python", "error", found, "install Python 3.11 or newer")
    return Check("python", "ok", found)


def check_packages() -> list[Check]:
    """Required packages: installed, and of a version that fits."""
    from packaging.requirements import Requirement

    out = []
    for text in importlib.metadata.requires(installed.distribution()) or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            out.append(Check(wanted.name, "error", "not installed", f"pip install '{wanted}'"))
            continue
        fits = wanted.specifier.contains(found, prereleases=True)
        out.append(
            Check(wanted.name, "ok", found) if fits else Check(wanted.name, "warn", found, f"pip install '{wanted}'")
        )
    return out


def check_memory() -> Check:
    """Memory that this process can use now."""
    free = machine.free_memory() / GIB
    if free < 4:
        return Check(
            "memory", "warn", f"{free:.1f} GiB free", "close programs: training 135M parameters takes about 4 GiB"
        )
    return Check("memory", "ok", f"{free:.1f} GiB free")


def check_disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free / GIB
    if free < 5:
        return Check(
            "disk", "warn", f"{free:.1f} GiB free at {folder}", "free some: a round of a 135M model takes about 3 GiB"
        )
    return Check("disk", "ok", f"{free:.1f} GiB free at {folder}")


def check_cpu() -> list[Check]:
    """Usable cores, and instructions that make bfloat16 fast."""
    cores, known = machine.cores(), machine.instructions()
    advice = "" if cores > 1 else "one core works, but slowly"
    out = [Check("cores", "ok" if cores > 1 else "warn", str(cores), advice)]
    if not known:
        return [*out, Check("cpu", "ok", machine.processor())]
    fast = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "bf16", "asimd") if flag in known]
    if {"amx_bf16", "avx512_bf16", "bf16"} & known:
        return [*out, Check("cpu", "ok", f"{machine.processor()}; bfloat16 in hardware ({', '.join(fast)})")]
    advice = "bfloat16 is emulated here; --set model.dtype=auto takes what was measured to be faster"
    found = f"{machine.processor()}; no bfloat16 instructions ({', '.join(fast) or 'plain'})"
    return [*out, Check("cpu", "warn", found, advice)]


def check_kernels(found: Capabilities) -> list[Check]:
    """Work that is computed by our kernels, and the reasons for the rest."""
    if found.off:
        advice = "install gcc, or clang with libomp (Debian: apt-get install gcc), for faster training and answers"
        return [Check("kernels", "warn" if found.fault else "ok", found.off, advice if found.fault else "")]
    has = [name for name, there in (("vector bfloat16", found.vectors), ("matrix tiles", found.tiles)) if there]
    said = f"compiled by {found.compiler}, {' and '.join(has) or 'no bfloat16 instructions'}"
    return [Check("kernels", "ok", said), *(Check(work, "ok", by) for work, by in found.work.items())]


def check_speed(choice: Choice, wanted: str) -> list[Check]:
    """What computes here and why, with figures of a small model; `wanted`: the workspace's dtype, or ''."""
    from steersman import chosen

    def told(way: str) -> str:
        return ", ".join(f"{work} {pace:.0f}" for work, pace in sorted(choice.paces[way].items(), reverse=True))

    ways = "; ".join(f"{way}: {told(way)}" for way in choice.paces)
    skipped = "" if chosen.PLAIN in choice.paces else f"; {chosen.PLAIN}: not measured, it is emulated"
    found = f"{choice.way} ({ways} tokens/s of a model of 3 layers{skipped})"
    out = [Check("fastest here", "ok", found)]
    if wanted and wanted != choice.dtype:
        usual = next((told(way) + " tokens/s" for way in choice.paces if chosen.WAYS[way][0] == wanted), "emulated")
        found = f"model.dtype is {wanted} ({usual}), {choice.dtype} is faster ({told(choice.way)})"
        out.append(Check("dtype", "warn", found, f"for a new round: --set model.dtype={choice.dtype}, or auto"))
    if choice.threads:
        out.append(Check("threads", "ok", f"{choice.threads}, as measured; OMP_NUM_THREADS sets another number"))
    return out


def check_gpu() -> Check:
    """The GPU that torch sees. A machine without GPU is fine."""
    try:
        import torch
    except Exception as error:
        if installed.distribution() == installed.SERVER and installed.version("torch") is None:
            return Check("torch", "ok", f"left out by {installed.SERVER}: answers come from serve.endpoint")
        return Check("torch", "error", f"cannot be imported: {error}", "install torch again: see the README")
    if not torch.cuda.is_available():
        return Check("gpu", "ok", f"none; torch {torch.__version__} computes on the CPU")
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Check("gpu", "ok", names)


def check_hub(name: str, url: str) -> Check:
    """Whether a place that models come from answers. Any HTTP answer counts."""
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "steersman-doctor"})
        with urllib.request.urlopen(request, timeout=HUB_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Check(name, "warn", f"not reachable ({reason})", "models must come from another place or a local folder")
    return Check(name, "ok", "reachable")


def check_hubs() -> list[Check]:
    places = dict(HUBS)
    if os.environ.get("HF_ENDPOINT"):
        places["Hugging Face hub"] = os.environ["HF_ENDPOINT"]
    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(check_hub, places.keys(), places.values()))


def render(checks: list[Check]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "found", "what to do", box=None, padding=(0, 2, 0, 0))
    colours = {"ok": "green", "warn": "yellow", "error": "red"}
    for check in checks:
        table.add_row(Text(check.level, colours[check.level]), Text(check.name), Text(check.found), Text(check.advice))
    return table


def check_model(name: str, data: Path | None) -> tuple[list[Check], RenderableType]:
    """(findings on the tokens that a model learns and those that end its answers, first record of `data` as it is
    trained).

    Raises ValueError where the model or the file cannot be read.
    """
    from steersman.config import ModelConfig
    from steersman.families.known import family_of
    from steersman.rounds.inputs import resolved
    from steersman.text.lesson import PROBE, examine, shown
    from steersman.weights.folders import check_folder, load_template, read_config

    folder = resolved(name)
    check_folder(folder)
    settings = _model_settings() or ModelConfig()
    config = read_config(folder, settings.trust_remote_code)
    template = load_template(folder, settings)
    record = PROBE
    if data is not None:
        from steersman.data.dataset import load_conversations

        record = load_conversations(data, "demonstrations")[0]
    lesson = examine(folder, template, record)
    checks = [Check(what, level, found, advice) for level, what, found, advice in lesson.found]
    return [Check("model", "ok", family_of(config).told(config)), *checks], shown(template, lesson)


def _kernels() -> Capabilities | None:
    """What the kernels can do here, after compiling them if needed (again, if that failed before); None without
    torch."""
    try:
        from steersman.kernels.capabilities import decide
    except ImportError:
        return None
    return decide(again=True)


def _choice() -> Choice | None:
    """The kernels and dtype chosen by a measurement made now; None on a GPU, or where measuring is switched off."""
    from steersman import waits

    try:
        import torch

        from steersman.train.pace import compare
    except ImportError:
        return None
    return None if waits.off() or torch.cuda.is_available() else compare()


def _model_settings() -> ModelConfig | None:
    """The section [model] of the workspace that we are in, if any."""
    try:
        return open_workspace(None).config.model
    except ValueError:
        return None


def doctor(
    model: Annotated[str, typer.Option("--model", help="Look at this model: a folder, a file or a name.")] = "",
    data: Annotated[
        Path | None, typer.Option("--data", help="With --model: demonstrations, whose first is shown as it is learned.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time what computes here: some 15 s, then kept by machine.")
    ] = True,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the network.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what this machine can do, what is missing and what to do about it.

    With --model: what that model would learn from a dialogue (in green) and where it stops. Exit code 1 where
    something is missing that Steersman cannot do without.
    """
    if model:
        checks, picture = check_model(model, data)
        broken = any(check.level == "error" for check in checks)
        told = {"ok": not broken, "checks": [asdict(check) for check in checks], "record": str(picture)}
        emit(as_json, told, Group(render(checks), Text(""), picture))
        if broken:
            raise typer.Exit(1)
        return
    checks = [check_python(), *check_packages(), *check_cpu(), check_memory(), check_disk(Path.cwd()), check_gpu()]
    kernels = _kernels()
    checks += [] if kernels is None else check_kernels(kernels)
    choice = _choice() if measure else None
    settings = _model_settings()
    checks += check_speed(choice, settings.dtype if settings else "") if choice else []
    checks += [] if offline else check_hubs()
    broken = any(check.level == "error" for check in checks)
    told = {"ok": not broken, "checks": [asdict(check) for check in checks]}
    emit(
        as_json, told | {"kernels": kernels and kernels.to_json(), "chosen": choice and asdict(choice)}, render(checks)
    )
    if broken:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    add(
        app,
        doctor,
        panel=PROJECT,
        examples=[
            "steersman doctor",
            "steersman doctor --offline --json",
            "steersman doctor --model smollm2-135m --data chats.jsonl",
        ],
        slow=True,
    )
