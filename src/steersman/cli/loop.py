"""The stages inside a workspace: which inputs each one takes, whether it is up to date, and running it.

Each `do_*` function makes its artifact unless it exists from the same inputs and configuration, and returns its
manifest's metrics. Names of inputs are those that `lineage` compares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.artifact.files import hash_json
from steersman.artifact.manifest import identity, read_manifest, tree_hashes, verify
from steersman.artifact.workspace import POLICIES, Workspace
from steersman.cli.framework import say
from steersman.cli.making import Metrics, make
from steersman.config import of_stage, to_dict
from steersman.progress import activity
from steersman.types import Conversation, Ranking


def base_model(space: Workspace) -> Path:
    """The base model's folder, fetched if need be."""
    from steersman.weights.resolve import resolve

    return resolve(space.config.model.base, say=say)


def need(space: Workspace, stage: str, command: str) -> Path:
    """Folder of a finished and whole stage of this round."""
    folder = space.stage_dir(stage)
    if not space.has(stage):
        raise ValueError(f"{folder}: not there yet; make it with: steersman {command}")
    try:
        verify(folder)
    except ValueError as error:
        raise ValueError(f"{error}; to make it again: steersman {command} (what is there is put aside)") from None
    return folder


def _artifact(space: Workspace, stage: str) -> dict[str, str]:
    return {stage: identity(read_manifest(space.stage_dir(stage)))}


def _data(space: Workspace, kind: str, split: str, purpose: str | None = None) -> tuple[list[Path], dict[str, str]]:
    """Data sets of that kind and their content hashes as inputs."""
    from steersman.data.dataset import find, read_info

    paths = find(space, kind, split, purpose)
    return paths, {f"data:{(info := read_info(p)).name}": info.sha256 for p in paths}


def _conversations(paths: list[Path], kind: str, limit_mb: float, inputs: Mapping[str, str]) -> list[Conversation]:
    """The records of data sets. ValueError where one is no longer what `inputs` recorded of it."""
    from steersman.data.dataset import load_conversations, read_info

    with activity("reading the data"):
        out = [c for path in paths for c in load_conversations(path, kind, limit_mb)]
    for path in paths:
        if read_info(path).sha256 != inputs[f"data:{path.stem}"]:
            raise ValueError(f"{path}: was replaced while it was read; run the same command again")
    return out


def _demand(paths: list[Path], what: str, space: Workspace) -> None:
    if not paths:
        raise ValueError(f"{space.data}: no {what}; expected some: steersman data import FILE (or: data import shop)")


def do_sft(space: Workspace) -> tuple[Metrics, bool]:
    train, inputs = _data(space, "demonstrations", "train")
    _demand(train, "demonstrations", space)
    held, held_inputs = _data(space, "demonstrations", "validation")
    base = base_model(space)
    inputs |= held_inputs | {"base": hash_json(tree_hashes(base))}

    def run() -> None:
        from steersman.distributed import parallel
        from steersman.train import sft

        limit = space.config.data.max_line_mb
        parallel.everywhere(
            sft.run,
            base=base,
            demonstrations=_conversations(train, "demonstrations", limit, inputs),
            validation=_conversations(held, "demonstrations", limit, inputs),
            output=space.stage_dir("sft"),
            config=space.config.sft,
            model_config=space.config.model,
            seed=space.config.project.seed,
            inputs=inputs,
        )

    return make(space, "sft", space.config.sft, inputs, run)


def do_sample(space: Workspace) -> tuple[Metrics, bool]:
    prompts, inputs = _data(space, "prompts", "train", "rank")
    _demand(prompts, "prompts to rank answers of", space)
    source = space.config.sample.model
    if source == "base":
        model = base_model(space)
        inputs |= {"base": hash_json(tree_hashes(model))}
    else:
        model = need(space, source, POLICIES.get(source, source).lower())
        inputs |= _artifact(space, source)

    def run() -> None:
        from steersman.train import sample

        chosen = _conversations(prompts, "prompts", space.config.data.max_line_mb, inputs)
        sample.run(
            model=model,
            version=f"{space.round:03d}/{source}",
            prompts=chosen[: space.config.sample.prompts or None],
            output=space.stage_dir("samples"),
            config=space.config.sample,
            model_config=space.config.model,
            seed=space.config.project.seed,
            inputs=inputs,
        )

    metrics, made = make(space, "samples", space.config.sample, inputs, run)
    fill(space)
    return metrics, made


def fill(space: Workspace) -> None:
    """Make the round's samples ranking tasks in the store."""
    from steersman.cli.rank import fill_store
    from steersman.store import Store

    with Store.open(space.store_path) as store:
        fill_store(space, store, space.round)


def has_sampling(space: Workspace) -> bool:
    """Whether the round has prompts to answer for ranking; with imported rankings alone it needs none."""
    return bool(_data(space, "prompts", "train", "rank")[0]) and not _data(space, "rankings", "train")[0]


def rank_simulated(space: Workspace) -> int:
    """Let the rule judge rank what nobody has; nothing where people have ranked. Returns how many."""
    from steersman.cli.rank import simulate
    from steersman.store import Store

    with Store.open(space.store_path) as store:
        if any(not r.simulated for r in store.rankings(space.round)):
            return 0
        return simulate(space, store, space.round)


def gather_rankings(space: Workspace, required: bool = True) -> tuple[list[Ranking], dict[str, str]]:
    """Rankings of this round (exported from the store), of earlier ones and imported ones, with their hashes."""
    from steersman.cli.exporting import RANKINGS_FILE, export_rankings
    from steersman.data.dataset import load_rankings

    paths, inputs = _data(space, "rankings", "train")
    if space.store_path.is_file() and _has_rankings(space):
        manifest, folder = export_rankings(space, space.round)
        paths = [folder / RANKINGS_FILE, *paths]
        inputs["rankings"] = identity(manifest)
    for earlier in [r for r in space.rounds() if r < space.round and space.has("rankings", r)]:
        folder = space.stage_dir("rankings", earlier)
        paths.append(folder / RANKINGS_FILE)
        inputs[f"{earlier:03d}/rankings"] = identity(verify(folder))
    if not paths and required:
        raise ValueError(
            f"{space.root}: no rankings; rank in the terminal (steersman rank), on the page (steersman serve), "
            "let the rule judge do it (steersman rank --simulated) or import some (steersman data import FILE)"
        )
    return [r for path in paths for r in load_rankings(path, space.config.data.max_line_mb, tell=say)], inputs


def _has_rankings(space: Workspace) -> bool:
    from steersman.store import Store

    with Store.open(space.store_path) as store:
        return next(iter(store.rankings(space.round)), None) is not None


def do_reward(space: Workspace) -> tuple[Metrics, bool]:
    model = need(space, "sft", "sft")
    rankings, inputs = gather_rankings(space)
    held, held_inputs = _data(space, "demonstrations", "validation")
    if not held:
        held, held_inputs = _data(space, "demonstrations", "train")
    inputs |= _artifact(space, "sft") | held_inputs

    def run() -> None:
        from steersman.distributed import parallel
        from steersman.train import reward

        parallel.everywhere(
            reward.run,
            base=model,
            rankings=rankings,
            demonstrations=_conversations(held, "demonstrations", space.config.data.max_line_mb, inputs)[:200],
            output=space.stage_dir("reward"),
            config=space.config.reward,
            model_config=space.config.model,
            seed=space.config.project.seed,
            inputs=inputs,
        )

    return make(space, "reward", space.config.reward, inputs, run)


def stale_reward(space: Workspace) -> str:
    """What has changed since the round's reward model was made; '' where nothing has or there is none."""
    from steersman.cli.lineage import stage_state

    state = stage_state(space, "reward", space.round)
    return ", ".join((*state.changed, *state.settings))


def do_ppo(space: Workspace, stage: str = "policy") -> tuple[Metrics, bool]:
    """PPO, or GRPO and RLOO where `stage` is theirs."""
    settings = of_stage(space.config, stage)
    sft, reward = need(space, "sft", "sft"), need(space, "reward", "reward")
    prompts, inputs = _data(space, "prompts", "train", "ppo")
    _demand(prompts, f"prompts for {POLICIES[stage]}", space)
    if changed := stale_reward(space):
        say(f"caution: the reward model is stale ({changed} changed); make it again: steersman reward")
    held, held_inputs = _data(space, "prompts", "validation")
    inputs |= held_inputs | _artifact(space, "sft") | _artifact(space, "reward")
    demonstrations: list[Path] = []
    if settings.loss.ptx_coef:
        demonstrations, more = _data(space, "demonstrations", "train")
        inputs |= more

    def run() -> None:
        from steersman.distributed import parallel
        from steersman.train import ppo

        limit = space.config.data.max_line_mb
        training = _conversations(prompts, "prompts", limit, inputs)
        held_out = _conversations(held, "prompts", limit, inputs)
        if not held_out:  # without a validation set, the last prompts are kept out of training
            count = min(settings.selection.eval_prompts, len(training) // 5)
            training, held_out = training[: len(training) - count], training[len(training) - count :]
        parallel.everywhere(
            ppo.run,
            material=ppo.Material(
                sft, reward, training, held_out, _conversations(demonstrations, "demonstrations", limit, inputs)
            ),
            output=space.stage_dir(stage),
            config=settings,
            model_config=space.config.model,
            seed=space.config.project.seed,
            inputs=inputs,
            stage=stage,
        )

    return make(space, stage, settings, inputs, run)


def do_preference(space: Workspace, stage: str) -> tuple[Metrics, bool]:
    """DPO or KTO on the rankings, and on what people said in chats: edited answers, and for KTO likes and dislikes."""
    from steersman.cli.exporting import feedback_for, feedback_identity, imported_feedback

    model = need(space, "sft", "sft")
    feedback = feedback_for(space, stage)
    imported, labelled = _data(space, "feedback", "train") if stage == "kto" else ([], {})
    rankings, inputs = gather_rankings(space, required=not (feedback or imported))
    inputs |= _artifact(space, "sft") | labelled
    if feedback:
        inputs["feedback"] = feedback_identity(feedback)
    feedback += imported_feedback(space) if imported else []

    def run() -> None:
        from steersman.distributed import parallel
        from steersman.train import preference

        parallel.everywhere(
            preference.run,
            base=model,
            rankings=[*rankings, *feedback],
            output=space.stage_dir(stage),
            config=of_stage(space.config, stage),
            model_config=space.config.model,
            seed=space.config.project.seed,
            inputs=inputs,
        )

    return make(space, stage, of_stage(space.config, stage), inputs, run)


def do_eval(space: Workspace) -> tuple[Metrics, bool]:
    """Compare base, SFT and the improved models (those that exist) on the test prompts."""
    paths, inputs = _data(space, "prompts", "test")
    _demand(paths, "test prompts (--split test)", space)
    base = base_model(space)
    models: dict[str, tuple[str, Path]] = {"base": ("base", base)}
    inputs |= {"base": hash_json(tree_hashes(base))}
    for name, label in {"sft": "SFT", **POLICIES}.items():
        if space.has(name):
            models[name] = (label, need(space, name, label.lower()))
            inputs |= _artifact(space, name)
    reward = need(space, "reward", "reward") if space.has("reward") else None
    if reward:
        inputs |= _artifact(space, "reward")
    if reward and space.config.ppo.score.objectives:
        inputs |= {"ppo.objectives": hash_json(space.config.ppo.score.objectives)}

    def run() -> None:
        from steersman.cli.evidence import known_cautions
        from steersman.eval import run as evaluation

        prompts = _conversations(paths, "prompts", space.config.data.max_line_mb, inputs)
        known = known_cautions(space, [name for name in models if name != "base"], prompts)
        reward_report = dict(read_manifest(reward).metrics) if reward else None
        simulated = bool(reward_report and reward_report.get("simulated"))
        evaluation.run(
            models=models,
            prompts=prompts,
            output=space.stage_dir("report"),
            reward=reward,
            config=space.config,
            inputs=inputs,
            about=evaluation.About(
                facts(space, inputs), curves(space), searches(space), reward_report, simulated, known
            ),
        )

    return make(space, "report", space.config.eval, inputs, run)


def curves(space: Workspace) -> dict[str, Any]:
    """The stages' metrics.jsonl for the report, the kept checkpoint marked where there was a choice."""
    from steersman.train.log import read_metrics

    out: dict[str, Any] = {}
    for stage in ("sft", "reward", *POLICIES):
        if space.has(stage) and (rows := read_metrics(space.stage_dir(stage))):
            best = read_manifest(space.stage_dir(stage)).metrics.get("best")
            if best:
                rows = [{**row, "best": row["iteration"] == best["iteration"]} for row in rows]
            out["ppo" if stage == "policy" else stage] = rows
    return out


def searches(space: Workspace) -> list[dict[str, Any]]:
    """The round's hyper-parameter searches, for the report."""
    return [json.loads(p.read_text(encoding="utf-8")) for p in sorted(space.root.glob(search_path(space, "*")))]


def search_path(space: Workspace, name: str) -> str:
    """Where a search of the round is summed up, relative to the workspace."""
    return f"search/{space.round:03d}-{name}/study.json"


def facts(space: Workspace, inputs: Mapping[str, str]) -> dict[str, Any]:
    """How the models came to be, for the end of the report."""
    config = space.config
    rows: dict[str, Any] = {"base model": config.model.base, "round": space.round, "seed": config.project.seed}
    if space.has("reward"):
        report = read_manifest(space.stage_dir("reward")).metrics
        rows["rankings"] = f"{report.get('human', 0)} by people, {report.get('simulated', 0)} simulated by a rule judge"
    shown = {
        "sft": ("epochs", "lr", "batch_tokens", "train_layers", "lora_rank"),
        "reward": ("epochs", "lr", "batch_prompts", "train_layers", "lora_rank"),
        "ppo": (
            *("iterations", "prompts_per_iteration", "answers_per_prompt", "lr", "kl_coef", "epochs"),
            *("train_layers", "lora_rank"),
        ),
        "eval": ("temperature", "max_tokens"),
    }
    shown |= {
        stage: ("epochs", "lr", "beta", "train_layers", "lora_rank") for stage in ("dpo", "kto") if space.has(stage)
    }
    shown |= {
        stage: ("answers_per_prompt", "prompts_per_iteration", "kl_coef", "kl_in")
        for stage in ("grpo", "rloo")
        if space.has(stage)
    }
    for section, keys in shown.items():
        values = to_dict(getattr(config, section))
        rows[section] = ", ".join(f"{key} {values[key]}" for key in keys)
    if space.has("policy"):
        made = read_manifest(space.stage_dir("policy")).metrics
        rows["ppo at its start"] = {name: f"{value:.2g}" for name, value in made.get("start", {}).items()}
        rows["ppo warnings"] = dict(made.get("warnings", {}))
    rows["inputs"] = {name: value[:16] for name, value in inputs.items()}
    return rows
