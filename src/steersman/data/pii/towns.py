"""Towns whose names look like people's: a family name and a character of given names (唐山, 沈阳, 许昌).

Prefectures, and counties and districts that hardly anybody is called like: 吴忠, 林芝 and 钟祥 are towns as well, and
stay people, since a person whose name is kept is worse than a town that is masked.
"""

from __future__ import annotations

import re

from steersman.data.pii.finding import FORMED, Span

_TOWNS = """
    张家口 张家界 张家港 张掖 黄山 黄冈 黄石 黄浦 黄埔 黄陂 周口 徐州 徐汇 马鞍山 马尾 郑州 唐山 许昌 苏州 苏家屯 吕梁 沈阳 秦皇岛 秦淮 贺州
    贺兰 邵阳 吴江 吴中 萧山 余杭 余姚 高邮 高密 高州 高淳 高碑店 罗湖 韩城 邓州 曹妃甸 彭州 任丘 邹城 孟津 孟州 雷州 薛城 汤阴 汤原 沈丘 章丘
    姜堰 蔡甸 钱塘 魏都 曾都 李沧 陈仓 杨浦 林州 侯马
"""
TOWNS = frozenset(_TOWNS.split())
PERSONS = re.compile(r"(?:[叫找喊替]|先生|太太|老公|老婆|爱人|儿子|女儿|同事|朋友|室友|邻居|领导|客户)\Z")
"""What stands before a person who is called like a town."""
BEFORE = re.compile(r"(?<![\w.])(?:San|Santa|Santo|Saint|St\.?|Ste\.|Fort|Ft\.|Port|Mount|Mt\.|Lake|Cape|Los|Las)\s\Z")
"""What begins the names of towns that go on with a first name."""


def is_town(text: str, name: Span) -> bool:
    """Whether a name that nothing announces as a person's is a town's."""
    said = text[name.start : name.end]
    return name.score <= FORMED and said in TOWNS and not PERSONS.search(text, max(0, name.start - 4), name.start)


def of_a_town(text: str, at: int) -> bool:
    """Whether the word at text[at:] stands behind one that begins towns' names (San Ramon, Fort Wayne, St. Helena)."""
    return BEFORE.search(text[max(0, at - 8) : at]) is not None
