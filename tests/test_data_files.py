# ruff: noqa: E501, RUF043
"""Files are read by what they hold: JSON of any shape, containers, tables, spreadsheets, columns."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from steersman.data import file_words, word_files
from steersman.data.broken_json import until_break
from steersman.data.importing import Imported, parse_file
from steersman.data.reading import Reading
from steersman.data.sources import scan
from steersman.types import Conversation, Ranking

CASES = Path(__file__).parents[2] / "shared" / "data" / "cases"
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
PAIR = {"prompt": "a", "response": "b"}
LINES = b'{"prompt": "a", "response": "b"}\n{"prompt": "c", "response": "d"}\n'


def put(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def said(path: Path, **options: Any) -> list[list[str]]:
    records = parse_file(path, **{"encoding": "auto", **options}).records
    return [[m.content for m in r.messages] for r in records if isinstance(r, Conversation)]


# What belongs to this issue as it was found


@pytest.mark.skipif(not CASES.is_dir(), reason="the project's shared data is not beside the repository")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("array_lines.jsonl", [["Hi", "Hello"], ["Yo", "Hey"]]),
        ("pretty_objects.json", [["a", "b"], ["c", "d"]]),
        ("utf16.jsonl", [["你好", "您好"]]),
        ("excel_gbk.csv", [["怎么退货？", "七天内可退。"]]),
        ("semicolon.csv", [["How long?", "30 days"]]),
        ("prompt_response.csv", [["Name a tree.", "Oak"]]),
    ],
)
def test_cases(name: str, expected: list[list[str]]) -> None:
    assert said(CASES / name) == expected


@pytest.mark.skipif(not CASES.is_dir(), reason="the project's shared data is not beside the repository")
def test_cases_that_are_rankings_or_broken() -> None:
    for name in ("pref.csv", "hh_crlf.jsonl"):
        (ranking,) = parse_file(CASES / name).records
        assert isinstance(ranking, Ranking)
        assert ranking.order == (1, 2)
    assert ranking.answers == ("Hello.", "Go.")
    with pytest.raises(ValueError, match=r"bad_quote\.csv:2: expected a CSV row"):
        parse_file(CASES / "bad_quote.csv")
    assert said(CASES / "bad_quote.csv", skip_bad=True) == [["Ship?", "Yes"]]
    for name, what in (("parquet.parquet", "parquet"), ("book.xlsx", "xlsx"), ("rec.jsonl.zst", "zst")):
        with pytest.raises(ValueError, match=rf"{name}: expected a whole \.{what} file"):
            parse_file(CASES / name)


# JSON


@pytest.mark.parametrize(
    "value",
    [
        [PAIR, PAIR],
        {"data": [PAIR, PAIR]},
        {"version": "1", "items": [PAIR, PAIR]},
        {"examples": [PAIR, PAIR], "count": 2},
        {"rows": [PAIR, PAIR]},
        {"conversations": [{"messages": TURNS}, {"messages": TURNS}]},
        {"conversations": [TURNS, TURNS]},
        {"train": [PAIR], "validation": [PAIR]},
        {"data": {"train": [PAIR], "test": [PAIR]}},
        {"my shop's answers": [PAIR, PAIR], "made": "today"},
        [TURNS, TURNS],
        [{"messages": TURNS}, {"messages": TURNS}],
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("suffix", ["json", "jsonl", "txt"])
def test_one_document(tmp_path: Path, value: Any, indent: int | None, suffix: str) -> None:
    path = put(tmp_path / f"a.{suffix}", json.dumps(value, indent=indent))
    want = ["a", "b"] if "prompt" in json.dumps(value) else ["Hi", "Hello"]
    assert said(path) == [want, want]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TURNS) + "\n" + json.dumps(TURNS),
        json.dumps(TURNS, indent=1) + "\n" + json.dumps(TURNS, indent=1),
        json.dumps([*TURNS]) + "\r" + json.dumps(TURNS) + "\r",
        json.dumps({"messages": TURNS}, indent=4) + json.dumps({"messages": TURNS}, indent=4),
        json.dumps({"messages": TURNS}, indent=4) + ",\n" + json.dumps({"messages": TURNS}, indent=4) + ",\n",
        "".join(json.dumps({"messages": TURNS}) + end for end in ("\r", "\r")),
        "".join(json.dumps({"messages": TURNS}) + end for end in ("\r\n", "\r")),
    ],
)
def test_values_that_follow_each_other(tmp_path: Path, text: str) -> None:
    assert said(put(tmp_path / "a.jsonl", text)) == [["Hi", "Hello"]] * 2


def test_one_dialogue_as_a_list_of_turns(tmp_path: Path) -> None:
    assert said(put(tmp_path / "a.json", json.dumps(TURNS))) == [["Hi", "Hello"]]
    assert said(put(tmp_path / "b.json", json.dumps(TURNS, indent=2))) == [["Hi", "Hello"]]


@pytest.mark.parametrize(
    "first", ['{"prompt": "a", "resp', '{"prompt": "a",', "{", '[{"role": "user"', "nonsense", '{"a": 1}}']
)
def test_a_bad_first_line_is_one_bad_line(tmp_path: Path, first: str) -> None:
    path = put(tmp_path / "a.jsonl", f"{first}\n" + LINES.decode())
    with pytest.raises(ValueError, match=r"a\.jsonl:1: "):
        parse_file(path)
    assert said(path, skip_bad=True) == [["a", "b"], ["c", "d"]]


def test_a_bad_pretty_object_is_one_bad_record(tmp_path: Path) -> None:
    good = json.dumps(PAIR, indent=2)
    path = put(tmp_path / "a.json", f"{good}\n{good.replace('b', 'b', 1).replace(',', '')}\n{good}\n")
    with pytest.raises(ValueError, match=r"a\.json:5: expected one JSON value"):
        parse_file(path)
    assert said(path, skip_bad=True) == [["a", "b"], ["a", "b"]]


# Containers


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: dict[str, bytes], mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped_by_zstd(data: bytes) -> bytes:
    """A zip whose member is packed by method 93, which Python's module does not write."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jsonl", zstandard.ZstdCompressor().compress(data))
    for sign, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = out.getvalue().index(sign) + at
        out.getbuffer()[place] = 93
    return out.getvalue()


PACK = {
    "zip of zstd": zipped_by_zstd,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor().compress,
    "zip": lambda data: zipped({"inside/a.jsonl": data}),
    "tar": lambda data: tarred({"a.jsonl": data}, "w"),
    "tgz": lambda data: tarred({"a.jsonl": data}, "w:gz"),
}


@pytest.mark.parametrize("suffix", PACK)
def test_packed_files_whatever_they_are_called(tmp_path: Path, suffix: str) -> None:
    packed = PACK[suffix](LINES)
    for name in (f"a.jsonl.{suffix}", "b.jsonl", "c"):
        assert said(put(tmp_path / name, packed)) == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize("suffix", [*PACK][1:])
def test_packed_files_that_break_off(tmp_path: Path, suffix: str) -> None:
    lines = b"".join(b'{"prompt": "%d", "response": "%d"}\n' % (i * 7919, i * 104729) for i in range(4000))
    packed = PACK[suffix](lines)
    path = put(tmp_path / f"a.jsonl.{suffix}", packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=rf"a\.jsonl\.{suffix}.*: expected (a whole|1 to)"):
        parse_file(path)
    plain = put(tmp_path / f"b.jsonl.{suffix}", b"no archive")
    with pytest.raises(ValueError, match=rf"b\.jsonl\.{suffix}: expected a whole \.{suffix} file, found plain text"):
        parse_file(plain)


def test_frames_and_members_one_after_another(tmp_path: Path) -> None:
    first, second = LINES.split(b"\n")[:2]
    for suffix in ("gz", "xz", "bz2", "zst"):
        path = put(tmp_path / f"a.jsonl.{suffix}", PACK[suffix](first + b"\n") + PACK[suffix](second))
        assert said(path) == [["a", "b"], ["c", "d"]]


def test_archives_of_several_files(tmp_path: Path) -> None:
    members = {
        "../../escape.csv": b"question;answer\nx;y\n",
        "a.jsonl": LINES,
        "b.jsonl.gz": gzip.compress(LINES),
        "__MACOSX/._a.jsonl": b"\0\1",
        ".DS_Store": b"\0",
        "~$b.xlsx": b"locked",
        "photo": b"\x89PNG",
        "voice.opus": b"OggS",
    }
    path = put(tmp_path / "in" / "a.zip" if (tmp_path / "in").mkdir() is None else tmp_path, zipped(members))
    told: list[str] = []
    found = parse_file(path, tell=told.append)
    assert told == [f"note: {path}: 2 files of other kinds are not read, such as photo"]
    with pytest.raises(ValueError, match=r"e\.zip!photo: expected records, found an image"):
        parse_file(put(tmp_path / "e.zip", zipped({"photo": b"\x89PNG"})))
    (tmp_path / "e.zip").unlink()
    assert said(path) == [["x", "y"], ["a", "b"], ["c", "d"], ["a", "b"], ["c", "d"]]
    assert [name.partition("!")[2] for name in found.files] == ["../../escape.csv", "a.jsonl", "b.jsonl.gz"]
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "a.zip"], "names in archives are no paths"
    bad = put(tmp_path / "b.zip", zipped({"a.jsonl": LINES, "b.jsonl": LINES + b"{bad\n"}))
    with pytest.raises(ValueError, match=r"b\.zip!b\.jsonl:3: expected one JSON value"):
        parse_file(bad)
    with pytest.raises(ValueError, match="expected 1 to 10000 files in the archive, found 0"):
        parse_file(put(tmp_path / "c.zip", zipped({})))
    nested = LINES
    for _ in range(5):
        nested = zipped({"a.zip": nested})
    with pytest.raises(ValueError, match="archives inside archives"):
        parse_file(put(tmp_path / "d.zip", nested))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"%PDF-1.4\n", "found a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, "an old Excel"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x80\x04\x95", "a Python pickle, which is never read"),
        (b"\x89PNG\r\n\x1a\n", "an image"),
        (b"\0" * 5000, "zero bytes at its start"),
        (b"<!DOCTYPE html><html><body>no chat</body></html>", "a web page without messages"),
        (zipped({"ppt/presentation.xml": b"<w/>"}), "a PowerPoint file"),
        (zipped({"content.xml": b"<o/>"}), "an OpenDocument file"),
    ],
)
def test_what_is_no_data_is_said(tmp_path: Path, data: bytes, expected: str) -> None:
    for name in ("a.jsonl", "a.csv", "a"):
        with pytest.raises(ValueError, match=expected):
            parse_file(put(tmp_path / name, data))


# Tables


@pytest.mark.parametrize(
    "text",
    [
        "question;answer\r\nHow, long?;30 days\r\n",
        "sep=;\r\nquestion;answer\r\nHow, long?;30 days\r\n",
        '"sep=|"\nquestion|answer\nHow, long?|30 days\n',
        "question\tanswer\nHow, long?\t30 days\n",
        'prompt,response\r"How, long?",30 days\r',
        '\ufeffprompt,completion\n\n"How, long?","30 days"\n,\n',
        'Question , Answer,\n"How, long?",30 days,\n',
        '问题,答案\n"How, long?",30 days\n',
        'customer_message,agent_reply,ticket_id,created_at\n"How, long?",30 days,77,2024-01-01\n',
        'Ticket ID,Customer Name,Ticket Subject,Ticket Description,Ticket Status,Resolution\n1,Ann,Time,"How, long?",open,30 days\n',
        'subject,body,answer,type,queue,priority,language,tag_1\nTime,"How, long?",30 days,Request,IT,low,en,net\n',
        'TicketID,CustomerName,Query,Response\n1,Ann,"How, long?",30 days\n',
        '工单号,客户问题,客服回复,状态\n1,"How, long?",30 days,已解决\n',
        'Frage;Antwort\n"How, long?";30 days\n',
    ],
)
def test_tables_of_help_desks(tmp_path: Path, text: str) -> None:
    for name in ("a.csv", "b.txt"):
        found = parse_file(put(tmp_path / name, text), encoding="auto")
        assert [
            [m.content.split("\n")[-1] for m in r.messages] for r in found.records if isinstance(r, Conversation)
        ] == [["How, long?", "30 days"]]
        assert set(found.fields) >= {"question", "answer"}, "what was guessed is shown"


def test_columns_are_named_otherwise_by_map(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "was,dann,answer\nHow?,So.,never\n")
    with pytest.raises(ValueError, match=r"a\.csv:1: expected a column 'question' among was, dann"):
        parse_file(path)
    assert said(path, mapping={"user": "was", "assistant": "dann", "ignore": "answer"}) == [["How?", "So."]]
    with pytest.raises(ValueError, match=r"a\.csv:1: expected a column 'wass', the file has: was.*did you mean 'was'"):
        parse_file(path, mapping={"question": "wass"})


def test_bad_rows_do_not_end_a_table(tmp_path: Path) -> None:
    rows = [
        "question,answer",
        "one,1",
        '"an "open" quote",x',
        'two,"2\nlines, with ""quotes"""',
        '"never closed,x',
        "three,3",
        "too,many,cells",
        "four,4",
    ]
    path = put(tmp_path / "a.csv", "\n".join(rows) + "\n")
    with pytest.raises(ValueError, match=r"a\.csv:3: expected a CSV row"):
        parse_file(path)
    found = parse_file(path, skip_bad=True)
    assert said(path, skip_bad=True) == [
        ["one", "1"],
        ["two", '2\nlines, with "quotes"'],
        ["three", "3"],
        ["four", "4"],
    ]
    assert [r.line for r in found.rejected] == [3, 6, 8]


def test_a_table_of_tabs_may_quote_nothing(tmp_path: Path) -> None:
    """GLUE's, XNLI's and PAWS-X's files."""
    rows = ["question\tanswer", '"Well", said he?\tyes', 'Is it "so"?\t"No', 'And?\t"two\nlines"', 'Why?\tas "it" is']
    path = put(tmp_path / "a.tsv", "\n".join(rows) + "\n")
    assert said(path) == [
        ['"Well", said he?', "yes"],
        ['Is it "so"?', '"No'],
        ["And?", "two\nlines"],
        ["Why?", 'as "it" is'],
    ]
    told = "rows with a quotation mark without its pair, taken as it stands"
    assert parse_file(path).changed[told] == 2


def book(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def test_workbooks(tmp_path: Path) -> None:
    import datetime

    rows = [
        ["question", "answer"],
        ["How long?", 30],
        ["When?", datetime.date(2024, 3, 1)],
        [None, None],
        ["Rate?", 0.5],
    ]
    other = [["prompt", "response"], ["x", True]]
    path = book(tmp_path / "a.xlsx", {"empty": [], "chats": rows, "more": other})
    told: list[str] = []
    assert said(path, tell=told.append) == [["How long?", "30"], ["When?", "2024-03-01"], ["Rate?", "0.5"]]
    assert "sheet 'chats' is read; others are not: 'more'" in told[0]
    assert said(path, sheet="more") == [["x", "TRUE"]]
    with pytest.raises(ValueError, match="--sheet none: expected one of empty, chats, more"):
        parse_file(path, sheet="none")
    assert said(put(tmp_path / "b.dat", path.read_bytes())) == said(path), "found by content"
    assert said(put(tmp_path / "c.xlsx.gz", gzip.compress(path.read_bytes()))) == said(path)
    formula = book(tmp_path / "d.xlsx", {"s": [["question", "answer"], ["sum?", "=1+1"], ["a", "b"]]})
    with pytest.raises(ValueError, match=r"d\.xlsx:2: expected text, column 'answer' holds a formula"):
        parse_file(formula)
    text = [
        ["question", "answer"],
        ["=== ticket 4 ===", "=) thanks, see you"],
        ["=50% off today?", "=回复="],
        ["=1+1", "x"],
    ]
    read = parse_file(book(tmp_path / "g.xlsx", {"s": text}), skip_bad=True)
    assert [[m.text for m in r.messages] for r in read.records] == text[1:3], "a library wrote them as formulas"
    assert (len(read.rejected), read.changed) == (1, {"cells that begin with '=' and are no formula, read as text": 4})
    title = book(tmp_path / "e.xlsx", {"s": [["Export of March", None], ["question", "answer"], ["a", "b"]]})
    assert said(title) == [["a", "b"]]
    with pytest.raises(ValueError, match="found none"):
        parse_file(book(tmp_path / "f.xlsx", {"s": [["question"]]}))


def test_a_full_disk_is_no_broken_workbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = book(tmp_path / "a.xlsx", {"s": [["question", "answer"], ["a", "b"]]})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("steersman.data.workbooks._opened", full)
    with pytest.raises(OSError, match="no space left"):
        parse_file(path)


def test_columns_of_parquet_and_arrow(tmp_path: Path) -> None:
    table = pa.table({"messages": [TURNS, TURNS], "score": [0.5, None], "n": [1, 2]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "b.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    for name in ("a.parquet", "b.arrow", "c.arrow"):
        assert said(tmp_path / name) == [["Hi", "Hello"]] * 2
        assert said(put(tmp_path / "x.jsonl", (tmp_path / name).read_bytes())) == [["Hi", "Hello"]] * 2
        assert said(put(tmp_path / "x.zip", zipped({name: (tmp_path / name).read_bytes()}))) == [["Hi", "Hello"]] * 2
        cut = (tmp_path / name).read_bytes()[:-30]
        with pytest.raises(ValueError, match="expected a whole"):
            parse_file(put(tmp_path / f"cut-{name}", cut[: len(cut) // 2]))


# Limits


MEASURED = """
import resource, sys
from pathlib import Path
from steersman.data.importing import parse_file
import openpyxl, pyarrow.parquet, zstandard
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        parse_file(Path(path), encoding="auto", skip_bad=True)
        print("read")
    except ValueError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_what_is_too_much_is_refused_in_little_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wb", 1) as file:
        file.write(b'{"prompt": "')
        for _ in range(130):
            file.write(b"x" * 1_000_000)
    with gzip.open(tmp_path / "b.json.gz", "wb", 1) as file:
        file.write(b"[")
        for _ in range(130):
            file.write(b" " * 1_000_000)
    put(tmp_path / "c.jsonl.zst", zstandard.ZstdCompressor(level=1).compress(b"[1," * 45_000_000))
    with (
        zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.jsonl", "w") as member,
    ):
        for _ in range(130):
            member.write(b"y" * 1_000_000)
    with open(tmp_path / "e.jsonl", "wb") as file:  # sparse
        file.write(b'{"prompt": "a", "response": "b"}\n')
        file.truncate(260 << 20)
    with open(tmp_path / "f.json", "wb") as file:
        file.truncate(2 << 30)
    names = ["a.jsonl.gz", "b.json.gz", "c.jsonl.zst", "d.zip", "e.jsonl", "f.json"]
    command = [sys.executable, "-c", MEASURED, *(str(tmp_path / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *said_, used = done.stdout.strip().split("\n")
    assert int(used) < 200, f"{used} MB; {said_}"
    for i, expected in enumerate(
        (
            "over 200 times as much",
            "over 200 times as much",
            "over 200 times as much",
            "MB packed into",
            "read",
            "zero bytes",
        )
    ):
        assert expected in said_[i], said_[i]


def test_limit_of_what_is_unpacked(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl.gz", gzip.compress(LINES * 2_000))
    assert len(parse_file(path).records) == 4_000
    for name, packed in (("a.jsonl.gz", path.read_bytes()), ("b.zip", zipped({"a.jsonl": LINES * 2_000}))):
        with pytest.raises(ValueError, match="at most 0.1 MB unpacked.*data.max_unpacked_mb"):
            parse_file(put(tmp_path / name, packed), max_unpacked_mb=0.1)


def test_word_files_of_questions_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions as headings, bold lines, marked lines and rows of tables; a file without any is a text."""

    def words(content: bytes, marked: bool = False) -> file_words.Words:  # without the process of its own
        found = file_words.read(content, marked)
        return file_words.Words(found["text"], found["pages"], (), found["cut"])

    monkeypatch.setattr(file_words, "words_of", words)

    def read(*blocks: tuple[str, str] | list[list[str]]) -> Imported:
        document = docx.Document()
        for block in blocks:
            if isinstance(block, list):
                table = document.add_table(rows=len(block), cols=len(block[0]))
                for row, cells in zip(table.rows, block, strict=True):
                    for cell, text in zip(row.cells, cells, strict=True):
                        cell.text = text
            elif block[0].isdigit():
                document.add_heading(block[1], int(block[0]))
            else:
                document.add_paragraph().add_run(block[1]).bold = block[0] == "bold"
        document.save(tmp_path / "faq.docx")
        return parse_file(tmp_path / "faq.docx")

    def said(found: Imported) -> list[list[str]]:
        return [[m.text for m in r.messages] for r in found.records if isinstance(r, Conversation)]

    text = "p"
    headed = ("1", "Versand"), ("2", "Wie lange dauert es?"), (text, "Zwei Tage."), (text, "Im Winter drei.")
    more = ("2", "Liefern Sie nach Wien?"), (text, "Ja.")
    table = [["多久发货？", "48小时内。"], ["能开发票吗", "可以。\n发邮箱。"]]
    pairs = [["Wie lange dauert es?", "Zwei Tage.\n\nIm Winter drei."], ["Liefern Sie nach Wien?", "Ja."]]
    found = read(("1", "FAQ"), (text, "Stand 2026."), *headed, *more, table)
    assert said(found) == [*pairs, *table]
    assert found.changed["lines outside of questions and answers left out"] == 1
    assert found.changed[word_files.TABLES] == 2
    short = [["Free?", "Yes."], ["Fast?", "No."]]
    assert said(read(("bold", "Free?"), (text, "Yes."), ("bold", "Fast?"), (text, "No."))) == short
    assert said(read((text, "Q: Free?"), (text, "A: Yes."), (text, "Q: Fast?"), (text, "A: No."))) == short
    named = [
        ["No", "Question", "Answer"],
        ["1", "Opening hours", "9 to 5 | daily"],
        ["2", "Where?", ""],
        ["3", "Who?", "Us."],
    ]
    found = read(named)
    assert said(found) == [["Opening hours", "9 to 5 | daily"], ["Who?", "Us."]]
    assert found.changed[word_files.ROWS] == 1
    assert read(("1", "House rules"), (text, "Be quiet.")).kind == "texts"


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("x = [1]\nOf Python.\n", 0),
        ("{name}, hello\n", 0),
        ('config = {"a": 1}\nIs a setting.\n', 0),
        ("[[1]] A footnote.\n", 0),
        ('["Quoted"] he said.\n', 0),
        ('{"text": "a"}\n{"text": "b"}\n', 2),
        ('window.x = [{"text": "a"}];\n', 1),
        ("{'text': 'a'}\n", 1),
        ('{"text": "a",\n', -1),
    ],
)
def test_a_text_that_begins_like_json(tmp_path: Path, text: str, records: int) -> None:
    """It was taken for broken JSON, even with --format text; what was taken is said now. Broken JSON stays an error."""
    path, told = tmp_path / "notes.txt", list[str]()
    path.write_text(text, encoding="utf-8")
    if records < 0:
        with pytest.raises(ValueError, match=r"notes\.txt:1: expected one JSON value"):
            parse_file(path, "texts", format="text")
        return
    found = parse_file(path, "texts", format="text", tell=told.append)
    assert [*found.records] == ([text.strip()] if not records else ["a", "b"][:records])
    assert any("begins like JSON but with no record" in note for note in told) == (not records)


def test_cells_are_read_as_they_are_shown(tmp_path: Path) -> None:
    """A share, a price and a date as their number formats show them; times and scores as they are stored."""
    import datetime

    import openpyxl

    day = datetime.datetime(2024, 5, 1, 14, 3)
    told = [
        (0.15, "0 %", "15 %"),
        (1234.5, "#,##0.00\\ [$€-407]", "1,234.50 €"),
        (-3, '"$"#,##0_);("$"#,##0)', "($3)"),
        (42, "000000", "000042"),
        (13800138000, "000 0000 0000", "138 0013 8000"),
        (1.25, "# ?/?", "1 1/4"),
        (0.1 + 0.2, "General", "0.3"),
        (day, 'yyyy"年"m"月"d"日"', "2024年5月1日"),
        (day, "[$-407]d. mmmm yyyy h:mm", "1. Mai 2024 14:03"),
        (datetime.time(9, 5), "h:mm AM/PM", "9:05 AM"),
        (datetime.timedelta(hours=30, minutes=5), "[h]:mm", "30:05"),
        (day, "mm-dd-yy", "2024-05-01 14:03:00"),  # the reader's system orders it
        (day, '[DBNum1]yyyy"年"', "2024-05-01 14:03:00"),
    ]
    made = openpyxl.Workbook()
    made.active.append(["question", "answer", "created at", "rating"])
    for row, (value, form, _) in enumerate(told, 2):
        made.active.append([f"Which, of {row}?", value, day, 0.5])
        made.active.cell(row, 2).number_format = form
        made.active.cell(row, 3).number_format, made.active.cell(row, 4).number_format = "h:mm", "0%"
    made.save(tmp_path / "a.xlsx")
    read = parse_file(tmp_path / "a.xlsx", format="input_target")
    assert [r.messages[1].text for r in read.records] == [text for _, _, text in told]
    assert [n for what, n in read.changed.items() if "as stored" in what] == [2]
    assert [n for what, n in read.changed.items() if "(15 %)" in what] == [10]


def test_a_directory_of_a_zip_that_points_before_its_start_is_damage(tmp_path: Path) -> None:
    """Seeking there is an error of the system, which a full disk's is too."""
    content = bytearray(book(tmp_path / "a.xlsx", {"s": [["question", "answer"], ["a", "b"]]}).read_bytes())
    place = content.rfind(b"PK\x05\x06") + 16
    content[place : place + 4] = (int.from_bytes(content[place : place + 4], "little") + 5000).to_bytes(4, "little")
    with pytest.raises(ValueError, match=r"b\.xlsx: expected a whole \.xlsx file, but"):
        parse_file(put(tmp_path / "b.xlsx", bytes(content)))


def test_a_heading_as_long_as_a_book_is_data(tmp_path: Path) -> None:
    """A pattern took its square: seven minutes for 200,000 characters."""
    text = "session_id,sender_" + "x" * 200_000 + "\n1,hello\n"
    with pytest.raises(ValueError, match="got a row of data"):
        parse_file(put(tmp_path / "a.csv", text.encode()))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ('{"version": [1, 2], "data": [{"q": "[a", "a": "b]}"}, {"q": "c", "a": "d"}, {"q": "e', 2),
        ('{"train": [{"q": "a", "a": "b"}], "test": [{"q": "c", "a": "d"}, {"q"', 2),
        ('{"d1": {"n": 1, "messages": [M, M]}, "d2": {"n": 1, "messages": [M, M]}, "d3": {"messages": [M, ', 2),
        ('{"d1": {"messages": [M, M], "x": ', 0),
        ('{"messages": [M, M, ', 0),
    ],
)
def test_of_an_object_that_was_cut_off_the_whole_records_are_read(text: str, whole: int, tmp_path: Path) -> None:
    """All of it was lost, as no list is. A dialogue is never read by half."""
    for number, turn in enumerate(('{"role": "user", "content": "q"}', '{"role": "assistant", "content": "a"}') * 3):
        text = text.replace("M", turn, 1) if number < 6 else text
    path = tmp_path / "cut.json"
    path.write_text(text, encoding="utf-8")
    *records, last = scan(path, Reading())
    assert (len(records), last.value, [r.error for r in records]) == (whole, None, [""] * whole)
    assert ("nothing behind this place is read" in last.error) == bool(whole)


def test_of_an_object_that_breaks_each_record_is_read_once(tmp_path: Path) -> None:
    """Records that begin a line were read again. Of a long text that breaks off, a pattern took 100 times the room."""
    rows = [f'{{"q": "q{i}", "a": "b"}}' for i in range(5)]
    cut = '{"version": 1, "data": [\n' + ",\n".join(rows)
    for text, names in ((cut[:-9], "0123"), (cut.replace('"q2"', "q2") + "]}", "01")):
        path = put(tmp_path / "cut.json", text.encode())
        found = list(scan(path, Reading()))
        assert [r.value["q"] for r in found if r.value] == [f"q{i}" for i in names]
        assert ["nothing behind this place is read" in r.error for r in found if r.error] == [True]
    tracemalloc.start()
    until_break('{"data":[{"a":"' + "x" * 300_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
