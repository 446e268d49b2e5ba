"""/api/openapi.json and what the server answers agree: tried by schemathesis with requests of its own making."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from server_double import FakeEngine, live
from steersman.server.app import create_app
from steersman.store import Store

UNKNOWN = {"previous_response_id", "dimensions"}
"""Names a response that was stored, and a number that depends on the model."""


def _can_be_said(_: Any, body: Any) -> bool:
    """What JSON Schema cannot say: a dialogue does not end in tool calls, whose results come after them; base64 is
    that of an image or a file, or of a piece of one; a citation ends behind its beginning; a choice of tools names one
    of them; parts of content stand in the turns of those whose they are."""
    turns = body.get("messages") if isinstance(body, dict) else None
    if (
        "image_url" in str(body)
        or "start_index" in str(body)
        or (isinstance(body, dict) and {*body} in ({"offset", "data"}, {"data"}))
    ):
        return False
    if isinstance(body, dict) and (body.get("tool_choice") not in (None, "none", "auto") or UNKNOWN & body.keys()):
        return False
    if any(
        f"'type': '{kind}'" in str(body)
        for kind in ("image", "document", "tool_use", "tool_result", "thinking", "function_call")
    ):
        return False
    said = body.get("content") if isinstance(body, dict) else None
    if isinstance(said, list) and not any(isinstance(p, dict) and str(p.get("text", "")).strip() for p in said):
        return False  # a question of empty texts asks nothing
    if isinstance(turns, list) and turns and "labeler" in body and turns[-1].get("role") != "user":
        return False  # only the user's turn can be answered by a suggestion
    return not (isinstance(turns, list) and turns and isinstance(turns[-1], dict) and turns[-1].get("tool_calls"))


def _told(label: str, info: Any) -> str:
    return f"{label}: {info.failure}\n{info.code_sample}\n{getattr(info.failure, 'response', None)}"


@pytest.mark.parametrize("examples", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_openapi_and_answers_agree(examples: int, tmp_path: Path) -> None:
    """`examples`: requests made up for each operation. The slow one also covers each bound of each parameter."""
    config = SchemathesisConfig.from_dict(
        {
            # not quite: hypothesis also tries constants of whatever of ours is imported, other tests included
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "phases": {
                "stateful": {"enabled": False},
                "examples": {"enabled": False},
                "coverage": {"enabled": examples > 2},  # a minute
            },
            "warnings": False,
        }
    )
    with Store.open(tmp_path / "store.db") as store:
        store.create_conversation("")
        app = create_app(FakeEngine(max_context=10**9, pieces=("Hi",)), store, name="S", language="en")
        with live(app) as url:
            schema = schemathesis.openapi.from_url(f"{url}/api/openapi.json", config=config)
            schema.hooks.register_hook_with_name(_can_be_said, "filter_body")
            wrong, cases = [], 0
            for event in from_schema(schema).execute():
                if isinstance(event, events.ScenarioFinished):
                    cases += len(event.recorder.cases)
                    for checks in event.recorder.checks.values():
                        wrong += [_told(event.label, c.failure_info) for c in checks if c.failure_info]
    assert cases > 200
    assert not wrong, "\n\n".join(sorted(set(map(str, wrong))))
