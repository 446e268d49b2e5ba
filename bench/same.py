"""Do two commits make the same artifacts, and does the newer one open the older one's workspaces?

    python bench/same.py OLD [NEW]              every stage by both; exit code 1 if a number differs
    python bench/same.py --workspace OLD DIR    a workspace made by OLD, left in DIR; then used by the working tree

NEW is the working tree unless it is named. Tiny random models, generated data, one thread, float32 and bfloat16, with
and without kernels. Only the command line, settings as OLD writes them and files are relied on: modules, sections and
the names in RENAMED may be others in NEW.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import say, table
from same_scenes import LEARNED, SCENES, make_models
from same_trees import Tree, complete, post, run_scene, serving, settings

RENAMED = {"policy": "ppo"}
"""Artifacts that are called otherwise by newer commits; all are compared by the newer name."""
IGNORED = re.compile(
    r"id|(prompt|task|message|conversation|parent)_id|created|time|tok_s|.*seconds.*|.*_per_second"
    r"|files|inputs|config|code_version|source.*|identity|path|sha256|token|bytes"
)
"""Fields that hold identities, times, what a manifest says of its making, or how a token is named (decision 35)."""
ADDED = (
    *("value_loss_before", "policy_moved", "critic_moved", "eval_gain", "eval_gain_low", "eval_validator"),
    *("validator", "kept", "gain", "judge", "confidence", "changed", "cautions", "kl"),
)
"""Fields that newer commits write besides: compared where both have them."""
WORDED = ("text", "notes", "cautions", "warnings")
"""Fields of reports and manifests that hold sentences: their numbers are compared, their words may change."""


def plain(value: Any, worded: tuple[str, ...] = (), words: bool = True) -> Any:
    """JSON without what is IGNORED, artifacts by their newer name; of sentences (fields `worded`) their numbers."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not IGNORED.fullmatch(k)}
        return {RENAMED.get(k, k): plain(v, worded, words and k not in worded) for k, v in kept.items()}
    if isinstance(value, list):
        items = [plain(item, worded, words) for item in value]
        return items if words else [item for item in items if item]
    if isinstance(value, str):
        value = value.rstrip("\ufffd")  # bytes that are no whole character, which later commits leave out at the end
        return "/".join(RENAMED.get(p, p) for p in value.split("/")) if words else re.findall(r"\d[\d.]*", value)
    return value


def content(path: Path) -> Any:
    """What is compared of a file."""
    if path.suffix == ".safetensors":
        import torch
        from safetensors.torch import load_file

        def told(tensor: Any) -> str:
            data = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            return f"{tensor.dtype} {[*tensor.shape]} {hashlib.sha256(data).hexdigest()}"

        return {name: told(tensor) for name, tensor in load_file(path).items()}
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        return [plain(json.loads(line)) for line in text.splitlines()]
    return plain(json.loads(text), WORDED) if path.suffix == ".json" else text


def difference(old: Any, new: Any, at: str) -> str | None:
    """The first place where they differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new} - {key for key in ADDED if key not in old})
        pairs = [(f"{at} {key}", old.get(key, "(none)"), new.get(key, "(none)")) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{at}[{i}]", *both) for i, both in enumerate(zip(old, new, strict=True))]
    else:
        return None if json.dumps(old) == json.dumps(new) else f"{at}: {str(old)[-70:]} / {str(new)[-70:]}"
    return next((found for where, a, b in pairs if (found := difference(a, b, where))), None)


def artifacts(space: Path) -> dict[str, dict[str, Path]]:
    """Artifact by its newer name -> its files."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(space.rglob("*")):
        relative = path.relative_to(space)
        parts = [RENAMED.get(part, part) for part in (*relative.parent.parts, relative.stem)]
        hidden = parts[0] == "promoted" or any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and path.suffix in (".json", ".jsonl", ".safetensors", ".jinja"):
            depth = {"rounds": 3, "out": 2}.get(parts[0], 1)
            name = "/".join(parts[depth:]) or parts[-1]
            found.setdefault("/".join(parts[:depth]), {})[name + path.suffix] = path
    return found


def compared(old: Path, new: Path) -> dict[str, str]:
    """Artifact -> 'same (N files)' or where it differs first."""
    a, b = artifacts(old), artifacts(new)
    result = {}
    for name in {**a, **b}:
        before, after = a.get(name, {}), b.get(name, {})
        found = difference([*sorted(before)], [*sorted(after)], "files")
        for file in before if not found else ():
            found = found or difference(content(before[file]), content(after[file]), file)
        result[name] = found or f"same ({len(before)} files)"
    return result


def run_both(trees: Sequence[Tree], temporary: Path, scene: str, kernels: str) -> dict[str, str]:
    """`compared` after a scene was run by both at once; a command that failed stands among what differs."""
    toml, began = settings(trees[0], temporary, SCENES[scene]), time.monotonic()
    spaces = [temporary / side / kernels / scene / "w" for side in ("old", "new")]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(run_scene, tree, space, toml, SCENES[scene].commands, kernels)
            for tree, space in zip(trees, spaces, strict=True)
        ]
    failed = {f"run by {t.name}": str(e) for t, job in zip(trees, jobs, strict=True) if (e := job.exception())}
    say(f"{scene}, kernels {kernels}: {time.monotonic() - began:.0f} s")
    return compared(*spaces) | failed


def compare(trees: Sequence[Tree], temporary: Path, scenes: Sequence[str]) -> bool:
    rows, good = [], True
    for scene in scenes:
        found = {kernels: run_both(trees, temporary, scene, kernels) for kernels in ("on", "off")}
        for name in found["on"] | found["off"]:
            cells = [found[kernels].get(name, "missing") for kernels in ("on", "off")]
            good = good and all(cell.startswith("same") for cell in cells)
            rows.append([scene, name, *(cell.replace("|", "/").replace("\n", " ") for cell in cells)])
    print(table(["scene", "artifact", "with kernels", "without"], rows))
    return good


def make_workspace(old: Tree, temporary: Path, space: Path) -> Path:
    """All stages, a promoted round, chats, and an unfinished PPO in round 2; a copy in which that one was finished."""
    toml = settings(old, temporary, SCENES["plain"])
    toml = re.sub("(?m)^base = .*", f'base = "{space / "base"}"', toml)  # it goes with the workspace
    toml = re.sub("(?m)^iterations = .*", "iterations = 40", toml)  # long enough to be interrupted
    toml = re.sub("(?m)^save_seconds = .*", "save_seconds = 0", toml)  # older commits save nothing when they are ended
    policies = [f"{verb} -s ppo.iterations=2" for verb in ("ppo", "grpo", "rloo")]
    rest = ("dpo", "kto", "eval", "promote --force", "TALK", "next", *LEARNED[:2], "rank --labeler bob --limit 2")
    shutil.copytree(temporary / SCENES["plain"].family, temporary / "base")
    run_scene(old, space, toml, ())
    shutil.move(temporary / "base", space / "base")
    run_scene(old, space, toml, (*LEARNED[:-1], *policies, *rest, *LEARNED[2:-1]))
    whole = shutil.copytree(space, temporary / "whole", copy_function=shutil.copy2)
    old.run(whole, "ppo")
    pid, log = old.start(space, "ppo")
    rows, deadline = 0, time.monotonic() + 120
    while rows < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
        logged = space.glob("rounds/002/*.partial/metrics.jsonl")
        rows = sum(len(path.read_text("utf-8").splitlines()) for path in logged)
        rows = rows if [*space.glob("rounds/002/*.partial/.resume-*")] else 0
    os.kill(pid, signal.SIGTERM)  # Ctrl-C is ignored in the background of a script
    code, points = old.ask({"wait": pid}), [*space.glob("rounds/002/*.partial/.resume-*")]
    say(f"interrupted PPO after {rows} of 40 iterations: exit code {code}, {len(points)} resume point(s)")
    if code == 0 or not points:
        raise SystemExit(f"no unfinished stage was left: {Path(f'{log}.err').read_text('utf-8')}")
    return whole


def use_workspace(old: Tree, new: Tree, temporary: Path, made: Path) -> bool:
    """Whether `new` opens a workspace of `old`: each check is made, whatever became of those before."""
    whole = make_workspace(old, temporary, made)
    space = shutil.copytree(made, temporary / "used", copy_function=shutil.copy2)

    def status() -> None:
        stages = {s["stage"]: s["state"] for s in json.loads(new.run(space, "status --json"))["stages"]}
        if any(stages.get(name) != "ready" for name in ("sft", "samples", "rankings", "reward")):
            raise ValueError(f"expected all before PPO to be ready, got {stages}")

    def resume() -> None:
        try:
            new.run(space, "ppo")
        except SystemExit as refused:  # settings that came since are named, with what runs did before
            before = re.findall(r"(ppo\.\w+) was ([^\s,]+), now", str(refused))
            say(f"goes on with {', '.join(map('='.join, before)) or 'nothing'}")
            new.run(space, "ppo", *(word for pair in before for word in ("-s", "=".join(pair))))
        name = "rounds/002/ppo"
        ours, theirs = (artifacts(folder)[name] for folder in (space, whole))
        for file in theirs:
            if found := difference(content(theirs[file]), content(ours[file]), file):
                raise ValueError(found)

    def promote() -> None:
        for line in ("eval", "promote --force"):
            new.run(space, line)
        back = json.loads(new.run(space, "rollback --json"))["current"]
        if back["round"] != 1:
            raise ValueError(f"expected round 1 after the rollback, got {back}")

    def serve() -> None:
        with serving(new, space) as url:
            chats = json.loads(post(f"{url}/api/conversations"))
            answer = complete(url)
        before = json.loads((space / "served/answers.json").read_text("utf-8"))[-1]
        if found := difference(plain(before), plain(answer), "the promoted model's answer"):
            raise ValueError(found)
        if "Where is my" not in json.dumps(chats):
            raise ValueError(f"expected the chats of before, got {chats}")

    rows = []
    for check in (status, resume, promote, serve):
        try:
            check()
            rows.append([check.__name__, "good"])
        except (Exception, SystemExit) as error:
            rows.append([check.__name__, f"{type(error).__name__}: {error}".replace("|", "/").replace("\n", " ")])
    print(table(["check", f"{new.name} in a workspace of {old.name}"], rows))
    return all(row[1] == "good" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", action="store_true", help="make a workspace in a folder, and use it")
    parser.add_argument("--keep", type=Path, help="folder for all that is made, not removed at the end")
    parser.add_argument("--scene", action="append", choices=SCENES, help="this one alone; may be repeated")
    parser.add_argument("old", metavar="OLD", help="a commit")
    parser.add_argument("other", metavar="NEW|DIR", nargs="?", help="another; with --workspace the folder to make")
    given = parser.parse_args()
    if given.keep and given.keep.exists():
        parser.error(f"--keep {given.keep}: expected a folder that does not exist yet")
    if given.workspace and (given.other is None or Path(given.other).exists()):
        parser.error("--workspace OLD DIR: expected a folder that does not exist yet")
    began = time.monotonic()
    with contextlib.ExitStack() as end:
        temporary = Path(given.keep or end.enter_context(tempfile.TemporaryDirectory())).resolve()
        temporary.mkdir(parents=True, exist_ok=True)
        make_models(temporary)
        old, new = Tree(given.old, temporary), Tree(None if given.workspace else given.other, temporary)
        for tree in (old, new):
            end.callback(tree.close)
        if given.workspace:
            good = use_workspace(old, new, temporary, Path(given.other).resolve())
        else:
            good = compare((old, new), temporary, given.scene or list(SCENES))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = f"{time.monotonic() - began:.0f} s, {spent.ru_utime + spent.ru_stime:.0f} s of processor time"
    say(f"{'good' if good else 'DIFFERENT'}, {took}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
