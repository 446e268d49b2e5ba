# ruff: noqa: E501, PT017, SIM105
"""Encodings are found where they are sure, and refused otherwise; never guessed into nonsense."""

from __future__ import annotations

import codecs
import random
from pathlib import Path

import pytest

from steersman.data.encodings import wide
from steersman.data.importing import Imported, parse_file
from steersman.types import Conversation

SHORT = {
    "German": (
        "Frage,Antwort\nWie groß ist die Schachtel für Äpfel?,Größe L.\nWo wohnt Müller?,Das wüsste ich gern.\n",
        ("cp1252", "cp850", "latin-1", "mac_roman"),
    ),
    "English": (
        "question,answer\nIt’s open today?,Yes – till ten.\nWhat does it cost?,“Only” £30 or €35.\n",
        ("cp1252", "mac_roman"),
    ),
    "English with a name": (
        "question,answer\nIs the café open?,Ask José or Zoë.\nWhere is it?,In Málaga.\n",
        ("cp1252",),
    ),
    "the issue's German": ("question,answer\nGröße,Müller\nÜbermorgen,ja\n", ("cp1252",)),
    "French": (
        "question,réponse\nOù est mon colis ?,Il arrivera demain à midi.\nPuis-je l’échanger ?,Oui dès que vous êtes prêt.\n",
        ("cp1252", "mac_roman"),
    ),
    "Chinese": ("问题,答案\n什么时候发货？,今天下午发出。\n可以退货吗？,七天内可以退货。\n", ("gbk", "gb18030")),
    "Taiwanese": ("問題,答案\n什麼時候出貨？,今天下午寄出。\n可以退貨嗎？,七天內可以退貨。\n", ("big5", "cp950")),
    "Japanese": (
        "質問,回答\nいつ届きますか？,明日の午前中に届きます。\n返品できますか？,はい、三十日以内なら可能です。\n",
        ("cp932", "euc_jp", "iso2022_jp"),
    ),
    "Korean": ("질문,답변\n언제 배송되나요?,내일 오전에 도착합니다.\n반품할 수 있나요?,예 가능합니다.\n", ("cp949",)),
    "Russian": (
        "вопрос,ответ\nКогда придёт мой заказ?,Завтра утром.\nМожно ли вернуть обувь?,Да в течение месяца.\n",
        ("cp1251", "koi8_r", "cp866", "iso8859_5"),
    ),
    "Polish": (
        "pytanie,odpowiedź\nKiedy dojdzie paczka?,Jutro przed południem.\nCzy mogę zwrócić buty?,Tak.\n",
        ("cp1250",),
    ),
    "Spanish": (
        "pregunta,respuesta\n¿Cuándo llega mi pedido?,Mañana por la mañana.\n¿Está abierto?,Sí hasta las ocho.\n",
        ("cp1252",),
    ),
}
CASES = [(name, encoding) for name, (_, encodings) in SHORT.items() for encoding in encodings]


def read(path: Path, **options: object) -> Imported:
    header = path.read_bytes().split(b"\n")[0]
    assert header
    return parse_file(path, mapping={"question": "q", "answer": "a"}, **options)  # type: ignore[arg-type]


def put(path: Path, text: str, encoding: str, times: int = 1) -> Path:
    """A CSV with the columns q and a; `times` its rows."""
    _, _, rows = text.partition("\n")
    path.write_bytes(("q,a\n" + rows * times).encode(encoding))
    return path


def said(found: Imported) -> list[list[str]]:
    return [[m.content for m in r.messages] for r in found.records if isinstance(r, Conversation)]


@pytest.mark.parametrize(("name", "encoding"), CASES)
@pytest.mark.parametrize("times", [1, 60])
def test_legacy_encodings_are_found_or_refused(tmp_path: Path, name: str, encoding: str, times: int) -> None:
    text = SHORT[name][0]
    path = put(tmp_path / "t.csv", text, encoding, times)
    told: list[str] = []
    want = [line.split(",") for line in text.splitlines()[1:]] * times
    try:
        found = read(path, encoding="auto", tell=told.append)
    except ValueError as error:
        assert times == 1, f"unsure of a long text: {error}"
        assert "name it with --encoding" in str(error)
        return
    assert said(found) == want
    assert "is read as" in told[0]
    assert want[0][0][:10] in told[0], "what it reads like is shown"


def test_short_texts_are_mostly_found(tmp_path: Path) -> None:
    sure = 0
    for name, encoding in CASES:
        try:
            sure += bool(read(put(tmp_path / "t.csv", SHORT[name][0], encoding), encoding="auto").records)
        except ValueError:
            pass
    assert sure >= len(CASES) - 2, f"{sure} of {len(CASES)}"


@pytest.mark.parametrize("encoding", ["cp1252", "big5", "shift_jis", "euc-kr", "cp500", "utf-16-le", "UTF-32", "utf_7"])
def test_any_encoding_of_python_can_be_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("question,answer\nab,cd\nef,gh\n".encode(encoding))
    assert said(parse_file(path, encoding=encoding)) == [["ab", "cd"], ["ef", "gh"]]


def test_names_that_are_no_text_encodings(tmp_path: Path) -> None:
    path = put(tmp_path / "t.csv", SHORT["German"][0], "cp1252")
    for name in ("latin-11", "hex", "rot13", "base64", "x" * 300, "\x00"):
        with pytest.raises(ValueError, match="expected auto or a text encoding that Python knows"):
            read(path, encoding=name)


def test_unsure_names_the_candidates_and_how_each_reads(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes('{"prompt": "é"}\n'.encode("cp1252"))
    with pytest.raises(
        ValueError, match=r"t\.jsonl:1: expected UTF-8 text, but byte 12 of the file is 0xe9.*--encoding"
    ) as error:
        parse_file(path, encoding="auto")
    assert "cp1252: " in str(error.value)
    assert "é" in str(error.value)


def test_damaged_utf8_stays_utf8(tmp_path: Path) -> None:
    good = '{"prompt": "Größe? 订单在哪里，什么时候到？"}\n'.encode()
    path = tmp_path / "t.jsonl"
    path.write_bytes(good + b'{"prompt": "\xff"}\n' + good)
    with pytest.raises(ValueError, match=r"t\.jsonl:2: expected UTF-8 text, but byte"):
        parse_file(path, encoding="auto")
    assert len(parse_file(path, encoding="auto", skip_bad=True).records) == 2


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"]
)
@pytest.mark.parametrize(
    "text", ['{"prompt": "How long?", "response": "30 days"}\n', '{"prompt": "你好", "response": "您好，请说"}\n']
)
def test_unicode_with_and_without_a_mark(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes((text * 3).encode(encoding))
    assert len(parse_file(path, encoding="auto").records) == 3
    if encoding == "utf-16":
        with pytest.raises(ValueError, match="begins with a UTF-16 mark"):
            parse_file(path)
        assert len(parse_file(path, encoding="utf-16").records) == 3


def test_a_mark_in_mid_file_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    line = '{"prompt": "a\ufeffb", "response": "c"}'
    mark = codecs.BOM_UTF8.decode()
    path.write_text(f"{mark}{line}\n{mark}{line}{mark}{line}\r\n", encoding="utf-8")
    assert said(parse_file(path)) == [["a\ufeffb", "c"]] * 3
    path.write_text(f"{mark}question,answer\na,b\n{mark}c,d\n", encoding="utf-8")
    assert said(parse_file(path.rename(tmp_path / "t.csv"))) == [["a", "b"], ["c", "d"]]


MIXED = {  # of two files put together: never read in the encoding of one; beside UTF-8 each line in its own
    "UTF-8, cp1252": ("Größe für Müller\n".encode(), "Größe für Äpfel\n".encode("cp1252")),
    "UTF-8, GBK": ("怎么修改收货地址？\n".encode(), "在订单详情页点击修改地址。\n".encode("gbk")),
    "GBK, cp1252": ("怎么修改收货地址？\n".encode("gbk"), "Größe für Müller\n".encode("cp1252")),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("times", [3, 800])
@pytest.mark.parametrize("back", [False, True])
def test_files_in_two_encodings(tmp_path: Path, name: str, times: int, back: bool) -> None:
    if times > 3 and "UTF-8" not in name:
        pytest.skip("a few lines of one legacy encoding deep in another are not looked for")
    one, other = MIXED[name][::-1] if back else MIXED[name]
    path = tmp_path / "t.csv"
    path.write_bytes(b"question,answer\n" + b"".join(b"a %d," % i + one for i in range(times)) + b"b,%s" % other * 3)
    if "UTF-8" not in name:
        with pytest.raises(ValueError, match=r"t\.csv:\d+: expected .* text"):
            parse_file(path, encoding="auto")
        return
    notes: list[str] = []
    encodings = ("utf-8", name.split(", ")[1].lower())[:: -1 if back else 1]
    texts = [line.decode(encoding).strip() for line, encoding in zip((one, other), encodings, strict=True)]
    found = said(parse_file(path, encoding="auto", tell=notes.append))
    assert [answer for _, answer in found] == [texts[0]] * times + [texts[1]] * 3
    assert sum("holds UTF-8 too" in note for note in notes) == 1


def test_long_texts_are_priced_by_the_same_bytes(tmp_path: Path) -> None:
    """Characters of two bytes are half as many: as many of them once cost twice as much as other readings."""
    path = tmp_path / "t.csv"
    rows = "".join(
        f"问题{i},{SHORT['Chinese'][0].split(chr(10))[1 + i % 2].replace(',', '，') * 20}\n" for i in range(99)
    )
    path.write_bytes(f"question,answer\n{rows}".encode("gb18030"))
    told: list[str] = []
    assert len(parse_file(path, encoding="auto", tell=told.append).records) == 99
    assert "is read as gb18030" in told[0]


RARE = {
    "utf-16-le": "可以退货吗？,可以，七天内无理由退货。",  # 退 is U+9000: its bytes hold a zero where ASCII has none
    "utf-16-be": "可以退货吗？,可以，七天内无理由退货。",
    "hz": "怎么修改收货地址？,在订单详情页点击修改地址即可。",
    "johab": "제 택배는 어디에 있나요?,내일 오전에 도착할 예정입니다.",
    "cp737": "Πού είναι το δέμα μου;,Θα φτάσει αύριο το πρωί.",
    "cp862": "איפה החבילה שלי?,היא תגיע מחר בבוקר.",
}


@pytest.mark.parametrize("encoding", [*RARE, "mac_latin2"])
def test_rare_encodings_are_read_or_refused(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    text = RARE.get(encoding, "Czy mogę zwrócić buty?,Tak w ciągu trzydziestu dni od zakupu właśnie tak.")
    path.write_bytes(f"question,answer\n{text}\n".encode(encoding))
    if encoding not in RARE:
        with pytest.raises(ValueError, match="name it with --encoding"):
            parse_file(path, encoding="auto")
    else:
        assert said(parse_file(path, encoding="auto")) == [text.split(",")]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_or_ascii_is_told_from_bytes_that_are_no_text(order: str) -> None:
    """It was refused as no text: Chinese without ASCII has no zeros there."""
    texts = (
        "天气预报说明天上海有雨，气温在十五度到二十度之间。",
        "明日の天気は雨でしょう。傘を持って出かけてください。",
        "Сегодня вечером ожидается дождь",
    )
    assert [wide(text.encode(order)) for text in texts] == [order] * 3
    rng = random.Random(0)
    assert not any(wide(rng.randbytes(n)) for n in (8, 64, 300, 4000) for _ in range(5))
    assert wide("\n".join(f"{i}: plain ASCII" for i in range(50)).encode(order)) is None


GERMAN = ("Das Päckchen ging am Montag los?,Es kommt am Donnerstag an.", "Kann ich zurückgeben?,Ja: dreißig Tage.")


@pytest.mark.parametrize(
    ("answer", "encoding", "read"),
    [
        ("Zásilka přijde ve čtvrtek. Děkujeme že čekáte a přejeme hezký den", "cp1250", "cp1250"),
        ("Viele Grüße Łukasz Wójcik", "cp1250", "may be in cp1250"),
        ("Viele Grüße Jiří Dvořák", "cp1250", "may be in cp1250"),
        ("François Nuñez aus Besançon à Århus", "cp1252", "cp1252"),
    ],
)
def test_what_stands_late_in_a_file_tells_of_encodings_that_read_its_beginning_alike(
    tmp_path: Path, answer: str, encoding: str, read: str
) -> None:
    """Behind 64 KB of German, Czech and Polish were read as cp1252 without a word: "Jiøí Dvoøák", "£ukasz"."""
    rows = "\n".join(GERMAN[i % 2] for i in range(1200))
    path = tmp_path / "t.csv"
    path.write_bytes(f"question,answer\n{rows}\nWer schreibt?,{answer}\n".encode(encoding))
    told: list[str] = []
    found = said(parse_file(path, encoding="auto", tell=told.append))
    assert read in " ".join(text for text in told if "read as" in text or "caution" in text)
    if not read.startswith("may"):
        assert found[-1][1] == answer
        assert not any("caution" in text for text in told)


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_a_file_cut_inside_a_character_is_said_to_be_cut(tmp_path: Path, encoding: str) -> None:
    """It was said to be no UTF-8, or of an unknown encoding."""
    path = tmp_path / "t.csv"
    text = "question,answer\n我的订单在哪里？,周一已经发出了。\n可以退货吗？,可以的，三十天内都可以。"
    path.write_bytes(text.encode(encoding)[:-1])
    with pytest.raises(ValueError, match=r"ends in the middle of a character.*--skip-bad"):
        parse_file(path, encoding="auto")
    if encoding != "utf-16":
        found = parse_file(path, encoding="auto", skip_bad=True)
        assert (len(found.records), len(found.rejected)) == (1, 1)
