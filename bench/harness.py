"""What both benchmarks share: the machine in words, medians of ratios, tables, JSON."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import statistics
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """What a number is worth nothing without."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip() for line in info.read_text("utf-8").splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    versions = {}
    for name in ("torch", "transformers", "steersman"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # run from its sources
            versions[name] = metadata.version(name)
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    } | {
        "python": platform.python_version(),
        **versions,
    }


def machine_line(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def own_peak_mib() -> float:
    """Largest resident size of this process so far, MiB (ru_maxrss is bytes on macOS, KiB elsewhere)."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(size / 2**20 if sys.platform == "darwin" else size / 2**10)


def peak_mib() -> float:
    """The same summed over this process and its descendants, whose peaks are read from /proc."""
    total = own_peak_mib()
    parents: dict[int, int] = {}
    peaks: dict[int, float] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:  # gone since it was listed
            continue
        parents[int(status.parent.name)] = int(fields["PPid"])
        peaks[int(status.parent.name)] = int(fields.get("VmHWM", "0 kB").split()[0]) / 2**10
    for pid in parents:
        at = parents[pid]
        while at > 1 and at != os.getpid():
            at = parents.get(at, 0)
        if at == os.getpid():
            total += peaks[pid]
    return total


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over repeats of ours / theirs: both sides of a ratio were measured side by side."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])


def shown(value: float | None, digits: int = 0) -> str:
    """Fixed decimals; three significant digits for what would show as 0."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) >= 10**-digits else f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {path}")
