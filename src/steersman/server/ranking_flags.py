"""Problems that a labeler names while ranking: each becomes what the desk's queue "find problems" would have made.

It is a label of that answer alone: rounds learn it by the same rules, and others are asked where the overlap says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from steersman.server.errors import ApiError
from steersman.store import RankingTask
from steersman.store.desk_labels import Flagged, answer_of
from steersman.store.desk_tasks import NewTask
from steersman.store.desk_values import FLAG, FLAGS, clean_value


def flagged(task: RankingTask, flags: object) -> list[Flagged]:
    """(the answer as a task, its flags) by the keys of a ranking task's answers; equal answers of one model are one
    task, which has the flags of all. ApiError where they are none, or of an answer
    without words."""
    good = isinstance(flags, Mapping) and all(key in task.keys and isinstance(of, list) for key, of in flags.items())
    if not good:
        raise ApiError(400, f"flags: expected lists of {', '.join(FLAGS)} by the answers' keys", param="flags")
    assert isinstance(flags, Mapping)
    found: dict[tuple[str, str], tuple[NewTask, list[str]]] = {}
    for key, of in flags.items():
        at = task.keys.index(key)
        if not task.answers[at].strip():
            if of:
                raise ApiError(400, "flags: an answer without words has no problem to be named", param="flags")
            continue
        _, said = found.setdefault((task.answers[at], task.policy_versions[at]), (answer_of(task, at), []))
        said += [flag for flag in clean_value(FLAG, {"flags": of})["flags"] if flag not in said]
    return list(found.values())
