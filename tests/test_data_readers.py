"""Every bad file is an error that names the file, the line and what was expected."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pytest

from steersman.data.written import read_jsonl, scan_jsonl


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_reads_plain_xz_and_gz_alike(tmp_path: Path) -> None:
    text = '{"a": 1}\n\n{"a": "é中"}'.encode()
    paths = [write(tmp_path / "a.jsonl", text), tmp_path / "a.jsonl.xz", tmp_path / "a.jsonl.gz"]
    with lzma.open(paths[1], "wb") as file:
        file.write(text)
    with gzip.open(paths[2], "wb") as file:
        file.write(text)
    for path in paths:
        assert list(read_jsonl(path)) == [(1, {"a": 1}), (3, {"a": "é中"})]


def test_byte_order_mark_and_crlf_are_tolerated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n')
    assert [value for _, value in read_jsonl(path)] == [{"a": 1}, {"a": 2}]


def test_words_that_assign_something_are_words(tmp_path: Path) -> None:
    """What makes a script of JSON stands at its beginning alone."""
    path = write(tmp_path / "a.jsonl", b'{"a": "why is let x = [1] wrong?"}\n{"a": "y = {}"}\n')
    assert [value["a"] for _, value in read_jsonl(path)] == ["why is let x = [1] wrong?", "y = {}"]
    path = write(tmp_path / "b.js", b'let x = [{"a": "y = {}"}];\n')
    assert [value["a"] for _, value in read_jsonl(path)] == ["y = {}"]


def test_json_array_is_read_item_by_item(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", b'\n[{"a": 1},\n {"a": 2}]\n')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", r"a\.jsonl: the file is empty"),
        (b"\n \n", r"a\.jsonl: only blank lines"),
        (b'{"a": 1}\n{"a": \n', r"a\.jsonl:2: expected one JSON value.*at character"),
        (b'{"a": 1} {"b": 2}\n', r"a\.jsonl:1: expected one JSON value; Extra data at character 10"),
        (
            '{"a": 1}\n{"a": "你"}\n'.encode("gb18030"),
            r"a\.jsonl:2: expected UTF-8 text, but byte 16 of the file is 0xc4",
        ),
        ('{"a": 1}'.encode("utf-16"), r"a\.jsonl: expected UTF-8 text, but the file begins with a UTF-16 mark"),
        (b'{"a": NaN}\n', r"a\.jsonl:1: expected numbers as JSON has them, not NaN"),
        (b'{"a": "\\ud800"}\n', r"a\.jsonl:1: expected text, got half of a surrogate pair"),
        (b'[{"a": 1},', r"a\.jsonl:2: the list breaks here.*read as one JSON array"),
        (b"[]", r"a\.jsonl: the list is empty"),
        (b"[" * 100_000, r"a\.jsonl: expected JSON of sensible depth"),
    ],
)
def test_bad_file_says_where_and_what(tmp_path: Path, data: bytes, expected: str) -> None:
    path = write(tmp_path / "a.jsonl", data)
    with pytest.raises(ValueError, match=expected):
        list(read_jsonl(path))


@pytest.mark.parametrize("form", ["[%s]", '{"data": [%s], "of": NaN}'])
def test_one_bad_item_of_a_list_is_one_bad_record(tmp_path: Path, form: str) -> None:
    good = '{"text": "好"}'.encode()
    bad = b'{"text": NaN}', good[:-3] + b'"}', b'{"text": "\\ud800"}'
    found = list(scan_jsonl(write(tmp_path / "a.json", form.encode() % b",\n".join([good, *bad, good]))))
    assert [record.value for record in found] == [{"text": "好"}, None, None, None, {"text": "好"}]
    for record, why in zip(found[1:4], ("NaN", "encoding", "surrogate"), strict=True):
        assert why in record.error
        assert record.raw.encode()


def test_paired_surrogate_escapes_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"a": "\\ud83d\\ude00"}\n')
    assert list(read_jsonl(path)) == [(1, {"a": "\U0001f600"})]


def test_ten_megabyte_line_is_an_error_and_lines_after_it_keep_their_numbers(tmp_path: Path) -> None:
    long = json.dumps({"a": "x" * 10_000_000}).encode()
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n' + long + b'\n{"a": 3}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: expected a line of at most 8 MB"):
        list(read_jsonl(path))
    records = list(scan_jsonl(path))
    assert [(r.line, bool(r.error)) for r in records] == [(1, False), (2, True), (3, False)]
    assert len(records[1].raw) <= 500
    assert list(read_jsonl(path, max_line_mb=11))[2] == (3, {"a": 3})


def test_line_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    limit = 1024
    line = json.dumps({"a": "x" * (limit - 9)}).encode()
    assert len(line) == limit
    path = write(tmp_path / "a.jsonl", line + b"\n" + line)
    assert len(list(read_jsonl(path, limit / 1024 / 1024))) == 2
    with pytest.raises(ValueError, match="at most"):
        list(read_jsonl(path, (limit - 1) / 1024 / 1024))


def test_truncated_archive_names_the_file(tmp_path: Path) -> None:
    whole = lzma.compress(b'{"a": 1}\n' * 20_000)
    path = write(tmp_path / "a.jsonl.xz", whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.jsonl\.xz: expected a whole \.xz file"):
        list(read_jsonl(path))
    with pytest.raises(ValueError, match=r"b\.jsonl\.gz: expected a whole \.gz file"):
        list(read_jsonl(write(tmp_path / "b.jsonl.gz", b"no archive")))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        list(read_jsonl(tmp_path / "none.jsonl"))
    with pytest.raises(ValueError, match="found a folder"):
        list(read_jsonl(tmp_path))


def test_gb18030_where_named_or_where_it_alone_reads_well(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": "我的订单在哪里？什么时候可以到？"}\n'.encode("gb18030"))
    for encoding in ("auto", "gb18030"):
        assert [r.value for r in scan_jsonl(path, encoding=encoding)] == [{"a": "我的订单在哪里？什么时候可以到？"}]
    with pytest.raises(ValueError, match="--encoding latin-11: expected auto or a text encoding .*latin_1"):  # noqa: RUF043
        list(scan_jsonl(path, encoding="latin-11"))
