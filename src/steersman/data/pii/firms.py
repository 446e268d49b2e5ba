"""What looks personal and is a firm's: hotlines and switchboards by the countries' plans of numbers, brands called after
people by the wares behind them and by a list. Why so: decision 109 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

import phonenumbers
from phonenumbers import PhoneNumberType

from steersman.data.pii.finding import CUED, FORMED, HAN, SURE, Span, announced
from steersman.data.pii.firm_words import WARES_DE, is_firm
from steersman.data.pii.numbers_found import MOBILE_CN, PHONE, REGIONS
from steersman.data.pii.towns import is_town

FIRM = "firm"
"""The kind of such places, which is none of personal data: they only keep others from being found there."""
NOBODYS = frozenset(
    (PhoneNumberType.TOLL_FREE, PhoneNumberType.SHARED_COST, PhoneNumberType.PREMIUM_RATE, PhoneNumberType.UAN)
)
"""Types of numbers that firms have and people do not."""
OFFICE = (
    r"总机|前台|热线|客服电话|官方电话|投诉电话|服务电话|咨询电话|help ?line|hotline|support line|switchboard|customer services?"
    r"(?: line| number)?|zentrale|kundenservice|servicenummer|kundenhotline|sperrnotruf"
)
BEFORE = re.compile(rf"(?:{OFFICE})(?:号码)?(?:\s?(?:是|为|：|:|is|on|at|ist|unter))?[\s(（\"“]*\Z", re.I)
BEHIND = re.compile(rf"[\s)）\"”]*(?:的|这个|是|is your|is the|ist ihre)?\s?(?:{OFFICE})", re.I)
"""What calls a number a firm's, directly before and directly behind it."""


MOBILE = re.compile(r"(?:\+49|0)\s?1[567]|(?:\+44|0)\s?7")
"""Beginning of a German or a British number that a person carries."""


def hotlines(text: str, tongue: str, before: str) -> Iterator[Span]:
    """Numbers of firms; one that is called an order, an identity or an account is none."""
    for m in PHONE.finditer(text):
        n = sum(c.isdigit() for c in m[0])
        said = announced(text, *m.span(), before) if 7 <= n <= 14 else "no"
        if said in ("no", "order", "id", "iban") or (said == "card" and n > 11):
            continue
        here = BEFORE.search(text, max(0, m.start() - 24), m.start()) or BEHIND.match(text, m.end())
        mobile = (MOBILE_CN if tongue == "zh" else MOBILE).match(m[0])
        kinds = (_type(m[0], region) for region in (None, *REGIONS[tongue]))
        if next((kind for kind in kinds if kind is not None), None) in NOBODYS or (here and not mobile):
            yield Span(FIRM, *m.span(), SURE)


def _type(written: str, region: str | None) -> int | None:
    """The type of a number by the plan of a region (None: of the country that it names); None where it is none there."""
    zero, abroad = written.lstrip("(（").startswith("0"), written.startswith(("+", "00"))
    if abroad != (region is None) or (region in ("US", "GB", "DE", "AT", "CH") and zero == (region == "US")):
        return None  # within Europe a number begins with 0, in America it does not
    with contextlib.suppress(phonenumbers.NumberParseException):
        told = f"+{written[2:]}" if region is None and written.startswith("00") else written
        number = phonenumbers.parse(told, region)
        return phonenumbers.number_type(number) if phonenumbers.is_valid_number(number) else None
    return None


_WARES = """
    shirts? tees? t-shirts? jeans jackets? coats? dress(?:es)? shoes? boots? trainers? sneakers? handbags? wallets? belts? watch(?:es)?
    perfumes? cologne sunglasses socks underwear suits? hoodies? laptops? monitors? printers? chargers? headsets? speakers? fridges?
    freezers? washers? dryers? ovens? stoves? cookers? toasters? kettles? mixers? blenders? vacuums? drills? saws? mowers? grills?
    kni(?:fe|ves) tyres? tires? dealers? dealerships? outlets? stores? shops? boutiques? franchise menus? burgers? pizzas? coffee tea
    sauces? soups? chocolates? cereals? whiskey wines? beers? juices? creams? lotions? shampoos? serums? sizing merch merchandise
    collection products? warranty guarantee mattress(?:es)? sofas? guitars? pianos? trucks? vans? engines? motorcycles? rackets? gel
    batter(?:y|ies) razors? toothbrush(?:es)? bikes? ltd inc gmbh plc
"""
WARES = re.compile(rf"\s(?:{'|'.join(_WARES.split())})\b", re.I)
"""Pattern of a ware or a shop behind a name, which makes it a brand's; not what people own and speak of (car, phone, card)."""
WAREN = re.compile(rf"\s[A-ZÄÖÜ][a-zäöüß]*(?:{WARES_DE})\b")
"""The same in German, where the last part of a word says what it is."""
ZH_WARES = re.compile(
    r"牌|专卖店|旗舰店|专柜|门店|官网|品牌|联名|凉茶|饮料|白酒|红酒|葡萄酒|酱油|蚝油|香醋|辣酱|面条|挂面|火腿|菜刀|剪刀|刀具|痔疮膏|口服液|月饼|糕点|瓜子|鸭脖|"
    r"牙膏|洗发水|洗衣液|面膜|护肤品|口红|空调|冰箱|洗衣机|热水器|油烟机|灶具|手表|金店|珠宝|首饰|项链|跑鞋|球鞋|运动鞋|羽绒服|奶茶|火锅底料"
)
_BRANDS = """
    Calvin Klein|Tommy Hilfiger|Ralph Lauren|Hugo Boss|Michael Kors|Kate Spade|Marc Jacobs|Louis Vuitton|Christian Dior|Yves Saint Laurent|
    Jimmy Choo|Jil Sander|Karl Lagerfeld|Helmut Lang|Emporio Armani|Giorgio Armani|Levi Strauss|Levi's|Dr\\. Martens|Doc Martens|Dr\\. Oetker|Dr\\. Pepper|
    Dr\\. Hauschka|Dr\\. Beckmann|Dr\\. Scholl|Dr\\. Best|Harley[- ]Davidson|Mercedes[- ]Benz|Aston Martin|Rolls[- ]Royce|Alfa Romeo|JP Morgan|J\\.P\\. Morgan|
    Morgan Stanley|Wells Fargo|Charles Schwab|Goldman Sachs|Johnson & Johnson|Jack Daniel's|Jim Beam|Johnnie Walker|Jack Wolfskin|Eddie Bauer|
    McDonald's|Wendy's|Kohl's|Macy's|Sainsbury's|Lowe's|Trader Joe's|Papa John's|Domino's|Hellmann's|Lay's|Kellogg's|Reese's|Bahlsen|Melitta|
    Villeroy & Boch|Black & Decker|Procter & Gamble|Ben & Jerry's|Estée Lauder|Mary Kay|Bobbi Brown|Elizabeth Arden|Max Factor|Fisher[- ]Price|
    Oral-B|Jenny Craig|Betty Crocker|Sara Lee|Uncle Ben's|Aunt Jemima|Tim Hortons|Merrill Lynch|Ernst & Young|Philips|Siemens|Porsche|Bosch|Miele
"""
BRANDS = re.compile(rf"(?<![A-Za-zÄÖÜäöü-])(?:{'|'.join(b.strip() for b in _BRANDS.split('|'))})(?![A-Za-zÄÖÜäöü])")
ZH_BRANDS = re.compile(
    "王老吉|加多宝|老干妈|李锦记|徐福记|张裕|李宁|张小泉|王麻子|陈克明|周大福|周生生|周六福|马应龙|王致和|王守义|黄飞红|周黑鸭|余仁生|陈李济|胡庆余堂|贺利氏|马可波罗|"
    rf"曹操出行|祝家庄|万和|方太|史丹利|欧阳娜娜同款|(?<![{HAN}])[{HAN}]{{1,2}}(?:记|斋|坊)(?=的|家|[，。、？！]|\Z)"
)


OF_SOMEBODY = re.compile(r"(?:先生|太太|老公|老婆|爱人|儿子|女儿|同事|朋友|领导|叫|名字是|我是)\Z")
"""What stands before a person of a brand's name."""


def brands(text: str, names: Sequence[Span]) -> Iterator[Span]:
    """Brands of the list, which outweigh a name that only looks like one; not what is part of a longer `names`."""
    for m in BRANDS.finditer(text):
        if not any(n.start < m.start() < n.end for n in names):  # Maria Philips
            yield Span(FIRM, *m.span(), SURE if m[0].startswith("Dr.") else CUED - 1)
    for m in ZH_BRANDS.finditer(text):
        longer = any(n.start <= m.start() and m.end() < n.end for n in names)  # 张裕民
        if not longer and not OF_SOMEBODY.search(text, max(0, m.start() - 4), m.start()):
            yield Span(FIRM, *m.span(), CUED - 1)


ARTICLE = re.compile(r"(?<![A-Za-z])(?:the|an?|this|that|these|those|sell|stock|any|my|our)\s\Z", re.I)
ARTIKEL = re.compile(
    r"(?<![A-Za-zäöüß])(?:d(?:er|ie|as|en|em)|(?:k?ein|mein|ihr|euer|unser)(?:e[nmrs]?)?|haben sie|führ(?:t ihr|en sie)|von)\s\Z",
    re.I,
)
THING = re.compile(
    r"\s(?!account|case|order|ticket|booking|reservation|family|matter|file|estate|who|that|which|from|in|you|at|on|and|or|is|was|has|had|said|says|told|asked|will|would|can|could|"
    r"wants?|needs?|thinks|got|bought|ordered|lives|works|called|wrote|also|just|never|still)[a-z]{3,}"
)
DING = re.compile(
    r"\s(?!Bestell|Kunden|Konto|Vertrag|Termin|Famil|Rechnung|Paket|und\b|oder\b)[A-ZÄÖÜ][a-zäöüß]{2,}(?!\s\d)"
)
"""An article before a name and a thing behind it, which the name describes; not what belongs to people."""


def is_ware(text: str, name: Span) -> bool:
    """Whether wares or a shop stand directly behind a name that nothing announces, or it describes a thing; or it is
    a town's."""
    if name.kind != "name":
        return False
    if is_firm(text, name) or is_town(text, name):
        return True
    if name.score > FORMED:
        return False
    before = text[max(0, name.start - 16) : name.start]
    forms = [WARES, WAREN, ZH_WARES, *([THING] if ARTICLE.search(before) else [])]
    return any(form.match(text, name.end) for form in forms + ([DING] if ARTIKEL.search(before) else []))
