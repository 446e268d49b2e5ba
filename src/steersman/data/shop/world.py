"""The shop's worlds: names, products, order numbers and dates, partitioned so that splits share none of them.

A `Value` is one fact that can be said in both languages and compared as data (`raw`). `draw` makes the slots
of one customer's situation; the cases in `cases.py` pick from them what they need.
"""

from __future__ import annotations

import datetime
import functools
import random
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
Split = Literal["train", "validation", "test"]
Slots = dict[str, "Value"]

LANGUAGES: tuple[Language, ...] = ("en", "zh")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

# An order number's remainder by 5 names its split, so no number can occur in two of them.
ORDER_REMAINDERS: dict[Split, tuple[int, ...]] = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}


@dataclass(frozen=True, slots=True)
class Value:
    """One fact: its kind, a form for comparison (date 'MM-DD', digits for the rest) and how each language says it."""

    kind: str
    raw: str
    en: str
    zh: str

    def say(self, language: Language) -> str:
        return self.en if language == "en" else self.zh


def text(en: str, zh: str) -> Value:
    return Value("text", en, en, zh)


def order_number(number: int) -> Value:
    return Value("order", str(number), str(number), str(number))


def date_value(day: datetime.date) -> Value:
    return Value(
        "date", f"{day.month:02d}-{day.day:02d}", f"{day.day} {MONTHS[day.month - 1]}", f"{day.month}月{day.day}日"
    )


def money(amount: int, currency: Language) -> Value:
    if currency == "en":
        return Value("money", str(amount), f"${amount}", f"{amount}美元")
    return Value("money", str(amount), f"{amount} yuan", f"{amount}元")


def days(count: int) -> Value:
    return Value("days", str(count), f"{count} days" if count > 1 else "1 day", f"{count}天")


def years(count: int) -> Value:
    return Value("years", str(count), f"{count} years" if count > 1 else "1 year", f"{count}年")


SHOPS: dict[Split, tuple[tuple[str, str], ...]] = {
    "train": (("Fernhill Goods", "云栖小铺"), ("Lantern Lane", "拾光百货"), ("Harbour Row", "南枝生活馆")),
    "validation": (("Willow Post", "半山良品"),),
    "test": (("Juniper Yard", "青屿家居"),),
}
CARRIERS = (("Northpost", "捷羽快递"), ("Swiftmail", "北风速运"), ("BlueVan", "蓝鹊物流"))
PAYMENTS = (("card", "银行卡"), ("PayWave", "微付"), ("bank transfer", "银行转账"))
COLOURS = (
    ("red", "红色"), ("blue", "蓝色"), ("green", "绿色"), ("grey", "灰色"),
    ("black", "黑色"), ("white", "白色"), ("yellow", "黄色"), ("brown", "棕色"),
)  # fmt: skip
MATERIALS = {
    "steel": "不锈钢", "oak": "橡木", "cotton": "纯棉", "linen": "亚麻", "wool": "羊毛", "glass": "玻璃",
    "ceramic": "陶瓷", "bamboo": "竹子", "leather": "皮革", "aluminium": "铝合金", "canvas": "帆布",
    "pine": "松木", "copper": "黄铜", "silk": "真丝",
}  # fmt: skip
# Kind of product -> its possible materials, the unit of its size, the sizes.
KINDS: dict[str, tuple[tuple[str, ...], str, tuple[int, ...]]] = {
    "T": (("cotton", "linen", "wool", "silk"), "cm", (60, 80, 90, 120, 140, 160)),
    "W": (("oak", "pine", "bamboo"), "cm", (30, 40, 55, 70, 85, 110)),
    "V": (("steel", "glass", "ceramic", "copper"), "l", (1, 2, 3, 4, 6, 8)),
    "M": (("steel", "aluminium", "copper"), "cm", (18, 24, 35, 42, 50, 65)),
    "B": (("leather", "canvas", "cotton"), "l", (8, 12, 16, 22, 28, 36)),
}
PRODUCTS: dict[Split, str] = {
    "train": """desk lamp/台灯/M kettle/水壶/V bath towel/浴巾/T bookshelf/书架/W backpack/背包/B teapot/茶壶/V
        scarf/围巾/T stool/凳子/W picture frame/相框/W saucepan/汤锅/V curtain/窗帘/T travel bag/旅行袋/B
        coat rack/衣帽架/M vase/花瓶/V blanket/毛毯/T cutting board/砧板/W toolbox/工具箱/M jug/冷水壶/V
        tablecloth/桌布/T side table/边几/W handbag/手提包/B umbrella stand/伞架/M salad bowl/沙拉碗/V
        pillowcase/枕套/T wall shelf/置物架/W candle holder/烛台/M gym bag/健身包/B coffee pot/咖啡壶/V
        dressing gown/睡袍/T serving tray/托盘/W mirror/镜子/M lunch bag/便当包/B planter/花盆/V
        bedspread/床罩/T bench/长凳/W shoe rack/鞋架/M satchel/斜挎包/B milk pan/奶锅/V shawl/披肩/T
        jewellery box/首饰盒/W floor lamp/落地灯/M casserole/砂锅/V""",
    "validation": """rucksack/双肩包/B apron/围裙/T wok/炒锅/V magazine rack/杂志架/W garden chair/庭院椅/M
        water bottle/水杯/V cushion/靠垫/T nightstand/床头柜/W camera bag/相机包/B clothes rail/晾衣杆/M
        sugar bowl/糖罐/V quilt/被子/T""",
    "test": """tote/托特包/B bathrobe/浴袍/T thermos/保温壶/V writing desk/书桌/W ladder/梯子/M
        decanter/醒酒器/V rug/地毯/T spice rack/调料架/W duffel/圆筒包/B letterbox/信箱/M
        soup tureen/炖盅/V sleeping mat/睡垫/T""",
}
FIRST_NAMES: dict[Split, str] = {
    "train": """Maya Oliver Grace Hugo Nadia Felix Clara Ruben Alice Tom Sonia Edgar Lena Marcus Ivy Peter Rosa Daniel
        Helen Victor Amber Simon Tessa Leon Paula George Nina Arthur Bella Samuel Dora Frank Elsa Martin Wendy Jonas
        Carla Adam Freya Louis""",
    "validation": "Priya Henry Zoe Conrad Mabel Isaac Thea Walter Gina Patrick",
    "test": "Anika Robert Celia Dominic Hazel Julian Odette Stanley Vera Magnus",
}
LAST_NAMES: dict[Split, str] = {
    "train": """Holt Mercer Bakshi Dunn Ellery Foss Garrick Hale Ibsen Jarvis Keane Lowell Marsh Norwood Osborn Pryce
        Quill Rowan Sato Thorne Usher Vance Weir Yardley Abbott Brandt Crane Dahl Emmet Fisk Grant Hobbs Irwin Joyce""",
    "validation": "Lindqvist Barlow Okafor Penrose Castell Whitby Novak Tranter",
    "test": "Halloran Briggs Adeyemi Sutter Fenwick Moreau Kestrel Vaughn",
}
SURNAMES: dict[Split, str] = {
    "train": "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧",
    "validation": "许邓沈曾彭吕苏",
    "test": "卢蒋蔡贾魏薛叶",
}
GIVEN_NAMES: dict[Split, dict[str, str]] = {
    "train": {
        "女士": "晓梅 雅婷 静怡 思琪 丽华 佳宁 雨桐 心怡 慧敏 若兰 诗涵 婉清",
        "先生": "建国 志强 浩然 子轩 文博 俊杰 明远 宇航 嘉诚 立新 天佑 国栋",
    },
    "validation": {"女士": "秋萍 可欣 梦洁 玉珍", "先生": "振华 一鸣 泽宇 安邦"},
    "test": {"女士": "淑芬 语嫣 紫薇 海燕", "先生": "德明 凯文 承志 晨曦"},
}


@dataclass(frozen=True, slots=True)
class Product:
    """One catalogue entry; the same noun is sold in several variants."""

    noun: Value
    material: Value
    colour: Value
    colour2: Value
    size: Value
    price: dict[Language, int]
    warranty: int
    stock: bool


@functools.cache
def nouns(split: Split) -> tuple[tuple[str, str, str], ...]:
    """(English, Chinese, kind) of every product of a split."""
    flat = " ".join(PRODUCTS[split].split())
    out, rest = [], flat
    while rest:
        en, zh, tail = rest.split("/", 2)
        out.append((en, zh, tail[0]))
        rest = tail[2:]
    return tuple(out)


@functools.cache
def catalogue(split: Split) -> tuple[Product, ...]:
    """Six variants of every product of the split; a fixed list, independent of any seed."""
    rng = random.Random(f"catalogue {split}")
    out = []
    for en, zh, kind in nouns(split):
        materials, unit, sizes = KINDS[kind]
        for _ in range(6):
            material, size = rng.choice(materials), rng.choice(sizes)
            first, second = rng.sample(COLOURS, 2)
            size_text = (
                Value("size", str(size), f"{size} cm", f"{size}厘米")
                if unit == "cm"
                else Value("size", str(size), f"{size} litre{'s' if size > 1 else ''}", f"{size}升")
            )
            dollars = rng.randrange(14, 96)
            price: dict[Language, int] = {"en": dollars, "zh": dollars * 5 + rng.randrange(0, 30)}
            out.append(
                Product(
                    text(en, zh),
                    Value("material", material, material, MATERIALS[material]),
                    Value("colour", first[0], *first),
                    Value("colour", second[0], *second),
                    size_text,
                    price,
                    rng.randint(1, 5),
                    rng.random() < 0.5,
                )
            )
    return tuple(out)


def _order_numbers(rng: random.Random, split: Split, count: int) -> list[Value]:
    picked: list[int] = []
    while len(picked) < count:
        number = rng.randrange(2000, 19999) * 5 + rng.choice(ORDER_REMAINDERS[split])
        if number not in picked:
            picked.append(number)
    return [order_number(n) for n in picked]


def _customer(rng: random.Random, split: Split, language: Language) -> tuple[Value, Value]:
    """Full name and the short form of address."""
    if language == "en":
        first, last = rng.choice(FIRST_NAMES[split].split()), rng.choice(LAST_NAMES[split].split())
        return text(f"{first} {last}", f"{first} {last}"), text(first, first)
    title = rng.choice(("女士", "先生"))
    surname, given = rng.choice(SURNAMES[split]), rng.choice(GIVEN_NAMES[split][title].split())
    full, short = f"{surname}{given}", f"{surname}{title}"
    return text(full, full), text(short, short)


def draw(rng: random.Random, split: Split, currency: Language) -> Slots:
    """Slots of one situation: customer, two products, three order numbers, six dates in order, policies.

    All amounts differ from each other, and so do all dates and all numbers of days, so that no wrong value
    can be right by accident. `currency` is the language of the shop's prices.
    """
    one, two = rng.sample(catalogue(split), 2)
    while two.noun == one.noun or two.price[currency] == one.price[currency] or two.material == one.material:
        two = rng.choice(catalogue(split))
    order, order2, other = _order_numbers(rng, split, 3)
    name, first = _customer(rng, split, currency)
    start = datetime.date(2025, 1, 8) + datetime.timedelta(days=rng.randrange(300))
    gaps = [0, rng.randint(2, 4), rng.randint(5, 7), rng.randint(8, 11), rng.randint(12, 18), rng.randint(19, 30)]
    dates = [date_value(start + datetime.timedelta(days=gap)) for gap in gaps]
    price, price2 = one.price[currency], two.price[currency]
    used = {price, price2, price + price2}
    wrong = next(p for p in (price + rng.choice((-5, 6, 9, -4, 12)), price + 3, price + 7, price + 11) if p not in used)
    fee = rng.randint(3, 9) if currency == "en" else rng.choice((6, 8, 10, 12, 15))
    free = rng.choice((210, 250, 300) if currency == "en" else (1299, 1399, 1499))
    ship_days, invoice_days = rng.sample((2, 3, 4, 5, 6), 2)
    shop, carrier, pay = rng.choice(SHOPS[split]), rng.choice(CARRIERS), rng.choice(PAYMENTS)
    return {
        "shop": text(*shop), "name": name, "first": first, "order": order, "order2": order2, "other": other,
        "item": one.noun, "item2": two.noun, "material": one.material, "size": one.size, "colour": one.colour,
        "colour2": one.colour2, "material2": two.material,
        "warranty": years(one.warranty), "price": money(price, currency),
        "price2": money(price2, currency), "total": money(price, currency), "sum": money(price + price2, currency),
        "wrong_total": money(wrong, currency), "fee": money(fee, currency), "free": money(free, currency),
        "placed": dates[0], "early": dates[1], "wrong_date": dates[2], "date": dates[3], "date2": dates[4],
        "late": dates[5], "ship_days": days(ship_days), "invoice_days": days(invoice_days),
        "return_days": days(rng.choice((14, 20, 30, 45, 60))),
        "carrier": Value("carrier", carrier[0], *carrier), "pay": text(*pay),
    }  # fmt: skip
