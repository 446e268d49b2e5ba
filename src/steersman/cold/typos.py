"""Noise as people type it, without a model: neighbouring keys, swapped letters, wrong characters of the same sound.

Numbers, addresses and links stay as they are: an order's number with a typing error is another order.
"""

# ruff: noqa: E501

from __future__ import annotations

import random
import re
from collections.abc import Callable

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
GERMAN_ROWS = ("qwertzuiopü", "asdfghjklöä", "yxcvbnm")
_SOUNDS = """
    de 的得地 zai 在再载 zuo 做作坐座 shi 是事时使市式试世室 si 四思死司丝 yi 已以一意易议义 na 那哪拿 ma 吗嘛妈马 ta 他她它 ji 几机记及级急
    qi 期起气器其 xi 系细洗希西 li 里理力利立 ni 你泥 men 们门 dao 到道倒 zhi 只知直指制之 zi 子字自资 chi 吃迟持 ci 次词此 ke 可客课科 hui 会回汇
    hai 还海孩 jiu 就久九 you 有又由友右 yao 要药 bu 不部步 ba 吧把八 le 了乐 ne 呢讷 hao 好号 hen 很恨 xia 下夏 shang 上商尚 shou 收手首
    huo 货或火活 fa 发法 fu 付服复副 kuan 款宽 tui 退推 dan 单但担 ding 定订 mai 买卖麦 gou 够购 jia 价加家假 qian 钱前千 xian 现先线
    dian 电店点 hua 话花画 wen 问文 ti 题体提 xiang 想象像向 qing 请情清 wei 为位未 shen 什身深 me 么 xin 新心信 jin 今金进 jing 经精 ming 名明
    yuan 元员原 gong 工公供 si 司 dui 对队 jian 件见间 jie 接解结 gai 该改 wan 完玩晚 ban 办半 bao 包保报 song 送 kuai 快块 di 地递第 wu 物无
    ren 人认 sheng 生声 cheng 成城程 shuo 说 zhao 找照 zhe 这着 nin 您 liang 两量 lian 连联 xie 谢些写 xue 学 yong 用 yin 因 ying 应 zhong 中种 tong 同通
"""
SLURRED = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("n", "l"), ("ang", "an"), ("eng", "en"), ("ing", "in"))
"""Sounds that many speakers type for each other: the first syllable's for the second's."""
KEPT = re.compile(r"[\w.:/#@+-]*[\d@][\w.:/#@+-]*|https?://\S+|www\.\S+", re.A)
"""Words that are never changed."""
HAN = re.compile(r"[\u4e00-\u9fff]")
WORD = re.compile(r"[^\W\d_]{3,}")
FULL = str.maketrans("，。！？：；（）", ",.!?:;()")


def neighbours(german: bool = False) -> dict[str, str]:
    """Letter -> the letters whose keys are beside its own."""
    rows = GERMAN_ROWS if german else ROWS
    out: dict[str, str] = {}
    for y, row in enumerate(rows):
        for x, letter in enumerate(row):
            beside = [(y, x - 1), (y, x + 1), (y - 1, x), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x)]
            out[letter] = "".join(rows[b][a] for b, a in beside if 0 <= b < len(rows) and 0 <= a < len(rows[b]))
    return out


def same_sound() -> dict[str, str]:
    """Character -> others of the same sound, or of one that is slurred into it."""
    words = _SOUNDS.split()
    by_sound: dict[str, str] = {}
    for sound, characters in zip(words[::2], words[1::2], strict=True):
        by_sound[sound] = by_sound.get(sound, "") + characters
    out: dict[str, str] = {}
    for sound, characters in by_sound.items():
        slurred = {sound.replace(a, b) for a, b in SLURRED} | {sound.replace(b, a, 1) for a, b in SLURRED}
        others = characters + "".join(by_sound.get(s, "") for s in slurred - {sound})
        for one in characters:
            out[one] = "".join(dict.fromkeys(c for c in others if c != one))
    return {one: others for one, others in out.items() if others}


LATIN, GERMAN, SOUNDS = neighbours(), neighbours(german=True), same_sound()


def typing(text: str, rng: random.Random, rate: float = 0.06) -> str:
    """The text with typing errors: of about `rate` of its words and Chinese characters, at least one where it can."""
    places = _places(text)
    if not places:
        return text
    count = max(1, round(rate * len(places)))
    keys = GERMAN if re.search(r"[äöüß]", text, re.I) else LATIN
    for start, end in sorted(rng.sample(places, min(count, len(places))), reverse=True):
        piece = text[start:end]
        text = text[:start] + (_character(piece, rng) if HAN.match(piece) else _word(piece, rng, keys)) + text[end:]
    return text


def _places(text: str) -> list[tuple[int, int]]:
    """Where an error can be: words of three letters and more, Chinese characters with others of their sound."""
    kept = [m.span() for m in KEPT.finditer(text)]
    found = [m.span() for m in WORD.finditer(text) if not HAN.search(m[0])]
    found += [(i, i + 1) for i, c in enumerate(text) if c in SOUNDS]
    return [(a, b) for a, b in found if not any(x < b and a < y for x, y in kept)]


def _word(word: str, rng: random.Random, keys: dict[str, str]) -> str:
    at = rng.randrange(1, len(word))
    kinds: list[Callable[[], str]] = [
        lambda: word[:at] + word[at + 1 :],
        lambda: word[:at] + word[at] + word[at:],
        lambda: word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :],
    ]
    near = keys.get(word[at].lower(), "")
    if near:
        kinds += [lambda: word[:at] + rng.choice(near) + word[at + 1 :]] * 2
    changed = rng.choice(kinds)()
    return changed if changed != word else word[:at] + word[at + 1 :]


def _character(one: str, rng: random.Random) -> str:
    return rng.choice(SOUNDS[one])


def noise(text: str, rng: random.Random) -> str:
    """The text as somebody in a hurry writes it: one or two of the ways that change it."""
    ways: list[Callable[[str], str]] = [
        str.lower,
        lambda t: re.sub(r"[,.!?;:，。！？；：](?=\s|\Z|[\u4e00-\u9fff])", "", t),
        lambda t: t.translate(FULL),
        lambda t: re.sub(r"([.!?。！？])(?=\s|\Z)", lambda m: m[1] * rng.choice((2, 3)), t),
        lambda t: re.sub(r"(?<=\w)[’'](?=\w)", "", t),
        lambda t: re.sub("[äöüßÄÖÜ]", lambda m: UMLAUTS[m[0]], t),
        lambda t: re.sub(r"(?<=[,.!?]) ", "", t),
        lambda t: re.sub(r" (?=\w)", lambda m: rng.choice((" ", "  ")), t),
        lambda t: re.sub(r"(?<=[。！？，])(?=\S)", " ", t),
    ]
    rng.shuffle(ways)
    changed, done = text, 0
    for way in ways:
        new = _apart(way, changed)
        if new != changed and new.strip():
            changed, done = new, done + 1
        if done == 2:
            break
    return changed


UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}


def _apart(way: Callable[[str], str], text: str) -> str:
    """`way` on all but words with numbers, addresses and links."""
    out, at = [], 0
    for match in KEPT.finditer(text):
        out += [way(text[at : match.start()]), match[0]]
        at = match.end()
    return "".join((*out, way(text[at:])))
