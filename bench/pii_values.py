"""Personal data that nobody has, in the forms in which people write it: numbers with their checksums, addresses, names.

Four sides of everything: "development"; "seen" and "seen too", which were held out until their one measurement and mended
by since; and "held-out", so that recognisers are not measured on what they were mended on.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Make = Callable[[random.Random], str]
SIDES = ("development", "seen", "seen too", "held-out")

NAMES = {
    ("zh", "development"): [
        "张伟",
        "王芳",
        "李秀英",
        "刘洋",
        "陈建国",
        "杨丽",
        "黄晓明",
        "赵敏",
        "周杰",
        "吴婷婷",
        "徐志强",
        "孙悦",
        "马晓东",
        "朱雅琴",
        "胡海波",
        "郭子涵",
        "何雨欣",
        "高志远",
        "林浩然",
        "罗文静",
        "欧阳娜娜",
        "司马光华",
        "郑凯",
        "梁思成",
        "谢婉莹",
        "宋佳",
        "唐嫣",
        "许晴",
        "韩雪",
        "邓超",
    ],
    ("zh", "seen"): [
        "冯骁",
        "曹颖",
        "彭于晏",
        "曾志伟",
        "萧敬腾",
        "田馥甄",
        "董明珠",
        "袁隆平",
        "潘粤明",
        "蔡依林",
        "蒋欣",
        "余秋雨",
        "杜鹃",
        "叶嘉莹",
        "程砚秋",
        "魏晨",
        "苏炳添",
        "吕燕",
        "丁俊晖",
        "沈腾",
        "姚晨",
        "卢凌风",
        "傅雷",
        "钟楚曦",
        "姜文",
        "崔永元",
        "谭卓",
        "廖凡",
        "汪涵",
        "陆毅",
        "金晨曦",
        "诸葛瑾瑜",
        "上官云珠",
        "石小满",
        "贾樟柯",
        "韦唯",
        "夏梦",
        "付海棠",
        "方子萱",
        "邹市明",
    ],
    ("en", "development"): [
        "John Smith",
        "Maria Gonzalez",
        "David Johnson",
        "Emily Clark",
        "Priya Patel",
        "Michael O'Brien",
        "Sarah Connor",
        "James T. Wilson",
        "Olivia Martinez",
        "Wei Zhang",
        "Fatima Hassan",
        "Robert King",
        "Hannah Lewis",
        "Carlos Ramirez",
        "Linda Thompson",
        "Kevin Nguyen",
        "Mary-Anne Fletcher",
        "Ahmed Khan",
        "Laura Bennett",
        "Peter Jackson",
    ],
    ("en", "seen"): [
        "Rebecca Sugarman",
        "Tobias Whitfield",
        "Aisha Mohammed",
        "Declan Murphy",
        "Samantha Ortiz",
        "Gareth Llewellyn",
        "Nadia Petrova",
        "Marcus Aldridge",
        "Chloe Beaumont",
        "Rajesh Iyer",
        "Dorothy Finch",
        "Ethan Caldwell",
        "Siobhan Kelly",
        "Luis Fernandez",
        "Megan Hargreaves",
        "Patrick van Houten",
        "Grace Adeyemi",
        "Natalie Brooks",
        "Victor Osei",
        "Joanne McAllister",
        "Amelia Rosenthal",
        "Derek Shepherd",
        "Bianca Rossi",
        "Trevor Noakes",
    ],
    ("de", "development"): [
        "Jürgen Müller",
        "Anna Schneider",
        "Maximilian Huber",
        "Sabine Wagner",
        "Lukas Gruber",
        "Petra Zimmermann",
        "Stefan Krüger",
        "Claudia Meier",
        "Mehmet Yılmaz",
        "Katharina von Berg",
        "Hans-Peter Schmid",
        "Ursula Brunner",
        "Florian Bauer",
        "Monika Lehmann",
        "Reto Ammann",
        "Heike Vogel",
        "Thomas Fischer",
        "Julia Hoffmann",
    ],
    ("de", "seen"): [
        "Dietmar Kowalski",
        "Friederike Ohlsen",
        "Bastian Reuter",
        "Gudrun Pfeiffer",
        "Elif Demir",
        "Matthias Egger",
        "Annegret Sommer",
        "Urs Zbinden",
        "Leonie Hartmann",
        "Wolfgang Steiner",
        "Jana Novak",
        "Karl-Heinz Böhm",
        "Svenja Petersen",
        "Beat Wüthrich",
        "Marlene Auer",
        "Torsten Lindner",
        "Renate Kaiser",
        "Philipp Baumgartner",
        "Carina Hofer",
        "Detlef Schröder",
    ],
}

STREETS = {
    ("zh", "development"): [
        "北京市朝阳区建国路88号",
        "上海市浦东新区世纪大道100号",
        "广州市天河区体育西路101号",
        "浙江省杭州市西湖区文三路478号",
        "江苏省南京市鼓楼区中山北路200号",
        "成都市武侯区人民南路四段11号",
        "湖北省武汉市洪山区珞喻路1037号",
        "深圳市南山区科技园科苑路15号",
    ],
    ("zh", "seen"): [
        "天津市和平区南京路189号",
        "重庆市渝中区民权路28号",
        "山东省青岛市市南区香港中路40号",
        "陕西省西安市雁塔区小寨东路126号",
        "福建省厦门市思明区湖滨南路57号",
        "湖南省长沙市岳麓区麓山南路932号",
        "辽宁省大连市中山区人民路66号",
        "苏州市工业园区星湖街328号",
        "河南省郑州市金水区花园路39号",
        "广东省佛山市顺德区大良街道凤山中路8号",
    ],
    ("en", "development"): [
        "742 Evergreen Terrace, Springfield, IL 62704",
        "1600 Amphitheatre Parkway, Mountain View, CA 94043",
        "221B Baker Street, London NW1 6XE",
        "350 5th Ave, Apt 12C, New York, NY 10118",
        "12 High Street, Oxford OX1 4DB",
        "4059 Mount Lee Drive, Los Angeles, CA",
        "Flat 3, 27 Queens Road, Brighton BN1 3XA",
        "88 Colin P Kelly Jr St, San Francisco, CA 94107",
    ],
    ("en", "seen"): [
        "1407 Graymalkin Lane, Salem Center, NY 10560",
        "48 Doughty Street, London WC1N 2LX",
        "910 W Belmont Ave Unit 4, Chicago, IL 60657",
        "17 Cherry Tree Lane, Bristol BS1 4QT",
        "2630 Portland Road, Salem, OR 97301",
        "Apt 7B, 155 East Houston Street, New York, NY 10002",
        "5 Heriot Row, Edinburgh EH3 6HP",
        "6301 Quebec Drive, Austin, Texas 78746",
        "31 Spooner Street, Quahog, RI 00093",
        "Flat 12, 140 Kingsway, Manchester M19 1BB",
        "PO Box 1142, Boise, ID 83701",
        "77 Massachusetts Avenue, Cambridge, MA 02139",
    ],
    ("de", "development"): [
        "Lindenstraße 12a, 10969 Berlin",
        "Mariahilfer Straße 45/2/12, 1060 Wien",
        "Bahnhofstrasse 21, 8001 Zürich",
        "Am Markt 3, 99423 Weimar",
        "Hauptstr. 5, 80331 München",
        "Goetheallee 47, 01309 Dresden",
        "Rathausplatz 1, 4020 Linz",
        "Karl-Marx-Allee 93, 10243 Berlin",
    ],
    ("de", "seen"): [
        "Schillerweg 8, 70174 Stuttgart",
        "Landstraßer Hauptstraße 71, Top 5, 1030 Wien",
        "Steinengraben 42, 4051 Basel",
        "Kaiser-Friedrich-Ring 19, 65185 Wiesbaden",
        "An der Alster 72, 20099 Hamburg",
        "Brückenstr. 14b, 50667 Köln",
        "Getreidegasse 9, 5020 Salzburg",
        "Kirchplatz 2, 6850 Dornbirn",
        "Unter den Linden 77, 10117 Berlin",
        "Seefeldstrasse 301, CH-8008 Zürich",
        "Zum Birkenhof 6, 24159 Kiel",
        "Münchner Straße 110, 85774 Unterföhring",
    ],
}
FLATS = {
    "development": ["", "3号楼2单元501室", "5栋1802", "金地花园8栋2单元1101室"],
    "seen": ["", "阳光嘉园6号楼3单元1204室", "12幢606室", "滨江壹号院2栋901"],
}
MAILS = {
    "development": ["gmail.com", "qq.com", "163.com", "web.de", "outlook.com"],
    "seen": [
        "yahoo.co.uk",
        "126.com",
        "gmx.at",
        "bluewin.ch",
        "icloud.com",
        "foxmail.com",
        "t-online.de",
        "my-company.io",
    ],
}
LOCALS = {
    "development": ["maria.g", "zhang_wei88", "j.smith", "info", "anna-schneider"],
    "seen": [
        "r.sugarman+shop",
        "13998877665",
        "lilei_1990",
        "kontakt.ohlsen",
        "gareth99",
        "xiaoman.shi",
        "t_whitfield",
    ],
}
AREAS = {
    "development": ["110105", "310104", "440106", "330102"],
    "seen": ["120101", "500103", "370202", "610113", "350203"],
}


NAMES |= {
    (
        "zh",
        "seen too",
    ): [
        "霍建华",
        "戚薇",
        "娄艺潇",
        "江疏影",
        "白敬亭",
        "尹正",
        "万茜",
        "郝蕾",
        "祖峰",
        "雷佳音",
        "殷桃",
        "秦海璐",
        "童瑶",
        "张译",
        "周冬雨",
        "马思纯",
        "李现",
        "朱一龙",
        "杨紫",
        "刘昊然",
        "王传君",
        "黄渤",
        "徐峥",
        "宁浩",
        "陈坤",
        "段奕宏",
        "葛优",
        "倪妮",
        "舒淇",
        "孙俪",
        "邓婕",
        "毕飞宇",
        "苏童",
        "令狐伟",
        "欧阳修文",
        "王建军",
        "李桂英",
        "张秀兰",
        "刘志刚",
        "陈雨桐",
    ],
    ("en", "seen too"): [
        "Charlotte Dunmore",
        "Isaac Feldman",
        "Imogen Prescott",
        "Dwayne Carter",
        "Yolanda Pierce",
        "Niamh O'Sullivan",
        "Hiroshi Tanaka",
        "Oluwaseun Bakare",
        "Pablo Castillo",
        "Greta Lindqvist",
        "Martin Shaw",
        "Beatrice Holloway",
        "Zoe Kravitz",
        "Terrence Boyd",
        "Anjali Deshmukh",
        "Wendy Crawford",
        "Colm Doherty",
        "Vanessa Ruiz",
        "Harold Jenkins",
        "Felicity Barnes",
    ],
    ("de", "seen too"): [
        "Hannelore Wirth",
        "Jochen Brandt",
        "Sieglinde Maurer",
        "Ralf Dombrowski",
        "Ayşe Kaya",
        "Benedikt Sailer",
        "Ingeborg Lutz",
        "Markus Aebischer",
        "Verena Thaler",
        "Kilian Forster",
        "Ottilie Graf",
        "Holger Jansen",
        "Manuela Pichler",
        "Rüdiger Scholz",
        "Nele Behrens",
        "Adnan Begić",
        "Christa Lorenz",
        "Dominik Rieger",
        "Eva-Maria Stadler",
        "Guido Frick",
    ],
}
STREETS |= {
    ("zh", "seen too"): [
        "上海市徐汇区淮海中路1010号",
        "黑龙江省哈尔滨市南岗区西大直街92号",
        "云南省昆明市五华区翠湖南路4号",
        "安徽省合肥市蜀山区长江西路669号",
        "广西南宁市青秀区民族大道131号",
        "江西省南昌市红谷滩区丰和中大道1号",
        "浙江省宁波市鄞州区钱湖北路505号",
        "四川省绵阳市涪城区临园路东段72号",
        "北京市海淀区中关村南大街5号",
        "河北省保定市莲池区五四东路180号",
    ],
    ("en", "seen too"): [
        "19 Rosewood Avenue, Leeds LS6 2AB",
        "4821 Maple Grove Road, Duluth, MN 55811",
        "305 S Orange Blossom Trail, Orlando, FL 32805",
        "Flat 2B, 61 Marchmont Crescent, Edinburgh EH9 1HF",
        "1250 Broadway, Suite 900, New York, NY 10001",
        "8 Station Approach, Guildford, Surrey GU1 4UT",
        "77 Beacon Hill Drive, Boston, Massachusetts 02108",
        "2200 N Lakeview Blvd #301, Chicago, IL 60614",
        "33 Old Mill Lane, Cardiff CF14 7HX",
        "9 Cathedral Close, Wells BA5 2PA",
    ],
    ("de", "seen too"): [
        "Rosenheimer Straße 145, 81671 München",
        "Am Alten Hafen 17, 27568 Bremerhaven",
        "Ludwigstraße 3b, 86150 Augsburg",
        "Neubaugasse 64/2/9, 1070 Wien",
        "Rue de Lausanne 45, 1201 Genève",
        "Heinrich-Heine-Platz 10, 40213 Düsseldorf",
        "Weinbergstrasse 77, 8006 Zürich",
        "Im Winkel 4, 72070 Tübingen",
        "Maria-Theresien-Straße 18, 6020 Innsbruck",
        "Dorfstr. 23, 18375 Born a. Darß",
    ],
}
FLATS["seen too"] = ["", "锦绣江南12栋3单元802室", "望京花园东区216号楼1106", "7幢2单元503"]
MAILS["seen too"] = [
    "hotmail.com",
    "sina.cn",
    "posteo.de",
    "aon.at",
    "proton.me",
    "139.com",
    "uni-koeln.de",
    "btinternet.com",
]
LOCALS["seen too"] = ["isaac.feldman", "huo1979", "office", "n_behrens.77", "wendy-c", "yz2008", "frick+rechnung"]
AREAS["seen too"] = ["230103", "530102", "340104", "450103", "130606"]


NAMES |= {
    ("zh", "held-out"): [
        "郭采洁",
        "辛芷蕾",
        "许光汉",
        "张若昀",
        "谢霆锋",
        "马伊琍",
        "佟丽娅",
        "胡歌",
        "靳东",
        "关晓彤",
        "罗晋",
        "唐艺昕",
        "杜江",
        "袁泉",
        "夏雨",
        "任素汐",
        "蒋勤勤",
        "陈建斌",
        "梁家辉",
        "曾黎",
        "王玉兰",
        "李国强",
        "张海燕",
        "刘淑珍",
        "赵铁柱",
        "孙桂芳",
        "周建平",
        "吴秀梅",
        "慕容雪",
        "东方卓",
    ],
    ("en", "held-out"): [
        "Rosalind Archer",
        "Kwame Mensah",
        "Tyler Jennings",
        "Saoirse Brennan",
        "Mei Lin Chow",
        "Gerald Whitmore",
        "Leticia Vargas",
        "Bradley Cooper",
        "Ingrid Sorensen",
        "Farah Siddiqui",
        "Nathan Drake",
        "Philippa Langley",
        "Desmond Tutu",
        "Carmen Ibarra",
        "Alistair Cook",
        "Tamsin Greig",
        "Jerome Baptiste",
        "Ruth Ellison",
        "Sanjay Gupta",
        "Matilda Wren",
    ],
    ("de", "held-out"): [
        "Annika Seidel",
        "Volker Hauser",
        "Theresia Moser",
        "Cem Aydın",
        "Lieselotte Kern",
        "Bernd Ziegler",
        "Regula Hürlimann",
        "Clemens Wallner",
        "Uta Reinhardt",
        "Dragan Petrović",
        "Gisela Ebert",
        "Fabian Roth",
        "Edeltraud Hackl",
        "Sören Lorenzen",
        "Mathilda Busch",
        "Jörg Plate",
        "Selma Arslan",
        "Konrad Weiss",
        "Tabea Fuchs",
        "Ludwig Oberhofer",
    ],
}
STREETS |= {
    ("zh", "held-out"): [
        "山西省太原市小店区长风街705号",
        "江苏省苏州市姑苏区观前街88号",
        "广州市越秀区中山五路219号",
        "吉林省长春市朝阳区人民大街5188号",
        "贵州省贵阳市云岩区中华北路187号",
        "甘肃省兰州市城关区庆阳路161号",
        "浙江省义乌市稠州北路801号",
        "湖北省宜昌市西陵区夷陵大道58号",
    ],
    ("en", "held-out"): [
        "6 Pemberton Gardens, London N19 5RR",
        "1914 Willow Creek Circle, Boise, Idaho 83704",
        "540 Madison Ave, Floor 12, New York, NY 10022",
        "Unit 14, 3 Harbour Row, Plymouth PL1 3QJ",
        "7705 SW Barnes Rd, Portland, OR 97225",
        "102 Tudor Close, Chester CH2 1AB",
        "419 Ashbury Street Apt 5, San Francisco, CA 94117",
        "25 Quayside, Newcastle upon Tyne NE1 3DX",
    ],
    ("de", "held-out"): [
        "Gartenweg 11, 04109 Leipzig",
        "Hohenzollernring 88, 50672 Köln",
        "Linzer Gasse 20/4, 5020 Salzburg",
        "Museumstrasse 14, 9000 St. Gallen",
        "Auf dem Berg 2a, 38855 Wernigerode",
        "Franz-Josefs-Kai 31, 1010 Wien",
        "Schlossallee 5, 14467 Potsdam",
        "Obere Bahnhofstr. 32, 8640 Rapperswil",
    ],
}
FLATS["held-out"] = ["", "翡翠城9号楼2单元1503室", "4栋1单元602", "枫林华府15幢1801室"]
MAILS["held-out"] = [
    "googlemail.com",
    "aliyun.com",
    "mailbox.org",
    "chello.at",
    "sunrise.ch",
    "live.co.uk",
    "vip.163.com",
]
LOCALS["held-out"] = [
    "kwame.mensah",
    "guanxt",
    "service-desk",
    "b.ziegler1964",
    "tamsin_g",
    "wang.yulan",
    "u.reinhardt",
]
AREAS["held-out"] = ["140105", "320508", "440104", "220104", "520103"]


def digits(rng: random.Random, n: int) -> str:
    return "".join(str(rng.randrange(10)) for _ in range(n))


def luhn(body: str) -> str:
    total = sum(sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(body)))
    return body + str(-total % 10)


def ric(rng: random.Random, side: str) -> str:
    born = f"{rng.randint(1950, 2005)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}"
    body = rng.choice(AREAS[side]) + born + digits(rng, 3)
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def ean13(body: str) -> str:
    return body + str(-sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(body)) % 10)


def steuer_id(rng: random.Random) -> str:
    """Eleven digits, one of them twice among the first ten; the last by ISO 7064 mod 11,10."""
    body = ["0"]
    while body[0] == "0":
        body = rng.sample("0123456789", 9)
        body.insert(rng.randint(1, 9), rng.choice(body))
    product = 10
    for d in body:
        total = (int(d) + product) % 10 or 10
        product = 2 * total % 11
    return "".join(body) + str((11 - product) % 10)


def iban_of(rng: random.Random, country: str) -> str:
    bban = {
        "DE": lambda: digits(rng, 18),
        "AT": lambda: digits(rng, 16),
        "CH": lambda: digits(rng, 17),
        "GB": lambda: rng.choice(["NWBK", "BARC", "LOYD"]) + digits(rng, 14),
        "FR": lambda: digits(rng, 23),
        "NL": lambda: "INGB0" + digits(rng, 9),
    }[country]()
    number = int("".join(str(int(c, 36)) for c in bban + country + "00"))
    return f"{country}{98 - number % 97:02d}{bban}"


def grouped(text: str, n: int = 4, by: str = " ") -> str:
    return by.join(text[i : i + n] for i in range(0, len(text), n))


def phone(language: str, side: str) -> Make:
    first = {
        "held-out": ["133", "152", "185", "191", "178", "130"],
        "seen too": ["139", "151", "187", "198", "173", "132"],
        "development": ["138", "159", "186", "177"],
        "seen": ["135", "150", "188", "199", "176", "131"],
    }[side]

    def chinese(rng: random.Random) -> str:
        p, a, b = rng.choice(first), digits(rng, 4), digits(rng, 4)
        forms = [
            f"{p}{a}{b}",
            f"{p}{a}{b}",
            f"{p} {a} {b}",
            f"{p}-{a}-{b}",
            f"+86 {p}{a}{b}",
            f"0{rng.choice(['10', '21', '571', '755', '28'])}-{rng.randint(2, 8)}{digits(rng, 7)}",
        ]
        return rng.choice(
            forms
            if side == "development"
            else [
                *forms,
                f"+86-{p}-{a}-{b}",
                f"(0{rng.choice(['22', '23'])}) {rng.randint(2, 8)}{digits(rng, 7)}",
                f"400-{digits(rng, 3)}-{digits(rng, 4)}",
            ]
        )

    def english(rng: random.Random) -> str:
        area = rng.choice(
            ["212", "415", "312", "646"] if side == "development" else ["206", "617", "404", "702", "503"]
        )
        b, c = f"{rng.randint(2, 9)}{rng.randint(0, 9)}{rng.randint(2, 9)}", digits(rng, 4)
        forms = [
            f"({area}) {b}-{c}",
            f"{area}-{b}-{c}",
            f"+1 {area} {b} {c}",
            f"07{rng.choice(['911', '700', '812'])} {digits(rng, 6)}",
            f"+44 20 7{digits(rng, 3)} {digits(rng, 4)}",
            f"{area}.{b}.{c}",
        ]
        more = [
            f"1-{area}-{b}-{c}",
            f"{area} {b} {c}",
            f"0161 {rng.randint(2, 9)}{digits(rng, 2)} {digits(rng, 4)}",
            f"+44 7{rng.choice(['400', '850', '980'])} {digits(rng, 6)}",
            f"({area}) {b}-{c} ext. {digits(rng, 3)}",
            f"+1{area}{b}{c}",
        ]
        return rng.choice(forms if side == "development" else forms[:4] + more)

    def german(rng: random.Random) -> str:
        mobile = rng.choice(["0171", "0160", "0152"] if side == "development" else ["0176", "0157", "0162", "0175"])
        forms = [
            f"030 {digits(rng, 7)}",
            f"089/{rng.randint(2, 9)}{digits(rng, 6)}",
            f"{mobile} {digits(rng, 7)}",
            f"{mobile}{digits(rng, 7)}",
            f"+49 {mobile[1:]} {digits(rng, 7)}",
            f"0664 {digits(rng, 7)}",
            f"044 {rng.randint(2, 9)}{digits(rng, 2)} {digits(rng, 2)} {digits(rng, 2)}",
        ]
        more = [
            f"+49 (0)40 {rng.randint(2, 9)}{digits(rng, 6)}",
            f"0049 {mobile[1:]} {digits(rng, 3)} {digits(rng, 4)}",
            f"+43 676 {digits(rng, 7)}",
            f"+41 79 {digits(rng, 3)} {digits(rng, 2)} {digits(rng, 2)}",
            f"0221 / {rng.randint(2, 9)}{digits(rng, 2)} {digits(rng, 2)} {digits(rng, 2)}",
            f"079 {rng.randint(2, 9)}{digits(rng, 2)} {digits(rng, 2)} {digits(rng, 2)}",
        ]
        return rng.choice(forms if side == "development" else forms[2:5] + more)

    return {"zh": chinese, "en": english, "de": german}[language]


def identity(language: str, side: str) -> Make:
    def english(rng: random.Random) -> str:
        ssn = f"{rng.randint(100, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"
        nino = f"{rng.choice(['AB', 'CE', 'JK', 'SP'])} {digits(rng, 2)} {digits(rng, 2)} {digits(rng, 2)} {rng.choice('ABCD')}"
        return rng.choice([ssn, nino])

    def german(rng: random.Random) -> str:
        ahv = ean13("756" + digits(rng, 9))
        tax = steuer_id(rng)
        card = rng.choice("CFGHJKLMNPRTVWXYZ") + "".join(rng.choice("0123456789CFGHJKLMNPRTVWXYZ") for _ in range(8))
        return rng.choice(
            [f"756.{ahv[3:7]}.{ahv[7:11]}.{ahv[11:]}", f"{tax[:2]} {tax[2:5]} {tax[5:8]} {tax[8:]}", tax, card]
        )

    return {"zh": lambda rng: ric(rng, side), "en": english, "de": german}[language]


def card(language: str, side: str) -> Make:
    bodies = {
        "zh": [("622848", 19), ("622202", 19), ("621700", 19), ("622588", 16)]
        if side == "development"
        else [("621226", 19), ("622700", 19), ("625912", 16), ("621483", 16), ("436742", 19)],
        "en": [("4", 16), ("52", 16), ("37", 15)]
        if side == "development"
        else [("4", 16), ("54", 16), ("34", 15), ("2221", 16)],
        "de": [("4", 16), ("53", 16)] if side == "development" else [("4", 16), ("51", 16), ("37", 15)],
    }[language]

    def make(rng: random.Random) -> str:
        start, n = rng.choice(bodies)
        number = luhn(start + digits(rng, n - len(start) - 1))
        return rng.choice(
            [number, grouped(number), grouped(number)]
            if side == "development"
            else [number, grouped(number), grouped(number, by="-")]
        )

    return make


def order(language: str, side: str) -> Make:
    def make(rng: random.Random) -> str:
        year = rng.choice(["2024", "2025"])
        dev = [
            year + digits(rng, 12),
            digits(rng, 18),
            "SF" + digits(rng, 13),
            digits(rng, 8),
            f"ORD-{year}-{digits(rng, 6)}",
            f"#{digits(rng, 6)}",
            digits(rng, 10),
        ]
        held = [
            digits(rng, 19),
            "JD" + digits(rng, 14),
            "YT" + digits(rng, 13),
            f"{digits(rng, 3)}-{digits(rng, 7)}-{digits(rng, 7)}",
            f"#{digits(rng, 5)}",
            f"PO-{digits(rng, 7)}",
            "1Z" + "".join(rng.choice("0123456789ABCDEFGHJ") for _ in range(16)),
            digits(rng, 9),
            f"W{digits(rng, 9)}",
        ]
        new = [
            "ZTO" + digits(rng, 12), "E" + year + digits(rng, 13), "75" + digits(rng, 13), digits(rng, 11), f"BX-{digits(rng, 5)}-K",
            f"R{digits(rng, 9)}", digits(rng, 7), "00340434" + digits(rng, 12), f"#A{digits(rng, 5)}", f"INV{year}-{digits(rng, 5)}",
        ]  # fmt: skip
        zh = {
            "development": dev[:4],
            "seen": [*held[:3], held[7], dev[0]],
            "seen too": [*new[:4], dev[1], held[0]],
            "held-out": [*new[:4], *held[:3], *dev[:3]],
        }
        west = {
            "development": dev[3:],
            "seen": held[3:],
            "seen too": [*new[4:], dev[3], held[3]],
            "held-out": [*new[4:], *held[3:], *dev[3:]],
        }
        return rng.choice((zh if language == "zh" else west)[side])

    return make


def maker(kind: str, language: str, side: str) -> Make:
    """What makes personal data of `kind` as people of `language` write it."""
    if kind == "name":
        return lambda rng: rng.choice(NAMES[language, side])
    if kind == "address":
        return lambda rng: rng.choice(STREETS[language, side]) + (rng.choice(FLATS[side]) if language == "zh" else "")
    if kind == "email":
        return lambda rng: f"{rng.choice(LOCALS[side])}@{rng.choice(MAILS[side])}"
    if kind == "iban":
        countries = ["DE", "AT", "GB"] if side == "development" else ["DE", "AT", "CH", "FR", "NL"]
        return lambda rng: (lambda s: rng.choice([s, grouped(s)]))(iban_of(rng, rng.choice(countries)))
    return {"phone": phone, "id": identity, "card": card, "order": order}[kind](language, side)
