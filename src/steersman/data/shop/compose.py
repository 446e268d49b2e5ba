"""Puts cases into words: the system message, the customer's turns, and answers in the voices of fictional agents."""

from __future__ import annotations

import dataclasses
import random
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from steersman.data.shop.cases import Case
from steersman.data.shop.claims import count_length
from steersman.data.shop.lexicon import TURN, Template, templates
from steersman.data.shop.world import Language, Value
from steersman.types import Message

# One entry per fact: English, Chinese. Facts joined by '+' in a case's lines share one sentence.
LINES: dict[str, tuple[str, str]] = {
    "order_pay": (
        "order {order}, placed {placed}: {item}, {total}, paid by {pay}",
        "订单{order}（{placed}下单）：{item}，{total}，{pay}付款",
    ),
    "order": ("order {order}, placed {placed}: {item}, {total}", "订单{order}（{placed}下单）：{item}，{total}"),
    "order_pair": ("order {order}: {item} {price}, {item2} {price2}", "订单{order}：{item}{price}，{item2}{price2}"),
    "order2": (
        "order {order2}: {item2}, {price2}, shipped, due {date2}",
        "订单{order2}：{item2}，{price2}，已发货，预计{date2}到",
    ),
    "processing": ("being packed, ships {date}", "备货中，{date}发货"),
    "shipped": ("shipped with {carrier}, due {date}", "{carrier}已发货，预计{date}到"),
    "delivered": ("delivered {date}", "{date}已送达"),
    "early": ("delivered {early}", "{early}已送达"),
    "delayed": ("delayed, now due {date}", "延误，改为{date}到"),
    "cancelled": ("cancelled {date}", "{date}已取消"),
    "late_parcel": ("promised for {wrong_date}, delivered {date}", "约定{wrong_date}到，实际{date}送达"),
    "return_open": ("return possible until {date}", "{date}前可退货"),
    "return_closed": ("return window closed {date}", "退货期已于{date}结束"),
    "refund_due": ("{item2} returned, refund {price2} due {date}", "{item2}已退回，退款{price2}预计{date}到账"),
    "refund_paid": ("{item2} returned, refund {price2} paid {date}", "{item2}已退回，退款{price2}已于{date}退还"),
    "invoice_sent": ("invoice e-mailed {date}", "发票已于{date}发到邮箱"),
    "product": (
        "{item}: {material}, {size}, {colour}, {price}, {stock}, {warranty} warranty",
        "{item}：{material}，{size}，{colour}，{price}，{stock}，保修{warranty}",
    ),
    "product_stock": (
        "{item}: {material}, {size}, {colour}, {price}, {stock}; {item2}: {material2}, {price2}",
        "{item}:{material},{size},{colour},{price},{stock};{item2}:{material2},{price2}",
    ),
    "damaged": ("damage confirmed, free replacement ships {date}", "确认破损，免费换新，{date}发出"),
    "missing": ("{item2} left out by mistake, ships {date}", "{item2}漏发，{date}补发"),
    "also_colour": ("exchange for {colour2} possible", "可换{colour2}"),
    "credit": ("{total} can be paid back as money or store credit", "可退{total}现金或店铺余额"),
    "late_policy": ("late parcels get the shipping fee of {fee} back", "晚到退运费{fee}"),
    "p_returns": ("returns within {return_days}", "退货期限{return_days}"),
    "p_shipping": ("shipping {fee}, {ship_days}", "运费{fee}，{ship_days}送达"),
    "p_warranty": ("{warranty} warranty", "保修{warranty}"),
    "p_invoice": ("invoices by e-mail within {invoice_days}", "发票{invoice_days}内发邮箱"),
    "p_free": ("free shipping above {free}", "满{free}包邮"),
}


def fill(template: str, slots: Mapping[str, Value | str], language: Language) -> str:
    """The template with values in its slots. Two numbers that would touch in Chinese get a comma between them."""
    out = ""
    for literal, name, _, _ in string.Formatter().parse(template):
        out += literal
        if name is None:
            continue
        value = slots[name]
        said = value if isinstance(value, str) else value.say(language)
        out += "，" + said if out[-1:].isdigit() and said[:1].isdigit() else said
    return out


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _facts(case: Case, names: Iterable[str]) -> list[str]:
    language = case.language
    which = 0 if language == "en" else 1
    join = "; " if language == "en" else "；"
    return [join.join(fill(LINES[part][which], case.slots, language) for part in name.split("+")) for name in names]


def system_message(case: Case, rng: random.Random) -> Message:
    """A system message with shop, customer, facts and policies, in one of several layouts."""
    facts, rules = _facts(case, case.lines), _facts(case, case.policies)
    shop, name = case.slots["shop"].say(case.language), case.slots["name"].say(case.language)
    layout = rng.randrange(4)
    if case.language == "en":
        big = [capital(f) for f in facts]
        content = (
            f"You are the assistant of {shop}, an online shop. Customer: {name}. {'. '.join(big)}. "
            f"Policy: {'; '.join(rules)}. Be brief and polite.",
            f"{shop}, customer service. Be brief and polite.\nCustomer: {name}\n" + "\n".join(big)
            + f"\nPolicy: {'; '.join(rules)}",
            f"Shop: {shop} | customer: {name} | {' | '.join(facts)} | policy: {'; '.join(rules)} | Keep answers short.",
            f"You answer customers of {shop} in a few polite words. You write to {name}. Known: {'; '.join(facts)}. "
            f"Rules: {'; '.join(rules)}.",
        )[layout]  # fmt: skip
    else:
        content = (
            f"你是{shop}的客服。顾客：{name}。{'。'.join(facts)}。政策：{'；'.join(rules)}。请简短礼貌。",
            f"{shop}客服，请简短礼貌地回答。\n顾客：{name}\n" + "\n".join(facts) + f"\n政策：{'；'.join(rules)}",
            f"店铺：{shop}｜顾客：{name}｜{'｜'.join(facts)}｜政策：{'；'.join(rules)}｜回答要简短",
            f"你在{shop}接待顾客{name}，语言简练有礼。已知：{'；'.join(facts)}。规则：{'；'.join(rules)}。",
        )[layout]
    return Message("system", content)


def user_turns(case: Case, rng: random.Random) -> tuple[list[Message], str]:
    """(the dialogue up to the customer's last turn, which ends with explicit wishes if there are any; the template's
    id)."""
    template = rng.choice(templates(case.language, "user", case.spec.user or case.name, case.split))
    turns = [fill(turn, case.slots, case.language) for turn in template.text.split(TURN)]
    asks = [
        fill(
            rng.choice(templates(case.language, "ask", kind, case.split)).text,
            {"n": str(value), "m": str(value + 1)},
            case.language,
        )
        for kind, value in case.constraints
    ]
    last = turns[-1]
    if asks and last[-1] not in "?.!。？！…":
        last += "." if case.language == "en" else "。"
    turns[-1] = (" " if case.language == "en" else "").join([last, *asks])
    return [Message("user" if i % 2 == 0 else "assistant", turn) for i, turn in enumerate(turns)], template.id


@dataclass(frozen=True, slots=True)
class Voice:
    """A fictional agent's habits."""

    name: str
    weight: int
    opening: bool = False
    closing: bool = False
    restate: int = 0
    exclaims: bool = False

    @property
    def warm(self) -> bool:
        return self.opening and self.closing


VOICES = (
    Voice("Ines", 20, opening=True, closing=True),
    Voice("Tobias", 15, opening=True, closing=True, exclaims=True),
    Voice("Gale", 20),
    Voice("Ward", 21, restate=1),
    Voice("Rhoda", 12, restate=2),
    Voice("Knox", 12, opening=True, restate=1),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A demonstration's text, the fictional agent who wrote it and the ids of the templates used."""

    text: str
    voice: Voice
    template_ids: tuple[str, ...]


def _restatements(case: Case, rng: random.Random, count: int) -> list[Template]:
    """Lines whose facts stand in the prompt and which name no second date, amount or number of days."""
    known = {n for line in (*case.lines, *case.policies) for part in line.split("+") for n in slots_of(LINES[part][0])}
    known |= {"shop", "name"}
    kinds = {case.slots[name].kind for name in case.spec.key}
    fitting = []
    for template in templates(case.answer_language, "restate", case.spec.restate, case.split):
        names = slots_of(template.text)
        clash = any(case.slots[n].kind in kinds or n in case.spec.key for n in names if n not in ("shop", "name"))
        foreign = case.answer_language != case.language and "name" in names
        if names <= known and not clash and not foreign and not ("_pair" in str(case.lines) and "item" in names):
            fitting.append(template)
    return rng.sample(fitting, min(count, len(fitting)))


def slots_of(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _pick(case: Case, rng: random.Random, section: str, key: str, need: str = "", avoid: str = "") -> Template:
    pool = templates(case.answer_language, section, key, case.split)
    fitting = [t for t in pool if need in t.text and not (avoid and avoid in t.text)]
    assert fitting, (case.answer_language, section, key, case.split, need, avoid)
    return rng.choice(fitting)


def _attempt(case: Case, voice: Voice, rng: random.Random) -> Answer:
    spec, language = case.spec, case.answer_language
    core = _pick(case, rng, "core", case.name)
    used = [core]
    slots: dict[str, Value | str] = dict(case.slots)
    if "{clause}" in core.text:
        clause = _pick(case, rng, "clause", case.status)
        used.append(clause)
        # Filled together, so that a number before the clause and one that begins it are parted.
        core = Template(core.id, core.text.replace("{clause}", clause.text))
    body = [fill(core.text, slots, language)]
    opening = closing = ""
    foreign = case.language != language
    if voice.opening:
        named = case.wish("use_name") is not None
        template = _pick(case, rng, "opening", spec.opening, "{first}" if named else "", "{first}" if foreign else "")
        used.append(template)
        opening = fill(template.text, slots, language)
    else:
        if spec.opening == "complaint" and rng.random() < 0.6:
            template = _pick(case, rng, "bare", "apology")
            used.append(template)
            body.insert(0, template.text)
        if case.wish("use_name") is not None:
            opening = case.slots["first"].say(language) + ("," if language == "en" else "，")
    count = voice.restate or (1 if case.wish("numbered") is not None and not voice.closing else 0)
    for template in _restatements(case, rng, count):
        used.append(template)
        body.append(fill(template.text, slots, language))
    if voice.closing:
        template = _pick(case, rng, "closing", "default")
        used.append(template)
        closing = template.text
    if case.wish("order_end") is not None:
        template = _pick(case, rng, "tail", "order")
        used.append(template)
        tail = fill(template.text, slots, language)
        closing = f"{closing}{'; ' if language == 'en' else '；'}{tail}" if closing else tail
    exclaim = voice.exclaims and case.wish("no_exclaim") is None
    return Answer(_join(case, opening, body, closing, exclaim), voice, tuple(t.id for t in used))


def _join(case: Case, opening: str, body: list[str], closing: str, exclaim: bool) -> str:
    english = case.answer_language == "en"
    stop, comma, semicolon = (".", ", ", "; ") if english else ("。", "，", "；")
    mark = ("!" if english else "！") if exclaim else stop
    said = ""
    if case.wish("yes_no") is not None:
        said = {"yes": ("Yes", "是"), "no": ("No", "否")}[case.spec.polarity][0 if english else 1]
    if case.wish("one_sentence") is not None:
        lead = opening.rstrip(",.:。，：")
        parts = [p for p in (said, lead) if p] + [semicolon.join([*body, closing] if closing else body)]
        return capital(comma.join(parts)) + mark
    inline = opening.endswith((",", ":", "，"))
    if inline:
        first = opening + (" " if english else "") + body[0]
        sentences = [first, *body[1:]]
    else:
        sentences = [*([opening.rstrip(".。")] if opening else []), *body]
    if said:
        sentences.insert(0, said)
    if closing:
        sentences.append(closing)
    marked = [
        capital(s) + (mark if s is sentences[-1] or (s is sentences[0] and not said) else stop) for s in sentences
    ]
    if case.wish("numbered") is not None:
        return "\n".join(f"{i}. {s}" for i, s in enumerate(marked, 1))
    return (" " if english else "").join(marked)


def pick_voice(rng: random.Random) -> Voice:
    return rng.choices(VOICES, [v.weight for v in VOICES])[0]


def answer(case: Case, voice: Voice, rng: random.Random) -> Answer:
    """A correct answer in a voice's style, within the case's limit of length; the shortest of many tries if none is."""
    limit = case.wish("max_len") or (45 if case.answer_language == "en" else 90)
    tries: list[Answer] = []
    for attempt in range(120):
        habits = voice if attempt < 12 else dataclasses.replace(voice, restate=0)
        found = dataclasses.replace(_attempt(case, habits, rng), voice=voice)
        length = count_length(found.text, case.answer_language)
        if length <= limit:
            return found
        tries.append(found)
    return min(tries, key=lambda a: count_length(a.text, case.answer_language))


def squeeze(text: str) -> str:
    """The text in lower case and with single spaces, for comparing prompts."""
    return re.sub(r"\s+", " ", text).strip().lower()
