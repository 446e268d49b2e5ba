"""What the words around a name say of it: that a firm is called so. Chosen on sentences written for it; no list of firms.

Only a name that nothing announces as a person's is taken for a firm's by these, but for legal forms, which no person has.
Why so: decision 111 in docs/LOG.md.
"""

from __future__ import annotations

import re

from steersman.data.pii.finding import FORMED, HAN, Span

TEAM = re.compile(
    r"[\w-]*(?:team|service|support|abteilung|leitung|führung|zentrale|verwaltung|buchhaltung|center|centre)", re.I
)
"""Whom letters greet that are to nobody in particular."""
_FORMS = r"GmbH|gGmbH|mbH|AG|KG|KGaA|OHG|UG|SE|e\. ?K\.?|e\.K|eG|Ltd|Limited|LLC|LLP|Inc|PLC|plc|Corp|Corporation|Pty|B\.V|N\.V|S\.A|S\.r\.l|Oy|AB|A/S"
LEGAL = re.compile(rf"(?:[ ,]+(?:&|und|and|[A-ZÄÖÜ][\w'’-]+)){{0,3}}[ ,]+(?:& Co\.? ?)?(?:{_FORMS})(?![A-Za-zäöüß])")
"""Pattern of a legal form behind a name, words of the firm between."""
_TRADES = r"""
    insurance logistics airlines? airways air bank banking motors autos? holdings? partners solicitors estates properties travel tours couriers? freight
    pharmacy bakery bookshop books records media press publishing furniture homeware interiors kitchens lighting optics opticians jewell?ers?
    fitness gym energy telecom broadband studios? design labs? foods? brewery coffee roasters cosmetics skincare
    versicherung(?:en)? reisen moden? möbel logistik verlag apotheke bäckerei bank bau optik buchhandlung energie telekom
    brauerei getränke elektronik textil(?:ien)? sport schuhe küchen haushaltswaren immobilien spedition druck
"""
TRADE = re.compile(rf"(?:{'|'.join(_TRADES.split())})", re.I)
"""Pattern of the last word of a firm's name, which says its trade."""
OFFERS = re.compile(
    r"(?:['’]s)?\s(?:vouchers?|gift cards?|catalogues?|newsletters?|websites?|apps?|subscription|membership|discount codes?|branch(?:es)?|showrooms?)\b"
)
"""What only a firm has, directly behind its name."""
BOUGHT = re.compile(
    r"\b(?:order(?:ed|ing|s)?|b(?:uy|ought|uying)|purchase[ds]?|rent(?:ed|ing)?|hired|shop(?:ped|ping)?|subscrib(?:e|ed)|switched|available|sold|stocked)"
    r"(?:\s(?!for\b|to\b|by\b)[\w'’,£$€.-]+){0,6}?\s(?:from|at|with|through|via|on)\s(?:the\s)?\Z",
    re.I,
)
"""Buying before a name: ordered a kettle from."""
MEASURED = re.compile(
    r"\b(?:Flaschen?|Packungen?|Dosen?|Tüten?|Gläser|Paar|Kisten?|Beutel|Tuben?|Tafeln?|[Gg]ibt es|Marke|statt)\s\Z"
)
"""Measures before a name: eine Flasche."""
MINE_DE = re.compile(
    r"\b(?:[Mm]ein|[Uu]nser)e?[nmrs]?\s(?!(?:An|Rück)ruf|Nachricht|E?-?Mail|Rechnung|Paket|Bestellung|Termin|Konto|Vertrag|Brief|Antwort|Rezept|Vollmacht|"
    r"Unterlagen|Kolleg|Freund|Vertreter|Nachbar|Bekannt|Sohn|Tochter|Frage|Daten|Geld|Lieferung)[A-ZÄÖÜ][a-zäöüß-]+\svon\s\Z"
)
"""A thing of mine by its maker: Mein Toaster von."""
ASKED = re.compile(
    r"(?:\A|[.!?,;]\s+|\b(?:if|whether|when|why)\s)(?:do|does|will|can|is|are|has|why is|why are|ist|sind|warum ist|warum sind)\s\Z",
    re.I,
)
ACTS = re.compile(
    r"\s(?:deliver|ship|sell|stock|accept|offer|price|refund|restock|open on|compatible|waterproof|dishwasher|vegan|cruelty|sold out|on sale|"
    r"in stock|so expensive|so slow|any good|cheaper|the same as|so teuer|teurer|günstiger|lieferbar|vergriffen|ausverkauft|dasselbe wie|"
    r"kompatibel|vegan|still in business|going to restock)(?:s|ed)?\b"
)
"""What is asked of firms and wares: Does X deliver, is X waterproof."""
BOUGHT_DE = re.compile(
    r"bestell|gekauft|kauf|gebucht|gemietet|geliehen|abonniert|umgetauscht|reklamiert|zurückgeschickt|retour|gutschein|rabatt|verkäufer|filiale|"
    r"onlineshop|webshop|sortiment|kund(?:e|in)\b|kundenkonto|versicher|arbeite|angestellt|vergriffen|lieferbar|vorrätig|im angebot",
    re.I,
)
"""Words of a sentence in which "bei X" is a shop's."""
AT_DE = re.compile(r"\bbei\s\Z", re.I)
WARES_DE = (
    "tüten|maschinen?|kleid(?:er)?|anzug|anzüge|schuhe?n?|stiefel|hosen?|hemd(?:en)?|jacken?|mäntel|mantel|pulver|mehl|geräte?|rasierer|bürsten?|sauger|kaffee|"
    "schokolade|reifen|taschen?|parfum|parfüm|creme|shampoo|öle?|pizza|pudding|backmischung|herd|ofen|schrank|trockner|bohrer|säge|messer|pfannen?|topf|töpfe|"
    "grill|matratzen?|sneaker|jeans|brillen?|uhren|stifte?|sofa|rucksack|lampen?|kerzen?|kocher|stuhl|stühle|tisch|teppich|bettwäsche|zelt|kopfhörer|koffer"
)
"""Last parts of German words for wares."""
BY_DE = re.compile(
    r"(?:\b(?:Filialen?|Shop|Onlineshop|Webshop|Laden|Geschäft|Gutscheine?|Newsletter|Marke|Firma|Katalog|Abo|Zeitschrift|Kollektion|Händler|Paketdienst|"
    r"Spedition|Lieferdienst|Restaurant|Hersteller|Produkte?|Artikel|Seite|Website|Hotline|Angebote?|Garantie(?:karte)?|App)"
    r"(?:\s(?:ist|sind|war|waren))?\s(?:(?:von|der Firma|der Marke|namens|bei)\s)?"
    rf"|\b[A-ZÄÖÜ]?[a-zäöüß]*(?i:{WARES_DE})\svon\s)\Z"
)
"""A shop or a ware before a name, as its maker."""
DELIVERS_DE = re.compile(
    r"(?:\A|[.!?]\s+|\bob\s)(?:liefert|verkauft|führt|akzeptiert|versendet|verschickt|hat|gehört)\s\Z", re.I
)
DELIVERED_DE = re.compile(r"\s(?:auch\s)?(?:nach|an packstation|ins ausland|ratenzahlung|auf lager)\b", re.I)
_FOODS = (
    "面霜|精华|眼霜|面膜|防晒|口红|护肤品|化妆品|洗发水|洗面奶|香水|糕点|月饼|粽子|鸭货|鸭脖|凤爪|零食|坚果|饼干|饮料|果汁|凉茶|奶茶|咖啡|茶叶|白酒|啤酒|牛奶|酸奶|冰淇淋|"
    "冰红茶|麻辣烫|火锅|烧烤|炸鸡|烤鱼|红烧肉|牛肉面?|黄焖鸡|螺蛳粉|米线|酸辣粉|包子|饺子|汤圆|肉夹馍|方便面|拌饭|卤味|鸡蛋|大米|食用油|辣酱|调料|麻花|汉堡|披萨|面包|蛋糕"
)
_FOODS_OF_FIRMS = "面霜|精华|眼霜|面膜|防晒|口红|护肤品|化妆品|洗发水|香水|糕点|月饼|鸭货|鸭脖|凤爪|凉茶|火锅底料|冰红茶|酸辣粉|辣酱|麻花"
_WARES = (
    "梳子|面料|家具|床垫|沙发|净水器|吸尘器|扫地机|豆浆机|打蛋器|电饭煲|剃须刀|牙刷|行李箱|童装|女装|男装|内衣|眼镜|体育|药房|药店|大药房|酒业|食品|服饰|家居|酒店|民宿|餐厅|饭店|"
    "连锁|加盟|优惠券|会员卡|储值卡|礼品卡|代金券|小程序|直播间|官方店|官方|旗舰|专营店|总店|分店"
)
_OF_FIRMS = "门店|专柜|官网|旗舰店|加盟|新品|货车|自提点"
ZH_BEHIND = re.compile(
    rf"(?:师傅|老师|太太|先生|家)?(?:{_FOODS}|{_WARES})|(?:师傅|老师|家)?的(?:{_FOODS_OF_FIRMS}|{_OF_FIRMS})|(?:是|属于)?(?:一家公司|什么牌子|哪个牌子|哪国的)"
)
"""Food and wares directly behind a name; behind 的 only what nobody speaks of as a person's own."""
ZH_FIRM = re.compile(
    r"[^\W的和在是给跟与让帮你我他她您了就有任去回来到从于离入进为被向对等说将已]{0,2}(?:有限公司|公司|集团|旗舰店|专卖店|客服(?!小|电话|说))"
)
"""A company behind a name, whatever announces it."""
ZH_AT = re.compile(r"(?:在|从|去|到)\Z")
ZH_BUYS = re.compile(rf"[{HAN}]{{0,5}}?(?:那?里)?(?:买|订了|订的|下的?单|购|点了|点的|办了|办的|充值|充了|加盟)")
"""In X bought: a shop."""


def is_firm(text: str, name: Span) -> bool:
    """Whether the words around a name show that a firm is called so."""
    said, before, behind = (
        text[name.start : name.end],
        text[max(0, name.start - 60) : name.start],
        text[name.end :][:60],
    )
    if LEGAL.match(behind) or ZH_FIRM.match(behind):
        return True
    if name.score > FORMED:
        return False
    words = said.split()
    if len(words) > 2 and TRADE.fullmatch(words[-1]):
        return True
    if (after := re.match(r"\s([A-ZÄÖÜ][a-zäöüß]+)", behind)) and TRADE.fullmatch(after[1]):
        return True
    if re.match(rf"[{HAN}]", said):
        return bool(ZH_BEHIND.match(behind) or (ZH_AT.search(before) and ZH_BUYS.match(behind)))
    if MEASURED.search(before) or MINE_DE.search(before) or OFFERS.match(behind):
        return True
    if BOUGHT.search(before) or BY_DE.search(before):
        return True
    if (ASKED.search(before) and ACTS.match(behind)) or (DELIVERS_DE.search(before) and DELIVERED_DE.match(behind)):
        return True
    return bool(AT_DE.search(before) and BOUGHT_DE.search(_sentence(text, name)))


def _sentence(text: str, name: Span) -> str:
    """The sentence around a name, without it."""
    start = max(text.rfind(c, 0, name.start) for c in ".!?\n") + 1
    ends = [at for c in ".!?\n" if (at := text.find(c, name.end)) >= 0]
    return f"{text[start : name.start]} {text[name.end : min(ends, default=len(text))]}"
