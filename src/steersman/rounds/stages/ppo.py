"""PPO, and the same loop without a critic (GRPO, RLOO): the SFT model optimised against the reward model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steersman.artifact.workspace import Workspace
from steersman.config import Config, of_stage
from steersman.eval.maker import Maker
from steersman.rounds.inputs import Dialogues, Functions, Model, Option
from steersman.rounds.registry import Metrics, Searched, Stage, Task
from steersman.rounds.telling import cautions
from steersman.rounds.verb_options import DATA, HELD_OUT, MODEL, REWARD

if TYPE_CHECKING:
    from steersman.text.template import Template
    from steersman.types import Conversation

PTX = Option("--demonstrations", "Without a workspace: for ppo.ptx_coef.")
SHORT = "answers_per_prompt", "prompts_per_iteration", "kl_coef", "kl_in"


def run(task: Task) -> Any:
    from steersman.distributed import parallel
    from steersman.train import ppo

    values, settings = dict(task.values), task.common["config"]
    del values["functions"]
    if not values["held_out"]:  # without a validation set, the last prompts are kept out of training
        prompts = values["prompts"]
        count = min(settings.selection.eval_prompts, len(prompts) // 5)
        values |= {"prompts": prompts[: len(prompts) - count], "held_out": prompts[len(prompts) - count :]}
    return parallel.everywhere(ppo.run, material=ppo.Material(**values), **task.common, stage=task.stage.name)


def tell(metrics: Metrics) -> str:
    best = metrics["best"]
    kept = f"kept iteration {best['iteration']} of {metrics['iterations']}"
    if metrics.get("kept") == "sft":
        kept = f"not better than SFT: kept SFT after {metrics['iterations']} iterations"
    lines = [f"{kept}: held-out reward {best['eval_reward']:.2f} at {best['eval_kl']:.1f} nats per answer"]
    lines += gain_lines(metrics)
    if (kl := metrics.get("kl", {})).get("target"):
        lines.append(f"KL of the last iteration's answers: {kl['last']:.1f} nats, aimed at {kl['target']:g}")
    if start := metrics.get("start"):
        off = (
            ("ratio_error", "the first ratio off 1 by"),
            ("kl_error", "KL off 0 by"),
            ("engine_error", "engine off by"),
        )
        lines.append("at the start: " + ", ".join(f"{text} {start[name]:.2g}" for name, text in off if name in start))
    lines += [f"warning: {text}" for text in metrics.get("warnings", {}).values()]
    return "\n".join([*lines, *([metrics["stopped"]] if metrics["stopped"] else []), *cautions(metrics)])


JUDGES = {
    "validator": "the validation reward model, which PPO did not follow",
    "reward": "the reward that PPO maximised",
}


def gain_lines(metrics: Metrics) -> list[str]:
    """A line on the gain over the SFT model, of what was kept or of the best that was not; none in older artifacts."""
    if not (gain := metrics.get("gain")):
        return []
    which = "" if metrics["kept"] != "sft" else f"the best, iteration {gain['iteration']}: "
    sure = (
        f", at least {gain['low']:+.2f} at {100 * metrics['confidence']:g} %" if metrics["confidence"] else ""
    )  # 0 in older artifacts
    return [
        f"{which}gain over SFT {gain['value']:+.2f}{sure}, at {gain['kl']:.1f} nats; judged by "
        f"{JUDGES[metrics['judge']]}"
    ]


def sizes(space: Workspace, template: Template) -> tuple[list[Conversation], Callable[[Conversation], int]]:
    from steersman.data.dataset import find, load_conversations

    paths = find(space, "prompts", "train", "ppo")
    records = [c for path in paths for c in load_conversations(path, "prompts", space.config.data.max_line_mb)]
    return records, lambda c: len(template.prompt_ids(c))


def entry(name: str, title: str, summary: str, examples: tuple[str, ...], **more: Any) -> Stage:
    def rewards(config: Config) -> list[tuple[str, str]]:
        rules = [rule for rule in of_stage(config, name).score.rules if rule.function]
        return [("rewards" if rule.rule == "python" else "judges", rule.function) for rule in rules]

    def learns_texts(config: Config) -> bool:
        return bool(of_stage(config, name).loss.ptx_coef)

    alone = f"steersman {name} --model out/sft --reward out/reward --data FILE --output out/{name} --held-out FILE"
    return Stage(
        name=name,
        verb=name,
        section=name,
        title=title,
        summary=summary,
        examples=(f"steersman {name}", *examples, alone),
        parents=("sft", "reward"),
        sources=(
            Model("sft", MODEL),
            Model("reward", REWARD, watched=True),
            Dialogues("prompts", DATA, "prompts", "train", purpose="ppo", demanded=f"prompts for {title}"),
            Dialogues("held_out", HELD_OUT, "prompts", "validation"),
            Dialogues("demonstrations", PTX, "demonstrations", "train", used=learns_texts),
            Functions("functions", None, rewards),
        ),
        run=run,
        tell=tell,
        processes=True,
        sizes=sizes,
        curves=True,
        **more,
    )


PPO = entry(
    "ppo",
    "PPO",
    "Improve the model against the reward model, under a KL price to the fine-tuned model.",
    ("steersman ppo -s ppo.kl.coef=0.1",),
    in_loop=True,
    maker=Maker("PPO", "reward", ("sft", "base", "served")),
    search=Searched(
        {"eval_reward": "maximize", "eval_no_eos": "minimize"},
        judging=(
            *("reward_weight", "rules", "ensemble", "uncertainty_coef", "no_eos_reward"),
            *("eval_prompts", "max_tokens", "temperature", "kl_ceiling"),
        ),
        beside=("eval_kl",),
        cautions={"kl_": "a lower price of KL always buys reward; compare eval_kl, and bound it by ppo.kl.ceiling"},
    ),
    reported=(
        *("iterations", "prompts_per_iteration", "answers_per_prompt", "lr", "kl_coef", "epochs"),
        *("train_layers", "lora_rank"),
    ),
)
GRPO = entry(
    "grpo",
    "GRPO",
    "PPO without a critic: several answers per prompt, scores normalised among them (GRPO).",
    ("steersman grpo -s grpo.answers_per_prompt=8",),
    maker=Maker("GRPO", "reward"),
    reported=SHORT,
    reads=("ppo",),
)
RLOO = entry(
    "rloo",
    "RLOO",
    "PPO without a critic: each answer's score against the mean of its prompt's others (RLOO).",
    ("steersman rloo -s rloo.answers_per_prompt=8",),
    maker=Maker("RLOO", "reward"),
    reported=SHORT,
    reads=("ppo",),
)
