"""Postal addresses in a text: of China, of the United States and Britain, of Germany, Austria and Switzerland.

An address is a street with a number, or a building with a flat, with whatever of flat, town and postal code stands
around it. A town alone is nobody's address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from steersman.data.pii.finding import ALONE, CUED, HAN, NO_MORE, Span

PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|台湾|"
    "内蒙古|广西|西藏|宁夏|新疆|香港|澳门"
)
CITIES = (
    "广州|深圳|杭州|南京|苏州|成都|武汉|西安|长沙|郑州|青岛|济南|沈阳|大连|哈尔滨|长春|石家庄|太原|合肥|南昌|福州|厦门|昆明|贵阳|南宁|海口|"
    "兰州|西宁|银川|乌鲁木齐|拉萨|呼和浩特|无锡|常州|宁波|温州|绍兴|嘉兴|金华|台州|佛山|东莞|珠海|中山|惠州|汕头|泉州|漳州|烟台|潍坊|临沂|洛阳|南通|徐州|扬州|盐城|唐山|保定|"
    "廊坊|包头|鞍山|吉林|大庆|芜湖|赣州|株洲|湘潭|岳阳|宜昌|襄阳|荆州|桂林|柳州|三亚|绵阳|遵义|大理|丽江|咸阳|宝鸡|秦皇岛|邯郸|镇江|泰州|淄博|济宁|湖州|义乌|昆山|常熟|张家港"
)
WORD = rf"(?:(?![在到是寄送往去住至把给为请改我您你他她的了与吧呢吗]|从(?!化)|地址|快递|麻烦)[{HAN}])"
"""A character of a place's name: none of those that join it to a sentence."""
REGION = (
    rf"(?:(?:中国\s?)?(?:{PROVINCES})(?:省|市|自治区|壮族自治区|回族自治区|维吾尔自治区|特别行政区)?\s?)?"
    rf"(?:(?:{CITIES})市?\s?|{WORD}{{2,4}}(?:市|自治州|地区)\s?)?(?:{WORD}{{1,5}}?(?:区|县|旗|市|新区|开发区|高新区)\s?)?"
    rf"(?:{WORD}{{1,6}}?(?:镇|乡|街道|办事处|园区)\s?)?"
)
NUMERAL = r"(?:[0-9０-９A-Za-z]{1,6}(?:-\d{1,5})*|[一二三四五六七八九十百零甲乙丙丁东西南北]{1,5})"
STREET = (
    rf"{WORD}{{1,10}}?(?:大道|大街|路|街|巷|弄|胡同|道|里|条|村|线|公路)(?:[东西南北中一二三四五六七八九十]{{1,2}}段)?\s?"
    r"(?:[0-9０-９]{1,6}(?:-\d+)?|[一二三四五六七八九十百]{1,5})\s?(?:号院|号楼|号|弄|巷|之\d+)"
)
PLACE = rf"{WORD}{{2,14}}?(?:号院|小区|花园|公寓|大厦|广场|家园|大院|新村|花苑|苑|园|城|府|湾|居|庭|村|中心|大楼|写字楼|宿舍|学校|大学|医院|酒店|名邸|公馆|里|组团|庄园|雅苑)"
PART = rf"(?:\s?[（(]?{NUMERAL}\s?(?:号楼|栋|幢|座|单元|层|楼|室|房|户|门|号|期|区|组|弄|宿舍|铺|档|梯)[)）]?)"
ZH = re.compile(
    rf"(?:{REGION})(?:{STREET}\s?(?:{PLACE}|{WORD}{{2,8}}?(?=[0-9０-９A-Z]{{1,4}}(?:栋|幢|座|号楼|期)))?{PART}*(?:\s?\d{{3,4}}(?:室|房|号)?(?!\d|[-]))?"
    rf"|(?:{WORD}{{1,8}}?(?:大道|大街|路|街|巷|镇|乡)\s?)?{PLACE}{PART}{{1,6}}(?:\s?\d{{3,4}}(?!\d|[-元块个件天]))?|{WORD}{{1,5}}?(?:村|镇|乡){WORD}{{0,5}}{PART}{{1,3}})"
)
ZH_HEAD = re.compile(
    r"(?:.*(?:地址(?:是|为|改成|改为|在|写)?|住在|家住|位于|送到|寄到|发到|送至|寄往|发往|收货|快递))?[是为在到：:，,]*"
)

US_TYPES = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Terrace|Ter|Way|Parkway|Pkwy|Circle|Cir|"
    "Highway|Hwy|Square|Sq|Close|Crescent|Cres|Gardens|Grove|Mews|Row|Walk|Broadway|Trail|Trl|Loop|Plaza|Alley|Green|"
    "Hill|Rise|Park|Quay|Wharf|Parade|Vale|View|Turnpike|Pike|Run|Path|Point|Crossing|Commons|Bend|Ridge|Gate|Yard|Embankment|Hills"
)
STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|"
    "SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC|Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|"
    "Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|"
    "Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey|New Mexico|New York|North Carolina|North Dakota|"
    "Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|"
    "Washington|West Virginia|Wisconsin|Wyoming"
)
POSTCODE = r"[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}"
TOWN = r"[A-Z][A-Za-z.'’-]+(?:[ -](?:of|on|upon|in|the|le|[A-Z][A-Za-z.'’-]+)){0,3}"
UNIT = (
    r"(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Room|Rm|Building|Bldg|#)\.?\s?#?\s?[A-Za-z]?\d*[A-Za-z]?(?:-\d+)?"
)
FLAT = rf"(?:(?:Flat|Apartment|Apt|Unit|Suite)\.?\s\w{{1,4}},?\s(?:{TOWN}(?:\s(?:House|Court|Mansions|Tower|Lodge))?,\s)?)?"
BACK = (
    rf"(?:,?\s(?:{UNIT})\b)?(?:,\s(?:[Ff]loor\s\d+|\d+(?:st|nd|rd|th)\s[Ff]loor))?"
    rf"(?:(?:,\s?(?:in\s)?|\s|\n)(?:{TOWN}))?(?:(?:,\s?|\s)(?:{TOWN}))??"
    rf"(?:,?\s(?:{STATES})\b\.?(?:,?\s\d{{5}}(?:-\d{{4}})?)?|,?\s\d{{5}}(?:-\d{{4}})?(?!\d)|,?\s{POSTCODE}\b)"
)
NAMED = r"(?:(?:[NSEW]|NE|NW|SE|SW|North|South|East|West)\.?\s)?(?:[A-Z][A-Za-z.'’-]*\s|\d{1,3}(?:st|nd|rd|th)\s){1,4}?"
BARE = rf"{FLAT}\d{{1,5}}[A-Za-z]?\s[A-Z][A-Za-z.'’-]+(?:\s[A-Z][A-Za-z.'’-]+){{0,2}}(?:,?\s{UNIT})?,\s{TOWN}(?:,\s{TOWN})?,?\s(?:{POSTCODE}|(?:{STATES})\s\d{{5}})"
"""A street that does not call itself one, between a number and a town with its code."""
LINE = rf"{FLAT}\d{{1,5}}(?:[A-Za-z]|-\d{{1,4}})?,?\s{NAMED}(?:{US_TYPES})\b\.?(?:\s(?:[NSEW]|NE|NW|SE|SW|North|South|East|West)\b\.?)?"
SHORT_BACK = rf"(?:,?\s(?:{UNIT})\b)?"
EN = re.compile(rf"{ALONE}(?:{BARE}|{LINE}(?:{BACK}|{SHORT_BACK})|P\.?\s?O\.?\sBox\s\d{{1,6}}(?:{BACK})?)")
EN_SMALL = re.compile(rf"{ALONE}{LINE}(?:{BACK}|(?:,?\s(?:{UNIT})\b)?(?:,\s{TOWN})?)(?![A-Za-z])", re.I)
"""The same in small letters; only behind words that announce an address."""
EN_CUE = re.compile(
    r"\b(?:address(?: is| to)?|live (?:at|on|in)|lives at|living at|deliver(?:ed)? (?:it )?to|ship(?:ped)? (?:it )?to|send (?:it )?to|sent to|moved to|located at|reside at|home is)\b[\s:]*"
    r"(?:is|to|now|instead)?[\s:]*\Z",
    re.I,
)
POST_CUE = re.compile(
    r"\b(?:post ?code|zip(?: code)?|PLZ|Postleitzahl)\b[^\w]*(?:is|ist|:)?\s*\Z|邮编(?:是|为|：|:)?\s*\Z", re.I
)
POST = re.compile(rf"{ALONE}(?:{POSTCODE}|\d{{5}}-\d{{4}}|\d{{4,6}}){NO_MORE}")

DE_TYPES = (
    "straße|strasse|str\\.|weg|platz|allee|gasse|ring|ufer|damm|chaussee|steig|hof|markt|berg|graben|park|kai|pfad|zeile|"
    "promenade|stieg|wall|tor|brücke|winkel|garten|feld|kamp|busch|twiete|rain|blick|bogen|hang|stiege|gürtel|lände|quai"
)
DE_UPPER = "|".join(t[0].upper() + t[1:] for t in DE_TYPES.split("|"))
DE_STREET = (
    rf"(?:(?:[A-ZÄÖÜ][a-zäöüß]+er )?[A-ZÄÖÜ][A-Za-zÄÖÜäöüß.-]*(?:{DE_TYPES})(?!\w)"
    rf"|(?:[A-ZÄÖÜ][A-Za-zÄÖÜäöüßéè.-]+[ -]){{1,3}}(?:{DE_UPPER})(?!\w)"
    r"|(?:Am|An der|An den|Im|In der|In den|Auf der|Auf dem|Zum|Zur|Unter den|Beim|Hinter der|Hinter dem|Vor dem|Alte[rn]?|Neue[rn]?|Große|Kleine|Rue de|Rue du)"
    r"\s[A-ZÄÖÜ][A-Za-zÄÖÜäöüß-]+(?:\s[A-ZÄÖÜ][A-Za-zÄÖÜäöüß-]+)?|[A-Z]\s?\d(?=,?\s\d)(?!,?\s\d+\s?(?:g|g/m.|gr|Gramm|Blatt|Seiten|[cm]m|x)\b))"
)
DE_TOWN = r"[A-ZÄÖÜ][A-Za-zäöüßéè.-]+(?:[ /-](?:am|an der|im|in der|bei|a\.|b\.|ob der|unter|[A-ZÄÖÜ(][A-Za-zäöüßé.)-]+)){0,3}"
DE_NUMBER = r"\d{1,4}(?:\s?[a-hA-H](?![A-Za-zäöüß]))?(?:\s?[-/+]\s?\d{1,3}[a-z]?){0,3}"
DE_REST = (
    r"(?:,?\s(?:Whg\.?|Wohnung|Top|Stiege|Tür|Haus|Apartment|App\.?|Zimmer)\s?\w{1,4}|,?\s\d+\.\s?(?:Stock|OG|Etage|Obergeschoss)|,?\s(?:EG|DG|Hinterhaus|HH|c/o\s\w+))*"
    rf"(?:(?:,?\s|\s?,|\s?\n|\s?[-–]\s|\sin\s)(?:(?:D|A|CH|DE|AT)[- ])?\d{{4,5}}\s{DE_TOWN}|,\s{DE_TOWN}|\sin\s(?:\d{{4,5}}\s)?{DE_TOWN})?"
)
DE = re.compile(rf"{ALONE}{DE_STREET}\s{DE_NUMBER}(?![\d.]*\d|\s?(?:Euro|€|Uhr|Stück|%)){DE_REST}")
DE_POST = re.compile(
    rf"{ALONE}(?:(?:D|A|CH)[- ])?\d{{4,5}}\s(?!Euro|Uhr|Stück|Artikel|EUR|CHF|Punkte|Kilo|Gramm|Tage){DE_TOWN}"
)
DE_CUE = re.compile(
    r"\b(?:wohne(?:n|t|haft)?|adresse|anschrift|lieferadresse|PLZ|postleitzahl|aus|nach|gezogen|wohnsitz|umgezogen|lautet)\b[^.!?\d]{0,25}\Z",
    re.I,
)


def addresses(text: str, language: str) -> Iterator[Span]:
    if re.search(rf"[{HAN}]", text):
        yield from _chinese(text)
    if any(c.isdigit() for c in text):
        yield from _english(text)
        if language != "zh":
            yield from _german(text)
        for m in POST.finditer(text):
            if POST_CUE.search(text, max(0, m.start() - 30), m.start()):
                yield Span("address", *m.span(), CUED)


ZH_PART = re.compile("[号栋幢座单楼室村弄院组]")
ZH_GAP = re.compile(rf"[A-Za-z0-9{HAN} （(·-]{{0,12}}")
"""Between two parts of one address: 建国路88号 SOHO 现代城3号楼."""


ZH_SAID = re.compile(
    rf"地址(?:呢)?(?:是|在|为|：|:|就是|就在|改成|改为|写)\s?(?P<place>[{HAN}A-Za-z0-9（）()·、 -]{{4,45}})(?=[，。；;,!！?？\n]|\Z)"
)
ZH_PLACE = re.compile(r"[省市区县镇乡村街路道巷弄号楼栋室苑园里门口座层州旗屯庄城]")
ZH_ELSE = re.compile(r"什么|哪|多少|不|错|吗|呢|您|你|我|他|要|请|可以|了")
"""What is no address though the word stands before it."""


def _chinese(text: str) -> Iterator[Span]:
    for m in ZH_SAID.finditer(text):
        if ZH_PLACE.search(m["place"]) and not ZH_ELSE.search(m["place"]):
            yield Span("address", *m.span("place"), CUED + 4)
    if not ZH_PART.search(text):
        return
    start = end = -1
    for m in ZH.finditer(text):
        head = ZH_HEAD.match(m[0])
        begin = m.start() + (head.end() if head else 0)
        if m.end() - begin < 4 or not re.search(r"[\d０-９一二三四五六七八九十]", text[begin : m.end()]):
            continue
        if start >= 0 and ZH_GAP.fullmatch(text, end, begin):
            end = m.end()
            continue
        if start >= 0:
            yield Span("address", start, end, CUED + 3)
        start, end = begin, m.end()
    if start >= 0:
        yield Span("address", start, end, CUED + 3)


def _english(text: str) -> Iterator[Span]:
    for m in EN.finditer(text):
        yield Span("address", m.start(), _stop(m), CUED + 3)
    for m in EN_SMALL.finditer(text):
        if EN_CUE.search(text, max(0, m.start() - 40), m.start()):
            yield Span("address", m.start(), _stop(m), CUED + 1)


def _stop(m: re.Match[str]) -> int:
    """The end of an address, without the full stop of its sentence."""
    return m.start() + len(m[0].rstrip(" .,-"))


def _german(text: str) -> Iterator[Span]:
    for m in DE.finditer(text):
        yield Span("address", m.start(), _stop(m), CUED + 3 if re.search(r"\d{4,5}\s\D", m[0]) else CUED + 2)
    for m in DE_POST.finditer(text):
        if DE_CUE.search(text, max(0, m.start() - 60), m.start()):
            yield Span("address", m.start(), _stop(m), CUED + 1)
