"""PDF and Word files of a chat: their words, what could not be read, and hostile ones refused."""

from __future__ import annotations

import asyncio
import base64
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pypdf import PdfWriter
from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.data import file_words
from steersman.server import attachments_api
from steersman.server.app import create_app
from steersman.server.errors import ApiError
from steersman.server.taking_turns import Turns
from steersman.store import Store


def pdf(*pages: str, password: str = "", compressed: bytes = b"") -> bytes:
    """A page for each text; '' has none, like a scan."""
    writer = PdfWriter()
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1")})
    font[NameObject("/BaseFont")] = NameObject("/Helvetica")
    for text in pages:
        page = writer.add_blank_page(200, 200)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
        )
        stream = DecodedStreamObject()
        stream.set_data(compressed or (f"BT /F1 12 Tf 10 100 Td ({text}) Tj ET".encode() if text else b""))
        page[NameObject("/Contents")] = writer._add_object(stream.flate_encode())
    if password:
        writer.encrypt(password)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word() -> bytes:
    document, out = docx.Document(), io.BytesIO()
    document.add_paragraph("退货政策")
    row = document.add_table(1, 2).rows[0].cells
    row[0].text, row[1].text = "Shoes", "30 days"
    document.add_paragraph("End.")
    document.save(out)
    return out.getvalue()


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "/").replace("/xml", ".xml"), content)
    return out.getvalue()


def endless() -> bytes:
    """Its tree of pages has itself as a branch."""
    writer = PdfWriter()
    writer.add_blank_page(9, 9)
    tree = writer._root_object["/Pages"]
    tree[NameObject("/Kids")] = ArrayObject([writer._root_object.raw_get("/Pages")])
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_words_of_pages_paragraphs_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    found = file_words.read(pdf("Returns take 30 days.", "", "Shipping is free."))
    assert found == {"text": "Returns take 30 days.\n\nShipping is free.", "pages": 3, "unread": [2], "cut": 0}
    assert file_words.read(word()) == {"text": "退货政策\nShoes | 30 days\nEnd.", "pages": 0, "unread": [], "cut": 0}
    monkeypatch.setattr(file_words, "PAGES", 2)
    monkeypatch.setattr(file_words, "TEXT", 20)
    found = file_words.read(pdf("one", "two", "three", "four"))
    assert (found["text"], found["pages"], found["unread"]) == ("one\n\ntwo", 4, [3, 4])
    assert file_words.read(word())["cut"] == 5
    monkeypatch.setattr(file_words, "MOST_PAGES", 3)
    assert file_words.read(pdf("one", "two", "three", "four")) == {"refused": "the file has more than 3 pages"}


def test_a_word_file_gives_all_that_is_to_be_read_and_that_once() -> None:
    """Inserted under track changes, in boxes, controls, tables in tables and merged cells; not what was deleted."""
    document, out = docx.Document(), io.BytesIO()
    body, run = document.element.body, "<w:r><w:t>{}</w:t></w:r>".format

    def made(xml: str) -> Any:
        return parse_xml(
            f"<w:x {nsdecls('w')} xmlns:mc='http://schemas.openxmlformats.org/markup-compatibility/2006'>{xml}</w:x>"
        )[0]

    line = document.add_paragraph("Pay ")._p
    line.append(made(f"<w:ins w:id='1' w:author='a'>{run('50 ')}</w:ins>"))
    line.append(made("<w:del w:id='2' w:author='a'><w:r><w:delText>40 </w:delText></w:r></w:del>"))
    line.append(made(f"<w:sdt><w:sdtPr/><w:sdtContent>{run('euros')}</w:sdtContent></w:sdt>"))
    body.insert(0, made(f"<w:sdt><w:sdtContent><w:p>{run('Title')}</w:p></w:sdtContent></w:sdt>"))
    boxed = f"<w:txbxContent><w:p>{run('boxed')}</w:p></w:txbxContent>"
    two = f"<mc:AlternateContent><mc:Choice>{boxed}</mc:Choice><mc:Fallback>{boxed}</mc:Fallback></mc:AlternateContent>"
    document.add_paragraph()._p.append(made(f"<w:r>{two}</w:r>"))
    table = document.add_table(2, 3)
    for number, cell in enumerate(table.rows[0].cells):
        cell.text = str(number)
    table.rows[0].cells[0].add_table(1, 1).rows[0].cells[0].text = "inner"
    table.rows[1].cells[0].merge(table.rows[1].cells[2]).text = "all"
    table.rows[1].cells[0]._tc.tcPr.first_child_found_in("w:gridSpan").val = 3_000_000  # takes no time
    document.save(out)
    found = file_words.read(out.getvalue())["text"].splitlines()
    assert [line for line in found if line] == ["Title", "Pay 50 euros", "boxed", "0 inner | 1 | 2", "all"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pdf("secret", password="x"), "encrypted"),
        (pdf("", ""), "no words"),
        (pdf("Hello")[:200], "damaged"),
        (b"%PDF-1.7\n" + b"\x00\xff" * 500, "damaged"),
        (endless(), "damaged|no words"),
        (zipped(word_document_xml=b"a" * (file_words.UNPACKED + 1)), "unpacks to more than 100 MB"),
        (zipped(xl_workbook_xml=b"<a/>"), "expected a PDF or a Word file"),
        (zipped(word_document_xml=b"<!DOCTYPE a [<!ENTITY b 'cc'>]><a>&b;</a>"), "damaged"),
        (b"plain text", "expected a PDF or a Word file"),
        (b"", "expected a PDF or a Word file"),
    ],
    ids=["encrypted", "scan", "torn", "garbage", "endless", "bomb", "workbook", "entities", "text", "nothing"],
)
def test_what_cannot_be_read_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(file_words.read(content)["refused"])


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with Store.open(tmp_path / "store.db") as store:
        yield TestClient(create_app(FakeEngine(), store, name="S", language="en"), "http://localhost")


def sent(client: TestClient, content: bytes | str) -> Any:
    data = content if isinstance(content, str) else base64.b64encode(content).decode()
    return client.post("/api/attachments", json={"data": data})


def test_the_page_is_told_what_a_file_says(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = sent(client, pdf("Returns take 30 days.", ""))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"text": "Returns take 30 days.", "pages": 2, "unread": [2], "cut": 0}
    refused = sent(client, b"PK\x03\x04" + bytes(1_500_000))  # larger than other requests may be
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "unreadable_file"
    assert sent(client, "no base64!").status_code == 400
    assert client.post("/api/attachments", json={"data": "A" * 14_000_000}).status_code == 413
    monkeypatch.setattr(attachments_api.TURNS, "each", 0)
    busy = sent(client, pdf("x"))
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "5")


def test_a_file_that_takes_too_long_is_refused_in_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_words, "PATIENCE", 0.05)
    answer = sent(client, pdf("x"))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "data")
    assert "takes more than 0.05 s" in answer.text


def test_who_leaves_gives_the_place_back(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of theirs is being read, which would take a minute, and another waits: both end with the page."""
    turns = Turns(at_once=1, waiting=4, each=2)
    monkeypatch.setattr(attachments_api, "TURNS", turns)
    monkeypatch.setattr(file_words, "COMMAND", [sys.executable, "-c", "import time; time.sleep(60)"])
    body = b'{"data": "YWJj"}'
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/api/attachments", "query_string": b"", "headers": headers}

    async def play() -> list[int | None]:
        left, answered = asyncio.Event(), list[int | None]()

        async def one() -> None:
            told = [{"type": "http.request", "body": body}]

            async def receive() -> Any:
                if not told:
                    await left.wait()
                return told.pop() if told else {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                answered.append(message.get("status"))

            await client.app({**scope, "client": ("127.0.0.1", 5)}, receive, send)

        both = [asyncio.create_task(one()) for _ in range(2)]
        while not (turns._now.total() and turns._queue):
            await asyncio.sleep(0.01)
        left.set()
        await asyncio.wait_for(asyncio.gather(*both), 30)
        while turns._now.total() or turns._queue:
            await asyncio.sleep(0.01)
        return answered

    assert [status for status in asyncio.run(asyncio.wait_for(play(), 50)) if status] == [400, 400]


def test_files_of_one_person_do_not_keep_the_others_out() -> None:
    async def play() -> list[str]:
        turns, order = Turns(at_once=2, waiting=4, each=4), list[str]()

        async def one(who: str) -> None:
            await turns.begin(who)
            order.append(who)

        begun = [asyncio.create_task(one(who)) for who in ("ann", "ann", "ann", "ann", "ben", "cy")]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="Too many"):  # a fifth of one person's
            await turns.begin("ann")
        with pytest.raises(ApiError, match="Too many"):  # four wait
            await turns.begin("dan")
        begun[2].cancel()
        await asyncio.sleep(0)
        for who in ("ann", "ann", "ben", "ann", "cy"):
            turns.end(who)
            await asyncio.sleep(0)
        await asyncio.gather(*begun, return_exceptions=True)
        return order

    # two of the first person's; who has none; who has none by then and waits longest
    assert asyncio.run(play()) == ["ann", "ann", "ben", "ann", "cy"]


@pytest.mark.slow
def test_a_bomb_ends_by_its_limits() -> None:
    """40 MB of operators in a page of 40 kB: the process's limit of time ends it."""
    with pytest.raises(ValueError, match=r"takes more than|damaged|no words"):
        file_words.words_of(pdf("x", compressed=b"BT /F1 12 Tf (a) Tj ET\n" * 2_000_000))
