"""Accounts of messengers and networks, by the words that announce them: WeChat, QQ, Telegram, Skype and others. A
firm's own account is nobody's, nor is a group."""

from __future__ import annotations

import re
from collections.abc import Iterator

from steersman.data.pii.finding import CUED, HAN, NO_MORE, SURE, Span

FORMS = re.compile(
    rf"(?<![A-Za-z0-9_])(?:wxid_[a-z0-9]{{8,}}|tb_?\d{{7,}}(?:_\d+)?|(?<!=)live:\.?[a-z0-9_.]{{3,}}){NO_MORE}"
)
"""Accounts that their form tells: WeChat's own, Taobao's and Skype's."""
WECHAT = r"(?:微信|威信|薇信|维信|[VvＶ]信|we ?chat|weixin)"
SHORT = r"(?:[Vv][Xx]|[Ww][Xx])"
JOIN = r"(?<![A-Za-z0-9])[加搜➕+]\s?(?:一?下|个|我|你|您|上|的)*"
SAYS = r"(?:就?是|为|叫|改成|is|ist|lautet|[:：=])"
OPEN = r"[\s\"“「【(（]*"
SEPARATED = rf"(?:\s*{SAYS}{OPEN}|\s+|[吧呗，,\s]{{1,4}}|(?=[A-Za-z]))"
LETTERED = r"(?P<account>[A-Za-z][A-Za-z0-9_-]{5,19})"
ODD = r"(?P<account>(?=[A-Za-z_-]*[0-9_-])[A-Za-z][A-Za-z0-9_-]{4,19})"
FREE = r"(?P<account>(?!1[3-9]\d{9}(?!\d))(?=[A-Za-z_.-]*[0-9_])[A-Za-z0-9][A-Za-z0-9_.-]{4,29}(?<![.-]))"
QQ = r"(?:(?<![A-Za-z])QQ|扣扣|企鹅)(?:号码|账号|帐号|号|id)?"
NETWORKS_ZH = r"(?:(?:抖音|快手|小红书|微博|陌陌|知乎|B站|闲鱼|支付宝|淘宝|旺旺|LINE)\s?(?:号码|账号|帐号|号|id|昵称|旺旺|名)|旺旺)"
ALIKE = rf"(?:(?:{WECHAT}|{SHORT})\s?(?:也是)?(?:同[名号]|一样)|[VvＶ薇威]\s?(?:也是)?同[名号])"
"""What says that somebody is called so on WeChat too."""
NICK = rf"(?:(?![我你您他她它咱谁的是否和跟与同及或在有了吗呢吧不也都全可以这那就改已应该还])[{HAN}]){{2,8}}?"
"""A name of one's own choice, without the words that sentences are made of."""
CHINESE = tuple(
    re.compile(form + NO_MORE, re.I)
    for form in (
        rf"{QQ}{OPEN}(?:{SAYS}{OPEN})?(?P<account>[1-9]\d{{4,10}})",
        r"(?<![A-Za-z0-9])Q\s?[:：]\s?(?P<account>[1-9]\d{5,10})",
        rf"{WECHAT}\s?(?:号码|账号|帐号|号|id|名){SEPARATED}{LETTERED}",
        rf"{WECHAT}\s*{SAYS}{OPEN}{LETTERED}",
        rf"(?<![A-Za-z0-9+._]){SHORT}{SEPARATED}{ODD}",
        rf"{JOIN}(?:{WECHAT}|{SHORT}|[VvＶ薇威])(?:号|id)?{SEPARATED}{ODD}",
        rf"{NETWORKS_ZH}{OPEN}(?:{SAYS}{OPEN})?{FREE}",
        rf"(?<![A-Za-z0-9_.@-]){ODD}[\s（(,，、/]*{ALIKE}",
        rf"(?:{NETWORKS_ZH}|昵称|网名|(?<![A-Za-z])ID)(?:就?是|为|叫)?[:：\s\"“「【]*(?P<account>{NICK})[\s\"”」】（(,，、/]*{ALIKE}",
    )
)
FIRMS_ZH = re.compile(
    r"(?:客服|官方|公众|企业|店铺|本店|商家|门店|公司|平台|服务|投稿|合作|商务|爆料|记者|小编)的?(?:号|账号)?\Z"
)
OTHERS_ZH = re.compile(r"(?:[单件]号|编号|流水号|订单|型号|版本号?)(?:就?是|为)?[:：\s]*\Z")
"""What calls a word before "on WeChat too" a number of something else."""
NETWORKS = (
    r"(?:telegram|skype|instagram|insta|discord|snapchat|twitter|facebook|tik ?tok|we ?chat|viber|mastodon|bluesky"
    r"|(?-i:LINE|Line|IG|Signal)|whats ?app)"
)
WESTERN = re.compile(
    rf"\b{NETWORKS}(?:[\s-]?(?:id|handle|name|user(?:name)?|nick(?:name)?))?\b"
    r"(?:\s*(?:is\b|ist\b|lautet\b|[:=])\s*(?=[A-Za-z]*[0-9_.#-][A-Za-z0-9])|\s(?=[A-Za-z.]*[0-9_#]))"
    r"(?P<account>[A-Za-z][A-Za-z0-9_.-]{2,31}(?:#\d{4})?(?<![.-]))(?![\w@#/-])",
    re.I,
)
AT = re.compile(r"(?<![\w.@/])@[A-Za-z0-9_](?:[A-Za-z0-9_.]{1,30}[A-Za-z0-9_])(?![\w@])")
OWN = re.compile(r"\b(?:my|mine|meine?|mir|me|i'?m|i am|ich bin|bin)\b", re.I)
FIRMS = re.compile(r"\b(?:your|our|official|support|ihr|euer|eure|unser|follow us|folgt uns|offiziell\w*)\b", re.I)
NETWORK = re.compile(rf"\b{NETWORKS}\b", re.I)
NEAR = 48
"""Characters in which the words stand that make an @name somebody's."""


def accounts(text: str) -> Iterator[Span]:
    yield from (Span("account", *m.span(), SURE) for m in FORMS.finditer(text))
    if re.search(rf"[{HAN}]|QQ|[Ww]e ?[Cc]hat", text):
        for form in CHINESE:
            for m in form.finditer(text):
                left = text[max(0, m.start() - 8) : m.start()]
                if not FIRMS_ZH.search(left) and (m.start() < m.start("account") or not OTHERS_ZH.search(left)):
                    yield Span("account", *m.span("account"), CUED + 1)
    for m in WESTERN.finditer(text):
        if not FIRMS.search(text, max(0, m.start() - 20), m.start()):
            yield Span("account", *m.span("account"), CUED + 1)
    for m in AT.finditer(text):
        before, behind = text[max(0, m.start() - NEAR) : m.start()], text[m.end() : m.end() + NEAR]
        if OWN.search(before) and NETWORK.search(before + " " + behind) and not FIRMS.search(before):
            yield Span("account", *m.span(), CUED + 1)
