"""Names of people in a text, by lists of names and by words around them.

Lists of first and family names are Faker's, which is kept for many countries; a Chinese name is a family name with one
or two characters behind it. A name that was found once is then looked for in the rest of the dialogue by `again`.
Why a tagger has a say: decision 86 in docs/LOG.md.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import re
from collections.abc import Iterable, Iterator

import rjieba

from steersman.data.pii import firm_words, towns
from steersman.data.pii.finding import CUED, FORMED, HAN, LIKELY, LONG, Span

FIRST_OF = (
    *("en_US", "en_GB", "en_IN", "de_DE", "de_AT", "de_CH", "fr_FR", "es_ES", "it_IT", "tr_TR", "pl_PL", "nl_NL"),
    "hr_HR",
)
LAST_OF = ("en_US", "en_GB", "en_IN", "de_DE", "de_AT", "de_CH", "fr_FR", "es_ES", "it_IT", "tr_TR", "hr_HR")
_NO_FIRST = """
    Will Mark Grace May April June August Rose Hope Joy Faith Art Bill Frank Grant Chase Max Sunny Angel Dean Drew Rich Guy
    Chance Destiny Dawn Eve Summer Autumn Amber Ruby Crystal Pearl Ivy Violet Iris Lily Daisy Jasmine Olive Ginger Sandy
    Paris London Austin Dallas Houston Jordan Charlotte Victoria Florence Savannah Madison Georgia Virginia Carolina
    Brooklyn Chelsea Sydney Devon Dakota Cheyenne Francisco Diego Jose Antonio Angeles Mercedes Porsche Tesla Alexa Siri
    An Can Do So Am Man Per Ben Kai Ed Al Jo Bo Su Ali Mai Juli Juni Ernst Wolf Falk Hans-im Karte Rose Wind Heide Linde
    Sol Luna Marina Sierra Trinity Christian Summer Star Miles Gene Ray Jean Mo Mi Di Fr Sa Era Ida-Platz Jack Penny
    Nova Alba Linda Clemens Gay Robin Major Baron Earl Prince Duke King Royal Bishop Pierce Reed Lane Brook Brooks Glen
    Dale Cliff Heath Rusty Harmony Melody Carol Bella Stella Clara Apple Pat Pam Win Ran Sun Long Park Ford Chad Israel India
    Asia Kenya Roman German Ford Herr Frau Anders Schön Eden Ocean River Skye Storm Phoenix Golden Viola Aurora Jungen Amazon Mate Kay
    Adam-Opel Erik-Satie San Santa Santo De La Van Von Der Den Das Die Und Oder Nur Noch Wie Wo Was Wer Wann Bitte Danke
    Amen Ende Ute-Weg Tag Tage Bis Del Los Las Nina-Weg Art Ora Roma Milan Verona Gold Silver Bank Dollar Post Paul-Ehrlich Sterling
    Line Holiday Holly Merry Noel Tuesday Sunday Friday Oral Tea Mary-Jane Lake Lane Tree Ross Star Stone Mac Rock Sea Bay Hilton Marriott Lucky Cherry
"""
NO_FIRST = frozenset(_NO_FIRST.split())
"""First names that are words, places or brands too, where nothing announces a name."""
_NO_LAST = """
    World Server Client User Admin Function Class Object String Error Wall Ring English American British Chinese French Spanish
    New North South West East San Santa Los Las Saint Fort Mount Great Lake Upper Lower United Royal National International Central Grand Old Big Little
    The This That These Those There Then They Your You Yours His Her Our My And But For From With Have Has Had Was Were Are Can Could
    Would Should Please Thanks Thank Hello Hi Dear Yes No Not Now Today Tomorrow Monday Tuesday Wednesday Thursday Friday
    Saturday Sunday January February March April May June July August September October November December Order Number
    Card Account Street Road Avenue Park Airport Station Hotel Restaurant Center Centre Museum Hospital University College School
    Bank Service Support Customer Team Agent Manager What When Where Who Why How Which If In On At By To Of Is It Its I Me We Us
    Also Just Only Here Sorry Sure Great Good Well Okay Ok Der Die Das Den Dem Des Ein Eine Einen Ich Sie Er Es Wir Ihr Und
    Oder Aber Mein Meine Ihre Ihren Bestellung Bestellnummer Rechnung Paket Lieferung Telefon Adresse Kunde Kundin Nummer Danke Bitte Hallo Guten Tag
    Morgen Abend Grüße Gruß Wann Wo Wie Was Warum Wer Können Kann Könnten Haben Hat Ist Sind War Montag Dienstag Mittwoch Donnerstag Freitag
    Samstag Sonntag Januar Februar März Mai Juni Juli Oktober Dezember Euro Konto Karte Herr Frau Familie Firma GmbH AG Uhr
    Straße Platz Weg Allee Beach City County State Island River Lake Mountain Hill Bay House Inn Church Theatre Theater Cafe Bar Grill Kitchen Pizza
    Mall Plaza Store Shop Airlines Express Company Inc Ltd LLC Corp Group Movie Film Song Album Book Show Band Festival Concert Game Games
    Apartments Apartment Hall Force Tower Towers Club Market Gardens Phone Email Mail Name Address Telephone Mobile Tel Anschrift Kontakt Betreff Subject Zip Postcode Flat Apt Visa Mastercard IBAN PayPal Amazon Ebay
    Damen Herren Herrschaften Kollegen Kolleginnen Kunden Kundinnen Interessenten Mitglieder Zusammen Alle Doktor Sirs Madam Everyone Everybody Valued Folks
    Guys Colleagues Members Guests Ihnen Euch Uns Kundenservice Kundendienst Kundenbetreuung Geschäftsführung Geschäftsleitung Buchhaltung Redaktion Personalabteilung
"""
NO_LAST = frozenset(_NO_LAST.split())
PART = r"[A-ZÀ-ÖØ-ÞŁŚŽČĆİŞÖÜ][A-Za-zÀ-ÖØ-öø-ÿĀ-ž'’]*(?:-[A-ZÀ-ÖØ-Þ][A-Za-zÀ-ÖØ-öø-ÿĀ-ž]+)*"
INITIAL = r"(?:[A-Z]\.\s?)"
LINK = r"(?:(?:von der|von dem|van der|van den|de la|von|van|zu|de|del|di|da|al|el|bin|dos|le|la|der|den|ter|ten|O'|Mac)\s)?"
NAME = rf"{PART}(?: {INITIAL}{{0,2}}{LINK}{PART}){{0,3}}"
SMALL = r"[a-zà-öø-ÿĀ-žäöüß'’-]+"
TITLE = r"(?:Mr|Mrs|Ms|Miss|Mx|Sir|Madam|Herrn?|Frau|Fräulein|Fr|Hr)\.?(?:\s(?:Dr|Prof|Mag|Ing|Dipl\.-Ing)\.?)*|(?:Dr|Prof)\.(?:\s(?:Dr|med|Ing)\.)*"
TITLED = re.compile(rf"(?<![A-Za-z])(?:{TITLE})\s(?P<name>{INITIAL}?{LINK}{PART}(?:[ -]{INITIAL}?{LINK}{PART}){{0,2}})")
SAID = re.compile(
    r"(?:\b(?:my (?:full |first |last |sur)?name(?:'s| is)|name is|named|i am called|they call me|call me|people call me|account holder(?: is|:)?|cardholder(?: is|:)?|"
    r"card ?holder(?: is|:)?|recipient(?: is|:)?|husband|(?:my (?:wife|son|daughter|friend|colleague|brother|sister|mother|father|boss|partner|neighbou?r|flatmate|assistant)|spoke (?:to|with)|speaking (?:to|with)|sehr geehrte[rs]?(?: herr| frau)?|mein(?:e)? (?:mann|frau|sohn|tochter|freund(?:in)?|kolleg(?:e|in)|bruder|schwester|mutter|vater|chef(?:in)?|nachbar(?:in)?))|the name on (?:it|the \w+)(?: is|:)?|under the name(?: of)?|in the name of|booked (?:for|under)|reservation for|signed by|addressed to|name on the (?:card|account|order|booking)(?: is|:)?|"
    r"ich hei(?:ß|ss)e|mein name(?: ist| lautet)?|name ist|auf den namen|unter dem namen|im namen von|ansprechpartner(?:in)?(?: ist|:)?|empfänger(?:in)?(?: ist|:)?|kontoinhaber(?:in)?(?: ist|:)?|"
    r"karteninhaber(?:in)?(?: ist|:)?|nennen sie mich|ich bin (?:der|die)|vorname(?: ist|:)?|nachname(?: ist|:)?|(?:full |customer |contact |first |last |user ?)?name\s?[:：]|"
    r"kunde\s?[:：]|kundin\s?[:：]|attn\.?:?|c/o|z\.\s?hd\.(?: v\.)?|contact(?: person)?\s?[:：]|recipient\s?[:：]|to\s?:|von\s?:|from\s?:|inhaber(?:in)?\s?[:：]))\s*[\"'“„]?"
)
WEAK = re.compile(
    r"(?:\b(?:i am|go to|i'm|this is|it's|it is|here is|speaking with|spoke (?:to|with)|talk(?:ed)? (?:to|with)|ask for|for|by|from|with|hi|hello|hey|dear|thanks|thank you|regards|cheers|sincerely|best|"
    r"ich bin|hier ist|hier spricht|hallo|guten tag|guten morgen|guten abend|liebe[rs]?|sehr geehrte[rs]?|grüße|gruß|grüßen|gruss|grüsse|danke|mfg|lg|vg|mit|von|für|an)),?\s*[\n ]\s*[-–—]?\s*"
)
SELF = re.compile(
    r"\b(?i:i am|i'm|this is|it's|it is|here is|hi|hello|hey|dear|ask for|go to|speak (?:to|with)|ich bin|hier ist|hier spricht|hallo|liebe[rs]?),?\s*\Z"
)
"""Cues after which two capitalised words, or one before a comma, are a name though no list has it."""
SIGNED = re.compile(r"(?:\A|\n)[^\S\n]*+[-–—~]?[^\S\n]*+(?P<name>" + NAME + r")\s*+\Z")  # empty lines: read once
THING = re.compile(r"\b(?:wi-?fi|network|product|file|brand|company|street|screen|model|item|domain)[ -]?\Z")
"""What else has a name."""
ASKED_NAME = re.compile(
    r"\b(?:(?:full |first |last |your |sur)name|who am i (?:speaking|chatting)|(?:ihr(?:en)? |vor- und nach|voller |vollen )name[n]?|wie heißen)\b",
    re.I,
)
ALONE_NAME = re.compile(rf"\s*(?:[Ii]t'?s |[Ii]ch bin )?{NAME}\s*(?:[,.;:\n]|\Z)")
SIGN_OFF = re.compile(
    r"(?:\A|[.!?,]\s*+|(?<!\s)[^\S\n]*+\n\s*+)(?i:(?:kind|best|warm) regards|regards|yours (?:sincerely|faithfully|truly)|sincerely|cheers|many thanks|best wishes|"
    r"(?:mit )?(?:freundlichen?|viele|liebe|beste|herzliche|schöne) (?:grüßen?|grüssen?)|mfg|lg|vg),?[ \t]*\n\s*"
)
"""The end of a letter, after which its writer's name has a line."""
SIGN_CUE = re.compile(
    r"(?i:regards|sincerely|cheers|thanks|thank you|best|yours|love|grüße|grüßen|gruß|grüsse|gruss|danke|mfg|lg|vg|dank)[^\n]{0,25}\n[^\n]*\Z"
)

ZH_SINGLE = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖萧田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付傅方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎"
    "贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝封官谈匡鞠惠荆乐冀郁胥南班祖戚殷储原栗燕楚鄢劳谌奚皮粟冼蔺楼盘满闻位厉仝郎邝晁庹"
)
ZH_DOUBLE = "欧阳|上官|司马|诸葛|司徒|夏侯|皇甫|尉迟|公孙|慕容|令狐|长孙|宇文|端木|南宫|独孤|轩辕|申屠|淳于|单于|呼延"
NOT_GIVEN = frozenset(
    "和的了是不我们你他她它这那个有在上下来去到说要会可没什么时候发货退款单号钱元块件买卖家店问请帮给把被让得着过很太都也还就才再又吗呢吧啊呀哦嗯只但而且或如果因为所虽却与及等后前里外间内左右边物件品包裹快递箱袋机卡码证件电话费价格"
    "信息账户密码地址收寄送取拿用看听吃喝睡玩做干办事情况题错对坏换修补赔赠送积分惠券活动打折促销客服务员师傅老板先生女士姐您大小多少高低长短好坏新旧早晚今昨每次第几二三四五六七八九十百千万两零年月日周号点分秒半些什"
)
"""Characters that hardly anybody is called by."""
ZH_OFTEN = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林罗郑梁谢宋唐许韩冯邓曹彭曾肖萧田董袁潘蒋蔡余杜叶程苏魏吕任沈姚卢姜崔钟谭陆汪范廖贾夏韦傅邹孟熊秦邱尹薛闫段雷侯史陶黎贺顾郝龚邵钱覃戴莫汤"
)
"""Family names that are seldom the beginning of another word."""
GIVEN = frozenset(
    "伟芳娜敏静丽强磊洋艳勇军杰娟涛明超秀霞平刚桂英华建国文志玉兰梅红鑫波斌宇浩凯健俊帆帅旭宁龙林欢佳阳亮成峰晨瑞兵雷东博彬坤岩楠慧玲莉婷雪倩丹萍琴云洁晶颖燕莹凤珍淑欣怡雯"
    "梓涵子轩雨桐思诗梦琪嘉豪泽宸浩然奕辰俊熙一诺可馨语彤若曦心怡紫萱佩珊晓春海新永庆福贵德忠义信仁礼智贤良友爱金银玺琳琅瑶琼瑾瑜璐璇珂珺玥婉婧媛妍妮姗娇嫣娅彩香芝芬菊荷莲萌蓉薇蕾蓓茜茹苗芸芷"
    "振宏宗宝家富贵祥生荣胜利民安康乐天星宜昊昕晖晗景智朝树桦森柏松杉栋梁根槐榕江河清源泉洪润泓淼溪滨湘渊沛鸿鹏飞翔翰羽骏驰骁骥力勤毅刚正直诚恒坚定胤承继绍先启后世代光辉耀炜煜烨炎焕灿熠铭锋锐钧钢铁铮钰锦"
    "乔伊凡非帝皓澄澈霖霏霆震雄威武斐学书哲彦士达远进迪逸道通运连迎逢凌冰冬秋夏春岚岳岭峻嵘山石磐川州舟帆航方圆正中庸和谐顺风雅韵音乐歌舞鸣鹤鸾凰麟虎豹业立言行心灵巧惠恩慈悦愉怀念忆惜悠然"
    "潮婵娥媚嫦嫔婕娴嫻姝姣娣妙如好玫瑰丽莎莎琦淇祺棋麒启奇骐琛琨珏瑞瑛璟璋琮尧舜禹汤桓苒冉染冶治涛泰岱桥乔巍魏蔚卫蓝澜岚斓芊阡倩茵音殷寅胤颜妍岩彦晏艳砚希曦汐夕熙禧西犀茜喜玺思斯丝诗师实时石识拾"
)
_ZH_STOP = """
    马头 马力 马达 周围 毕业 胡思 管不 王国 白盒 高三 高一 高二 原子 苏州 周一 周二 周三 周四 周五 周六 周日 任首 何止 关怀 金三 师和 王妃 高兴 方便 安全 时间 金额 周末 任何 黄色 白色 高级 高中 高端 高度 石家 马上 马路 万一 万元 向您 向你 和您 和你 应该 成功 全部 全国 全额 关于 关注 关闭 关机 单独 单号 单子 单据 明天 明白
    白天 白云 文件 文字 文化 文明 安装 安排 安心 安静 安卓 金卡 金色 金属 连接 连续 包裹 包邮 包装 包括 应当 时候 时尚 时代 时效 解决 解释 解除 解绑 查询 查看 查收 查到 査询 房间 房子 房东 路线 路上 路过 费用 费心
    商品 商家 商城 师傅 原因 原来 原价 官网 官方 官旗 管理 管用 东西 东方 平时 平台 平安 平常 任意 任务 项目 简单 简直 米色 席位 司机 申请 申报 方法 方式 方面 方案 方向 方形 车子 车票 车辆 车站 全新 全额 全款 全套 全程 全场 党员 边上 边框 冷静 冷水 冷藏
    从来 南京 南方 南瓜 封面 游戏 游客 游泳 满意 满减 满足 满额 温度 温馨 温柔 温和 温暖 常用 常见 常州 常规 经常 华为 华丽 宝贝 康复 汤圆 钱包 钱款 段时间 段落 江苏 江南 江西 江北 宁波 宁夏 海南 海口 武汉 成都 成本 成员 成分 成立 易碎 易购 易买 左右 左边 左侧 左手
    和平 和谐 和服 和气 有限 严重 严格 古典 古镇 古董 吉利 吉林 顾客 顾虑 高铁 黄金 黄瓜 黄山 石头 石油 林业 毛病 毛巾 毛衣 毛绒 马桶 牛奶 牛肉 牛仔 牛皮 牛油 熊猫 熊孩 龙虾 梅花 兰花 柳州 桂花 桂林 夏天 夏季 夏日 夏装 雷电 雷雨 江山 池塘 苗条 农业 农村 农历 曲线 盛大 米饭 米粉 童装 童鞋 尚未 尚可 甘肃 白酒 白菜
    向上 向下 向前 向后 向来 易于 于是 于此 何时 何况 何必 何处 余额 余下 余款 程序 程度 舒服 舒适 舒心 谢谢 谢啦 谢了 谢过 许多 许久 许可 施工 符合 祝您 祝你 祝福 计划 纪念 别的 宗旨 宫殿 连衣 连锁 连体 连帽 叶子 唐装 唐朝 丁香 蓝色 蓝牙 蓝莓 红色 阳光 阳台 阳性 雪花 水果 车间 明显 明确 明细 明年 明日 明早 明晚 景区 景点 景色 甄选 单反 单价 单品 单身 单位 单元 单个 和田 安慰 安徽 安利 安检 段子 解答 解说 解压 解冻 游玩 乐意 乐器 乐趣 查明 查清 查实 原文 原图 原装 原先 燕窝 燕麦 满意 闻到 师生 储存 班级 班车 南山 郁闷 冬天 麻烦 麻辣 官方 官宣 谈好 谈谈 惠州 荣誉 荣耀 乐园 宗教 宗教 阳春 路由 管道 管家 房型 房产 华东 华南 华北 成人 成品 成交 成色 时装 司法 卫生 卫星 卫衣 卫视 全身 全家 全是 全都 全棉 和善 和好 和解
"""
ZH_STOP = frozenset(_ZH_STOP.split())
ZH_WEAK = frozenset("师班和于向连从常时计明易元应全成边单别方能位周申经安平")
"""Family names that are usual words too: a title behind one does not make a name of it."""
HONORIFIC = r"(?:先生|女士|小姐|太太|老师|师傅|同学|医生|律师|主任|经理|阿姨|叔叔|教授|总监|大姐|大哥|同志|夫人)"
ZH_NAME = rf"(?:(?:{ZH_DOUBLE})[{HAN}]{{1,2}}|[{ZH_SINGLE}][{HAN}]{{1,2}})"
ZH_SAID = re.compile(
    rf"(?:我叫|名叫|叫做|名字是|名字叫|姓名是|姓名为|名字为|名字[：:]|姓名\s?[：:]?|(?:收件人|收货人|联系人|持卡人|开户人|(?<!用)户名|预订人|预定人|入住人|寄件人|乘客|患者|客户|申请人|投保人|负责人|经办人|机主|车主|买家|会员|学生|户主|签收人|参会人|下单人|订购人|乘车人|本人)"
    rf"(?:姓名|名字|名称)?(?:是|为|叫|改成|改为|写的是|写|填的是|填)?\s?[：:]?|(?<![不就也还只都总可才便])我是|署名|称呼我|您好[，,！!]?我是|这里是|我的全名是|真名是|我姓名)\s?[“\"「]?(?P<name>{ZH_NAME}(?:[·•][{HAN}]{{1,4}})?)"
)
ZH_TITLED = re.compile(
    rf"(?P<name>(?:{ZH_DOUBLE}|[{ZH_SINGLE}])(?:(?![的会是在了给])[{HAN}]){{0,2}}?)(?P<title>{HONORIFIC})"
)
ZH_STOPS = r"(?=[，,。！!\s]|\Z|的(?:家属|老公|老婆|妻子|丈夫|爱人|儿子|女儿|妈妈|爸爸|父亲|母亲|朋友|同事|助理)|就行|就好|即可|就可以|吧)"
ZH_CALLED = re.compile(
    rf"(?:(?<![{HAN}])我是?|(?<![{HAN}])(?:可以|就|请)?叫|我是)(?P<name>{ZH_NAME}){ZH_STOPS}"
    rf"|(?:\A|[，,、；;：:\s])(?P<beside>{ZH_NAME})[，,、：:\s]{{1,2}}(?=(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{{4}}|[(（]?0\d{{2,3}}[)）-]\s?\d{{7}}|400-|电话|手机)|找(?P<sought>{ZH_NAME})(?=[，,。\s]|\Z)"
)
"""Someone who says who they are, or whose phone number stands beside."""
ZH_BETWEEN = re.compile(
    rf"(?:(?<![{HAN}])|(?<=[的给叫是和跟找让帮请替为问与由从对向把被下查喊等、，。：：；！“])|(?<=联系))(?P<name>(?:(?:{ZH_DOUBLE})[{HAN}]{{1,2}}|[{ZH_SINGLE}][{HAN}]{{1,2}}))"
    rf"(?=[^{HAN}]|\Z|[的是在说和跟与收电手住身签也就要想已给帮昨今明刚]|先生|女士|小姐)"
)
ZH_AFTER = frozenset("的是在说和跟与收电手住身签也就要想已给了吗呢吧啊呀您你我他她，。先女小同帮昨今明刚")
"""Characters that are no part of a name which ends before them; 明 and 刚 only with the rest of their words."""


@functools.cache
def _listed(part: str, locales: tuple[str, ...]) -> frozenset[str]:
    """Faker's first or family names of these countries."""
    out: set[str] = set()
    for locale in locales:
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        for field in (f"{part}_names", f"{part}_names_male", f"{part}_names_female"):
            out.update(str(n).strip() for n in getattr(provider, field, ()))
    return frozenset(name for name in out if len(name) > 1 and " " not in name)


def first_names() -> frozenset[str]:
    return _listed("first", FIRST_OF)


def last_names() -> frozenset[str]:
    return _listed("last", LAST_OF)


@functools.cache
def _small(part: str) -> frozenset[str]:
    return frozenset(n.casefold() for n in (first_names() if part == "first" else last_names()))


def names(text: str, before: str, language: str) -> Iterator[Span]:
    if re.search(rf"[{HAN}]", text):
        yield from _chinese(text, before)
    if re.search("[A-Za-z]{2}", text):
        yield from _western(text, before, language)


def _western(text: str, before: str, language: str) -> Iterator[Span]:
    for m in TITLED.finditer(text):
        if m["name"].split()[0] not in NO_LAST:
            yield cut(text, m.start("name"), m.end("name"), CUED)
    small = text.replace("İ", "I").lower()  # as long as the text
    for cue in SAID.finditer(small):
        if not THING.search(small, max(0, cue.start() - 12), cue.start()):
            yield from _behind(text, cue.end(), any_word=True)
    if ASKED_NAME.search(before[-80:]) and ALONE_NAME.match(text):
        yield from _behind(text, len(text) - len(text.lstrip()), any_word=True)
    for cue in SIGN_OFF.finditer(text):
        yield from _behind(text, cue.end(), any_word=True)
    for cue in WEAK.finditer(small):
        yield from _behind(text, cue.end(), any_word=False)
    if (signed := SIGNED.search(text)) and SIGN_CUE.search(text) and _plausible(signed["name"].split()):
        yield cut(text, signed.start("name"), signed.end("name"), FORMED)
    for m in re.finditer(rf"(?<![A-Za-zÄÖÜäöüß@./-]){NAME}", text):
        yield from _listed_name(text, m, language)


def cut(text: str, start: int, end: int, score: int) -> Span:
    """The name without the words at its end that are no names, a possessive 's, and punctuation."""
    words = list(re.finditer(r"[^\s]+", text[start:end]))
    keep = len(words)
    while keep > 1 and words[keep - 1][0].strip(".,") in NO_LAST:
        keep -= 1
    stop = start + words[keep - 1].end()
    said = text[start:stop]
    for tail in ("'s", "’s", "'", "’"):
        if said.endswith(tail):
            stop -= len(tail)
            break
    return Span("name", start, stop, score)


def _plausible(words: list[str]) -> bool:
    return 1 <= len(words) <= 4 and all(w not in NO_LAST for w in words)


def _behind(text: str, at: int, any_word: bool) -> Iterator[Span]:
    """The name at text[at:], after words that announce one; `any_word`: strongly enough to need no list."""
    m = re.compile(NAME).match(text, at)
    if m:
        words = m[0].split()
        if firm_words.TEAM.fullmatch(words[0].strip(".,")):
            return
        first = words[0].strip(".,'’")
        listed = first in first_names() or (len(words) > 1 and words[1] in last_names() and first not in NO_LAST)
        two = len(words) > 1 and words[1] not in NO_LAST
        greeted = two or text[m.end() : m.end() + 1] in (",", "!")
        known = listed and (first not in NO_FIRST or len(words) > 1)
        if first not in NO_LAST and (any_word or known or (greeted and SELF.search(text, max(0, at - 24), at))):
            yield cut(text, m.start(), m.end(), CUED if any_word else FORMED)
        return
    if any_word and (small := re.compile(rf"{SMALL}(?:\s{SMALL})?").match(text, at)):
        words = small[0].split()
        if words[0] in _small("first"):
            whole = len(words) > 1 and words[1] in _small("last")
            yield Span("name", at, at + len(small[0] if whole else words[0]), FORMED)


LINKS = frozenset(
    ("van", "von", "de", "der", "den", "del", "di", "da", "al", "el", "bin", "dos", "le", "la", "zu", "ter", "ten")
)
NOUN = re.compile(
    r"(?:ung|heit|keit|schaft|tion|nummer|karte|konto|paket|rechnung|bestellung|straße|weg|platz)(?:en|s)?\Z"
)
"""German nouns that are no family names."""


def _listed_name(text: str, m: re.Match[str], language: str) -> Iterator[Span]:
    """First names of the lists with what follows them, anywhere."""
    words = list(re.finditer(r"\S+", m[0]))
    for i, word in enumerate(words):
        said = word[0].strip(".,'’")
        if said not in first_names() or said in NO_LAST or towns.of_a_town(text, m.start() + word.start()):
            continue
        follows = words[i + 1 :]
        last = next((w for w in follows if w[0].strip("'’").removesuffix("'s") in last_names()), None)
        if last is not None:
            yield cut(text, m.start() + word.start(), m.start() + last.end(), LIKELY + 5)
            return
        if said in NO_FIRST or len(said) < 4:
            continue
        end = word
        if follows and follows[0][0].casefold() in LINKS and len(follows) > 1:
            end = follows[-1] if follows[1][0].casefold() in LINKS else follows[1]
        elif follows and follows[0][0] not in NO_LAST and not (language == "de" and NOUN.search(follows[0][0])):
            end = follows[0]
        yield cut(text, m.start() + word.start(), m.start() + end.end(), LIKELY)
        return
    for one, two in itertools.pairwise(words):
        family = two[0].strip("'’,.").removesuffix("'s")
        mid = m.start() > 0 and text[m.start() - 1 : m.start()] == " " and text[m.start() - 2] not in ".!?:"
        if mid and family in last_names() and not {one[0], family} & (NO_LAST | NO_FIRST) and len(family) > 3:
            yield cut(text, m.start() + one.start(), m.start() + two.end(), LIKELY)
            return


def _trimmed_zh(name: str, text: str, end: int) -> int:
    """The end of a Chinese name that was matched too long: 张伟的 is 张伟."""
    shortest = 3 if re.match(ZH_DOUBLE, name) else 2
    time = text.startswith((*"天日早晚年才刚好到",), end)
    while len(name) > shortest and name[-1] in ZH_AFTER and (time or name[-1] not in "明刚"):
        name, end = name[:-1], end - 1
    return end


def _chinese(text: str, before: str) -> Iterator[Span]:
    for m in ZH_SAID.finditer(text):
        end = _trimmed_zh(m["name"], text, m.end("name"))
        said = text[m.start("name") : end]
        if said[0] not in "和于向从管" and said[:2] not in ZH_STOP and not re.match(rf"{HONORIFIC}", said[1:]):
            weak = m[0].startswith(("我是", "这里是"))
            if not weak or like_name(said) or perhaps(said):
                yield Span("name", m.start("name"), end, CUED)
    for m in ZH_CALLED.finditer(text):
        if nothing_else(m[m.lastgroup or 0]):
            yield Span("name", *m.span(m.lastgroup or 0), FORMED)
    for m in ZH_TITLED.finditer(text):
        said = m["name"]
        if said[0] in ZH_WEAK - {"周"} or (said == "周" and m["title"] in ("同学", "老师")):
            inner = ZH_TITLED.match(text, m.start() + 1)  # 和何静经理
            if inner and perhaps(inner["name"]) and like_name(inner["name"]):
                yield Span("name", *inner.span("name"), FORMED)
            continue
        whole = len(said) == 3 and m["title"] in ("先生", "女士", "小姐") and nothing_else(said)
        if said[:2] not in ZH_STOP and (len(said) == 1 or whole or perhaps(said) or like_name(said)):
            yield Span("name", *m.span("name"), FORMED)
        elif len(said) > 1 and said[-1] in ZH_OFTEN:
            yield Span("name", m.end("name") - 1, m.end("name"), FORMED)
    for m in ZH_BETWEEN.finditer(text):
        end = _trimmed_zh(m["name"], text, m.end("name"))
        said = text[m.start("name") : end]
        left, right = text[: m.start("name")][-1:], text[end : end + 1]
        taken = (left in GIVES or (left == "是" and right == "帮")) and perhaps(said) and left + said[0] != "下周"
        if taken or _surely(said):
            yield Span("name", m.start("name"), end, LIKELY)
    yield from _tagged(text)
    if re.search("姓名|名字|收件人|收货人|联系人|称呼|持卡人|户名", before[-40:]) and len(text) <= 20:
        answer = re.match(rf"\s*(?:是|叫)?(?P<name>{ZH_NAME})", text)
        if answer and answer["name"][:2] not in ZH_STOP:
            yield Span("name", answer.start("name"), _trimmed_zh(answer["name"], text, answer.end("name")), CUED)


ZH_PLACES = re.compile("故居|艺术馆|大剧院|纪念|酒店|[店路街桥村寺奖杯县市区镇乡号]|大厦|公园|国际|广场")
"""What makes a name the name of a place."""


def _tagged(text: str) -> Iterator[Span]:
    """What jieba's tagger calls a person and what looks like one: a usual family name before two characters of which
    one is usual in given names. Shorter and rarer ones would be words too often."""
    at = 0
    for word, kind in rjieba.tag(text):
        start = text.find(word, at)
        if start < 0:
            continue
        at = start + len(word)
        named = kind == "nr" and len(word) == 3 and word[0] in ZH_OFTEN and nothing_else(word)
        if named and any(c in GIVEN for c in word[1:]) and not ZH_PLACES.match(text, at):
            yield Span("name", start, at, LIKELY)


def like_name(said: str) -> bool:
    given = re.sub(rf"\A(?:{ZH_DOUBLE}|.)", "", said)
    return said[:2] not in ZH_STOP and bool(given) and given[-1] in GIVEN


GIVES = frozenset("给叫找喊替查下")
"""What stands before the one to whom something is done."""


def perhaps(said: str) -> bool:
    """Whether it may be a name: a usual family name, and nothing that would not stand in one."""
    return said[0] in ZH_OFTEN and nothing_else(said)


def nothing_else(said: str) -> bool:
    middle = len(said) == 3 and said[1] in "小大元长新" and said[2] in GIVEN  # 王小明
    return said[:2] not in ZH_STOP and not NOT_GIVEN & set(said[2:] if middle else said[1:])


def _surely(said: str) -> bool:
    """Whether it is a name though nothing announces one: a usual family name, and given names' characters alone."""
    if re.match(ZH_DOUBLE, said):
        return True
    if said[1:] in ZH_STOP or not nothing_else(said) or (len(said) == 2 and said[1] in "国代朝州"):
        return False
    if len(said) == 3 and said[0] in ZH_OFTEN:
        return perhaps(said) and any(c in GIVEN for c in said[1:])
    return (said[0] in ZH_OFTEN or len(said) == 3) and all(c in GIVEN for c in said[1:])


def again(text: str, known: Iterable[str]) -> Iterator[Span]:
    """Places of names, or of their parts, that were found elsewhere in the dialogue."""
    for name in known:
        han = bool(re.match(rf"[{HAN}]", name))
        parts = [name] if han else [name, *name.split()]
        for part in parts:
            if len(part) < (2 if han else 4) or (part != name and (part in NO_LAST or part in NO_FIRST)):
                continue
            edge = "" if han else r"(?![A-Za-zÄÖÜäöüß])"
            start = "" if han else r"(?<![A-Za-zÄÖÜäöüß])"
            yield from (Span("name", *m.span(), LONG) for m in re.finditer(start + re.escape(part) + edge, text))
