"""The verdict in words, English and Chinese: what the terminal prints and the report's top says."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from steersman.eval.reason_words import intent_name
from steersman.stats import Interval

if TYPE_CHECKING:
    from steersman.eval.tasks import TaskResult
    from steersman.eval.verdict import Caution, PairVerdict, Verdict

_HAN = "[\u4e00-\u9fff]"

EN = {
    "label.served model": "the served model",
    "judge.shop rules": "shop rules",
    "better": "{a} is better than {b}.",
    "no evidence": "There is no evidence that {a} is better than {b}.",
    "worse": "{a} is worse than {b}.",
    "word.better": "better",
    "word.no evidence": "no evidence",
    "word.worse": "worse",
    "but worse": "But it is worse on {parts}.",
    "worse on": "It is worse on {parts}.",
    "and": " and ",
    "comma": ", ",
    "to": "{low} to {high}",
    "unknown": "unknown",
    "evidence": "Mean {score} {x} against {y}: {d} (95 % interval {span}) on {n} held-out prompts; "
    "won {wins}, tied {ties}, lost {losses}.",
    "score": "judge score",
    "reward score": "reward",
    "not independent": "The judge here is the reward model that {by} optimised, so this is not independent evidence.",
    "title": "Verdict on {n} held-out prompts",
    "by": ", judged by {judge}",
    "reward judge": "the reward model that {by} optimised (not independent evidence)",
    "pair": "{a} against {b}: {word}",
    "rates": "win rate {rate} (ties count half), at equal length {controlled}",
    "axes": "differences: {axes}",
    "task": "task {name}, {n} prompts: {means}",
    "intent": "intent",
    "constraint": "constraints",
    "fitness": "fitness",
    "reward": "reward {d} ({span})",
    "length": "tokens per answer {x} against {y}, without an end {p} against {q}",
    "learned": "The judge here is the reward model, learned from the same rankings as {a}, so this is not independent "
    "evidence.",
    "kl": "KL of {label} to SFT: {kl} nats per answer ({span})",
    "kl bound": "KL of {label} to SFT: at most {kl} nats per answer",
    "multiple": "{m} comparisons were made, each with a 95 % interval, so the chance that at least one misleads "
    "is up to {risk} %. With the 5 % shared among all (Bonferroni): {words}.",
    "word pair": "{a} against {b} {word}",
    "note": "Note: ",
    "join": "; ",
    "caution.few": "Only {n} prompts: differences that are not large cannot be seen.",
    "caution.too_few": "Only {n} prompts: at least {least} are needed before any verdict is given.",
    "reward judge learned": "the reward model, learned from the same rankings (not independent evidence)",
    "caution.reward_judge": "No rule judge exists for this domain. The judge is the reward model that {by} optimised; "
    "a higher score shows that {by} worked, not that people would prefer the answers.",
    "reward judge apart": "the reward model (learned from rankings; no rules, no people)",
    "apart": "The judge here is the reward model, learned from rankings of the SFT model's answers.",
    "caution.reward_judge_apart": "No rule judge exists for this domain. The judge is the reward model; no model here "
    "was trained against it, but it knows only the rankings it learned from, and says little of what people would "
    "prefer.",
    "caution.contaminated": "{exact} of the {n} test prompts stand in the training data word for word and {near} "
    "nearly so (such as {examples}): on those the models show memory, not skill. Import other test prompts.",
    "caution.long": "Of the test prompts {skipped} were left out and {cut} cut at their beginning, being longer "
    "than the models' context (eval.long).",
    "caution.unchecked": "Whether the test prompts were trained on was not checked: {why}.",
    "caution.kept_sft": "{label} found nothing surely better than SFT on its own held-out prompts and kept SFT: "
    "the two are the same model.",
    "caution.stale_reward": "The reward model is stale ({changed} changed since); make it again: steersman reward.",
    "caution.reward_judge_learned": "No rule judge exists for this domain. The judge is the reward model, learned from "
    "the same rankings as the models; a higher score does not show that people would prefer the answers.",
    "caution.simulated": "The rankings were simulated by a rule judge, not given by people. What was learned is that "
    "judge's taste, and the verdict does not say what people would prefer.",
    "caution.kl": "{label} is {kl:.1f} nats per answer from SFT, above the ceiling of {ceiling:g}; the reward model "
    "was not trained on such answers.",
    "caution.no_eos": "{percent:.0f} % of the answers of {label} never ended and were cut at the token limit.",
    "caution.length": "The answers of {a} are {ratio:.2f} times as long as those of {b}; read the win rate at equal "
    "length too.",
    "caution.overoptimised": "The reward model scores {a} above {b} but the judge does not call it better: a sign that "
    "the policy exploits the reward model.",
}

ZH = {
    "label.served model": "正在使用的模型",
    "judge.shop rules": "商店规则",
    "better": "{a} 优于 {b}。",
    "no evidence": "没有证据表明 {a} 优于 {b}。",
    "worse": "{a} 不如 {b}。",
    "word.better": "更好",
    "word.no evidence": "无证据",
    "word.worse": "更差",
    "but worse": "但在 {parts} 上变差了。",
    "worse on": "在 {parts} 上变差了。",
    "and": "和",
    "comma": "、",
    "to": "{low} 至 {high}",
    "unknown": "未知",
    "evidence": "平均{score} {x} 对 {y}：相差 {d}（95% 区间 {span}），"
    "共 {n} 条留出提示；胜 {wins}，平 {ties}，负 {losses}。",
    "score": "评判分",
    "reward score": "奖励",
    "not independent": "此处的评判者就是 {by} 所优化的奖励模型，因此这不是独立证据。",
    "title": "{n} 条留出提示上的结论",
    "by": "，评判者：{judge}",
    "reward judge": "{by} 所优化的奖励模型（并非独立证据）",
    "pair": "{a} 对 {b}：{word}",
    "rates": "胜率 {rate}（平局算一半），等长时 {controlled}",
    "axes": "各维度之差：{axes}",
    "task": "任务 {name}，{n} 条提示：{means}",
    "intent": "意图",
    "constraint": "约束",
    "fitness": "得体",
    "reward": "奖励 {d}（{span}）",
    "length": "每条回答的词元数 {x} 对 {y}，未正常结束 {p} 对 {q}",
    "learned": "此处的评判者是奖励模型，它与 {a} 学自相同的排序，因此这不是独立证据。",
    "kl": "{label} 相对 SFT 的 KL：每条回答 {kl} nats（{span}）",
    "kl bound": "{label} 相对 SFT 的 KL：每条回答至多 {kl} nats",
    "multiple": "共做了 {m} 次比较，每次用 95% 区间，至少一次误判的概率最高可达 {risk}%。"
    "把 5% 分摊到全部比较（Bonferroni）后：{words}。",
    "word pair": "{a} 对 {b} {word}",
    "note": "注意：",
    "join": "；",
    "caution.few": "只有 {n} 条提示：看不出不大的差别。",
    "caution.too_few": "只有 {n} 条提示：至少需要 {least} 条才给出结论。",
    "reward judge learned": "学自相同排序的奖励模型（并非独立证据）",
    "reward judge apart": "奖励模型（学自排序；没有规则，也没有人）",
    "apart": "此处的评判者是奖励模型，它学自对 SFT 模型回答的排序。",
    "caution.reward_judge_apart": "该领域没有规则评判者。评判者是奖励模型；这里没有模型针对它训练过，"
    "但它只了解所学的排序，很少能说明人会更喜欢什么。",
    "caution.contaminated": "{n} 条测试提示中有 {exact} 条与训练数据完全相同，{near} 条近乎相同（如 {examples}）："
    "模型在这些提示上表现的是记忆而非能力。请导入其他测试提示。",
    "caution.long": "因超出模型的上下文长度，{skipped} 条测试提示被略去，{cut} 条从开头截短（eval.long）。",
    "caution.unchecked": "没有检查测试提示是否在训练数据中：{why}。",
    "caution.kept_sft": "{label} 在自己的留出提示上没有找到确实优于 SFT 的模型，因此保留了 SFT：两者是同一个模型。",
    "caution.stale_reward": "奖励模型并非出自现在的数据或设置（{changed}）；请重新训练：steersman reward。",
    "caution.reward_judge_learned": "该领域没有规则评判者。评判者是奖励模型，它与各模型学自相同的排序；"
    "分数更高并不说明人会更喜欢这些回答。",
    "caution.reward_judge": "该领域没有规则评判者。评判者就是 {by} 所优化的奖励模型；"
    "分数更高只说明 {by} 起了作用，并不说明人会更喜欢这些回答。",
    "caution.simulated": "排序由规则评判者模拟，并非由人给出。学到的是该评判者的偏好，结论不代表人的偏好。",
    "caution.kl": "{label} 与 SFT 相距每条回答 {kl:.1f} nats，超过上限 {ceiling:g}；奖励模型没有见过这样的回答。",
    "caution.no_eos": "{label} 有 {percent:.0f}% 的回答没有正常结束，被长度上限截断。",
    "caution.length": "{a} 的回答长度是 {b} 的 {ratio:.2f} 倍；请同时参看等长时的胜率。",
    "caution.overoptimised": "奖励模型给 {a} 的分高于 {b}，评判者却不认为它更好：策略可能在钻奖励模型的空子。",
}

LANGUAGES = {"en": EN, "zh": ZH}


def texts(language: str) -> dict[str, str]:
    """The phrases of a language. Raises ValueError for a language that is not supported."""
    if language not in LANGUAGES:
        raise ValueError(f"language: expected one of {', '.join(LANGUAGES)}, got {language!r}")
    return LANGUAGES[language]


def number(x: float, digits: int = 3, sign: bool = False) -> str:
    """A decimal, '+0.071' where `sign`; '?' where it is not known."""
    if not math.isfinite(x):
        return "?"
    return f"{x:+.{digits}f}" if sign else f"{x:.{digits}f}"


def span(interval: Interval, language: str = "en", digits: int = 3, sign: bool = False, scale: float = 1.0) -> str:
    """'0.04 to 0.10', or 'unknown' where there are no bounds."""
    t = texts(language)
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return t["unknown"]
    return t["to"].format(
        low=number(interval.low * scale, digits, sign), high=number(interval.high * scale, digits, sign)
    )


def percent(interval: Interval, language: str = "en") -> str:
    """'63.2 % (57.0 to 69.1)'."""
    gap = " " if language == "en" else ""
    bounds = span(interval, language, 1, scale=100)
    return f"{number(100 * interval.value, 1)}{gap}%" + (f" ({bounds})" if language == "en" else f"（{bounds}）")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's rows as lines for a terminal, on which a Chinese character takes two columns."""

    def width(text: str) -> int:
        return sum(2 if ord(c) > 0x2E7F else 1 for c in text)

    widths = [max(width(row[k]) for row in rows) for k in range(len(rows[0]))]
    padded = ((cell + " " * (most - width(cell)) for cell, most in zip(row, widths, strict=True)) for row in rows)
    return ["  ".join(cells).rstrip() for cells in padded]


def label(text: str, language: str) -> str:
    """A model's label, in the language where it is words and no name."""
    return texts(language).get(f"label.{text.removeprefix('the ')}", text)


def labelled(result: Verdict, language: str) -> Verdict:
    """The verdict with the models' labels in the language."""
    pairs = [replace(p, a_label=label(p.a_label, language), b_label=label(p.b_label, language)) for p in result.pairs]
    models = tuple(replace(m, label=label(m.label, language)) for m in result.models)
    return replace(result, pairs=tuple(pairs), models=models)


def claim(pair: PairVerdict, language: str) -> str:
    """The plain sentence: better, no evidence, or worse."""
    return closed(texts(language)[pair.word].format(a=pair.a_label, b=pair.b_label))


def closed(text: str) -> str:
    """The space around a value is for names in Latin letters."""
    return re.sub(rf"(?<={_HAN}) (?={_HAN})", "", text)


def headline(pair: PairVerdict, language: str) -> str:
    """The claim, and beside it each axis and intent on which the model got worse."""
    parts = worse_parts(pair, language)
    if not parts:
        return claim(pair, language)
    key = "but worse" if pair.word == "better" else "worse on"
    gap = " " if language == "en" else ""
    return claim(pair, language) + gap + closed(texts(language)[key].format(parts=listed(parts, language)))


def worse_parts(pair: PairVerdict, language: str) -> list[str]:
    """Axes, then intents, whose whole interval of the difference lies below 0."""
    t = texts(language)
    axes = [t.get(axis, axis) for axis, interval in pair.axes.items() if interval.high < 0]
    return axes + [intent_name(row.intent, language) for row in pair.by_intent if row.difference.high < 0]


def listed(parts: Sequence[str], language: str) -> str:
    """'a, b and c'."""
    t = texts(language)
    *first, last = parts
    return t["comma"].join(first) + t["and"] + last if first else last


def word(pair: PairVerdict, language: str) -> str:
    return texts(language)[f"word.{pair.word}"]


def evidence(pair: PairVerdict, language: str) -> str:
    """The numbers behind the claim, and the judge or model that gave them."""
    t = texts(language)
    by_reward = pair.judge == "reward model"
    out = t["evidence"].format(
        score=t["reward score" if by_reward else "score"],
        x=number(pair.a_score),
        y=number(pair.b_score),
        d=number(pair.difference.value, sign=True),
        span=span(pair.difference, language, sign=True),
        n=pair.n,
        wins=pair.wins,
        ties=pair.ties,
        losses=pair.losses,
    )
    gap = " " if language == "en" else ""
    kind = {"": "apart", "rankings": "learned", "reward": "not independent"}[pair.maker.learned_from]
    whose = t[kind].format(a=pair.a_label, by=pair.maker.method or pair.a_label)
    return out + gap + whose if by_reward else out


def caution(item: Caution, language: str) -> str:
    values = {key: label(value, language) if isinstance(value, str) else value for key, value in item.values.items()}
    return texts(language)[f"caution.{item.code}"].format(**values)


def judged_by(result: Verdict, language: str) -> str:
    """'Verdict on N held-out prompts, judged by J'."""
    t = texts(language)
    by_reward = any(p.judge == "reward model" for p in result.pairs)
    judge = result.judge
    if by_reward:
        judge = t[f"reward judge{reward_judge(result)}"].format(by=optimisers(result))
    return t["title"].format(n=result.n) + (t["by"].format(judge=t.get(f"judge.{judge}", judge)) if judge else "")


def optimisers(result: Verdict) -> str:
    """Methods that optimised models against the reward model, such as PPO; '' without such models."""
    return ", ".join(m.maker.method or m.label for m in result.models if m.maker.learned_from == "reward")


def reward_judge(result: Verdict) -> str:
    """Relation of the reward model to the judged models, as the ending of a text's key.

    '': it was optimised; ' learned': models learned from its rankings; ' apart': neither.
    """
    if optimisers(result):
        return ""
    return " learned" if any(m.maker.learned_from == "rankings" for m in result.models) else " apart"


def multiple(result: Verdict, language: str) -> str:
    """The note on several comparisons at once; '' where there was at most one."""
    t = texts(language)
    m = len(result.pairs)
    if m < 2:
        return ""
    words = t["join"].join(
        t["word pair"].format(a=p.a_label, b=p.b_label, word=t[f"word.{p.word_adjusted}"]) for p in result.pairs
    )
    return t["multiple"].format(m=m, risk=round(100 * m * (1 - result.level)), words=words)


def _task(task: TaskResult, language: str) -> list[str]:
    """Lines on a task for the terminal: the mean of each model, and each comparison."""
    t = texts(language)
    means = ", ".join(f"{label} {number(i.value)} ({span(i, language)})" for label, i in task.models.items())
    pairs = [
        f"    {t['pair'].format(a=p.a, b=p.b, word=t[f'word.{p.word}'])}: {number(p.difference.value, sign=True)} "
        f"({span(p.difference, language, sign=True)})"
        for p in task.pairs
    ]
    return ["", "  " + t["task"].format(name=task.name, n=task.n, means=means), *pairs]


def lines(result: Verdict, language: str) -> list[str]:
    """The terminal's text, a line each."""
    t, result = texts(language), labelled(result, language)
    models = {m.name: m for m in result.models}
    out = [judged_by(result, language)]
    headline = result.headline
    # the headline first, the rest in the order of the loop
    for p in sorted(result.pairs, key=lambda p: p is not headline):
        a, b = models[p.a], models[p.b]
        out += ["", "  " + t["pair"].format(a=p.a_label, b=p.b_label, word=word(p, language))]
        if parts := worse_parts(p, language):
            out.append("    " + closed(t["worse on"].format(parts=listed(parts, language))))
        out.append("    " + evidence(p, language))
        rates = t["rates"].format(rate=percent(p.win_rate, language), controlled=percent(p.length_controlled, language))
        out.append("    " + rates)
        parts = [
            f"{t.get(k, k)} {number(i.value, sign=True)} ({span(i, language, sign=True)})" for k, i in p.axes.items()
        ]
        if p.reward is not None and p.judge == "rules":
            parts.append(t["reward"].format(d=number(p.reward.value, 2, True), span=span(p.reward, language, 2, True)))
        if parts:
            out.append("    " + t["axes"].format(axes=", ".join(parts)))
        x, y = (number(m.tokens.value, 1) for m in (a, b))
        ends = [f"{number(100 * m.no_eos.value, 0)} %" for m in (a, b)]
        out.append("    " + t["length"].format(x=x, y=y, p=ends[0], q=ends[1]))
    out += [line for task in result.tasks for line in _task(task, language)]
    out.append("")
    for m in result.models:
        if m.kl is not None:
            kind = "kl bound" if m.kl_bound else "kl"
            out.append("  " + t[kind].format(label=m.label, kl=number(m.kl.value, 2), span=span(m.kl, language, 2)))
    if note := multiple(result, language):
        out.append("  " + note)
    return [*out, *("  " + t["note"] + caution(c, language) for c in result.cautions)]
