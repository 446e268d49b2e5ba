"""What can happen between a customer and the shop: one `Spec` per intent and variant, independent of language.

A spec says which facts stand in the system message (`lines`), which of them the answer must give (`key` decides
the intent axis, `support` the constraint axis; each support group is satisfied by any one of its facts), what
the customer has wrong (`deny`), and which act the answer must perform.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from steersman.data.shop.world import Language, Slots, Split, Value, draw, text

# Occurrences per hundred prompts. The generator deals them from a shuffled deck, so every block of a hundred
# holds exactly these.
INTENT_WEIGHTS = {
    "order_status": 10, "return": 9, "refund": 8, "invoice": 7, "delivery": 8, "product_question": 10, "complaint": 9,
    "small_talk": 5, "wrong_premise": 9, "changed_mind": 7, "ellipsis": 7, "out_of_scope": 5, "improper": 6,
}  # fmt: skip

STATUSES = ("processing", "shipped", "delivered", "delayed", "cancelled")
# A wrong premise about the status: true status -> what the customer may believe instead.
PREMISES = {"processing": ("cancelled", "delayed"), "shipped": ("cancelled", "delayed"), "delivered": ("cancelled",)}
PREMISE_WORDS = {"cancelled": text("cancelled", "取消"), "delayed": text("delayed", "延误")}
POLICIES = ("p_returns", "p_shipping", "p_warranty", "p_invoice", "p_free")


@dataclass(frozen=True, slots=True)
class Spec:
    """One situation. `$` in a line stands for the status that was drawn from `statuses`."""

    lines: tuple[str, ...]
    act: str
    key: tuple[str, ...] = ()
    support: tuple[tuple[str, ...], ...] = ()
    deny: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    polarity: str = ""
    restate: str = "order"
    opening: str = "default"
    policies: tuple[str, ...] = ()
    user: str = ""


ORDER = (("order",),)
ORDER_OR_ITEM = (("order", "item"),)
SPECS: dict[str, Spec] = {
    "order_status.any": Spec(("order_pay+$",), "status", ("date",), ORDER, statuses=STATUSES),
    "return.yes": Spec(("order+early", "return_open"), "return_yes", ("date",), ORDER_OR_ITEM, polarity="yes"),
    "return.no": Spec(("order+early", "return_closed"), "return_no", ("date",), ORDER_OR_ITEM, polarity="no"),
    "refund.due": Spec(("order_pair", "refund_due"), "refund", ("price2", "date"), ORDER),
    "refund.paid": Spec(("order_pair", "refund_paid"), "refund", ("price2", "date"), ORDER),
    "invoice.send": Spec(("order+delivered",), "invoice", ("invoice_days",), ORDER, policies=("p_invoice",)),
    "invoice.sent": Spec(("order", "invoice_sent"), "invoice", ("date",), ORDER),
    "delivery.cost": Spec(("order+delivered",), "shipping", ("fee",), policies=("p_shipping",)),
    "delivery.time": Spec(("order+processing",), "shipping", ("ship_days",), policies=("p_shipping",)),
    "delivery.carrier": Spec(("order+shipped",), "carrier", ("carrier",), ORDER_OR_ITEM),
    "product_question.material": Spec(
        ("product",), "material", ("material",), (("item",),), restate="product"
    ),
    "product_question.size": Spec(("product",), "size", ("size",), (("item",),), restate="product"),
    "product_question.price": Spec(("product",), "price", ("price",), (("item",),), restate="product"),
    "product_question.warranty": Spec(("product",), "warranty", ("warranty",), (("item",),), restate="product"),
    "product_question.stock_yes": Spec(
        ("product_stock",), "stock_yes", (), (("item",),), polarity="yes", restate="product",
        user="product_question.stock",
    ),
    "product_question.stock_no": Spec(
        ("product_stock",), "stock_no", (), (("item",),), polarity="no", restate="product",
        user="product_question.stock",
    ),
    "complaint.damaged": Spec(("order+early", "damaged"), "replace", ("date",), ORDER_OR_ITEM, opening="complaint"),
    "complaint.missing": Spec(("order_pair+early", "missing"), "resend", ("date",), (("order", "item2"),),
                              opening="complaint"),
    "complaint.late": Spec(("order+late_parcel",), "fee_back", ("fee",), ORDER_OR_ITEM, opening="complaint",
                           policies=("late_policy",)),
    "small_talk.hello": Spec(("order+processing",), "friendly", opening="small_talk", restate="scope"),
    "small_talk.thanks": Spec(("order+delivered",), "friendly", opening="small_talk", restate="scope"),
    "wrong_premise.status": Spec(("order+$",), "correct", ("date",), ORDER_OR_ITEM, statuses=tuple(PREMISES)),
    "wrong_premise.date": Spec(("order+shipped",), "correct", ("date",), ORDER_OR_ITEM, ("wrong_date",), polarity="no"),
    "wrong_premise.total": Spec(("order+processing",), "correct", ("total",), ORDER_OR_ITEM, ("wrong_total",),
                                polarity="no"),
    "changed_mind.keep": Spec(("order+processing",), "keep", ("date",), ORDER_OR_ITEM, statuses=("processing",)),
    "changed_mind.exchange": Spec(("order+early", "also_colour"), "exchange", ("colour2",), ORDER_OR_ITEM),
    "changed_mind.credit": Spec(("order+early", "credit"), "credit", ("total",), ORDER_OR_ITEM),
    "ellipsis.orders": Spec(("order+$", "order2"), "status", ("date",), ORDER_OR_ITEM,
                            statuses=("processing", "shipped", "delayed")),
    "ellipsis.price": Spec(("order_pair",), "price", ("price",), (("item",),)),
    "out_of_scope.any": Spec(("order+processing",), "decline", opening="decline", restate="scope"),
    "improper.privacy": Spec(("order+shipped",), "refuse_privacy", opening="decline", restate="scope"),
    "improper.fake": Spec(("order+delivered",), "refuse_fake", opening="decline", restate="scope"),
    "improper.abuse": Spec(("order+shipped",), "refuse_abuse", opening="decline", restate="scope"),
}  # fmt: skip
VARIANTS = {i: tuple(name for name in SPECS if name.split(".")[0] == i) for i in INTENT_WEIGHTS}

# Explicit wishes of the customer -> those that cannot be had together with them.
CLASHES: dict[str, tuple[str, ...]] = {
    "one_sentence": ("numbered", "max_len"),
    "max_len": ("one_sentence", "numbered", "language", "order_end"),
    "numbered": ("one_sentence", "max_len", "order_end", "yes_no", "language"),
    "no_exclaim": (),
    "yes_no": ("numbered", "use_name"),
    "order_end": ("numbered", "max_len"),
    "use_name": ("language", "yes_no"),
    "language": ("max_len", "use_name", "numbered"),
}
NO_ORDER = ("small_talk", "out_of_scope", "improper", "product_question", "delivery")


@dataclass(frozen=True, slots=True)
class Case:
    """One concrete situation, ready to be worded."""

    intent: str
    variant: str
    spec: Spec
    split: Split
    language: Language
    answer_language: Language
    slots: Slots
    status: str
    lines: tuple[str, ...]
    policies: tuple[str, ...]
    constraints: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        return f"{self.intent}.{self.variant}"

    def wish(self, kind: str) -> int | None:
        """Value of an explicit wish (0 where it has none), or None where the customer has not uttered it."""
        return dict(self.constraints).get(kind)


def draw_wishes(rng: random.Random, intent: str, spec: Spec, language: Language, both: bool) -> list[tuple[str, int]]:
    """No explicit wish in half of the cases, one in 40 %, two in 10 %."""
    allowed = ["one_sentence", "max_len", "no_exclaim", "use_name"]
    if intent not in NO_ORDER:
        allowed.append("order_end")
    if intent not in ("small_talk", "out_of_scope", "improper"):
        allowed.append("numbered")
    if spec.polarity:
        allowed += ["yes_no", "yes_no"]
    dice = rng.random()
    count = 0 if dice < 0.5 else 1 if dice < 0.9 else 2
    picked: list[str] = ["language"] if both and rng.random() < 0.15 else []
    while len(picked) < count:
        options = [a for a in allowed if a not in picked and all(a not in CLASHES[p] for p in picked)]
        picked.append(rng.choice(options))
    limits = (25, 30) if language == "en" else (50, 60)
    return [(kind, rng.choice(limits) if kind == "max_len" else 0) for kind in picked]


def build(rng: random.Random, intent: str, split: Split, language: Language, both: bool) -> Case:
    """Draw one case of an intent."""
    name = rng.choice(VARIANTS[intent])
    spec = SPECS[name]
    slots = draw(rng, split, language)
    status = rng.choice(spec.statuses) if spec.statuses else ""
    if name == "wrong_premise.status":
        slots["wrongst"] = PREMISE_WORDS[rng.choice(PREMISES[status])]
    if intent == "product_question":
        stocked = spec.act == "stock_yes" if spec.act.startswith("stock") else rng.random() < 0.5
        slots["stock"] = text("in stock", "有货") if stocked else text("sold out", "缺货")
    free = [p for p in POLICIES if p not in spec.policies and not (p == "p_warranty" and intent == "product_question")]
    extra = rng.sample(free, rng.choice((1, 1, 2)) if not spec.policies else 1)
    policies = [*spec.policies, *extra]
    rng.shuffle(policies)
    wishes = draw_wishes(rng, intent, spec, language, both)
    other: Language = "zh" if language == "en" else "en"
    answer_language = other if ("language", 0) in wishes else language
    lines = tuple(line.replace("$", status) for line in spec.lines)
    return Case(
        intent, name.split(".")[1], spec, split, language, answer_language, slots, status, lines,
        tuple(policies), tuple(wishes),
    )  # fmt: skip


def fact(value: Value) -> dict[str, object]:
    return {"kind": value.kind, "raw": value.raw, "any": sorted({value.en, value.zh})}


def meta_of(case: Case) -> dict[str, object]:
    """The checkable side of a case, JSON-able; everything the judge knows besides the texts."""
    slots, spec = case.slots, case.spec
    own = ("order", "order2") if case.name == "ellipsis.orders" else ("order",)
    return {
        "domain": "shop",
        "split": case.split,
        "intent": case.intent,
        "variant": case.variant,
        "asked_in": case.language,
        "answer_in": case.answer_language,
        "act": spec.act,
        "status": case.status,
        "polarity": spec.polarity,
        "key": [fact(slots[name]) for name in spec.key],
        "support": [[fact(slots[name]) for name in group] for group in spec.support],
        "deny": [fact(slots[name]) for name in spec.deny],
        "constraints": [{"type": kind, "value": value} for kind, value in case.constraints],
        "customer": {"name": slots["name"].en, "call": slots["first"].say(case.answer_language)},
        "orders": [slots[name].raw for name in own],
        "order_end": slots["order"].raw,
    }
