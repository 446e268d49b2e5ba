"""One self-contained HTML file: the verdict first, then pictures, samples and how it was made.

No scripts and nothing external, and a content policy that forbids both, so what people and models wrote cannot
act even if it looks like markup (jinja escapes it too). Parts whose data is missing are left out. The same
input gives the same bytes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from steersman.artifact.files import atomic_write
from steersman.eval import figures, plain_words, wording
from steersman.eval import searches as search_section
from steersman.eval.curves import Curves, Rows, best_row, rollouts, training
from steersman.eval.figures import colour
from steersman.eval.reason_words import in_language, intent_name
from steersman.eval.report_text import LANGUAGES
from steersman.eval.tasks import TaskResult
from steersman.eval.verdict import ModelAnswers, PairVerdict, Verdict
from steersman.stats import Interval
from steersman.types import Conversation

REGRESSIONS = 3
"""Number of prompts shown on which the model lost most."""
EVOLUTION_STEPS = 6
FIGURES = ("axes", "reward_kl", "lengths")


@dataclass(frozen=True)
class Shown:
    """Contents of a report beside the verdict."""

    title: str
    language: str = "en"
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Shown as it is; nested objects become indented tables."""
    curves: Curves = field(default_factory=dict)
    """Rows of the stages' metrics: "sft" [{step, loss, eval_loss?, lr, tokens_per_second}], "reward" [{step, loss,
    accuracy?}] and "ppo" [{iteration, reward, kl, entropy, clip_fraction, explained_variance, length, no_eos, kl_coef,
    eval_reward?, eval_kl?, best?, samples?: [{prompt, answer}]}]. A ppo row with a true `best` is the kept checkpoint;
    without one it is the highest eval_reward at an eval_kl up to `kl_ceiling`."""
    reward_report: Mapping[str, Any] | None = None
    """accuracy and length_baseline (intervals as JSON), calibration (bins), ece, n_train_prompts, n_pairs,
    label_noise?."""
    searches: Sequence[Mapping[str, Any]] = ()
    """The contents of study.json of each hyper-parameter search."""
    samples: int = 12
    kl_ceiling: float = 20.0

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(f"language: expected one of {', '.join(LANGUAGES)}, got {self.language!r}")


def write_report(
    path: Path, verdict: Verdict, prompts: Sequence[Conversation], models: Sequence[ModelAnswers], shown: Shown
) -> None:
    """Write the report to `path`, atomically. Raises ValueError for answers that do not match the prompts."""
    for model in models:
        if len(model.answers) != len(prompts):
            raise ValueError(f"answers of {model.name}: expected {len(prompts)}, got {len(model.answers)}")
    verdict = wording.labelled(verdict, shown.language)
    models = [replace(model, label=wording.label(model.label, shown.language)) for model in models]
    write_page(path, "report.html", _context(verdict, prompts, models, shown))


def write_page(path: Path, template: str, context: Mapping[str, Any]) -> None:
    """Write a page of this folder's templates to `path`, atomically."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template(template).render(context)
    with atomic_write(path, "wb") as file:
        # a lone surrogate in someone's text must not cost the whole report
        file.write(html.encode("utf-8", "replace"))


def _context(
    verdict: Verdict, prompts: Sequence[Conversation], models: Sequence[ModelAnswers], shown: Shown
) -> dict[str, Any]:
    """The variables of the report's template."""
    t, language = LANGUAGES[shown.language], shown.language
    return {
        "t": t,
        "reason": functools.partial(in_language, language=language),
        "named": functools.partial(intent_name, language=language),
        "title": shown.title,
        "judged": wording.judged_by(verdict, language),
        "hero": _claim(verdict.headline, language),
        "opening": plain_words.opening(verdict, prompts, models, language),
        "others": [_claim(p, language) for p in verdict.pairs if p is not verdict.headline],
        "multiple": wording.multiple(verdict, language),
        "cautions": [wording.caution(c, language) for c in verdict.cautions]
        + [t[f"monitor.{name}"] for key, of in shown.facts.items() if key.endswith(" warnings") for name in of],
        "outcomes": [_outcome(p, language) for p in verdict.pairs],
        "outcomes_text": _outcomes_text(verdict, t),
        "model_rows": _model_rows(verdict, language),
        "objectives": _objectives(verdict),
        "figures": dict.fromkeys(FIGURES) | _figures(verdict, models, shown.curves, t, shown.kl_ceiling),
        "training": training(shown.curves, t),
        "reward": _reward(shown.reward_report, t, language),
        "searches": search_section.sections(shown.searches, t),
        "intents": _intents(verdict.headline, t, language),
        "samples": _samples(prompts, models, shown.samples, t, verdict.tie_margin),
        "tasks": [_task(of, t, language) for of in verdict.tasks],
        "regressions": _regressions(verdict, prompts, models, t),
        "evolution": _evolution(rollouts(shown.curves)),
        "facts": dict(shown.facts),
        "limits": _limits(verdict, t),
    }


def _claim(pair: PairVerdict | None, language: str) -> dict[str, str] | None:
    if pair is None:
        return None
    return {
        "kind": pair.word.replace(" ", "-"),
        "word": wording.word(pair, language),
        "claim": wording.headline(pair, language),
        "evidence": wording.evidence(pair, language),
    }


def _outcomes_text(verdict: Verdict, t: Mapping[str, str]) -> str:
    by_rules = all(p.judge == "rules" for p in verdict.pairs)
    return t["outcomes_text"].format(margin=f"{verdict.tie_margin:g}") if by_rules else t["outcomes_reward"]


def _outcome(pair: PairVerdict, language: str) -> dict[str, Any]:
    counts = (("win", pair.wins), ("tie", pair.ties), ("loss", pair.losses))
    return {
        "label": wording.texts(language)["pair"].format(
            a=pair.a_label, b=pair.b_label, word=wording.word(pair, language)
        ),
        "parts": [{"kind": k, "n": n, "percent": round(100 * n / max(pair.n, 1), 2)} for k, n in counts],
        "win_rate": wording.percent(pair.win_rate, language),
        "controlled": wording.percent(pair.length_controlled, language),
        "difference": _signed(pair.difference, language),
        "axes": [(axis, _signed(interval, language)) for axis, interval in pair.axes.items()],
    }


def _signed(interval: Interval, language: str) -> str:
    return f"{wording.number(interval.value, sign=True)} ({wording.span(interval, language, sign=True)})"


def _objectives(verdict: Verdict) -> list[str]:
    """Names of the reward model's objectives."""
    return list(dict.fromkeys(name for m in verdict.models for name in m.objectives))


def _model_rows(verdict: Verdict, language: str) -> list[dict[str, Any]]:
    def cell(interval: Interval | None, digits: int) -> tuple[str, str] | None:
        if interval is None:
            return None
        return wording.number(interval.value, digits), wording.span(interval, language, digits)

    return [
        {
            "label": m.label,
            "colour": colour(m.name, order),
            "cells": [
                cell(m.overall, 3),
                cell(m.reward, 2),
                *(cell(m.objectives.get(name), 2) for name in _objectives(verdict)),
                (f"≤ {wording.number(m.kl.value, 2)}", "") if m.kl and m.kl_bound else cell(m.kl, 2),
                cell(m.tokens, 1),
            ],
            "no_eos": wording.percent(m.no_eos, language),
        }
        for order, m in enumerate(verdict.models)
    ]


def _figures(
    verdict: Verdict,
    models: Sequence[ModelAnswers],
    curves: Curves,
    t: Mapping[str, str],
    kl_ceiling: float,
) -> dict[str, Markup]:
    """Name -> picture, for each picture whose data exists."""
    out: dict[str, Markup] = {}
    scored = [(m.label, colour(m.name, i), m) for i, m in enumerate(verdict.models) if m.overall is not None]
    if scored:
        rows = [(t["overall"], [(label, tint, m.overall) for label, tint, m in scored if m.overall is not None])]
        rows += [(t.get(a, a), [(label, tint, m.axes[a]) for label, tint, m in scored]) for a in scored[0][2].axes]
        out["axes"] = figures.axes_dots(rows, t["axes_x"], t["axes"])
    ppo = rollouts(curves)
    if figures.points(ppo, "kl", "reward") or figures.points(ppo, "eval_kl", "eval_reward"):
        out["reward_kl"] = figures.reward_kl(ppo, best_row(ppo, kl_ceiling), t)
    if any(len(m.tokens) for m in models):
        shown = [(m.label, colour(m.name, i), m.tokens) for i, m in enumerate(models)]
        out["lengths"] = figures.lengths(shown, t["lengths_x"], t["percent_answers"], t["median"], t["lengths"])
    return out


def _reward(report: Mapping[str, Any] | None, t: Mapping[str, str], language: str) -> dict[str, Any] | None:
    """The reward model's section: accuracy beside its baseline, and the calibration picture."""
    if report is None:
        return None
    bars = []
    for prefix, part in {"": report, **{f"{k}: ": v for k, v in report.get("objectives", {}).items()}}.items():
        for key, label, tint in (
            ("accuracy", t["rm_accuracy"], figures.COOL),
            ("length_baseline", t["rm_baseline"], figures.GREY),
        ):
            if part.get(key) is not None:
                interval = Interval.from_json(part[key], f"reward report: {prefix}{key}")
                text, bar = wording.percent(interval, language), _bar(interval, 0, 1)
                bars.append({"label": prefix + label, "text": text, "bar": bar, "tint": tint})
    bins = report.get("calibration") or []
    picture = figures.calibration(bins, t["predicted"], t["observed"], t["ideal"], t["calibration"]) if bins else None
    notes = []
    if report.get("n_train_prompts") is not None and report.get("n_pairs") is not None:
        notes.append(t["rm_data"].format(prompts=report["n_train_prompts"], pairs=report["n_pairs"]))
    notes += [f"{t[k]}: {float(report[k]):.3f}" for k in ("ece", "label_noise") if report.get(k) is not None]
    return {"bars": bars, "picture": picture, "notes": notes}


def _bar(interval: Interval, low: float, high: float) -> dict[str, float]:
    """Positions in percent of a strip that runs from `low` to `high`."""

    def at(x: float) -> float:
        return round(100 * (min(max(x, low), high) - low) / (high - low), 2)

    known = math.isfinite(interval.low) and math.isfinite(interval.high)
    value = at(interval.value)
    return {"value": value, "low": at(interval.low) if known else value, "high": at(interval.high) if known else value}


def _intents(pair: PairVerdict | None, t: Mapping[str, str], language: str) -> dict[str, Any] | None:
    if pair is None or not pair.by_intent:
        return None
    finite = [abs(x) for row in pair.by_intent for x in (row.difference.low, row.difference.high) if math.isfinite(x)]
    reach = max([*finite, *(abs(row.difference.value) for row in pair.by_intent), 0.05])
    return {
        "text": t["intents_text"].format(a=pair.a_label, b=pair.b_label, m=len(pair.by_intent)),
        "reach": f"{reach:.2f}",
        "rows": [
            {
                "intent": intent_name(row.intent, language),
                "n": row.n,
                "difference": _signed(row.difference, language),
                "win_rate": wording.percent(row.win_rate, language),
                "bar": _bar(row.difference, -reach, reach),
                "kind": "win" if row.difference.low > 0 else "loss" if row.difference.high < 0 else "tie",
            }
            for row in pair.by_intent
        ],
    }


def _task(of: TaskResult, t: Mapping[str, str], language: str) -> dict[str, Any]:
    """A task's table: each model's mean, and its difference from the model it is compared with."""

    def own(text: str) -> str:
        return wording.label(text, language)

    rows = [(own(text), wording.number(i.value), wording.span(i, language)) for text, i in of.models.items()]
    pairs = [
        wording.texts(language)["pair"].format(a=own(p.a), b=own(p.b), word=wording.texts(language)[f"word.{p.word}"])
        + f" ({_signed(p.difference, language)})"
        for p in of.pairs
    ]
    return {"title": t["task"].format(name=of.name, n=of.n), "rows": rows, "pairs": pairs}


def _card(prompts: Sequence[Conversation], models: Sequence[ModelAnswers], i: int, margin: float) -> dict[str, Any]:
    """One prompt with every model's answer; answers within the tie margin of the best are marked, unless all are."""
    overall = [m.scores[i].overall if m.scores is not None else None for m in models]
    known = [s for s in overall if s is not None]
    top = [s is not None and s > max(known) - max(margin, 1e-9) for s in overall]
    answers = [
        {
            "label": m.label,
            "colour": colour(m.name, order),
            "text": m.answers[i],
            "overall": None if score is None else f"{score:.2f}",
            "axes": [(a, f"{v:.2f}") for a, v in m.scores[i].axes.items()] if m.scores is not None else [],
            "reasons": m.scores[i].reasons if m.scores is not None else (),
            "reward": None if m.reward is None else f"{m.reward[i]:.2f}",
            "kl": None if m.kl is None else f"{m.kl[i]:.1f}",
            "tokens": m.tokens[i],
            "cut": m.finish[i] != "stop",
            "best": best and not all(top),
        }
        for order, (m, score, best) in enumerate(zip(models, overall, top, strict=True))
    ]
    prompt = prompts[i]
    return {
        "id": prompt.id or f"#{i + 1}",
        "intent": str(prompt.meta.get("intent", "")),
        "turns": prompt.messages,
        "answers": answers,
    }


def _samples(
    prompts: Sequence[Conversation], models: Sequence[ModelAnswers], most: int, t: Mapping[str, str], margin: float
) -> dict[str, Any] | None:
    """Evenly spaced prompts, so that nobody picked them."""
    if not prompts or not models or most < 1:
        return None
    step = max(1, math.ceil(len(prompts) / most))
    text = t["samples_all"] if step == 1 else t["samples_text"].format(step=step)
    return {"text": text, "cards": [_card(prompts, models, i, margin) for i in range(0, len(prompts), step)]}


def _regressions(
    verdict: Verdict, prompts: Sequence[Conversation], models: Sequence[ModelAnswers], t: Mapping[str, str]
) -> dict[str, Any] | None:
    """The prompts where the headline's model lost the most judge score, if any loss exceeds the tie margin."""
    pair = verdict.headline
    named = {m.name: m for m in models}
    if pair is None or pair.judge != "rules":
        return None
    ours, theirs = named[pair.a].scores, named[pair.b].scores
    assert ours is not None
    assert theirs is not None
    falls = sorted((x.overall - y.overall, i) for i, (x, y) in enumerate(zip(ours, theirs, strict=True)))
    worst = [i for fall, i in falls[:REGRESSIONS] if fall < -verdict.tie_margin]
    if not worst:
        return None
    both = [named[pair.b], named[pair.a]]
    heading = t["regressions"].format(a=pair.a_label, b=pair.b_label)
    return {"heading": heading, "cards": [_card(prompts, both, i, verdict.tie_margin) for i in worst]}


def _evolution(ppo: Rows) -> dict[str, Any] | None:
    """How the answer to the first sampled prompt changed, at evenly spaced iterations."""
    sampled = [(row.get("iteration", "?"), s) for row in ppo for s in row.get("samples") or [] if "answer" in s]
    if not sampled:
        return None
    prompt = sampled[0][1].get("prompt")
    same = [(iteration, s["answer"]) for iteration, s in sampled if s.get("prompt") == prompt]
    if len(same) < 2:
        return None
    last = len(same) - 1
    steps = min(EVOLUTION_STEPS, len(same))
    picked = sorted({round(k * last / (steps - 1)) for k in range(steps)})
    text = Conversation.from_json(prompt).last_user if isinstance(prompt, Mapping) else str(prompt)
    return {"prompt": text, "rows": [same[k] for k in picked]}


def _limits(verdict: Verdict, t: Mapping[str, str]) -> list[str]:
    codes = {c.code for c in verdict.cautions}
    by_reward = any(p.judge == "reward model" for p in verdict.pairs)
    keys = ["interval_limit", *(["reward_limit"] if by_reward and wording.optimisers(verdict) else [])]
    keys += [] if by_reward else ["rules_limit"]
    keys += ["simulated_limit"] if "simulated" in codes else []
    keys += [*([] if codes & {"contaminated", "unchecked"} else ["held_out_limit"]), "length_limit"]
    keys += ["reward_scale"] if any(m.reward is not None for m in verdict.models) else []
    return [t[k].format(by=wording.optimisers(verdict)) for k in keys]
