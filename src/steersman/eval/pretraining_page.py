"""Draws a page of a pretrained model: its curves beside those of other models of the same text, and its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.eval import figures
from steersman.eval.figures import Panel, Series
from steersman.eval.report import write_page

Rows = Sequence[Mapping[str, Any]]
EN = {
    "lang": "en",
    "bpb": "{after:.3f} bits per byte of held-out text, {before:.3f} before training",
    "loss": "{after:.3f} nats per token asked for on held-out text, {before:.3f} before training",
    "said": "{parameters:,} parameters, {tokens:,} tokens in {steps:,} steps of {batch:,}.",
    "spikes": "The loss rose suddenly {n} times; each time training went back and skipped the rows.",
    "curves": "How training went",
    "held": "held-out text",
    "held_bpb": "Bits per byte",
    "held_loss": "Held-out loss",
    "bits": "bits",
    "nats": "nats per token",
    "training": "Training loss",
    "norm": "Length of the gradient",
    "rate": "Learning rate",
    "thousandths": "thousandths",
    "read": "million tokens read",
    "samples": "What it goes on with",
    "beginning": "beginning of a held-out text",
    "after": "after step",
    "facts": "Made of",
}
ZH = {
    "lang": "zh",
    "bpb": "留出文本每字节 {after:.3f} 比特，训练前为 {before:.3f}",
    "loss": "留出文本上每个所问词元 {after:.3f} 奈特，训练前为 {before:.3f}",
    "said": "{parameters:,} 个参数，{tokens:,} 个词元，{steps:,} 步，每步 {batch:,} 个。",
    "spikes": "损失突然升高 {n} 次，每次都退回并跳过相应的文本。",
    "curves": "训练过程",
    "held": "留出文本",
    "held_bpb": "每字节比特数",
    "held_loss": "留出文本上的损失",
    "bits": "比特",
    "nats": "奈特/词元",
    "training": "训练损失",
    "norm": "梯度长度",
    "rate": "学习率",
    "thousandths": "千分之一",
    "read": "已读词元（百万）",
    "samples": "它如何续写",
    "beginning": "留出文本的开头",
    "after": "步数",
    "facts": "由来",
}
WORDS = {"en": EN, "zh": ZH}


def draw(
    path: Path, metrics: Mapping[str, Any], facts: Mapping[str, Any], runs: Mapping[str, Rows], language: str
) -> None:
    """Write the page to `path`, atomically.

    `metrics`: of the manifest; `runs`: name -> lines of metrics.jsonl, each with "tokens_read": this model first, then
    those to compare it with.
    """
    t = WORDS[language]
    key = "bpb" if "bpb" in metrics else "loss"
    rows = next(iter(runs.values()))
    said = [(row["step"], one) for row in rows for one in row.get("samples", ())]
    context = {
        "t": t,
        "title": path.stem,
        "claim": t[key].format(after=metrics[key], before=metrics[f"{key}_before"]),
        "said": t["said"].format(
            batch=metrics["batch_tokens"], **{n: metrics[n] for n in ("parameters", "tokens", "steps")}
        ),
        "spikes": t["spikes"].format(n=len(metrics["spikes"])) if metrics["spikes"] else "",
        "curves": figures.curves("pretraining", t["curves"], _panels(runs, key, t), columns=2),
        "samples": said[-4:] if len(said) <= 8 else [*said[:4], *said[-4:]],
        "facts": facts,
    }
    write_page(path, "pretraining.html", context)


def _panels(runs: Mapping[str, Rows], key: str, t: Mapping[str, str]) -> list[Panel]:
    wanted = (
        (f"eval_{key}", t[f"held_{key}"], t["bits"] if key == "bpb" else t["nats"], 1.0, True),
        ("loss", t["training"], t["nats"], 1.0, False),
        ("lr", t["rate"], t["thousandths"], 1e3, False),
        ("grad_norm", t["norm"], "", 1.0, False),
    )
    panels = []
    for name, title, y, scale, dots in wanted:
        series = []
        for order, (run, rows) in enumerate(runs.items()):
            line = [(x / 1e6, scale * value) for x, value in figures.points(rows, "tokens_read", name)]
            if line:
                tint = (figures.COOL, figures.WARM, *figures.SPARE)[order % 7]
                series.append(Series(run, line, tint, dots))
        if series:
            panels.append(Panel(title, t["read"], y, tuple(series), name in ("lr", "grad_norm")))
    return panels
