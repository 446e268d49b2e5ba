"""`steersman demo`: the whole loop on a small scale, ending in a page to chat with the result.

Why so: decisions 18, 19, 24, 48 and 59 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman import config as configs
from steersman import config_file
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli import demo_sizes
from steersman.cli.framework import PROJECT, FreshOption, JsonOption, SetOption, WaitOption, add, emit, say
from steersman.progress import duration

SYSTEM = {
    "en": (
        "You are the assistant of Larkspur, an online shop. Customer: Mona Reed. Order 51234, placed 3 May: teapot, "
        "$42; shipped with Bluevan, due 9 May. Policy: returns within 30 days; shipping $6, 4 days. "
        "Be brief and polite."
    ),
    "zh": (
        "您是网店云雀的客服。顾客：林晓。订单51234，5月3日下单：茶壶，42元；已由蓝车快递发出，预计5月9日送达。"
        "规则：30天内可退货；运费6元，4天送达。请简短礼貌地回答。"
    ),
}
"""Facts for the page's assistant: a customer and an order, in the form of the training prompts."""
GREETING = {
    "en": (
        "You are Mona Reed, a customer of Larkspur\n"
        "Larkspur is a made-up online shop, and its assistant was trained on this machine. You ordered a teapot for "
        "$42 on 3 May (order 51234), due on 9 May. Ask where it is, how to return it, what shipping costs."
    ),
    "zh": (
        "您是网店“云雀”的顾客林晓\n"
        "“云雀”是虚构的网店，它的客服模型就在这台机器上训练而成。您于5月3日订了一把42元的茶壶（订单51234），"
        "预计5月9日送达。可以问：到哪里了、怎么退货、运费多少。"
    ),
}
"""Whose customer a visitor is, and what can be asked."""
EXAMPLES = {
    "en": [
        "Where is my teapot?",
        "Can I return it if I do not like it?",
        "How much is shipping, and how long does it take?",
        "Hi, the teapot arrived with a crack. What can I do?",
    ],
    "zh": ["我的茶壶到哪里了？", "不喜欢的话可以退货吗？", "运费多少？几天能到？", "你好，茶壶收到时有裂痕，怎么办？"],
}
SIZES: dict[str, dict[str, Any]] = {
    "data": {"demonstrations": 600, "ranking_prompts": 440, "ppo_prompts": 1000, "eval_prompts": 200},
    "sft": {
        "epochs": 1,
        "lr": 4e-4,
        "batch_tokens": 2048,
        "row_tokens": 2048,
        "train_layers": 10,
        "eval_dialogues": 64,
    },
    "sample": {"max_tokens": 64, "batch_prompts": 220},
    "rank": {"error_rate": 0.05, "tie_margin": 0.1},
    # on other prompts' answers a second pass brings more than a tenth of the agreement with the judge (decision 98)
    "reward": {"epochs": 2, "lr": 3e-4, "batch_prompts": 4, "train_layers": 10, "holdout_fraction": 0.25},
    "ppo": {
        "iterations": 9,
        # an answer is compared with the others to its prompt: in 9 iterations a critic explained 3 % of the returns at
        # most, and took the time of as many answers again
        "advantage": "rloo",
        "prompts_per_iteration": 48,
        "answers_per_prompt": 4,
        "max_tokens": 64,
        "epochs": 1,
        "minibatches": 4,
        # rates at most: what is measured sets them, from a sixteenth up. On one line to the target, steps would be of
        # 6 nats / (sum of the schedule's shares)^2; they are not on one line: twice that
        "lr": 8e-4,
        "step_kl": 0.4,
        # at 0.05 its sentences lose their verbs to what the reward model likes
        "kl_coef": 0.1,
        "warmup_iterations": 0,
        "no_eos_reward": -2.0,
        "train_layers": 10,
        "row_tokens": 2048,
        "eval_every": 9,
        "eval_prompts": 80,
        "eval_answers": 3,
    },
    "eval": {"max_tokens": 64, "batch_prompts": 200},
    "serve": {"max_tokens": 128},
}
"""Settings that a machine of two cores finishes in minutes; the published sizes are the defaults of `config`."""
SMALLER: dict[str, dict[str, Any]] = {
    "data": {"demonstrations": 300, "ranking_prompts": 380, "eval_prompts": 120},
    # Adam's first steps throw Gemma far: at the English rate the loss of SFT doubled and its held-out loss ended above
    # the base's
    "sft": {"lr": 1e-4},
    "ppo": {"lr": 2e-4, "iterations": 6, "eval_every": 6, "step_kl": 0.8},
}
"""The Chinese demo's differences: its base has twice the parameters and five times the vocabulary."""
BASES = {"en": "smollm2-135m", "zh": "gemma3-270m"}


def demo_config(language: str) -> configs.Config:
    smaller = SMALLER if language == "zh" else {}
    tree = {
        **{section: {**values, **smaller.get(section, {})} for section, values in SIZES.items()},
        "project": {"name": "larkspur" if language == "en" else "yunque", "language": language},
        "model": {"base": BASES[language]},
        "serve": {
            **SIZES["serve"],
            "system_prompt": SYSTEM[language],
            "greeting": GREETING[language],
            "examples": EXAMPLES[language],
        },
    }
    return config_file.from_dict(tree, "demo")


def _sized(config: configs.Config, settings: Sequence[str]) -> configs.Config:
    """The demo's settings in sizes for this machine, said in one line; what the options name stays as they say."""
    demo_sizes.choose_way()
    asked = config_file.with_overrides(config, ["model.dtype=auto", *settings])
    pace = demo_sizes.measured(asked)
    if pace is None:
        return asked
    fitted = config_file.with_overrides(demo_sizes.fitted(config, pace), ["model.dtype=auto", *settings])
    say(demo_sizes.told(fitted, pace))
    return fitted


def demo(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Workspace of the demo; default demo or demo-zh.")
    ] = None,
    language: Annotated[str, typer.Option("--lang", help="en or zh.")] = "en",
    headless: Annotated[bool, typer.Option("--headless", help="End after the verdict, without the page.")] = False,
    settings: SetOption = None,
    as_json: JsonOption = False,
    fresh: FreshOption = False,
    wait: WaitOption = False,
) -> None:
    """Run the whole loop at a small size and end in a page to chat with the result. Goes on where it was."""
    if language not in BASES:
        raise ValueError(f"--lang {language}: expected en or zh")
    root = folder or Path("demo" if language == "en" else "demo-zh")
    began = time.monotonic()
    if (root / CONFIG_NAME).is_file():
        say(f"going on in {root}")
        space = Workspace.open(root, tuple(settings or ())).pin()
    else:
        space = Workspace.create(root, _sized(demo_config(language), settings or ()))
        say(f"made {root / CONFIG_NAME}")
    from steersman.data.bundled import import_shop
    from steersman.rounds.gate import promote_best
    from steersman.rounds.make import make_all

    import_shop(space.data, space.config)
    outcome = make_all(space, simulated=True)
    promote_best(space)
    say(f"the loop took {duration(time.monotonic() - began)}")
    emit(as_json, outcome.to_json(), outcome.text())
    if headless:
        return
    from steersman.cli.talk import run_server

    run_server(
        dataclasses.replace(space, pinned=0),  # people open the next rounds from the page
        "",
        "",
        0,
        lambda url: say(f"chat with it: {url}   rank answers: {url}/rank   report: {url}/report   (Ctrl-C ends)"),
    )


def register(app: typer.Typer) -> None:
    add(app, demo, panel=PROJECT, examples=["steersman demo", "steersman demo --lang zh --headless"], slow=True)
