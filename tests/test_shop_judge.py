"""The shop's rule judge: junk scores low, every broken rule costs, and a list of key words is not an answer."""

import dataclasses
import functools
import itertools
import re
import statistics

import pytest

from steersman.data.shop import generate, judge
from steersman.data.shop.cases import PREMISES, SPECS, STATUSES
from steersman.data.shop.claims import count_length, dates, mentions, normal, repetition, sentences, statuses
from steersman.data.shop.generate import answers_to
from steersman.data.shop.world import LANGUAGES
from steersman.eval.reason_words import in_language
from steersman.types import Conversation, Message
from test_shop import JUDGED


@functools.cache
def made(language):
    return list(generate("demonstrations", "test", 1200, language, 31))


@functools.cache
def warm(language):
    return [c for c in made(language) if c.meta["warm"]]


def said(conversation):
    return conversation.messages[-1].content


def one(language, name, wish=None, **meta):
    """A warm demonstration of a case, with an explicit wish or without any."""
    for c in warm(language):
        wishes = [w["type"] for w in c.meta["constraints"]]
        if f"{c.meta['intent']}.{c.meta['variant']}" != name and name:
            continue
        if (wish in wishes if wish else not wishes) and all(c.meta[k] == v for k, v in meta.items()):
            return c
    raise AssertionError((language, name, wish, meta))


def with_wish(conversation, kind, value=0):
    wishes = [*conversation.meta["constraints"], {"type": kind, "value": value}]
    return dataclasses.replace(conversation, meta={**conversation.meta, "constraints": wishes})


def drop(conversation, worse):
    good, bad = judge(conversation, said(conversation)), judge(conversation, worse)
    assert good.overall >= 0.95
    return good.overall - bad.overall, bad


def test_a_conversation_without_the_shops_facts_is_refused():
    with pytest.raises(ValueError, match=r"conversation 'x', meta: expected the shop's facts"):
        judge(Conversation("x", (Message("user", "hi"),)), "hello")


@pytest.mark.parametrize("language", LANGUAGES)
def test_junk_scores_low(language):
    demonstrations = made(language)[:40]
    junk = {
        "empty": lambda c: "",
        "space": lambda c: " \n\t ",
        "marks": lambda c: "?!... ---",
        "user echoed": lambda c: c.last_user,
        "system echoed": lambda c: c.messages[0].content,
        "all echoed": lambda c: "\n".join(m.content for m in c.messages[:-1]),
        "loop": lambda c: (said(c) + " ") * 10,
        "word loop": lambda c: "order " * 60 if language == "en" else "订单" * 60,
        "long loop": lambda c: ("lorem ipsum " if language == "en" else "哈哈") * 1000,
    }
    for name, make in junk.items():
        for c in demonstrations:
            score = judge(c, make(c))
            assert max(score.intent, score.constraint, score.fitness) <= 0.1, (name, c.last_user, score)
            assert score.reasons


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refusal_or_a_strangers_answer_is_no_help(language):
    demonstrations = made(language)[:400]
    sorry = "I am sorry, I cannot help with that." if language == "en" else "很抱歉，这个我帮不了您。"
    served = [c for c in demonstrations if c.meta["intent"] not in ("out_of_scope", "improper")]
    assert max(judge(c, sorry).intent for c in served) <= 0.15
    assert statistics.mean(judge(c, sorry).overall for c in served) < 0.2
    others = [judge(c, said(d)) for c, d in zip(demonstrations, demonstrations[7:], strict=False)]
    assert statistics.mean(s.overall for s in others) < 0.25


@pytest.mark.parametrize("language", LANGUAGES)
def test_ten_thousand_characters_are_judged_quickly_and_badly(language):
    import random

    rng = random.Random(1)
    words = [w for c in warm(language)[:50] for w in (said(c).split() if language == "en" else said(c))]
    text = (" " if language == "en" else "").join(rng.choices(words, k=2200 if language == "en" else 10000))
    for c in warm(language)[:20]:
        score = judge(c, said(c) + " " + text)
        assert score.overall < 0.25, score


def test_wrong_date_costs():
    c = one("en", "order_status.any", status="shipped")
    right = c.meta["key"][0]["any"]
    english = next(f for f in right if re.match(r"\d", f) and "月" not in f)
    placed = next(d for d in re.findall(r"placed (\d+ \w+)", c.messages[0].content))
    for wrong in ("31 December" if english != "31 December" else "30 December", placed):
        lost, score = drop(c, said(c).replace(english, wrong))
        assert lost > 0.3, score
        assert any("does not name the date" in r for r in score.reasons)
    _, invented = drop(c, said(c).replace(english, "31 December"))
    assert any(r.startswith("invents") for r in invented.reasons)
    z = one("zh", "order_status.any", status="shipped")
    chinese = next(f for f in z.meta["key"][0]["any"] if "月" in f)
    assert drop(z, said(z).replace(chinese, "12月31日"))[0] > 0.3


@pytest.mark.parametrize("language", LANGUAGES)
def test_another_order_number_costs(language):
    for name in ("refund.due", "invoice.sent", "changed_mind.credit"):
        c = one(language, name)
        lost, score = drop(c, said(c).replace(c.meta["order_end"], "54321"))
        assert lost > 0.25, score
        assert any("not the customer's" in r for r in score.reasons)
        assert any("does not name the order number" in r for r in score.reasons)


@pytest.mark.parametrize("language", LANGUAGES)
def test_wrong_amount_costs(language):
    c = one(language, "refund.due")
    amount = c.meta["key"][0]["raw"]
    assert drop(c, re.sub(rf"(?<!\d){amount}(?!\d)", "7", said(c)))[0] > 0.25


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_wrong_language_costs(language):
    other = "zh" if language == "en" else "en"
    for name in ("order_status.any", "delivery.cost", "out_of_scope.any"):
        score = judge(one(language, name), said(one(other, name)))
        assert score.constraint < 0.35, score
        assert any("is not written in" in r for r in score.reasons)


@pytest.mark.parametrize("language", LANGUAGES)
def test_rambling_costs(language):
    more = (
        " Our shop was founded by two friends who love fine things, and each item is chosen with care from the makers"
        " we know in person. We pack all parcels by hand in the old mill, where the light is best in the morning."
        if language == "en"
        else "我们的店铺由两位热爱生活的朋友创办，每件商品都从熟悉的工匠那里精心挑选。所有包裹都在老磨坊里手工打包，"
        "那里早晨的光线最好，窗外还有一条小河，春天的时候河边开满了花，大家午休都喜欢去那里散步聊天看风景。"
    )
    for name in ("return.yes", "product_question.size", "small_talk.hello"):
        c = one(language, name)
        lost, score = drop(c, said(c) + more)
        assert lost > 0.05, score
        good = judge(c, said(c))
        assert score.constraint < good.constraint
        assert score.fitness < good.fitness


@pytest.mark.parametrize(("language", "apology"), [("en", r"[^.!]*(?:sorry|apolog)[^.!,]*[.!,] ?"), ("zh", None)])
def test_a_complaint_without_apology_costs(language, apology):
    c = next(c for c in warm(language) if c.meta["intent"] == "complaint" and not c.meta["constraints"])
    rest = said(c)
    for word in ("sorry", "apologies", "apologise", "抱歉", "歉意", "不好意思", "对不起"):
        rest = rest.replace(word, "well" if language == "en" else "好")
    lost, score = drop(c, rest)
    assert lost > 0.08, score
    assert "does not apologise for the trouble" in score.reasons


def test_blame_and_rudeness_cost():
    for language, rude in (("en", " It is your own fault."), ("zh", "这是您自己的问题。")):
        c = one(language, "return.no")
        lost, score = drop(c, said(c) + rude)
        assert lost > 0.2, score
        assert "blames the customer or is rude" in score.reasons


LONG_EN = " This is the state of affairs that our system shows to me today, as of now, in all truth, I see."
LONG_ZH = "这就是我们系统里今天显示出来的全部情况，此外没有别的记录了，请您放心等待即可，谢谢您的理解和支持，欢迎再来。"
BREAKERS = {
    "one_sentence": lambda c, t: t + (" That is all I have." if c.meta["answer_in"] == "en" else "就这些了。"),
    "max_len": lambda c, t: t + (LONG_EN if c.meta["answer_in"] == "en" else LONG_ZH),
    "numbered": lambda c, t: re.sub(r"^\d+\. ", "", t, flags=re.M),
    "no_exclaim": lambda c, t: t[:-1] + ("!" if c.meta["answer_in"] == "en" else "！"),
    "yes_no": lambda c, t: re.sub(r"^(Yes|No|是|否)[.,。，]\s*", "", t),
    "order_end": lambda c, t: t + (" Thank you." if c.meta["answer_in"] == "en" else "谢谢您。"),
    "use_name": lambda c, t: t.replace(c.meta["customer"]["call"], "").replace("，，", "，"),
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wish", BREAKERS)
def test_every_wish_is_noticed_when_broken(language, wish):
    found = [c for c in warm(language) if [w["type"] for w in c.meta["constraints"]] == [wish]][:6]
    assert len(found) >= 3
    for c in found:
        good, bad = judge(c, said(c)), judge(c, BREAKERS[wish](c, said(c)))
        assert good.constraint == 1.0, (said(c), good)
        assert bad.constraint <= 0.75, (BREAKERS[wish](c, said(c)), bad)
        assert good.overall - bad.overall > 0.08
        assert len(bad.reasons) > len(good.reasons)


def test_yes_instead_of_no_is_noticed():
    c = one("en", "", "yes_no", polarity="no")
    bad = judge(c, "Yes" + said(c)[2:])
    assert "starts with yes, no is right" in bad.reasons


def test_the_language_asked_for_counts_and_not_the_customers():
    made = [c for c in generate("demonstrations", "train", 600, "both", 2) if c.meta["asked_in"] != c.meta["answer_in"]]
    for c in made[:40]:
        assert judge(c, said(c)).constraint > 0.8, said(c)
        native = (
            "Thank you, I can tell you about it soon." if c.meta["asked_in"] == "en" else "您好，请稍等，我这就告诉您。"
        )
        assert judge(c, native).constraint <= 0.25


@pytest.mark.parametrize(
    ("language", "stuffing"),
    [
        ("en", "Your order {o} is being packed, has shipped, was delivered, is delayed and was cancelled on {d}."),
        ("en", "Order {o} has shipped and has not shipped, due {d}. Please let me know, I am happy to help."),
        ("en", "order {o} shipped {d} delivered delayed cancelled refund invoice return thank please sorry happy help"),
        ("zh", "您好，订单{o}已经发货，已经送达，有延误，已经取消，还在备货，{d}。请随时联系。"),
        ("zh", "您好，订单{o}已经发货，也没有在运输途中，{d}。还有需要请随时告诉我。"),
    ],
)
def test_claiming_everything_scores_less_than_saying_the_truth(language, stuffing):
    c = one(language, "order_status.any", status="shipped")
    form = next(f for f in c.meta["key"][0]["any"] if ("月" in f) == (language == "zh"))
    score = judge(c, stuffing.format(o=c.meta["order_end"], d=form))
    assert score.intent <= 0.4, score
    assert score.overall < 0.65


@pytest.mark.parametrize("language", LANGUAGES)
def test_listing_every_date_or_amount_scores_low(language):
    kinds = {"order_status.any": "date", "refund.due": "money", "delivery.time": "days", "ellipsis.price": "money"}
    for name in kinds:
        c = one(language, name)
        prompt = "\n".join(m.content for m in c.messages[:-1])
        if language == "en":
            all_of = re.findall(r"\d+ [A-Z][a-z]+|\$\d+|\d+ days", prompt)
            text = (
                f"Hi, about order {c.meta['order_end']}: it is {', or '.join(all_of)}, and I am happy to help further."
            )
        else:
            all_of = re.findall(r"\d+月\d+日|\d+元|\d+天", prompt)
            text = f"您好，订单{c.meta['order_end']}的情况是{'或者'.join(all_of)}，还有需要请随时告诉我。"
        assert judge(c, text).intent <= 0.45, (name, text, judge(c, text))


def test_the_other_polarity_is_a_contradiction():
    c = one("en", "return.no")
    date = next(f for f in c.meta["key"][0]["any"] if "月" not in f)
    number = c.meta["order_end"]
    both = f"Hi, you can return order {number} but it cannot be returned, the window closed on {date}. Happy to help."
    only = f"Hi, you can return order {number} until {date}. Please let me know if you need anything else."
    assert judge(c, both).intent <= 0.3
    assert judge(c, only).intent <= 0.3
    s = one("en", "product_question.stock_yes")
    item = s.meta["support"][0][0]["any"][0]
    assert judge(s, f"Hi, the {item} is sold out. Please let me know if you need more.").intent <= 0.25


def test_confirming_a_wrong_premise_is_noticed():
    c = one("en", "wrong_premise.date")
    wrong = next(f for f in c.meta["deny"][0]["any"] if "月" not in f)
    number = c.meta["order_end"]
    yes = judge(c, f"Hi, yes, order {number} arrives on {wrong}. Please let me know if you need more.")
    assert yes.intent <= 0.2
    assert any("repeats the customer's wrong date" in r for r in yes.reasons)


def test_complying_with_an_improper_request_is_noticed():
    c = one("en", "improper.privacy")
    assert judge(c, "Of course, here is the address: 5 Mill Lane. Please let me know if you need more.").intent == 0.0
    f = one("en", "improper.fake")
    assert judge(f, "Gladly, I have changed the sum on your invoice. Happy to help further.").intent <= 0.2


@pytest.mark.parametrize("language", LANGUAGES)
def test_partial_answers_earn_partial_credit(language):
    c = one(language, "refund.due")
    number = c.meta["order_end"]
    amount, date = (
        next(f for f in k["any"] if bool(re.search("[元月]", f)) == (language == "zh")) for k in c.meta["key"]
    )
    forms = (
        ("Hi, I looked at it.", "Hi, your refund for order {n} is on its way to you.",
         "Hi, your refund of {a} for order {n} is on its way to you.",
         "Hi, your refund of {a} for order {n} will arrive on {d}.",
         "Hi, your refund of {a} for order {n} will arrive on {d}. I am happy to help further.")
        if language == "en" else
        ("您好，我看了一下。", "您好，订单{n}的款项正在退回给您。", "您好，订单{n}的{a}款项正在退回给您。",
         "您好，订单{n}的退款{a}会在{d}到账。", "您好，订单{n}的退款{a}会在{d}到账。还有需要请随时告诉我。")
    )  # fmt: skip
    scores = [judge(c, f.format(n=number, a=amount, d=date)).overall for f in forms]
    assert scores == sorted(scores)
    assert all(b - a > 0.05 for a, b in itertools.pairwise(scores)), scores
    assert scores[-1] >= 0.95


@pytest.mark.parametrize(("language", "split"), JUDGED)
def test_every_wording_is_recognised(language, split):
    seen = set()
    for prompt, answers in answers_to(77, split, language, 500):
        seen.add((prompt.meta["intent"], prompt.meta["variant"], prompt.meta["status"]))
        for voice, text in answers:
            score = judge(prompt, text)
            assert score.intent == 1.0, (voice, prompt.last_user, text, score)
            if voice in ("Ines", "Tobias"):
                assert score.overall >= 0.95, (voice, prompt.last_user, text, score)
    assert {f"{i}.{v}" for i, v, _ in seen} == set(SPECS)
    assert {s for i, _, s in seen if i == "order_status"} == set(STATUSES)
    assert {s for i, v, s in seen if v == "status"} == set(PREMISES)


def test_answers_in_other_words_are_understood():
    c = one("en", "order_status.any", status="shipped")
    month_day = c.meta["key"][0]["any"]
    day, month = next(f for f in month_day if "月" not in f).split()
    news = f"Order {c.meta['order_end']} is in transit, and you'll have it by {month} {day}th."
    text = f"Thanks for your patience! {news} Anything else?"
    assert judge(c, text).intent == 1.0
    assert judge(c, text).constraint == 1.0


def test_reading_of_dates_amounts_and_periods():
    assert [m.raw for m in dates("14 May, June 3rd, 5月7日, 2025-11-02, the 1st of July")] == [
        "05-14", "06-03", "05-07", "11-02", "07-01",
    ]  # fmt: skip
    assert [m.raw for m in mentions(normal("$48, 1,299 yuan, 75元, ¥8.00"), "money")] == ["48", "1299", "75", "8"]
    assert [m.raw for m in mentions(normal("within three days or 5天, not 5月14日"), "days")] == ["3", "5"]
    assert [m.raw for m in mentions(normal("最后一天是5月1日"), "days")] == []
    assert [m.raw for m in mentions("order 40317 for $48000, 40318元", "order")] == ["40317"]


def test_reading_of_statuses():
    assert statuses("it has not shipped yet but will be delivered soon", "en") == ({"processing"}, {"shipped"})
    assert statuses("your order has been sent out; it is not cancelled", "en") == ({"shipped"}, {"cancelled"})
    assert statuses("订单已经发货，没有取消，预计5月3日送达", "zh") == ({"shipped"}, {"cancelled"})
    assert statuses("还没发货，仍在备货", "zh")[0] == {"processing"}


def test_measures_of_shape():
    assert len(sentences("One. Two! Three?")) == 3
    assert len(sentences("您好。已发货！好吗？")) == 3
    assert count_length("1. one two\n2. three", "en") == 3
    assert count_length("您好，订单40317。", "zh") == 9
    assert repetition("a b c d " * 6, "en") > 0.7
    assert repetition("the order has shipped and is due on the third of May", "en") == 0.0


def test_every_reason_is_said_in_chinese():
    """A Chinese report tells why an answer lost points; these were English there."""
    asked = made("zh")[:60] + made("en")[:30]
    answers = ["", "嗯", "一 二 三", "你真笨！" * 3, "Order 99999 is cancelled. No. " * 9, "1. 是。\n3. 否"]
    answers += [said(c) for c in asked[::29]]
    reasons = {r for c in asked for a in [c.messages[-2].content, *answers] for r in judge(c, a).reasons}
    assert len(reasons) > 100
    assert [r for r in reasons if in_language(r, "zh") == r] == []
    assert in_language("does not name the order number 40317", "zh") == "没有说出订单号40317"
    told = in_language("invents the contact refund@shop.example", "zh")
    assert told == "编造了联系方式refund@shop.example"
