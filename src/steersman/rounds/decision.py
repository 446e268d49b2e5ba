"""The gate of `steersman round`: whether a candidate replaces the served model, decided from the round's verdict alone.

It is promoted if all of this holds:

    verdict     the word for the candidate against the served model is 'better', on enough test prompts
    axes        of each axis the whole 95 % interval of the difference lies above minus its margin
    tasks       no task, safety set or regression suite says that the candidate is worse beyond its margin

So a candidate that is as good as the served model passes in 2.5 % of rounds, since 'better' means that a 95 % interval
lies above 0, and one that is worse on an axis by more than its margin passes no more often.

Why so: decision 68 in docs/LOG.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steersman.config import RoundConfig
from steersman.rounds.gate import word_for

TOO_LONG = "too_long"
"""What stages left out, in a decision's data."""


@dataclass(frozen=True)
class Check:
    """One condition and whether it held."""

    kind: str
    """verdict, prompts, axis, task, safety or regression"""
    name: str
    held: bool
    text: str


@dataclass(frozen=True)
class Decision:
    """What the gate said of a candidate, and of what data it was made."""

    round: int
    candidate: str
    """The stage whose model it is."""
    against: str
    promoted: bool
    gate: bool
    """False where the gate was turned off."""
    checks: tuple[Check, ...]
    data: Mapping[str, Any]
    start: str
    """The folder that training started from, or 'base'."""
    served: str
    """The folder that was served, or ''."""
    time: str

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was stopped; empty where every condition held."""
        return tuple(check.text for check in self.checks if not check.held)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"reasons": list(self.reasons)}

    def text(self) -> str:
        """A page for people."""
        passed = [f"  yes  {check.text}" for check in self.checks if check.held]
        failed = [f"  no   {check.text}" for check in self.checks if not check.held]
        word = "promoted" if self.promoted else "not promoted"
        off = "" if self.gate else " (the gate was turned off)"
        head = f"round {self.round}: {self.candidate} is {word}{off}"
        began = f"trained from {self.start}, compared with {self.served or 'the base model'}"
        return "\n".join([head, began, "", "conditions:", *failed, *passed, "", *told_data(self.data)])


def told_data(counts: Mapping[str, Any]) -> list[str]:
    """The counts of `gather.Material`, in lines."""
    lines = ["what was gathered:"]
    for rule, of in counts["rules"].items():
        if of["records"]:
            why = "; ".join(f"{n} dropped: {text}" for text, n in of["dropped"].items())
            lines.append(f"  {rule}: {of['records']} records, {of['used']} used" + (f"; {why}" if why else ""))
    if counts["replaced"]:
        lines.append(f"  {counts['replaced']} further entries were taken back, or replaced by what was said later")
    if disputed := counts.get("disputed"):
        lines.append(f"  {disputed} answers are called good by some and poor by others; both are learned")
    if thoughts := counts.get("thoughts"):
        lines.append(f"  thoughts (<think>) at the beginning of {thoughts} edits left out: only the words are learned")
    if flagged := counts.get("flagged"):
        lines.append(f"  {flagged} flagged answers left out of rankings in which they beat others")
    made = ", ".join(f"{of['new']} new and {of['old']} old {what}" for what, of in counts["made"].items())
    lines.append(f"  to learn: {made}")
    left = ", ".join(f"{n} by {verb}" for verb, n in counts.get(TOO_LONG, {}).items())
    return [*lines, *([f"  of these left out, being longer than the model's context: {left}"] if left else [])]


def conditions(verdict: Mapping[str, Any], candidate: str, against: str, settings: RoundConfig) -> tuple[Check, ...]:
    """Every condition of the gate. `verdict`: the JSON of `Verdict`; ValueError where it does not compare the two."""
    pairs = verdict["pairs"]
    pair = next((p for p in pairs if (p["a"], p["b"]) == (candidate, against)), None)
    if pair is None:
        raise ValueError(f"verdict: expected a comparison of {candidate} with {against}, found none")
    word, n, least = word_for(pairs, candidate, against), int(pair["n"]), settings.least_prompts
    compared = f"{pair['a_label']} against {pair['b_label']}: {_word(word, pair)}"
    found = [
        Check("verdict", against, word == "better", compared),
        Check("prompts", "", n >= least, f"compared on {n} test prompts; expected at least {least}"),
    ]
    for axis, interval in (pair.get("axes") or {}).items():
        found.append(_axis(axis, interval, settings.margins.get(axis, settings.axis_margin)))
    tasks = verdict.get("tasks") or ()
    known = [*(pair.get("axes") or {}), *(task["name"] for task in tasks)]
    for name in (name for name in settings.margins if name not in known):
        why = f"no axis or task of that name; expected one of {', '.join(known) or 'none'}"
        found.append(Check("margin", name, False, f"round.margins: {name}: {why}"))
    return (*found, *_tasks(tasks, candidate, pair, against, settings))


def _word(word: str | None, pair: Mapping[str, Any]) -> str:
    told = {"better": "better", "worse": "worse", "no evidence": "no evidence that it is better"}[word or "no evidence"]
    return f"{told}, difference {_interval(pair['difference'])}"


def _interval(of: Mapping[str, Any]) -> str:
    return "{} [{}, {}]".format(*("?" if of[k] is None else f"{of[k]:+.3f}" for k in ("value", "low", "high")))


def _axis(name: str, interval: Mapping[str, Any], margin: float) -> Check:
    low = interval["low"]
    held = low is not None and math.isfinite(low) and low >= -margin
    said = f"shown to be worse by no more than {margin:g}" if held else f"not shown to be within {margin:g}"
    return Check("axis", name, held, f"axis {name}: difference {_interval(interval)}, {said}")


def _regression(task: Mapping[str, Any], candidate: str, against: str, said: str, strict: bool) -> str:
    """What a regression suite shows: how many answers fail that none may, and how many of the others, with either."""
    failed = {name: set(ids) for name, ids in (task.get("failed") or {}).items()}
    compared = set(task.get("compared") or ())
    ours, theirs = failed.get(candidate, set()), failed.get(against, set())
    if strict and ours - compared:
        said = f"{len(ours - compared)} of its answers fail, none may (round.margins can allow some)"
    elif not compared:
        said += f", {len(ours)} of its answers fail"
    if compared:
        back = f"{len(ours & compared)} of {len(compared)} disliked answers come back"
        said = f"{back}, {len(theirs & compared)} with {against}: {said}"
    return said


def _tasks(
    tasks: Sequence[Mapping[str, Any]], candidate: str, pair: Mapping[str, Any], against: str, settings: RoundConfig
) -> Iterator[Check]:
    names, labels = [candidate, against], (pair["a_label"], pair["b_label"])
    for task in tasks:
        of = next(
            (p for p in task["pairs"] if (p["names"] == names if "names" in p else (p["a"], p["b"]) == labels)), None
        )
        if of is None:
            yield Check(
                "task", task["name"], False, f"{task['name']}: expected a comparison with {against}, found none"
            )
            continue
        kind, margin = str(task.get("kind", "task")), settings.margins.get(task["name"])
        if margin is not None:
            high = of["difference"]["high"]
            worse = high is None or not high >= -margin  # NaN is no evidence either
        else:
            worse = of["held"] == "no" if "held" in of else of["word"] == "worse"
        margin = float(task.get("margin") or 0.0) if margin is None else margin
        said = f"{'worse beyond' if worse else 'not shown to be worse than'} its margin of {margin:g}"
        if kind == "regression":
            said = _regression(task, candidate, against, said, worse and task["name"] not in settings.margins)
        yield Check(
            kind, task["name"], not worse, f"{kind} {task['name']}: difference {_interval(of['difference'])}, {said}"
        )
