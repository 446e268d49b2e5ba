"""Stages in processes of their own, started, watched and cancelled from any other process.

    jobs/007.json    the verb, start time and process; the time of a request to stop
    jobs/007.log     what it says on stderr while it runs
    jobs/007.out     the one JSON object that it ends with

A job is the command line (`steersman VERB --json`) in a session of its own, so it outlives the process that started it.
Its state is kept nowhere else: each query checks whether the recorded process still runs and reads its output, so a
restarted server, or another machine's, reports the same. A cancelled stage saves a resume point first.

Why so: decision 51 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal

import psutil

from steersman import locks
from steersman.artifact.files import mode_of, now, read_object, write_json
from steersman.artifact.names import METRICS
from steersman.artifact.workspace import Workspace
from steersman.rounds import registry
from steersman.rounds.lineage import stage_state
from steersman.rounds.opened import decided, next_number, opened
from steersman.rounds.registry import Stage

State = Literal["running", "stopping", "done", "failed", "cancelled", "killed", "elsewhere", "damaged"]
"""killed: it ended without output, as by kill -9, lack of memory or a power cut. elsewhere: on another machine.
damaged: its record cannot be read, which hinders no other job."""
LOOP, ROUND = LOOPS = "run", "round"
"""Jobs of several stages: every missing artifact of the round; the next round, from what people said to the gate."""
COMPARE, IMPORT = OTHERS = "compare", "import"
"""Jobs of no stage: two rounds' models on the same prompts; a file that becomes a data set, beside any other job."""
WORDS = {IMPORT: ("data", "import")}
"""The verb's words on the command line, where they are more than its name."""
FOLDER = "jobs"
SAME_START = 2.0
"""Seconds by which two readings of a process's start time may differ."""
TAIL = 1 << 16
"""Bytes of a log or of metrics that are read from the end."""
COUNTED = re.compile(r"(?P<unit>\w+) (?P<done>\d+)/(?P<total>\d+)")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
"""Commands to a terminal, which a page cannot show."""
SECRETS = ("STEERSMAN_KEY",)
"""Environment variables that are not passed to a stage."""


class Busy(ValueError):
    """Another job runs in the workspace, or another process makes the same artifact."""


class NoJob(ValueError):
    """There is no job of that number."""


@dataclass(frozen=True)
class Record:
    """Contents of jobs/NNN.json."""

    number: int
    stage: str
    """The verb"""
    round: int
    command: list[str]
    pid: int
    process_started: float
    """Start time by the system's clock, since process numbers are reused"""
    host: str
    started: str
    cancelled: str = ""
    """Time of a request to stop"""


@dataclass(frozen=True)
class Job:
    """A job's current state."""

    record: Record
    state: State
    outcome: Mapping[str, Any]
    """The job's result: the stage's JSON, or {error, exit_code}; empty until it ends"""
    progress: Mapping[str, Any]
    """{line, unit, done, total, eta}, those that the log shows"""
    metrics: Mapping[str, float]
    """The newest line of the stage's metrics.jsonl"""
    resume: str
    """The resume point from which an unfinished run can go on"""

    @property
    def alive(self) -> bool:
        return self.state in ("running", "stopping")

    def to_json(self) -> dict[str, Any]:
        head = {key: value for key, value in asdict(self.record).items() if key not in ("command", "process_started")}
        return {
            **head,
            "settings": _after("--set", self.record.command),
            "fresh": "--fresh" in self.record.command,
            "state": self.state,
            "progress": dict(self.progress),
            "metrics": dict(self.metrics),
            "resume": self.resume,
            "error": self.outcome.get("error"),
            "exit_code": self.outcome.get("exit_code", 0 if self.state == "done" else None),
            "result": None if "error" in self.outcome else dict(self.outcome) or None,
        }


def _after(option: str, command: Sequence[str]) -> list[str]:
    """The values of an option that may be repeated."""
    return [value for name, value in itertools.pairwise(command) if name == option]


def start(
    space: Workspace, verb: str, fresh: bool = False, settings: Sequence[str] = (), arguments: Sequence[str] = ()
) -> Job:
    """Start a stage, the whole loop or one of `OTHERS` as a process of its own; returns at once.

    Raises ValueError where there is no such stage to compute, Busy where a job is running in this workspace or another
    process makes the same artifact: stages share the machine's memory, so there is one at a time. An import waits for
    none and hinders none.
    """
    stage = None if verb in (*LOOPS, *OTHERS) else registry.by_verb(verb)
    if stage is not None and stage.run is None:
        raise ValueError(f"stage '{verb}': people make the {stage.title}: steersman {stage.verb}")
    name = stage.verb if stage else verb
    command = [sys.executable, "-m", "steersman", *WORDS.get(name, (name,)), *arguments]
    command += ["-w", str(space.root.absolute()), "--json", *(["--fresh"] if fresh else [])]
    for setting in settings:
        command += ["--set", setting]
    folder = space.root / FOLDER
    folder.mkdir(exist_ok=True)
    with locks.brief(folder):
        running = [job for job in jobs(space) if job.alive and IMPORT not in (job.record.stage, verb)]
        if running:
            one = running[0].record
            raise Busy(f"job {one.number} ({one.stage}) is {running[0].state}; wait for it, or cancel it")
        if stage is not None and (maker := locks.maker(space.stage_dir(stage.name))):
            raise Busy(f"{space.stage_dir(stage.name)} is being made by {maker}; wait for it, or end it")
        number = max(map(_number, _records(space)), default=0) + 1
        process = _spawn(command, folder / f"{number:03d}")
        record = Record(
            number,
            name,
            _round_of(space, name),
            command,
            process.pid,
            _started(process.pid),
            socket.gethostname(),
            now(),
        )
        write_json(folder / f"{number:03d}.json", asdict(record))
    return job(space, number)


def _round_of(space: Workspace, verb: str) -> int:
    """The round that the job works on: `round` goes on with an undecided one, or opens the next."""
    if verb != ROUND or (opened(space) is not None and not decided(space, space.round)):
        return space.round
    return next_number(space)


def _spawn(command: list[str], place: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    with _private(Path(f"{place}.out")) as out, _private(Path(f"{place}.log")) as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            env=environment,
            start_new_session=True,  # neither Ctrl-C nor the end of the starting process reaches the job
        )
    threading.Thread(target=process.wait, daemon=True).start()  # so that it does not stay behind as a zombie
    return process


def _private(path: Path) -> IO[bytes]:
    """Create a file that may hold people's words, with the permissions of such files."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode_of(path, words=True)))


def _started(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:  # ended in this moment
        return 0.0


def jobs(space: Workspace) -> list[Job]:
    """All jobs of the workspace, the oldest first."""
    return [_look(space, path) for path in sorted(_records(space), key=_number)]


def _records(space: Workspace) -> list[Path]:
    return [path for path in (space.root / FOLDER).glob("*.json") if re.fullmatch("[0-9]{3,6}", path.stem)]


def _number(path: Path) -> int:
    return int(path.stem)


def job(space: Workspace, number: int) -> Job:
    path = space.root / FOLDER / f"{number:03d}.json"
    if not path.is_file():
        raise NoJob(f"{path}: no job {number}; steersman jobs list shows those there are")
    return _look(space, path)


def cancel(space: Workspace, number: int) -> Job:
    """Ask the job to stop: it saves a resume point and ends. A job that has ended is left unchanged."""
    found = job(space, number)
    if found.state == "elsewhere":
        raise ValueError(f"job {number} runs on {found.record.host}; cancel it there")
    if not found.alive:
        return found
    if not found.record.cancelled:
        path = space.root / FOLDER / f"{number:03d}.json"
        write_json(path, asdict(found.record) | {"cancelled": now()})
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.record.pid, signal.SIGTERM)
    return job(space, number)


def _look(space: Workspace, path: Path) -> Job:
    try:
        record = _read(path)
    except (ValueError, OSError) as error:
        unknown = Record(_number(path), "?", 0, [], 0, 0.0, "", "")
        return Job(unknown, "damaged", {"error": f"error: {error}", "exit_code": None}, _progress(Path()), {}, "")
    alive = _alive(record)  # before what it ended with is read: a job that ends in between was not killed
    outcome = _outcome(path.with_suffix(".out"))
    stage = _working_on(space, record)
    folder = space.stage_dir(stage.name, record.round) if stage else None
    partial = folder.with_name(f"{folder.name}.partial") if folder else None
    unfinished = stage is not None and partial is not None and partial.is_dir()
    state = _state(record, outcome, alive)
    return Job(
        record,
        state,
        outcome,
        _progress(path.with_suffix(".log")),
        # not the metrics of an earlier artifact
        _newest(partial if unfinished else folder if state == "done" else None),
        stage_state(space, stage, record.round).resume if stage is not None and unfinished else "",
    )


def _read(path: Path) -> Record:
    """Raises ValueError where the file holds no job of that number."""
    raw = read_object(path, "a job")
    for field in fields(Record):
        value, kind = raw.get(field.name, field.default), {"int": int, "float": float, "str": str}.get(str(field.type))
        if kind is not None and type(value) is not kind:
            raise ValueError(f"{path}: not a job: {field.name}: expected {kind.__name__}, got {str(value)[:80]!r}")
    if unknown := raw.keys() - {field.name for field in fields(Record)}:
        raise ValueError(f"{path}: not a job: unknown key {min(unknown)}")
    record = Record(**raw)
    if record.number != _number(path) or record.pid < 1 or record.round < 1:
        raise ValueError(f"{path}: not a job: number {record.number}, process {record.pid}, round {record.round}")
    if record.stage not in (*LOOPS, *OTHERS) and not any(record.stage == stage.verb for stage in registry.stages()):
        raise ValueError(f"{path}: not a job: stage '{record.stage}'")
    return record


def _state(record: Record, outcome: Mapping[str, Any], alive: bool) -> State:
    if record.host != socket.gethostname():
        return "elsewhere" if not outcome else "failed" if "error" in outcome else "done"
    if alive:
        return "stopping" if record.cancelled else "running"
    if outcome and "error" not in outcome:
        return "done"
    if record.cancelled:
        return "cancelled"
    # 128 + a signal: somebody else asked it to stop, by Ctrl-C or kill
    return ("cancelled" if outcome["exit_code"] > 128 else "failed") if outcome else "killed"


def _alive(record: Record) -> bool:
    """Whether the process is there and is still the one that was started."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.process_started) < SAME_START
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _outcome(path: Path) -> dict[str, Any]:
    """The JSON object that the command printed last; {} where there is none yet."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    good = isinstance(value, dict) and ("error" not in value or type(value.get("exit_code")) is int)
    return value if good else {}


def _tail(path: Path) -> list[str]:
    """The last whole lines of a file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            return file.read().decode("utf-8", "replace").split("\n")[:-1]
    except OSError:
        return []


def log_of(space: Workspace, number: int) -> list[str]:
    """The end of what the job said while it ran, line by line."""
    job(space, number)
    lines = _tail(space.root / FOLDER / f"{number:03d}.log")
    return [CONTROL.sub("", line) for line in lines]


def _progress(log: Path) -> dict[str, Any]:
    """The log's last line, and the progress by the last line that contains a count."""
    lines = [line for line in _tail(log) if line.strip()]
    found: dict[str, Any] = {"line": lines[-1] if lines else "", "unit": None, "done": None, "total": None, "eta": None}
    for line in reversed(lines):
        parts = line.split("  ")
        at = [i for i, part in enumerate(parts) if COUNTED.fullmatch(part)]
        if at and (counted := COUNTED.fullmatch(parts[at[0]])):
            own = parts[at[0] : at[1] if len(at) > 1 else None]  # the rest is of an activity inside of it
            eta = next((part.removeprefix("ETA ") for part in own if part.startswith("ETA ")), None)
            numbers = {"done": int(counted["done"]), "total": int(counted["total"])}
            return {**found, "unit": counted["unit"], **numbers, "eta": eta}
    return found


def _working_on(space: Workspace, record: Record) -> Stage | None:
    """The job's stage; for the loop, the unfinished stage that was begun last."""
    if record.stage in OTHERS:
        return None
    if record.stage not in LOOPS:
        return registry.by_verb(record.stage)
    begun: dict[float, Stage] = {}
    for stage in registry.loop():
        folder = space.stage_dir(stage.name, record.round)
        with contextlib.suppress(FileNotFoundError):
            begun[folder.with_name(f"{folder.name}.partial").stat().st_mtime] = stage
    return begun[max(begun)] if begun else None


def _newest(folder: Path | None) -> dict[str, float]:
    """Numbers of the last line of the stage's metrics."""
    for line in reversed(_tail(folder / METRICS) if folder else []):
        with contextlib.suppress(ValueError, AttributeError):
            values = json.loads(line).items()
            return {k: v for k, v in values if isinstance(v, int | float) and not isinstance(v, bool)}
    return {}
