"""Stages stopped at places where a signal may stop them: they go on to the uninterrupted run, to the bit."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import test_preference as p
import test_train as t
from steersman import stopping
from steersman.artifact.manifest import read_manifest, tree_hashes
from steersman.distributed import parallel
from steersman.engine.backends.local.engine import LocalEngine

ROUNDS: dict[str, Any] = {"iterations": 3, "rollout_prompts": 2, "max_tokens": 16}
RUNS: dict[str, Callable[[Path, Path, Path], Any]] = {
    "sft": lambda base, scorer, out: t.run_sft(base, out, evals=2),
    "sft-lora": lambda base, scorer, out: t.run_sft(base, out, lora_rank=2),
    "reward": lambda base, scorer, out: t.run_reward(base, out, evals=1, epochs=2),
    "dpo": lambda base, scorer, out: p.run(base, out, p.DPO, p.rankings()),
    "kto": lambda base, scorer, out: p.run(base, out, p.KTO, p.rankings()),
    "ppo": lambda base, scorer, out: t.run_ppo(base, scorer, out, **ROUNDS),
    "grpo": lambda base, scorer, out: t.run_ppo(
        base, scorer, out, advantage="grpo", answers_per_prompt=3, critic_warmup_iterations=0, **ROUNDS
    ),
}


@pytest.fixture(scope="module")
def scorer(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("scorer") / "reward"
    t.run_reward(tiny, output)
    return output


class Places:
    """Counts where a stage may stop, and stops it at the chosen one: asked between rows, or amid answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen, self.chosen, self.saved = 0, -1, 0
        generate = LocalEngine.generate_parts

        def halt() -> None:
            if stopping._held:
                return
            self.seen += 1
            if self.seen == self.chosen:
                raise stopping.Stop(signal.SIGTERM)

        def generating(engine: LocalEngine, *arguments: Any) -> Any:
            for number, part in enumerate(generate(engine, *arguments)):
                if number == 0:
                    halt()
                yield part

        monkeypatch.setattr(parallel, "halt", halt)
        monkeypatch.setattr(LocalEngine, "generate_parts", generating)

    def stop(self, number: int, run: Callable[[], Any]) -> None:
        self.seen, self.chosen = 0, number
        with pytest.raises(stopping.Stop):
            run()
        self.chosen = -1


# at one place, early or late; at all places, and of what tests/test_preference.py stops too, by make test-slow
@pytest.mark.parametrize(
    ("name", "thirds"),
    [
        *(pytest.param(name, (1 + i % 2,), id=name) for i, name in enumerate(("sft", "sft-lora", "reward", "ppo"))),
        *(pytest.param(name, (0, 1, 2, 3), id=f"{name}-all", marks=pytest.mark.slow) for name in RUNS),
    ],
)
def test_stopped_anywhere_it_goes_on_to_the_same_bits(
    name: str, thirds: tuple[int, ...], tiny: Path, scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, run = Places(monkeypatch), RUNS[name]
    run(tiny, scorer, tmp_path / "whole")
    count, expected = places.seen, tree_hashes(tmp_path / "whole")
    metrics = dict(read_manifest(tmp_path / "whole").metrics)
    assert count > 8
    for number in (max(1, third * count // 3) for third in thirds):
        output = tmp_path / str(number)
        places.stop(number, lambda output=output: run(tiny, scorer, output))
        run(tiny, scorer, output)
        assert tree_hashes(output) == expected, f"stopped at {number} of {count}"
        same = {k for k in metrics if not k.endswith("_per_second")}
        assert {k: read_manifest(output).metrics[k] for k in same} == {k: metrics[k] for k in same}


def test_a_stage_that_is_stopped_while_it_saves_is_whole_or_not_there(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the training: what was trained is kept, and only measured and saved again."""
    from steersman.train import session

    saved = session.save_model

    def stopped(*_: Any) -> None:
        raise stopping.Stop(signal.SIGINT)

    monkeypatch.setattr(session, "save_model", stopped)
    with pytest.raises(stopping.Stop) as stop:
        t.run_sft(tiny, tmp_path / "out")
    assert "a resume point is saved" in stop.value.where[0]
    monkeypatch.setattr(session, "save_model", saved)
    steps: list[int] = []
    monkeypatch.setattr(session.Updater, "step", lambda *_: steps.append(1))
    t.run_sft(tiny, tmp_path / "out")
    assert not steps
    monkeypatch.undo()
    t.run_sft(tiny, tmp_path / "whole")
    assert tree_hashes(tmp_path / "out") == tree_hashes(tmp_path / "whole")
