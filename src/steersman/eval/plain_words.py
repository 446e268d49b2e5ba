"""The report's opening for readers who know nothing of training: what was compared, what came out, two examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steersman.eval import wording
from steersman.eval.verdict import ModelAnswers, PairVerdict, Verdict
from steersman.types import Conversation

MOST = 700
"""Characters of an example's text that are shown."""
EN = {
    "heading": "In plain words",
    "asked": "{a} and {b} were asked the same {n} questions, which had been kept out of training. {judge} marked "
    "each answer.",
    "rules": "A program ({judge})",
    "reward model": "A second model, which had learned from rankings what is preferred,",
    "counts": "Of 100 questions {a} answered about {wins} better, {ties} equally well and {losses} worse.",
    "better": "That is more than chance explains: {a} can be expected to do better on other such questions too.",
    "no evidence": "That is too little to call it an improvement: on other questions it could come out the other way.",
    "worse": "That is more than chance explains: {a} is a step back and should not replace {b}.",
    "few": "With so few questions only large differences would show.",
    "but": "Read its answers on {parts} before it is used: there it got worse.",
    "simulated": "The rankings behind it were made by a program, so this says nothing of what people would prefer.",
    "base": "The model before any training",
    "sft": "The model that learned from example dialogues",
    "served": "The model in use now",
    "improved": "The new model ({label})",
    "other": "{label}",
    "good": "A question on which it did well",
    "bad": "A question on which it did badly",
    "weakest": "Its weakest answer",
    "asked_by": "Question",
    "now": "{label} answers",
    "before": "{label} answered",
    "cut": " … (shortened)",
}
ZH = {
    "heading": "通俗地说",
    "asked": "向{a}与{b}提出了同样的 {n} 个问题，这些问题都没有用于训练。{judge}给每个回答打了分。",
    "rules": "一个程序（{judge}）",
    "reward model": "另一个从排序中学会了偏好的模型",
    "counts": "每 100 个问题中，{a}约有 {wins} 个答得更好，{ties} 个相当，{losses} 个更差。",
    "better": "这超出了偶然所能解释的程度：换一批同类问题，{a}也可望更好。",
    "no evidence": "差别太小，还不能说有改进：换一批问题，结果也可能相反。",
    "worse": "这超出了偶然所能解释的程度：{a}是退步，不应取代{b}。",
    "few": "问题这么少，只有很大的差别才看得出来。",
    "but": "使用之前，请先看它在“{parts}”上的回答：在这些方面变差了。",
    "simulated": "背后的排序是由程序做出的，因此这并不说明人会更喜欢什么。",
    "base": "训练前的模型",
    "sft": "从示例对话中学习的模型",
    "served": "现在使用的模型",
    "improved": "新模型（{label}）",
    "other": "{label}",
    "good": "它答得好的一个问题",
    "bad": "它答得不好的一个问题",
    "weakest": "它最弱的一个回答",
    "asked_by": "问题",
    "now": "{label}的回答",
    "before": "{label}原来的回答",
    "cut": " ……（有删节）",
}
LANGUAGES = {"en": EN, "zh": ZH}
FEW = 50
"""Questions below which only large differences show."""


def opening(
    verdict: Verdict, prompts: Sequence[Conversation], models: Sequence[ModelAnswers], language: str
) -> dict[str, Any] | None:
    """The heading, the paragraph and the examples; None where nothing was compared."""
    pair, t = verdict.headline, LANGUAGES[language]
    if pair is None:
        return None
    named = {model.name: model for model in models}
    return {
        "heading": t["heading"],
        "text": _paragraph(verdict, pair, language),
        "examples": _examples(pair, prompts, named[pair.a], named[pair.b], verdict.tie_margin, t),
        "asked_by": t["asked_by"],
    }


def _paragraph(verdict: Verdict, pair: PairVerdict, language: str) -> str:
    t, gap = LANGUAGES[language], " " if language == "en" else ""
    a, b = _named(pair.a, pair.a_label, pair.maker.improved, t), _named(pair.b, pair.b_label, False, t)
    judge = t[pair.judge].format(judge=wording.texts(language).get(f"judge.{verdict.judge}", verdict.judge))
    inside = (a[0].lower() + a[1:], b[0].lower() + b[1:]) if language == "en" else (a, b)
    wins, ties, losses = (round(100 * n / max(pair.n, 1)) for n in (pair.wins, pair.ties, pair.losses))
    said = [
        t["asked"].format(a=a, b=inside[1], n=pair.n, judge=judge),
        t["counts"].format(a=inside[0], wins=wins, ties=ties, losses=losses),
        t[pair.word].format(a=inside[0], b=inside[1]),
    ]
    if pair.n < FEW:
        said.append(t["few"])
    if parts := wording.worse_parts(pair, language):
        said.append(t["but"].format(parts=wording.listed(parts, language)))
    if any(caution.code == "simulated" for caution in verdict.cautions):
        said.append(t["simulated"])
    return gap.join(said)


def _named(name: str, label: str, improved: bool, t: Mapping[str, str]) -> str:
    key = "improved" if improved else name if name in ("base", "sft", "served") else "other"
    return t[key].format(label=label)


def _examples(
    pair: PairVerdict,
    prompts: Sequence[Conversation],
    ours: ModelAnswers,
    theirs: ModelAnswers,
    margin: float,
    t: Mapping[str, str],
) -> list[dict[str, str]]:
    """The question on which the headline's model gained most, and the one on which it lost most or was weakest."""
    marks, before = _marks(ours, pair), _marks(theirs, pair)
    gains = [x - y for x, y in zip(marks, before, strict=True)]
    order = range(len(prompts))
    good, bad = max(order, key=lambda i: (gains[i], -i)), min(order, key=lambda i: (gains[i], i))
    fell = gains[bad] < -(margin if pair.judge == "rules" else 0.0)
    weakest = min((i for i in order if i != good), key=lambda i: (marks[i], i), default=good)
    chosen = [("good", good)] if gains[good] > 0 else []
    chosen.append(("bad", bad) if fell else ("weakest", weakest))
    labels = (
        _named(pair.a, pair.a_label, pair.maker.improved, t),
        _named(pair.b, pair.b_label, False, t),
    )
    return [
        {
            "kind": "good" if kind == "good" else "bad",
            "title": t[kind],
            "question": _short(prompts[i].last_user, t),
            "now": t["now"].format(label=labels[0]),
            "answer": _short(ours.answers[i], t),
            "before": t["before"].format(label=labels[1]),
            "former": _short(theirs.answers[i], t),
        }
        for kind, i in chosen
    ]


def _marks(model: ModelAnswers, pair: PairVerdict) -> list[float]:
    if pair.judge == "rules" and model.scores is not None:
        return [score.overall for score in model.scores]
    return [float(reward) for reward in model.reward or ()]


def _short(text: str, t: Mapping[str, str]) -> str:
    return text if len(text) <= MOST else text[:MOST] + t["cut"]
