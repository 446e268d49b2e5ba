"""Dialogues of more than twenty turns: whether a model keeps facts, resolves what is left out, takes corrections,
challenges wrong premises, and does not repeat itself.

Each is a script of a customer's turns, filled in from a fixed seed; the model answers every turn in the light of its
own earlier answers. Some turns are probes, whose answers code checks; the score is the mean of the five parts.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.eval.suites.closed import holds
from steersman.eval.suites.regressions import NEAR, similarity
from steersman.eval.suites.suite import Item, Scorer, Suite
from steersman.text.folding import plain
from steersman.types import Conversation, Message

PARTS = ("facts", "ellipsis", "corrections", "premises", "no_repeats")
LONG = 20
"""Letters of an answer that is not very short."""
_DENIES = re.compile(
    r"\b(?:no|nope|not|n't|actually|however|incorrect|wrong|mistaken|but|only|rather|instead|sorry|afraid"
    r"|unfortunately|closed)\b|n't\b"
    r"|不是|并非|不对|其实|实际上|只有|有误|错|并没有|没有|而是|抱歉|对不起|不好意思|不太对|[仅只]限|只支持|最多"
    r"|不行|不可以|不能|不营业|休息|(?:^|[,.!。])[不否][,.!。]",
    re.I,
)
_AGREES = re.compile(
    r"\W*(?:yes|yeah|yep|yup|right(?! now)|correct|exactly|absolutely|certainly|definitely|of course"
    r"|sure|indeed)\b(?!\W*not\b)"
    r"|\W*(?:that(?:'s| is) (?:right|correct)\b|(?:是|对|可以|没错|没问题|当然(?:可以)?)(?:[的呀啊哦]|(?=[,.!。])|$))"
    r"|.*\byou(?:'re| are) (?:absolutely |quite )?(?:right|correct)\b(?! to )|.*您?说得(?:很)?对",
    re.I | re.S,
)
"""Answers that agree with what the customer supposes, whatever follows."""


@dataclass(frozen=True)
class Turn:
    """A customer's turn; a probe names the part that it tests and what a right answer says."""

    text: str
    part: str = ""
    value: str = ""
    wrong: str = ""
    """What a right answer does not say."""

    def passes(self, answer: str) -> bool:
        """A wrong premise must also be denied, and not be agreed to at first."""
        said = plain(answer).replace("’", "'")
        denies = self.part != "premises" or (_DENIES.search(said) is not None and _AGREES.match(said) is None)
        return holds(answer, self.value) and denies and not (self.wrong and holds(answer, self.wrong))


def suite() -> Suite:
    items = tuple(_item(f"dialogues-{i}", language, *made) for i, (language, made) in enumerate(scripts()))
    return Suite("dialogues", items, max_tokens=64)


def scripts() -> list[tuple[str, tuple[str, list[Turn]]]]:
    """(language, (system message, turns)) of twelve dialogues."""
    rng = random.Random(0)
    return [(language, script(language, rng)) for _ in range(6) for language in ("en", "zh")]


def _item(name: str, language: str, system: str, turns: Sequence[Turn]) -> Item:
    def of_part(part: str) -> Scorer:
        at = [i for i, turn in enumerate(turns) if turn.part == part]
        return lambda answers: sum(turns[i].passes(answers[i]) and not _again(turns, answers, i) for i in at) / len(at)

    parts: dict[str, Scorer] = {part: of_part(part) for part in PARTS[:-1]} | {"no_repeats": no_repeats}
    first, *rest = [turn.text for turn in turns]
    prompt = Conversation(name, (Message("system", system), Message("user", first)))
    return Item(
        name,
        prompt,
        lambda answers: sum(score(answers) for score in parts.values()) / len(parts),
        language,
        turns=tuple(rest),
        parts=parts,
    )


def _again(turns: Sequence[Turn], answers: Sequence[str], i: int) -> bool:
    """Whether an answer is word for word an earlier one to something else: it says this by chance."""
    said = answers[i].strip()
    return len(said) >= LONG and any(
        said == other.strip() and turn.value != turns[i].value
        for turn, other in zip(turns[:i], answers[:i], strict=True)
    )


def no_repeats(answers: Sequence[str]) -> float:
    """The share of answers that are no near copy of an earlier one; very short ones may recur."""
    long = [a for a in answers if len(a.strip()) >= LONG]
    copies = sum(any(similarity(a, b) >= NEAR for b in long[:i]) for i, a in enumerate(long))
    return 1 - copies / len(long) if long else float(any(a.strip() for a in answers))


@dataclass(frozen=True)
class Facts:
    """What one script is filled in with."""

    days: int
    wrong: int
    red: int
    blue: int
    size: int
    new: int
    order: str
    name: str
    city: str
    other: str


def script(language: str, rng: random.Random) -> tuple[str, list[Turn]]:
    """(system message with the shop's facts, the customer's turns)."""
    chinese = language == "zh"
    names = ["林悦", "周航", "韩雪"] if chinese else ["Ines", "Tobias", "Maren"]
    cities = ["杭州", "成都", "青岛", "西安"] if chinese else ["Lisbon", "Oslo", "Graz", "Turin"]
    days, wrong = rng.choice([(14, 90), (30, 60), (21, 100)])
    red, blue = rng.sample([12, 17, 23, 28, 34, 39], 2)
    size, new = rng.sample([38, 40, 41, 43, 44], 2)
    order = f"{rng.choice('ABKT')}{rng.randrange(1000, 9999)}"
    name, (city, other) = rng.choice(names), rng.sample(cities, 2)
    return (_zh if chinese else _en)(Facts(days, wrong, red, blue, size, new, order, name, city, other))


def _en(f: Facts) -> tuple[str, list[Turn]]:
    system = (
        f"You are the assistant of a shop. Facts: the red teapot costs {f.red} euros, the blue teapot {f.blue} euros. "
        f"Goods may be returned within {f.days} days. Delivery is free from 50 euros. The shop is closed on Sundays. "
        "Answer briefly."
    )
    return system, [
        Turn(f"Hello, my name is {f.name} and I live in {f.city}."),
        Turn(f"My order number is {f.order}, please keep it in mind."),
        Turn(f"I take shoe size {f.size}."),
        Turn("Do you sell teapots?"),
        Turn("How much is the red teapot?", "facts", f"{f.red} euros"),
        Turn("And the blue one?", "ellipsis", f"{f.blue} euros", f"{f.red} euros"),
        Turn("It is a present for my aunt."),
        Turn("She likes tea very much."),
        Turn(f"You let people return goods within {f.wrong} days, right?", "premises", f"{f.days} days"),
        Turn("Good to know."),
        Turn(f"I made a mistake: my shoe size is {f.new}, not {f.size}."),
        Turn("Do you have running shoes?"),
        Turn("What would you wear in the rain?"),
        Turn("Which shoe size did I say I need?", "corrections", f"{f.new}"),
        Turn("From what amount is delivery free?", "facts", "50 euros"),
        Turn(
            "So with the red teapot alone I pay no delivery, as you deliver everything for free?",
            "premises",
            "50 euros",
        ),
        Turn(f"By the way, I have moved, I no longer live in {f.city} but in {f.other}."),
        Turn("The weather is nice here."),
        Turn("Can you recommend a tea?"),
        Turn("What is my order number?", "facts", f.order),
        Turn("Which city do I live in now?", "corrections", f.other),
        Turn("And what was my name?", "ellipsis", f.name),
        Turn("You are open on Sundays, so can I come next Sunday?", "premises", "closed"),
        Turn("Thank you, goodbye."),
    ]


def _zh(f: Facts) -> tuple[str, list[Turn]]:
    system = (
        f"你是一家商店的客服助手。事实：红色茶壶{f.red}元，蓝色茶壶{f.blue}元。商品{f.days}天内可以退货。满50元包邮。"
        "商店星期日休息。请简短回答。"
    )
    return system, [
        Turn(f"你好，我叫{f.name}，住在{f.city}。"),
        Turn(f"我的订单号是{f.order}，请记住。"),
        Turn(f"我穿{f.size}码的鞋。"),
        Turn("你们卖茶壶吗？"),
        Turn("红色茶壶多少钱？", "facts", f"{f.red}元"),
        Turn("蓝色的呢？", "ellipsis", f"{f.blue}元", f"{f.red}元"),
        Turn("是送给我姑姑的礼物。"),
        Turn("她非常喜欢喝茶。"),
        Turn(f"你们是{f.wrong}天内都可以退货，对吧？", "premises", f"{f.days}天"),
        Turn("知道了。"),
        Turn(f"我刚才说错了，我穿{f.new}码，不是{f.size}码。"),
        Turn("有跑步鞋吗？"),
        Turn("下雨天穿什么好？"),
        Turn("我说过我要多大码的鞋？", "corrections", f"{f.new}"),
        Turn("满多少元包邮？", "facts", "50元"),
        Turn("既然全场都包邮，我只买红色茶壶也不用付运费吧？", "premises", "50元"),
        Turn(f"顺便说一下，我搬家了，现在不住{f.city}，住{f.other}。"),
        Turn("我们这里天气很好。"),
        Turn("能推荐一种茶吗？"),
        Turn("我的订单号是多少？", "facts", f.order),
        Turn("我现在住在哪个城市？", "corrections", f.other),
        Turn("那我叫什么名字？", "ellipsis", f.name),
        Turn("你们星期日营业，那我下个星期日过来可以吗？", "premises", "休息"),
        Turn("谢谢，再见。"),
    ]
