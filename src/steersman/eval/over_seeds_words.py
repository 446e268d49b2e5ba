"""What several seeds say together in words, English and Chinese: the terminal's table and the page's sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from steersman.eval.over_seeds import MIN_SEEDS, Against, OverSeeds, SeedOutcome
from steersman.eval.verdict import MIN_PROMPTS
from steersman.eval.wording import aligned, number, span, texts

EN = {
    "lang": "en",
    "title": "{n} seeds, {prompts} test prompts",
    "better": "Over {n} seeds {a} is better than {b}.",
    "no evidence": "Over {n} seeds there is no evidence that {a} is better than {b}.",
    "worse": "Over {n} seeds {a} is worse than {b}.",
    "evidence": "Mean difference of the score {d} (95 % interval {span}, holding seeds and prompts); standard "
    "deviation between seeds {sd}. By seed: {better} better, {none} no evidence, {worse} worse.",
    "kl": "KL to the reference: {kl} nats per answer ({span} over seeds)",
    "accuracy": "reward accuracy {x} % on held-out pairs, {lead} points over 'the longer answer wins' "
    "({span} over seeds)",
    "tokens": "tokens per answer {x} against {y}",
    "kept": "in {n} of {of} seeds {a} found nothing better on its own held-out prompts and kept SFT",
    "kept word": "{word}, kept SFT",
    "against": "Against trial {name} over {n} seeds in common: {a} differs by {d} (95 % interval {span}): {word}.",
    "people": "All seeds learned from the same rankings, given by people.",
    "imported": "All seeds learned from the same imported rankings.",
    "simulated": "Each seed's own answers were ranked by the rule judge, not by people: what was learned is that "
    "judge's taste.",
    "own reward": "Each seed is judged by its own reward model, which it optimised: not independent evidence.",
    "too few seeds": "Fewer than {least} seeds: no verdict is given, since nothing can be said of other seeds.",
    "few seeds": "Only {n} seeds: the spread between seeds is hardly known, so the interval is wide.",
    "few prompts": "Only {n} prompts: at least {least} are needed before any verdict is given.",
    "all": "all",
    "picture": "Difference of each seed with its 95 % interval (other prompts), and of all seeds (other seeds too)",
    "axis": "score of {a} minus {b}",
    "made": "How this was made",
    "limit": "An interval of a seed says how far its mean could move on other prompts; the one of all seeds holds "
    "other seeds too. Neither covers other data or prompts of another kind.",
}
ZH = {
    "lang": "zh-CN",
    "title": "{n} 个种子，{prompts} 条测试提示",
    "better": "在 {n} 个种子上，{a} 优于 {b}。",
    "no evidence": "在 {n} 个种子上，没有证据表明 {a} 优于 {b}。",
    "worse": "在 {n} 个种子上，{a} 不如 {b}。",
    "evidence": "平均分差 {d}（95% 区间 {span}，同时考虑种子与提示）；种子间标准差 {sd}。"
    "按种子：{better} 个更好，{none} 个无证据，{worse} 个更差。",
    "kl": "相对参照模型的 KL：每条回答 {kl} nats（各种子 {span}）",
    "accuracy": "奖励模型在留出对上的准确率 {x}%，比“较长者胜”高 {lead} 个百分点（各种子 {span}）",
    "tokens": "每条回答的词元数 {x} 对 {y}",
    "kept": "{of} 个种子中有 {n} 个，{a} 在自己的留出提示上没有找到更好的模型，保留了 SFT",
    "kept word": "{word}，保留 SFT",
    "against": "与试验 {name} 在 {n} 个共同种子上相比：{a} 相差 {d}（95% 区间 {span}）：{word}。",
    "people": "所有种子学自同一批由人给出的排序。",
    "imported": "所有种子学自同一批导入的排序。",
    "simulated": "每个种子的回答由规则评判者排序，并非由人给出：学到的是该评判者的偏好。",
    "own reward": "每个种子由它自己所优化的奖励模型评判：并非独立证据。",
    "too few seeds": "少于 {least} 个种子：无法推及其他种子，因此不给出结论。",
    "few seeds": "只有 {n} 个种子：种子间的离散程度几乎未知，因此区间很宽。",
    "few prompts": "只有 {n} 条提示：至少需要 {least} 条才给出结论。",
    "all": "全部",
    "picture": "每个种子的分差及其 95% 区间（换提示），以及全部种子的（也换种子）",
    "axis": "{a} 的分数减去 {b}",
    "made": "制作方式",
    "limit": "单个种子的区间说明换一批提示时均值会如何变动；全部种子的区间还考虑了其他种子。"
    "两者都不涵盖其他数据或其他类型的提示。",
}
FEW_SEEDS = 5
LANGUAGES: Mapping[str, Mapping[str, str]] = {"en": EN, "zh": ZH}
HEADS = {
    "en": ("seed", "difference", "95 % interval", "verdict", "KL", "reward accuracy", "longer wins", "tokens"),
    "zh": ("种子", "分差", "95% 区间", "结论", "KL", "奖励准确率", "较长者胜", "词元数"),
}


def phrase(key: str, language: str, **values: object) -> str:
    return LANGUAGES[language][key].format(**values)


def claim(of: OverSeeds, language: str) -> str:
    return phrase(of.word, language, n=len(of.outcomes), a=of.a, b=of.b)


def evidence(of: OverSeeds, language: str) -> str:
    words = of.words
    return phrase(
        "evidence",
        language,
        d=number(of.difference.value, sign=True),
        span=span(of.difference, language, sign=True),
        sd=number(of.spread),
        better=words["better"],
        none=words["no evidence"],
        worse=words["worse"],
    )


def beside(of: OverSeeds, language: str) -> list[str]:
    """KL, reward accuracy and length, as far as they were measured."""
    out = []
    if math.isfinite(of.kl.value):
        out.append(phrase("kl", language, kl=number(of.kl.value, 2), span=span(of.kl, language, 2)))
    if math.isfinite(of.accuracy.value):
        lead = number(100 * of.lead.value, 1, sign=True)
        bounds = span(of.lead, language, 1, sign=True, scale=100)
        out.append(phrase("accuracy", language, x=number(100 * of.accuracy.value, 1), lead=lead, span=bounds))
    if kept := sum(o.kept_sft for o in of.outcomes):
        out.append(phrase("kept", language, n=kept, of=len(of.outcomes), a=of.a))
    x, y = (number(t, 1) for t in of.tokens)
    return [*out, phrase("tokens", language, x=x, y=y)]


def cautions(of: OverSeeds, language: str) -> list[str]:
    out = [phrase(of.rankings, language)]
    if of.outcomes[0].judge != "rules":
        out.append(phrase("own reward", language))
    if (n := len(of.outcomes)) < FEW_SEEDS:
        key = "few seeds" if n >= MIN_SEEDS else "too few seeds"
        out.append(phrase(key, language, n=n, least=MIN_SEEDS))
    if of.n_prompts < MIN_PROMPTS:
        out.append(phrase("few prompts", language, n=of.n_prompts, least=MIN_PROMPTS))
    return out


def compared(of: Against, a: str, language: str) -> str:
    word = texts(language)[f"word.{of.word}"]
    shown = span(of.difference, language, sign=True)
    d = number(of.difference.value, sign=True)
    return phrase("against", language, name=of.name, n=len(of.seeds), a=a, d=d, span=shown, word=word)


def rows(of: OverSeeds, language: str) -> list[tuple[str, ...]]:
    """The table: a row per seed, and one for all."""
    t = texts(language)
    lengths = (number(of.tokens[0], 0), number(of.tokens[1], 0))
    last = (
        LANGUAGES[language]["all"],
        number(of.difference.value, sign=True),
        span(of.difference, language, sign=True),
        t[f"word.{of.word}"],
        number(of.kl.value, 1),
        _share(of.accuracy.value),
        _share(of.accuracy.value - of.lead.value),
        " / ".join(lengths),
    )
    return [*(_row(o, language) for o in of.outcomes), last]


def _row(o: SeedOutcome, language: str) -> tuple[str, ...]:
    word = texts(language)[f"word.{o.word}"]
    return (
        str(o.seed),
        number(o.difference.value, sign=True),
        span(o.difference, language, sign=True),
        phrase("kept word", language, word=word) if o.kept_sft else word,
        number(o.kl.value, 1) if o.kl else "–",
        _share(o.accuracy),
        _share(o.length_accuracy),
        " / ".join(number(t, 0) for t in o.tokens),
    )


def _share(x: float | None) -> str:
    return "–" if x is None or not math.isfinite(x) else f"{100 * x:.1f} %"


def lines(of: OverSeeds, language: str, versus: Against | None = None) -> list[str]:
    """The terminal's text, a line each."""
    table = [HEADS[language], *rows(of, language)]
    out = [phrase("title", language, n=len(of.outcomes), prompts=of.n_prompts), ""]
    out += [f"  {line}" for line in aligned(table)]
    out += ["", claim(of, language), "  " + evidence(of, language), *(f"  {line}" for line in beside(of, language))]
    if versus:
        out.append("  " + compared(versus, of.a, language))
    return [*out, *(f"  {texts(language)['note']}{line}" for line in cautions(of, language))]
