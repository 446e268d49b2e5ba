"""`corpus build | tokenize | show` and `tokenizer train | eval`, on files of each kind, in both languages."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from steersman.cli.corpus import few_notes
from steersman.cli.framework import build as command_line
from steersman.corpus import tokenizing
from steersman.corpus.documents import PIECE, LeftOut, documents, files_of
from steersman.corpus.folder import Corpus, corpus_of, whole_folder
from steersman.corpus.tokenizer import Wanted, measure, train
from steersman.data.markdown import front_matter
from steersman.data.near import texts_in_batches
from steersman.data.reading import Reading

PAGE = """<html><head><title>Lamps</title></head><body><nav><a href=/>Home</a></nav><main><article><h1>On lamps</h1>
<p>A lamp is a thing that gives light where the sun does not come, and people have made them for a very long time.</p>
</article></main><footer>Imprint</footer></body></html>"""
ENGLISH = "The {} goes to the market on day {} and buys {} apples, which it then carries home over the hill."
EXAM = "Which of the planets that turn around our sun has been visited by the most machines so far?"
CHINESE = "第{}天，{}去市场买了{}个苹果，然后翻过山坡把它们带回家，大家都很高兴。"


def files(folder: Path) -> Path:
    folder.mkdir()
    words = ("fox", "hen", "cat", "dog", "cow", "owl", "rat", "bee")
    english = [ENGLISH.format(words[i % 8], i, i * 7 % 23) + f" It sang song number {i * i}." for i in range(60)]
    with gzip.open(folder / "en.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": t, "source": "x"}) + "\n" for t in english)
        file.write(json.dumps({"text": f"Somebody wrote this down. {EXAM} And so on."}) + "\n")
        file.write(json.dumps({"title": "no text"}) + "\n")
    chinese = [CHINESE.format(i, "狐狸母鸡小猫小狗奶牛"[i % 5 * 2 : i % 5 * 2 + 2], i * 7 % 23) for i in range(60)]
    pq.write_table(pa.table({"content": chinese}), folder / "zh.parquet")
    (folder / "page.html").write_text(PAGE, encoding="utf-8")
    (folder / "notes.md").write_text("# Notes\n\nSome *notes* on what a team has learned.\n", encoding="utf-8")
    (folder / "book.txt").write_text("Es war einmal ein König,\r\nder hatte drei Söhne.\r\n", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(command_line(), list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    run("init", str(tmp_path / "w"), "--set", "project.domain=none")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def test_documents_of_every_kind_are_read_and_what_is_not_is_counted(tmp_path: Path) -> None:
    pytest.importorskip("resiliparse")
    folder, left = files(tmp_path / "raw"), LeftOut()
    names = ("en.jsonl.gz", "zh.parquet", "page.html", "notes.md", "book.txt")
    found = list(documents([folder / name for name in names], Reading(encoding="auto"), left))
    assert len(found) == 61 + 60 + 3
    assert found[61] == CHINESE.format(0, "狐狸", 0)
    assert found[121].startswith("On lamps")
    assert "Home" not in found[121]
    assert "Imprint" not in found[121]
    assert found[122] == "# Notes\n\nSome *notes* on what a team has learned."
    assert found[123] == "Es war einmal ein König,\nder hatte drei Söhne."
    assert left.dropped == {"records without a text (text, content, raw_content, body, ...)": 1}
    assert left.examples.popitem()[1][0].endswith(":62")


def test_what_cannot_be_read_is_one_reason_with_a_place_and_the_fields_that_are_there(tmp_path: Path) -> None:
    """Each broken line was a reason of its own, and nothing said which fields there were or that --field exists."""
    (tmp_path / "a.jsonl").write_text(
        "\n".join(
            [*(f'{{"text": "{i}' for i in range(9)), '{"meta": {"src": 1}, "body": {"t": "a text"}, "p": ["x", "y"]}']
        )
    )
    left = LeftOut()
    assert list(documents([tmp_path / "a.jsonl"], Reading(), left)) == []
    assert LeftOut.from_json(json.loads(json.dumps(left.to_json()))).lines() == [
        f"9 records that cannot be read, such as {tmp_path}/a.jsonl:1: expected one JSON value; Unterminated string "
        'starting at character 10, near \'{"text": "0\'',
        f"1 records without a text (text, content, raw_content, body, ...), such as {tmp_path}/a.jsonl:10 "
        "(its fields: meta.src, body.t, p; --field says which is the text)",
    ]
    assert list(documents([tmp_path / "a.jsonl"], Reading(), LeftOut(), "body.t")) == ["a text"]
    assert list(documents([tmp_path / "a.jsonl"], Reading(), LeftOut(), "p")) == ["x\ny"]
    (tmp_path / "b.txt").write_text("x" * 3000 + "\n\nshort")
    assert list(documents([tmp_path / "b.txt"], Reading(max_line_mb=0.001), left)) == ["short"]
    assert "b.txt:1: expected a line of at most 0.001 MB; raise data.max_line_mb" in left.lines()[-1]


def test_texts_in_lists_or_beside_empty_ones_are_read_and_settings_of_pages_are_not(tmp_path: Path) -> None:
    """Records were empty or without a text; what a page's generator reads was learned."""
    rows = [{"text": "", "raw_content": "crawled"}, {"Text": ["One.", "Two."]}, {"doc": {"t": "x"}}, {"url": "y"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "blank.jsonl").write_text("\n\n")  # ended the reading of all files
    (tmp_path / "hugo.md").write_text("---\ntitle: Lamps\ntags:\n- a\n---\n# Lamps\n")
    (tmp_path / "rule.md").write_text("---\nWords, and more.\n\n---\nWords\n")
    left = LeftOut()
    found = list(
        documents([tmp_path / name for name in ("a.jsonl", "blank.jsonl", "hugo.md", "rule.md")], Reading(), left)
    )
    assert found == ["crawled", "One.\nTwo.", "# Lamps", "---\nWords, and more.\n\n---\nWords"]
    assert left.fields == "doc.t | url"
    assert left.dropped["empty documents"] == 1
    assert list(left.changed.values()) == [1]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("---\n# Heading\n\n[link](x) is here\n---\n", 0),
        ("---\n# Heading\n---\n", 0),
        ("---\n- first thing to know\n- second thing\n---\n", 0),
        ("---\n\nNote: the pump must be off.\nWarning: hot.\n\n---\n", 0),
        ("---\n# made by hand\ntitle: Pumps\n\ntags:\n- a\n---\n", 7),
        ("+++\ntitle = 'Pumps'\n[params]\n+++\n", 4),
        ("---\n---\n", 2),
        ("---\nQ: Is it open?\nA: Yes.\n---\n", 0),
    ],
)
def test_words_between_rules_are_no_settings(text: str, settings: int) -> None:
    """They were left out of the corpus."""
    head, lines = front_matter(iter((text + "Body").splitlines(keepends=True)))
    assert (len(head), "".join([*head, *lines])) == (settings, text + "Body")


def test_other_texts_are_read_counted_or_refused_with_what_to_do(tmp_path: Path) -> None:
    """UTF-16 without a mark was no text, zero characters went uncounted, XML and code were to become CSV."""
    chinese = "明天上海有雨，出门请带伞。\n今天的会议改到下午三点。"
    (tmp_path / "zh.txt").write_bytes(chinese.encode("utf-16-be"))
    (tmp_path / "nul.txt").write_text("One\0 line\0\n")
    (tmp_path / "a.py").write_text("def f(x):\n    return x\n")
    left, told = LeftOut(), list[str]()
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        archive.writestr("a.py", "x = 1")
        archive.writestr("a.txt", "A text.")
    reading = Reading(encoding="auto", tell=told.append)
    found = list(documents([tmp_path / name for name in ("zh.txt", "nul.txt", "a.py", "both.zip")], reading, left))
    assert found == [
        "明天上海有雨，出门请带伞。\n今天的会议改到下午三点。",
        "One line",
        "def f(x):\n    return x",
        "A text.",
    ]
    assert len(told) == 1
    assert "zh.txt is read as utf-16-be" in told[0]
    assert left.changed == {
        "files read as utf-16-be, as they are no UTF-8": 1,
        "zero characters (NUL) taken out": 2,
        "files of source code, read as text": 1,
    }
    assert left.dropped == {".py files in an archive are not read": 1}
    for name, text, said in (
        ("wiki.xml-p1p2", '<mediawiki xmlns="x">\n<page/>', "write its text into a folder with WikiExtractor"),
        ("books.xml", "<books/>", "XML is not read, since which of it is text is not known"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=said):
            list(documents([tmp_path / name], reading, left))


def test_files_of_unknown_names_are_what_they_hold(tmp_path: Path) -> None:
    """Plain text without a known suffix was 0 documents or refused with options of another verb, subtitles stopped a
    whole folder, JSON lines called .txt were text with its braces, arXiv's papers were a bad record for each line."""
    prose = "The committee met on Tuesday, and it went on.\n\nNobody was hurt."
    paper = "\\documentclass{article}\n\\begin{document}\nA paper.\n\\end{document}"
    srt = (
        "1\n00:00:01,000 --> 00:00:02,000\nHello there\n\n2\n00:01:03,000 --> 00:01:05,000\nHow are you,\n15 years on?"
    )
    texts = {
        **{"novel": prose, "notes.adoc": prose, "run.log": "10:00 start\n10:01 stop", "film.srt": srt},
        **{
            "film.vtt": "WEBVTT\n\n00:01.000 --> 00:04.000\nHello there",
            "t.txt": '{"text": "One."}\n{"text": "Two."}\n',
        },
        **{"table.dat": "id\ttext\n1\tOne.\n2\tTwo.\n", "news.json": '{"title": "T", "maintext": "News."}'},
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with tarfile.open(tmp_path / "src.tar", "w") as archive:
        for name, data in (
            ("2001/2001.1.gz", gzip.compress(paper.encode())),
            ("README", b"read me"),
            ("a.bbl", b"x y"),
        ):
            (tmp_path / "member").write_bytes(data)
            archive.add(tmp_path / "member", name)
    left = LeftOut()
    found = {name: list(documents([tmp_path / name], Reading(), left)) for name in (*texts, "src.tar")}
    said = ["Hello there\n\nHow are you,\n15 years on?"]
    assert found == {
        **{"novel": [prose], "notes.adoc": [prose], "run.log": ["10:00 start\n10:01 stop"], "film.srt": said},
        **{
            "film.vtt": ["Hello there"],
            "t.txt": ["One.", "Two."],
            "table.dat": ["One.", "Two."],
            "news.json": ["News."],
        },
        **{"src.tar": [paper]},
    }
    assert left.dropped == {"files in an archive whose kind is not known": 2}
    assert left.changed == {
        "files of no known kind, read as text": 2,
        "files of LaTeX by their content, read as text": 1,
        "files of subtitles, their words taken without numbers and times": 2,
        "files of text that hold JSON lines, read as those": 1,
    }
    (tmp_path / "sogou.dat").write_text("<doc>\n<url>http://a</url>\n<content>x</content>\n</doc>\n")
    with pytest.raises(ValueError, match=r"sogou\.dat: XML is not read"):
        list(documents([tmp_path / "sogou.dat"], Reading(), left))


def test_a_line_or_a_file_that_cannot_be_read_ends_no_corpus(tmp_path: Path) -> None:
    """One odd byte in a million lines of English ended the build, since it could be of many encodings."""
    lines = [f'{{"text": "The train number {i} is late."}}'.encode() for i in range(40)]
    lines[7:9] = [b'{"text": "odd \xff\xfe bytes"}', b'{"text": "cut \xe4\xbd"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "b.txt").write_bytes(bytes(range(256)))
    (tmp_path / "c.txt").write_text("Another text.")
    left = LeftOut()
    assert len(list(documents(sorted(tmp_path.iterdir()), Reading(encoding="auto"), left))) == 39
    assert left.dropped == {"records that cannot be read": 2, "files that cannot be read, or not to their end": 1}
    with pytest.raises(ValueError, match="this is no text"):
        list(documents([tmp_path / "b.txt"], Reading(encoding="auto"), left))


def test_of_many_notes_alike_the_first_are_told(tmp_path: Path) -> None:
    """Each of 836,000 news in GB18030 was a line of its own."""
    for i in range(9):
        (tmp_path / f"{i}.txt").write_bytes(f"{i}号线明天停运，请乘客换乘其他线路，谢谢配合。".encode("gb18030"))
    told, left = list[str](), LeftOut()
    with few_notes(told.append) as tell:
        reading = Reading(encoding="auto", tell=tell)
        for _ in range(2):
            found = list(documents(sorted(tmp_path.iterdir()), reading, left))
        tell("note: a.zip: 3 files of other kinds are not read")
    assert found[3].startswith("3号线")
    assert left.changed == {"files read as gb18030, as they are no UTF-8": 18}
    assert ["is read as gb18030" in text for text in told[:5]] == [True] * 5
    assert told[5:] == [
        "note: a.zip: 3 files of other kinds are not read",
        "note: 4 more of such notes (read as gb18030 ...)",
    ]


def test_a_long_file_is_cut_at_empty_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    paragraphs = [f"{i} " + "word " * 1000 for i in range(1, 600)]
    (tmp_path / "long.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    left = LeftOut()
    found = list(documents([tmp_path / "long.txt"], Reading(), left))
    assert len(found) == 3
    assert max(map(len, found)) < PIECE + 6000
    assert "\n\n".join(found).split() == " ".join(paragraphs).split()
    assert left.changed.total() == 1


def record(kind: str, body: bytes) -> bytes:
    head = ("WARC/1.0", f"WARC-Type: {kind}", "WARC-Target-URI: http://x/", f"Content-Length: {len(body)}", "", "")
    return "\r\n".join(head).encode() + body + b"\r\n\r\n"


def test_crawls_are_read_record_by_record(tmp_path: Path) -> None:
    pytest.importorskip("resiliparse")
    chinese = PAGE.replace("On lamps", "论灯").replace("Lamps</title>", "灯</title><meta charset=gbk>")
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html%s\r\n\r\n"
    records = [
        record("warcinfo", b"software: x\r\n"),
        record("conversion", "灯是一种东西。\nA lamp.".encode()),
        record("conversion", b"\xff\xfe"),
        record("response", http % b"" + chinese.encode("gbk")),
        record("response", http % b"; charset=utf-8" + PAGE.encode()),
        record("response", b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG"),
    ]
    with open(tmp_path / "a.warc.wet.gz", "wb") as file:  # each record packed by itself, as crawls are
        file.writelines(gzip.compress(one) for one in records)
    left = LeftOut()
    found = list(documents([tmp_path / "a.warc.wet.gz"], Reading(), left))
    assert found[0] == "灯是一种东西。\nA lamp."
    assert [text.split("\n")[0] for text in found[1:]] == ["论灯", "On lamps"]
    assert left.dropped == {"records of a crawl that are no page": 2, "records of a crawl that are no UTF-8": 1}
    (tmp_path / "b.wet").write_bytes(records[1][:-20])
    with pytest.raises(ValueError, match="breaks off"):
        list(documents([tmp_path / "b.wet"], Reading(), left))


JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
TAIWANESE = "臺灣的夏天非常炎熱，人們喜歡到海邊游泳，也喜歡在夜市裡吃各種小吃。"
KOREAN = "대한민국의 수도는 서울이다. 서울은 한강을 끼고 있는 큰 도시이다."


@pytest.mark.parametrize(
    ("text", "said", "encoding", "counted"),
    [
        (JAPANESE, "", "cp932", "cp932"),
        (TAIWANESE, "big5", "big5", "cp950"),
        (KOREAN, "euc-kr", "euc_kr", "cp949"),
        ("On 灯", "gb2312", "gbk", "gb18030"),  # the page alone tells
    ],
)
def test_pages_in_encodings_of_the_east(tmp_path: Path, text: str, said: str, encoding: str, counted: str) -> None:
    """What Python and not the web calls so was read as Latin; a page that was no sure guess ended the build."""
    pytest.importorskip("resiliparse")
    page = PAGE.replace("On lamps", text).replace("<head>", f"<head><meta charset={said}>" if said else "<head>")
    (tmp_path / "a.html").write_bytes(page.encode(encoding))
    left = LeftOut()
    (found,) = documents([tmp_path / "a.html"], Reading(encoding="auto"), left)
    assert found.split("\n")[0] == text
    assert left.changed[f"files read as {counted}, as they are no UTF-8"] == 1
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=%b\r\n\r\n" % (said or encoding).encode()
    body = page.encode(encoding)
    (tmp_path / "a.warc").write_bytes(record("response", http + body) + record("response", http + body + b"<p>\x81"))
    crawled = list(documents([tmp_path / "a.warc"], Reading(), left := LeftOut()))
    assert [t.split("\n")[0] for t in crawled] == [text, text]
    assert sum(n for why, n in left.changed.items() if "no text in their encoding" in why) == 1


ARTICLES = '<doc id="1" url="u" title="A">\nA\n\nFirst.\n</doc>\n<doc id="2" url="u" title="B">\nB\n</doc>\n'
WIKITEXT = " \n = Valkyria = \n \n Text . \n \n = = Plot = = \n \n More . \n = Tower = \n \n Words .\n"
INLINE = "Three.<|endoftext|>Four <|endoftext|> of five."


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("stories.txt", f"One.\nTwo.\n<|endoftext|>\n\n{INLINE}\n", ["One.\nTwo.", INLINE]),
        (
            "old.txt",
            "One.<|endoftext|>\nTwo.\n<|endoftext|>Three.<|endoftext|>Four.\n",
            ["One.", "Two.", "Three.", "Four."],
        ),
        ("wiki_00", ARTICLES, ["A\n\nFirst.", "B"]),
        ("a.tokens", WIKITEXT, ["= Valkyria = Text . = = Plot = = More .", "= Tower = Words ."]),
    ],
)
def test_marks_part_documents(name: str, text: str, wanted: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    left = LeftOut()
    assert [text.split() for text in documents(files_of(tmp_path)[0], Reading(), left)] == [w.split() for w in wanted]
    assert left.changed == {"files cut where marks part documents": 1}


def test_pages_of_crawls_are_unpacked_and_refusals_left_out(tmp_path: Path) -> None:
    pytest.importorskip("resiliparse")
    page = PAGE.encode()
    parts = b"%x\r\n%b\r\n%x;a=b\r\n%b\r\n0\r\n\r\n" % (99, page[:99], len(page) - 99, page[99:])
    heads = [
        (b"200 OK\r\nTransfer-Encoding: chunked", parts),
        (b"200 OK\r\nContent-Encoding: gzip", gzip.compress(page)),
        (b"200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip", page),  # unpacked by the crawler
        (b"404 Not Found", page),
        (b"200 OK\r\nContent-Encoding: br", b"\x0b\x02\x80"),
        (b"200 OK\r\nContent-Encoding: gzip", b"\x1f\x8b damaged"),
        (b"200 OK\r\nContent-Encoding: gzip", gzip.compress(page)[:-20]),
        (b"200 OK\r\nTransfer-Encoding: chunked", parts[:-9]),
    ]
    http = b"HTTP/1.1 %b\r\nContent-Type: text/html\r\n\r\n%b"
    (tmp_path / "a.warc").write_bytes(b"".join(record("response", http % one) for one in heads))
    left = LeftOut()
    texts = list(documents([tmp_path / "a.warc"], Reading(), left))
    (tmp_path / "a.html").write_bytes(page)
    assert texts == 3 * list(documents([tmp_path / "a.html"], Reading(), LeftOut()))
    assert left.dropped == {
        "records of a crawl that are no page": 1,
        "pages of a crawl that cannot be unpacked": 4,
    }


def test_paragraphs_of_mnbvc_are_a_document(tmp_path: Path) -> None:
    lines = [{"行号": i, "是否重复": False, "内容": text} for i, text in enumerate(("第一段。", "第二段。"))]
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"文件名": "x.txt", "段落": lines}, ensure_ascii=False), encoding="utf-8"
    )
    assert list(documents([tmp_path / "a.jsonl"], Reading(), LeftOut())) == ["第一段。\n第二段。"]


def test_a_corpus_is_built_once_told_of_and_made_into_shards(space: Path, tmp_path: Path) -> None:
    pytest.importorskip("resiliparse")
    folder = files(tmp_path / "raw")
    (tmp_path / "exam.jsonl").write_text(json.dumps({"q": EXAM, "options": ["one", "two"]}) + "\n", encoding="utf-8")
    asked = ("corpus", "build", str(folder), "--validation", "0.2", "--against", str(tmp_path / "exam.jsonl"))
    made = json.loads(run(*asked, "--near", "1.0", "--json"))
    source = made["sources"]["raw"]
    assert source["read"] == 124
    kept = source["kept"]["train"]["documents"] + source["kept"]["validation"]["documents"]
    dropped = sum(n for step in made["steps"] for n in step["dropped"].values())
    assert kept + dropped == 124
    contaminated = next(s for s in made["steps"] if s["step"] == "contamination")
    assert contaminated["dropped"] == {"nearly holds a test prompt": 1}
    before = (space / "corpus/text/corpus.json").stat().st_mtime_ns
    assert json.loads(run(*asked, "--near", "1.0", "--json"))["identity"] == made["identity"]
    assert (space / "corpus/text/corpus.json").stat().st_mtime_ns == before
    assert "--replace" in CliRunner().invoke(command_line(), [*asked, "--near", "0.9"]).stderr

    told = json.loads(
        run("tokenizer", "train", "text", "--beside", "none", "--into", "ours", "--vocabulary", "600", "--json")
    )
    assert told["entries"] == 600
    assert told["measured"]["source raw"]["ours"]["lossless"]
    shards = json.loads(run("corpus", "tokenize", "text", "--tokenizer", "ours", "--json"))["shards"]
    assert shards["dtype"] == "<u2"
    _check_tokens(space)
    shown = run("corpus", "show", "text", "--tokens", "2000")
    assert "tokens by ours: raw" in shown
    assert "raw: 100.0%" in shown
    for folder in ("a", "b"):  # tokenizers and files of one name, of which one was measured alone
        shutil.copytree(space / "tokenizers/ours", tmp_path / folder / "ours")
        (tmp_path / folder / "t.txt").write_text(EXAM)
    files_ = [word for folder in ("a", "b") for word in ("--file", str(tmp_path / folder / "t.txt"))]
    model = tmp_path / "a/ours"
    there = sorted(model.iterdir())
    run("corpus", "tokenize", "text", "--tokenizer", str(model))
    assert sorted(model.iterdir()) == there  # shards were written there, and for another text all else was deleted
    assert len([*(space / "corpus/text/shards").iterdir()]) == 2
    for place in (str(model), "../ours", ""):
        with pytest.raises(ValueError, match="expected a tokenizer's name"):
            tokenizing.shards_folder(space / "corpus/text", place)
    found = json.loads(run("tokenizer", "eval", "ours", str(model), *files_, "--json"))["measured"]
    assert {len(each) for each in found.values()} == {2}
    assert sum(name.startswith("file ") for name in found) == 2


def _check_tokens(space: Path) -> None:
    """Each document is its text's ids, as transformers makes them, and the end of text."""
    from transformers import AutoTokenizer

    from steersman.artifact.workspace import Workspace

    corpus = corpus_of(Workspace.open(space), "text")
    tokenizer = AutoTokenizer.from_pretrained(space / "tokenizers/ours")
    for split in ("train", "validation"):
        texts = list(corpus.texts("raw", split))
        rows = [d.tolist() for d in corpus.documents("ours")["raw", split]]
        assert rows == [[*tokenizer(t, add_special_tokens=False).input_ids, tokenizer.eos_token_id] for t in texts]
        assert [tokenizer.decode(r[:-1]) for r in rows] == texts


def test_tokenising_goes_on_after_a_stop_and_gives_the_same_bytes(tmp_path: Path) -> None:
    from steersman.corpus.texts import Gathering, Origin, gather
    from steersman.data.cleaning import cleaners

    texts = tmp_path / "t.jsonl"
    texts.write_text("".join(json.dumps({"text": ENGLISH.format("fox", i, i)}) + "\n" for i in range(900)), "utf-8")
    what = Gathering([Origin("t", [texts])], Reading(), cleaners.chosen(["exact"]), cleaners.Wishes(), held_out=0.1)
    corpus = Corpus("c", tmp_path / "c", gather(what, tmp_path / "c", lambda n: None).to_json())
    tokenizer = train((ENGLISH.format("fox", i, i) for i in range(50)), Wanted(400))
    work = tokenizing.Work(corpus.sources, corpus.texts, tokenizer, "one", size=2000)
    tokenizing.tokenise(work, tmp_path / "whole", lambda n: None)

    def stop(n: int) -> None:
        if n == 517:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenizing.tokenise(work, tmp_path / "cut", stop)
    begun: list[int] = []
    tokenizing.tokenise(work, tmp_path / "cut", begun.append)
    assert 400 < begun[0] <= 517  # the documents of whole shards are not done again
    assert _bytes(tmp_path / "cut") == _bytes(tmp_path / "whole")


@pytest.mark.parametrize("name", ["train-00001.tokens", "train-00002.starts", "validation-00000.tokens"])
def test_damaged_shards_are_told_and_made_again(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    """A second build said nothing, and training then asked to remove a folder by hand."""
    from steersman.corpus.folder import tokenise
    from steersman.corpus.texts import Gathering, Origin, gather
    from steersman.data.cleaning import cleaners

    texts = tmp_path / "t.jsonl"
    texts.write_text("".join(json.dumps({"text": ENGLISH.format("fox", i, i)}) + "\n" for i in range(200)), "utf-8")
    what = Gathering([Origin("t", [texts])], Reading(), cleaners.chosen(["exact"]), cleaners.Wishes(), held_out=0.1)
    about = gather(what, tmp_path / "c", lambda n: None).to_json()
    corpus = Corpus("c", tmp_path / "c", {"identity": "one", **about})
    tokenizer = train((ENGLISH.format("fox", i, i) for i in range(50)), Wanted(400))
    shards = tmp_path / "c/shards/ours"
    found = tokenise(corpus, "ours", tokenizer, "x", lambda n: None, 1000)
    clean = _bytes(shards)
    assert tokenise(corpus, "ours", tokenizer, "x", lambda n: None, 1000) == found
    assert "made again" not in capfd.readouterr().err
    of = shards / "t" / name
    of.write_bytes(of.read_bytes()[:-9] + bytes(9))  # of the same length
    assert tokenise(corpus, "ours", tokenizer, "x", lambda n: None, 1000) == found
    assert f"{name}: missing, or damaged" in capfd.readouterr().err
    assert _bytes(shards) == clean


def test_damaged_texts_and_lists_are_told_and_made_again(space: Path, tmp_path: Path) -> None:
    """An empty file gave a tokenizer without one language, a flipped byte a traceback; shards went with the texts."""

    def said(*asked: str, code: int = 0) -> str:
        outcome = CliRunner().invoke(command_line(), asked)
        assert outcome.exit_code == code, outcome.output
        return " ".join(outcome.stderr.split())

    raw = files(tmp_path / "raw")
    built, tokenized = (
        ("corpus", "build", str(raw), "--steps", "exact"),
        ("corpus", "tokenize", "text", "--tokenizer", "ours"),
    )
    run(*built)
    run("tokenizer", "train", "text", "--beside", "none", "--into", "ours", "--vocabulary", "400")
    run(*tokenized)
    corpus, shards = space / "corpus/text", space / "corpus/text/shards/ours"
    texts, about = corpus / "texts/raw-train.jsonl.zst", json.loads((corpus / "corpus.json").read_text("utf-8"))
    whole, clean = texts.read_bytes(), _bytes(shards)
    before = {key: value for key, value in about.items() if key != "texts"}  # which only had sizes
    flipped = whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]
    for there, damages in ((about, (b"", flipped)), (before, (b"", whole[:-99]))):
        (corpus / "corpus.json").write_text(json.dumps(there), "utf-8")
        for damage in damages:
            texts.write_bytes(damage)
            shard = shards / "raw/train-00000.tokens"
            shard.write_bytes(shard.read_bytes()[:-2] + b"\x01\x01")
            for asked in (tokenized, ("tokenizer", "train", "text", "--into", "new", "--vocabulary", "400")):
                assert "raw-train.jsonl.zst missing, or damaged" in said(*asked, code=2)
            assert (shards / "shards.json").is_file()
            texts.write_bytes(whole)
            assert "train-00000.tokens: missing, or damaged" in said(*tokenized)
            assert _bytes(shards) == clean
    (corpus / "corpus.json").write_text(json.dumps(about), "utf-8")
    texts.write_bytes(b"")
    assert "is built again" in said(*built)
    assert (texts.read_bytes(), _bytes(shards)) == (whole, clean)  # the shards are of these texts
    (shards / "shards.json").write_text('{"identity"', "utf-8")
    assert "its shards are made again" in said(*tokenized)
    assert _bytes(shards) == clean
    (space / "corpus/other").mkdir()
    (space / "corpus/other/corpus.json").write_text("{", "utf-8")
    assert "corpus build makes it again, with --replace" in said("corpus", "show")
    assert said("corpus", "show", "text") == ""
    assert "with --replace" in said(*built, "--into", "other", code=2)
    said(*built, "--into", "other", "--replace")


def test_what_changed_since_a_corpus_was_built_is_said(space: Path, tmp_path: Path) -> None:
    """Texts cut short gave a corpus of less without a word; of other files it was not told which."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in "abc":
        (raw / f"{name}.txt").write_text(ENGLISH.format(name, 1, 2), encoding="utf-8")
    asked = ["corpus", "build", str(raw), "--validation", "0"]
    run(*asked)
    texts = space / "corpus/text/texts/raw-train.jsonl.zst"
    whole = texts.read_bytes()
    texts.write_bytes(whole[:40])
    assert "raw-train.jsonl.zst missing, or damaged" in CliRunner().invoke(command_line(), asked).stderr
    assert texts.read_bytes() == whole
    (raw / "a.txt").unlink()
    (raw / "b.txt").write_text("Edited text of a day on the hill.", encoding="utf-8")
    (raw / "d.txt").write_text("Another text of a day at the market.", encoding="utf-8")
    refused = " ".join(CliRunner().invoke(command_line(), [*asked, "--near", "0.9"]).stderr.split())
    for how, name in (("added", "d"), ("changed", "b"), ("removed", "a")):
        assert f"1 files {how}: raw: {raw}/{name}.txt" in refused
    assert "settings: wishes" in refused
    assert "1 files added" in CliRunner().invoke(command_line(), [*asked, "--replace"]).stderr


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with whole_folder(path) as partial:
        (partial / "a").write_text("1")

    def fill(error: BaseException) -> None:
        with whole_folder(path) as partial:
            (partial / "a").write_text("2")
            assert (path / "a").read_text() == "1"
            raise error

    with pytest.raises(OSError, match="full"):
        fill(OSError("full"))
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (path / "a").read_text() == "1"
    path.rename(tmp_path / ".x.old")  # killed between the two renames
    (tmp_path / "x.partial").mkdir()
    with pytest.raises(KeyboardInterrupt):
        fill(KeyboardInterrupt())
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_two_builds_of_one_corpus_do_not_meet(space: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Some words that make a document.", encoding="utf-8")
    held = FileLock(space / "corpus/.text.lock", is_singleton=False)
    (space / "corpus").mkdir()
    with held:
        result = CliRunner().invoke(command_line(), ["corpus", "build", str(tmp_path / "a.txt"), "--validation", "0"])
    assert result.exit_code == 2
    assert "is being made by" in result.stderr
    assert "kept train 1" in run("corpus", "build", str(tmp_path / "a.txt"), "--validation", "0")


def test_shards_of_another_tokenizer_are_made_again_and_it_is_said(space: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" ".join(ENGLISH.format(i, i, i) for i in range(3)), encoding="utf-8")
    run("corpus", "build", str(tmp_path / "a.txt"), "--validation", "0")
    run("tokenizer", "train", "text", "--beside", "none", "--into", "t", "--vocabulary", "270")
    tokenise = ["corpus", "tokenize", "text", "--tokenizer", "t"]
    assert "made again" not in CliRunner().invoke(command_line(), tokenise).stderr
    run("tokenizer", "train", "text", "--beside", "none", "--into", "t", "--vocabulary", "275", "--replace")
    assert "made again" in CliRunner().invoke(command_line(), tokenise).stderr


def test_batches_of_texts_end_by_number_and_by_size() -> None:
    found = texts_in_batches(["a", "bb", "cccc", "d" * 9, "e", "f", "g"], 3, 5)
    assert [list(map(len, batch)) for batch in found] == [[1, 2], [4], [9], [1, 1, 1]]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize(("digits", "most"), [("one", 1), ("three", 3), ("any", 9)])
def test_tokenizers_give_every_text_back_and_hold_to_digits(kind: str, digits: str, most: int) -> None:
    texts = [
        ENGLISH.format("fox", i, i) + CHINESE.format(i, "猫", i) + f" call {i:09d} now\n\n    x" for i in range(200)
    ]
    made = train(texts, Wanted(500, kind, digits))
    strange = [
        "naïve café ☕ 你好world，123456789",
        "\t\ttabs\r\n  and   runs\u3000全角",
        "<|endoftext|> said",
        "𝒳 ﷽ 한국어",
    ]
    assert all(
        made.decode(made(t, add_special_tokens=False, split_special_tokens=True).input_ids) == t for t in strange
    )
    longest = max(sum(c.isdigit() for c in made.decode([i])) for i in range(len(made)))
    assert longest <= most
    assert digits == "one" or longest > 1
    assert made.eos_token == "<|endoftext|>"
    rendered: Any = made.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert measure(made, texts[:20]).per_token.low > 1


def test_what_a_tokenizer_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="vocabulary: expected at least 260"):
        Wanted(100)
    with pytest.raises(ValueError, match="digits: expected one of one, three, any, got two"):
        Wanted(digits="two")


def test_sources_that_cannot_be_are_refused(space: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "de.csv").write_text("titel,inhalt\n" + "".join(f"t{i},Ein Satz {i}.\n" for i in range(9)))
    (tmp_path / "empty" / "a.py").write_text("x")
    build = ["corpus", "build", f"a={tmp_path / 'de.csv'}", "--into", "a"]
    run(*build, "--field", "inhalt", "--steps", "exact")
    run(*build[:3], "--field", "inhalt", "--steps", "exact", "--into", "b")
    nothing = CliRunner().invoke(command_line(), [*build[:4], "c", "--field", "inhalt", "--steps", "contamination"])
    assert (nothing.exit_code, "so nothing is compared" in nothing.stderr) == (0, True)
    learn = ["tokenizer", "train", "a", "--vocabulary", "270", "--beside", "none"]
    run(*learn)
    assert "is up to date" in run(*learn)
    for arguments, said in (
        ([*build[:4], "z"], "its fields: titel, inhalt; --field"),
        ([*build, "--max-chars", "9"], "--max-chars: expected the step length among --steps"),
        ([*build, "--steps", "exact", "--against", "x"], "--against: expected the step contamination"),
        ([*build, "--tokenizer", "none"], "none: no tokenizer of the workspace (a) and no model"),
        ([*build[:4], "a b"], "--into a b: expected letters"),
        ([*learn, "--weight", "a=nan"], "weight of a: expected a number of at least 0, got nan"),
        ([*learn, "--characters", "0"], "greater than or equal to 1"),
        ([*learn[:3], "--vocabulary", "271"], "a tokenizer of other texts or settings is there"),
        (
            ["tokenizer", "eval", "a"],
            "expected --corpus NAME or --file FILE: texts to measure on; the workspace has a, b, c",
        ),
        (["corpus", "build", str(tmp_path / "none")], "no such file or folder"),
        (["corpus", "build", str(tmp_path / "empty")], "expected files of text"),
        (["corpus", "show", "d"], "expected one of a, b, c"),
        (["corpus", "tokenize", "x", "--tokenizer", "y"], "no such corpus"),
        (["tokenizer", "eval", "/nowhere"], "model '/nowhere' could not be had"),
    ):
        result = CliRunner().invoke(command_line(), arguments)
        assert result.exit_code == 2
        assert said in result.stderr
