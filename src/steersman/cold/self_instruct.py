"""New prompts from a few seeds, written by a model and filtered for novelty and quality (Wang et al. 2023).

Nothing that comes out counts before a person approves it: see `cold.proposals`.
"""

# ruff: noqa: E501

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from steersman.cold.overlaps import Pool
from steersman.cold.requests import Asked, answers, question
from steersman.data.clean import language_of
from steersman.data.contamination import units

SHOWN_SEEDS, SHOWN_NEW, ASKED_FOR = 6, 2, 8
"""Seeds and new prompts shown in a request, and the number of further ones asked for."""
NOVEL = 0.7
"""ROUGE-L from which a prompt says what another says."""
SHORTEST, LONGEST = {"zh": 4, "en": 3}, {"zh": 200, "en": 120}
"""Words, or Chinese characters, of a prompt."""
ASK = {
    "en": (
        "{task}\nHere are some messages that users write to the assistant:\n{shown}\nWrite {n} further messages of other users. "
        "They must differ from these and from each other in matter and wording, and be answerable without pictures or files. "
        "Write one a line, numbered, and nothing else.\n{next}."
    ),
    "zh": (
        "{task}\n下面是一些用户发给助手的消息：\n{shown}\n请再写{n}条其他用户的消息。内容和说法要与上面的不同，彼此也不同，"
        "不需要图片或文件就能回答。每行一条，带编号，不要写别的内容。\n{next}."
    ),
}
LINE = re.compile(r"\s*(?:\d{1,3}\s*[.)、:：．]|[-*•])\s*(?P<text>\S.*)")
UNFIT = re.compile(
    r"\b(?:image|picture|photo|graph|chart|file|attachment|video|map|draw|plot)s?\b|图片|照片|附件|视频|画一|截图|图表",
    re.I,
)
META = re.compile(
    r"as an ai|language model|further messages|here are|作为(?:一个)?(?:AI|人工智能)|以下是|用户的消息|用户发给|请再写|每行一条|带编号",
    re.I,
)


@dataclass
class Invented:
    """New prompts with their likeness to what was there; lines read = kept + refused."""

    kept: list[tuple[str, float, str]] = field(default_factory=list)
    """(prompt, ROUGE-L to the most alike, that one)."""
    lines: int = 0
    requests: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Reason -> one of the refused."""

    def told(self) -> list[str]:
        out = [f"  {self.requests} requests gave {self.lines} lines, {len(self.kept)} kept"]
        return out + [f"  left out {n}: {why}, such as: {self.examples[why][:80]}" for why, n in self.refused.items()]

    def to_json(self) -> dict[str, Any]:
        return {"requests": self.requests, "lines": self.lines, "kept": len(self.kept), "refused": dict(self.refused)}


def invented(
    seeds: Sequence[str],
    count: int,
    asked: Asked,
    *,
    task: str = "",
    known: Sequence[str] = (),
    seed: int = 0,
    most_requests: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Invented:
    """Up to `count` new prompts in the seeds' languages. `known`: further prompts that new ones must differ from, such
    as those of test sets; they are not shown to the model. Ends after `most_requests` (0: four times what is needed).
    """
    if len(seeds) < 2:
        raise ValueError(f"expected at least 2 seeds, got {len(seeds)}")
    out, pool, apart = Invented(), Pool(seeds), Pool(known)
    rng = random.Random(seed)
    most = most_requests or 4 * -(-count // ASKED_FOR)
    by_language = {lang: [s for s in seeds if _language(s) == lang] for lang in ("en", "zh")}
    while len(out.kept) < count and out.requests < most:
        several = [lang for lang, texts in by_language.items() for _ in texts]
        batch = min(8, most - out.requests, -(-(count - len(out.kept)) // ASKED_FOR))
        requests = [_request(rng, rng.choice(several), by_language, out, task) for _ in range(batch)]
        params = dataclasses.replace(asked.params, seed=seed + out.requests)
        found = answers(dataclasses.replace(asked, params=params), [question(text) for _, text in requests], "custom")
        out.requests += len(requests)
        for (language, _), (answer,) in zip(requests, found, strict=True):
            for text in parsed(answer.text, answer.finish_reason == "length"):
                _take(text, language, (pool, apart), out, count)
    if len(out.kept) < count:
        say(
            f"note: {len(out.kept)} of {count} prompts after {out.requests} requests; more seeds or another model give more"
        )
    return out


def _language(text: str) -> str:
    return "zh" if language_of(text) == "zh" else "en"


def _request(
    rng: random.Random, language: str, seeds: dict[str, list[str]], out: Invented, task: str
) -> tuple[str, str]:
    """(language, the request): some seeds and some of what was invented, in a random order."""
    new = [text for text, _, _ in out.kept if _language(text) == language]
    shown = rng.sample(seeds[language], min(SHOWN_SEEDS, len(seeds[language]))) + rng.sample(
        new, min(SHOWN_NEW, len(new))
    )
    rng.shuffle(shown)
    listed = "\n".join(f"{i}. {' '.join(text.split())}" for i, text in enumerate(shown, 1))
    return language, ASK[language].format(task=task, shown=listed, n=ASKED_FOR, next=len(shown) + 1).strip()


def parsed(text: str, cut: bool) -> list[str]:
    """The prompts of an answer, one a line, without numbers; the last one is left out where the answer was cut off."""
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    lines = lines[:-1] if cut else lines
    found = [m["text"] if (m := LINE.fullmatch(line)) else line for line in lines]
    return [t.strip().strip('"“”').strip() for t in found]


def _take(text: str, language: str, pools: tuple[Pool, Pool], out: Invented, count: int) -> None:
    out.lines += 1
    pool, apart = pools
    why, score, like = fault(text, language), 0.0, ""
    if not why:
        score, like = pool.nearest(text)
        why = "too like a seed or a new one" if score >= NOVEL else ""
    if not why and apart.nearest(text, NOVEL)[1]:
        why = "too like a known or a test prompt"
    if not why and len(out.kept) >= count:
        why = "more than were asked for"
    if why:
        out.refused[why] += 1
        out.examples.setdefault(why, text)
        return
    out.kept.append((text, round(score, 3), like))
    pool.add(text)


def fault(text: str, language: str) -> str:
    """Why a line is no usable prompt; '' where it is one."""
    words = units(text)
    if len(words) < SHORTEST[language]:
        return "too short"
    if len(words) > LONGEST[language]:
        return "too long"
    if language_of(text) != language:
        return "in another language than its seeds"
    if UNFIT.search(text):
        return "needs a picture or a file"
    if META.search(text):
        return "speaks of the request"
    if "\ufffd" in text or text.endswith((":", "：", "...", "…")):
        return "broken off"
    if text[0] in ",.;:!?，。；：！？)]}" or not re.search(r"[^\W\d_]", text):
        return "no sentence"
    runs = Counter(words[i : i + 3] for i in range(len(words) - 2))
    if runs and max(runs.values()) > 2 and max(runs.values()) * 3 > len(words) / 3:
        return "repeats itself"
    return ""
