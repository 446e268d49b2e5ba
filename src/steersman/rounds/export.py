"""Writes people's rankings and feedback from the store into files. Training reads these files, never the database."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.artifact.files import atomic_write, hash_json
from steersman.artifact.manifest import finish, identity, read_manifest, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.data import dataset
from steersman.data.clean import bare
from steersman.data.reading import Tell
from steersman.progress import note as say
from steersman.rounds.feedback_rules import Flags
from steersman.rounds.labelers import Reliability, reliability, weigh
from steersman.store import NotFound, Store
from steersman.store.standing import corrected
from steersman.types import Conversation, Feedback, Grade, Manifest, Ranking

WHAT = ("rankings", "comparisons", "feedback", "demonstrations")
RANKINGS_FILE = "rankings.jsonl"
EDITS = "edits of chat answers"
"""The source recorded in data sets of edited answers and of dialogues that people wrote."""
SIMULATED = "rankings are simulated by a rule judge, not made by people"
SOME_SIMULATED = "some rankings are simulated by a rule judge, not made by people"


def open_store(space: Workspace) -> Store:
    """The workspace's store; raises ValueError where nothing was ever stored."""
    if not space.has_store:
        raise ValueError(
            f"{space.store_shown}: no such file; expected rankings or feedback: steersman rank, steersman serve"
        )
    return Store.open(space.store)


@dataclass(frozen=True)
class Weighed:
    """A round's rankings as they are learned: with their labelers' weights, without answers that people flagged."""

    rankings: list[Ranking]
    without: Mapping[str, int]
    """Of a ranking that lost flagged answers: how many."""
    dropped: int
    """Rankings of which nothing was left."""

    @property
    def identity(self) -> str:
        """A hash that changes with every submission that counts, with weights and with flags; an input of the rankings
        artifact."""

        def told(ranking: Ranking) -> object:
            if ranking.id in self.without:
                return [ranking.id, ranking.weight, self.without[ranking.id]]
            return ranking.id if ranking.weight == 1 else [ranking.id, ranking.weight]

        return hash_json([told(ranking) for ranking in self.rankings])

    def tell(self) -> None:
        if self.without or self.dropped:
            n = sum(self.without.values())
            say(
                f"note: people flagged answers: {n} are left out of rankings in which they led, and {self.dropped} "
                "rankings are left out whole"
            )


def reliability_of(store: Store, round_: int | None = None) -> Reliability:
    """The labelers' reliability by what they ranked up to `round_`; None: by all that people said, votes included."""
    if round_ is None:
        voted = (ranking for said in store.feedback() if (ranking := as_ranking(said)))
        return reliability([*store.rankings(overruled=True), *voted])
    return reliability(r for number in range(1, round_ + 1) for r in store.rankings(number, overruled=True))


def weighed(space: Workspace, store: Store, round_: int) -> Weighed:
    """The round's rankings with their labelers' weights (`rank.reliability`), all 1 where no labels overlap.

    Later rounds' labels do not count, so that an artifact does not turn stale by them; flags always do.
    """
    rankings = list(store.rankings(round_))
    if space.config.rank.reliability:
        rankings = weigh(rankings, reliability_of(store, round_))
    flags = Flags(store.feedback({"flag"}))
    found = [(ranking, *flags.unflagged(ranking)) for ranking in rankings]
    without = {ranking.id: led for ranking, kept, led in found if kept is not None and led}
    return Weighed([kept for _, kept, _ in found if kept], without, sum(kept is None for _, kept, _ in found))


def export_rankings(space: Workspace, round_: int) -> tuple[Manifest, Path]:
    """rounds/NNN/rankings from the store: (its manifest, its folder). Unchanged rankings are not written again.

    inputs: 'store' (which submissions) and, where the round has them, 'samples'. metrics: rankings, simulated,
    labelers, pairs, all_bad, and `weights` by labeler where some are not 1. Raises ValueError where the round has no
    ranking yet.
    """
    with open_store(space) as store:
        found = weighed(space, store, round_)
    rankings = found.rankings
    if not rankings:
        raise ValueError(
            f"{space.store_shown}: no rankings of round {round_}; expected some: steersman rank, or rank --simulated"
        )
    inputs = {"store": found.identity}
    if space.has("samples", round_):
        inputs["samples"] = identity(read_manifest(space.stage_dir("samples", round_)))
    folder = space.stage_dir("rankings", round_)
    if space.has("rankings", round_) and (old := read_manifest(folder)).inputs == inputs:
        return old, folder
    found.tell()
    partial = folder.with_name("rankings.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_lines(partial / RANKINGS_FILE, (json.dumps(r.to_json(), ensure_ascii=False) for r in rankings))
    simulated = sum(r.simulated for r in rankings)
    metrics: dict[str, Any] = {
        "rankings": len(rankings),
        "simulated": simulated,
        "labelers": len({r.labeler for r in rankings}),
        "pairs": sum(len(r.pairs()) for r in rankings),
        "all_bad": sum(r.all_bad for r in rankings),
    }
    if any(r.weight != 1 for r in rankings):
        metrics["weights"] = {r.labeler: r.weight for r in rankings}
    notes = (SIMULATED if simulated == len(rankings) else SOME_SIMULATED,) if simulated else ()
    manifest = write_manifest(partial, "rankings", {"round": round_}, inputs, metrics, notes)
    finish(partial, folder)
    return manifest, folder


def has_rankings(space: Workspace) -> bool:
    """Whether the store holds a ranking of the round."""
    if not space.has_store:
        return False
    with Store.open(space.store) as store:
        return next(iter(store.rankings(space.round)), None) is not None


def as_ranking(said: Feedback) -> Ranking | None:
    """Feedback as a ranking: a liked answer is good, a disliked or flagged one poor, an edited one worse than the edit.

    None for a wish for another answer, which does not say what was wrong with this one, and for an edit that leaves the
    words as they were.
    """
    written = corrected(said.edited or "", said.answer)[0]
    answers = (written, said.answer) if said.kind == "edit" else (said.answer,)
    poor: tuple[Grade, ...] = ("poor",)
    grades: Mapping[str, tuple[Grade, ...]] = {
        "like": ("good",),
        "dislike": poor,
        "flag": poor,
        "edit": ("good", *poor),
    }
    if said.kind not in grades or not all(answers) or (said.kind == "edit" and written == bare(said.answer, Counter())):
        return None
    return Ranking(said.id, said.prompt, answers, None, grades[said.kind], labeler=said.user, created=said.created)


def feedback_for(space: Workspace, labelled: bool, tell: Tell = say) -> list[Ranking]:
    """The workspace's feedback as rankings: edits, and with `labelled` likes and dislikes as well."""
    if not space.has_store:
        return []
    with Store.open(space.store) as store:
        said = list(store.feedback())
    flags = Flags(said)
    made = [(f, ranking) for f in said if (ranking := as_ranking(f))]
    kept = [None if f.kind == "edit" and flags.forbids(f) else flags.unflagged(ranking)[0] for f, ranking in made]
    rankings = [ranking for ranking in kept if ranking]
    if lost := sum(ranking != whole for ranking, (_, whole) in zip(kept, made, strict=True)):
        tell(f"note: {lost} likes, edits and other labels are of answers that people flagged, which are no targets")
    if same := sum(feedback.kind == "edit" and as_ranking(feedback) is None for feedback in said):
        tell(f"note: {same} edits leave the words of the answer as they were and are no pairs")
    return [r for r in rankings if labelled or r.pairs()]


def imported_feedback(space: Workspace) -> list[Ranking]:
    """Answers with a label out of the workspace's data sets, as rankings, for KTO."""
    paths = dataset.find(space, "feedback", "train")
    said = (f for path in paths for f in dataset.load_judged(path, "feedback", space.config.data.max_line_mb))
    return [ranking for f in said if isinstance(f, Feedback) and (ranking := as_ranking(f))]


def feedback_identity(rankings: Iterable[Ranking]) -> str:
    """A hash that changes with every feedback given or withdrawn; an input of DPO and KTO."""
    return hash_json([r.to_json() for r in rankings])


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write the lines atomically; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with atomic_write(path, words=True) as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count


def export_lines(space: Workspace, what: str, round_: int) -> Iterator[str]:
    """JSON lines of `what`: one of WHAT or a data set's name. Raises ValueError where it is neither."""
    if what not in WHAT:
        names = {info.name: info for info in dataset.datasets(space)}
        if what not in names:
            known = ", ".join((*WHAT, *names))
            raise ValueError(f"data export {what}: expected one of {known}")
        # Split at \n only: a JSON string may contain U+2028, which other ways to cut lines split at.
        return (line for line in names[what].path.read_text(encoding="utf-8").split("\n") if line)
    return _from_store(space, what, round_)


def _from_store(space: Workspace, what: str, round_: int) -> Iterator[str]:
    with open_store(space) as store:
        if what == "rankings":
            values: Iterator[object] = (r.to_json() for r in _told(weighed(space, store, round_)))
        elif what == "comparisons":
            values = _comparisons(_told(weighed(space, store, round_)))
        elif what == "feedback":
            values = (f.to_json() for f in store.feedback())
        else:
            values = (c.to_json() for c in _edits(store))
        for value in values:
            yield json.dumps(value, ensure_ascii=False)


def _told(found: Weighed) -> list[Ranking]:
    found.tell()
    return found.rankings


def _comparisons(rankings: Iterable[Ranking]) -> Iterator[object]:
    for ranking in rankings:
        for pair in ranking.comparisons():
            prompt = [m.to_json() for m in pair.prompt.messages]
            out = {"prompt": prompt, "chosen": pair.chosen, "rejected": pair.rejected, "source": ranking.id}
            out |= {"objective": ranking.objective} if ranking.objective else {}
            yield out | ({"weight": ranking.weight} if ranking.weight != 1 else {})


def _edits(store: Store) -> Iterator[Conversation]:
    """Answers that people edited, without special tokens, white space and thoughts around them, and dialogues that they
    wrote."""
    flags, flagged = Flags(store.feedback({"flag"})), 0
    for feedback in store.feedback({"edit"}):
        if flags.forbids(feedback):
            flagged += 1
            continue
        if written := corrected(feedback.edited or "", feedback.answer)[0]:
            meta = {"source": "edit", "policy_version": feedback.policy_version}
            whole = feedback.prompt.with_answer(written)
            yield dataclasses.replace(whole, id=f"edit-{feedback.id}", meta=meta)
    if flagged:
        say(f"note: {flagged} edited answers are left out: people flagged them, or what they replace as private")
    yield from (written.dialogue for written in store.desk.demonstrations())


def edited(space: Workspace) -> list[Conversation]:
    """Every edited answer of the workspace, and every written dialogue; none where nobody has chatted or written."""
    if not space.has_store:
        return []
    with open_store(space) as store:
        return list(_edits(store))


def of_edits(info: dataset.DatasetInfo, every: Sequence[dataset.DatasetInfo]) -> bool:
    """Whether a data set holds edited answers: written by `open_next`, or made of such a set since."""
    made_of = info.config.get("made_of") or {}
    return info.source == EDITS or any(of_edits(one, every) for one in every if one.name in made_of)


def refresh_edits(space: Workspace, standing: Mapping[str, Conversation]) -> None:
    """Data sets of edited answers rewritten from `standing`: without edits that were withdrawn or edited again since.

    Edits of chats that are not in this store are kept.
    """
    for info in dataset.datasets(space):
        if info.source != EDITS:
            continue
        found = dataset.load_conversations(info.path)
        now = [standing.get(c.id, c) for c in found if c.id in standing or not _stored(space, c.id)]
        if now == found:
            continue
        gone, changed = len(found) - len(now), sum(c not in found for c in now)
        say(f"note: {info.name}: {gone} edits were withdrawn or edited again and left out, {changed} changed")
        if now:
            dataset.write_dataset(space.data, info.name, info.kind, info.split, now, EDITS, {}, replace=True)
        else:
            dataset.remove_dataset(info)


def _stored(space: Workspace, id_: str) -> bool:
    """Whether the store holds the answer that a demonstration is an edit of (`edit-MESSAGE-NUMBER`), or the task of the
    desk that it was made for (`desk-TASK-NUMBER`)."""
    if not space.has_store:
        return False
    of = id_.removeprefix("edit-").removeprefix("desk-").rpartition("-")[0]
    with Store.open(space.store) as store:
        if store.desk.has(of):
            return True
        try:
            store.message(of)
        except NotFound:
            return False
    return True


def open_next(space: Workspace) -> tuple[int, str, int]:
    """Open the next round with what people said since: (its number, the data set of new edits, how many there are).

    Raises ValueError where this round has no report yet.
    """
    if not space.has("report"):
        raise ValueError(
            f"{space.stage_dir('report')}: round {space.round} has no report yet; finish it: steersman run"
        )
    every = edited(space)
    refresh_edits(space, {c.id: c for c in every})
    training = dataset.find(space, "demonstrations", "train")
    known = {c.id for path in training for c in dataset.load_conversations(path)}
    edits = [c for c in every if c.id not in known]
    name = f"edits-{space.round + 1:03d}"
    if edits:
        dataset.write_dataset(space.data, name, "demonstrations", "train", edits, EDITS, {})
    return space.next_round(), name, len(edits)
