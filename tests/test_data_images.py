"""Images that data sets bring: the forms they are published in, where each comes to stand, and what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import tiny
from pictures import bomb, data_url, picture
from steersman.artifact.media import Media
from steersman.cli.framework import build
from steersman.data.dataset import load_conversations
from steersman.data.importing import Imported, parse_file
from steersman.data.pictures import Pictures
from steersman.parts import Citation, Image, Text
from steersman.text.template import Template
from steersman.types import Conversation, Message, Ranking

RED, BLUE = data_url(), data_url("jpeg", "blue")
EN, ZH = ("What is this?", "A red square."), ("这两张图有什么不同？", "一红一蓝。")


def said(content: Any, answer: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]}


def llava(images: Any, text: str, answer: str) -> dict[str, Any]:
    return {**images, "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]}


B64 = base64.b64encode(picture()).decode()
ONE = {
    "openai": said([{"type": "text", "text": EN[0]}, {"type": "image_url", "image_url": {"url": RED}}], EN[1]),
    "openai, address alone": said([{"type": "text", "text": EN[0]}, {"type": "image_url", "image_url": RED}], EN[1]),
    "responses": said([{"type": "input_text", "text": EN[0]}, {"type": "input_image", "image_url": RED}], EN[1]),
    "anthropic": said(
        [
            {"type": "text", "text": EN[0]},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}},
        ],
        EN[1],
    ),
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": EN[0]}, {"inlineData": {"mimeType": "image/png", "data": B64}}]},
            {"role": "model", "parts": [{"text": EN[1]}]},
        ]
    },
    "llava": llava({"id": "1", "image": "images/red.png"}, f"{EN[0]}\n<image>", EN[1]),
    "sharegpt with images": said(f"{EN[0]}<image>", EN[1]) | {"images": ["images/red.png"]},
    "hugging face": said([{"type": "text", "text": EN[0]}, {"type": "image"}], EN[1]) | {"images": ["images/red.png"]},
    "hugging face, empty index": said(
        [{"type": "text", "text": EN[0]}, {"type": "image", "text": None, "index": 0}], EN[1]
    )
    | {"images": [{"bytes": RED, "path": None}]},
    "value, path from above": said(
        [{"type": "text", "value": EN[0]}, {"type": "image_url", "value": "in/images/red.png"}], EN[1]
    ),
    "qwen": said([{"text": EN[0]}, {"image": "images/red.png"}], EN[1]),
}
"""Published forms of a dialogue of which one image stands after the words."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "images").mkdir(parents=True)
    (tmp_path / "in" / "images" / "red.png").write_bytes(picture())
    (tmp_path / "in" / "images" / "blue.jpg").write_bytes(picture("jpeg", "blue"))
    return tmp_path


def read(folder: Path, *records: dict[str, Any], **options: Any) -> Imported:
    path = folder / "in" / "data.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return parse_file(path, pictures=Pictures(Media(folder / "space"), path.parent), **options)


@pytest.mark.parametrize("form", ONE)
def test_published_forms_of_one_image(form: str, folder: Path) -> None:
    (made,) = read(folder, ONE[form]).records
    assert isinstance(made, Conversation)
    text, image = made.messages[0].said
    assert text == Text(EN[0])
    assert isinstance(image, Image)
    assert Media(folder / "space").read(image) == picture()
    assert made.messages[1].content == EN[1]


def test_base64_in_a_field(folder: Path) -> None:
    large = base64.b64encode(picture("png", "red", (300, 300))).decode()
    (made,) = read(folder, {"image": large, "question": EN[0], "answer": EN[1]}).records
    assert isinstance(made, Conversation)
    assert made.messages[0].images[0].width == 300


def test_several_images_stand_where_they_belong(folder: Path) -> None:
    both = {"images": ["images/red.png", "images/blue.jpg"]}
    marked = said(f"<image>\n<image>\n{ZH[0]}", ZH[1]) | both
    between = said(f"这是<image>和<image>，{ZH[0]}", ZH[1]) | both
    bare = said(ZH[0], ZH[1]) | both
    later = {
        "messages": [*said("Hello! <image>", "Hi!")["messages"], *said(f"{ZH[0]}<image>", ZH[1])["messages"]]
    } | both
    found = read(folder, marked, between, bare, later)
    red, blue = "image/png", "image/jpeg"
    kinds = [
        [[p.media_type if isinstance(p, Image) else p.text for p in m.said] for m in r.messages if m.role == "user"]
        for r in found.records
        if isinstance(r, Conversation)
    ]
    assert kinds == [
        [[red, blue, ZH[0]]],
        [["这是", red, "和", blue, f"，{ZH[0]}"]],
        [[red, blue, ZH[0]]],
        [["Hello! ", red], [ZH[0], blue]],
    ]
    assert found.changed["images taken in"] == 8


@pytest.mark.parametrize("nothing", [None, "", []])
def test_marks_without_images_are_counted(folder: Path, nothing: Any) -> None:
    found = read(folder, llava({"image": nothing}, f"<image>\n{ZH[0]}", ZH[1]), llava({"image": nothing}, *EN))
    assert found.changed["marks <image> kept as words: the field for images is empty"] == 1
    assert [r.messages[0].text for r in found.records if isinstance(r, Conversation)] == [f"<image>\n{ZH[0]}", EN[0]]


def test_questions_and_rankings_with_images(folder: Path) -> None:
    vqa = {"image": "images/red.png", "question": EN[0], "answer": EN[1]}
    (made,) = read(folder, vqa).records
    assert isinstance(made, Conversation)
    assert [type(p) for p in made.messages[0].said] == [Image, Text]
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": EN[0]}]}]
    chosen, rejected = ([{"role": "assistant", "content": [{"type": "text", "text": t}]}] for t in (EN[1], "A dog."))
    pair = {"images": ["images/red.png"], "prompt": prompt, "chosen": chosen, "rejected": rejected}
    (ranked,) = read(folder, pair).records
    assert isinstance(ranked, Ranking)
    assert len(ranked.prompt.messages[0].images) == 1
    assert ranked.answers == (EN[1], "A dog.")
    assert Ranking.from_json(ranked.to_json()) == ranked


def test_columns_of_bytes_as_hugging_face_writes_them(folder: Path) -> None:
    rows = [
        {
            "images": [{"bytes": picture("webp"), "path": "x.webp"}],
            **said([{"type": "image", "text": None}, {"type": "text", "text": q}], [{"type": "text", "text": a}]),
        }
        for q, a in (EN, ZH)
    ]
    path = folder / "in" / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = parse_file(path, pictures=Pictures(Media(folder / "space"), path.parent))
    for record in found.records:
        assert isinstance(record, Conversation)
        assert Media(folder / "space").read(record.messages[0].images[0]) == picture("webp")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (said("<image>Hm", "A.") | {"images": ["https://example.com/a.png"]}, r"images\[0\]: .*none is fetched"),
        (said("<image>Hm", "A.") | {"images": ["images/no.png"]}, r"images\[0\]: expected an image's file below"),
        (said("<image>Hm", "A.") | {"images": ["../secret.png"]}, r"images\[0\]: expected an image's file below"),
        (said("<image>Hm", "A.") | {"images": ["/etc/passwd"]}, r"images\[0\]: expected an image's file below"),
        (
            said("<image>Hm", "A.") | {"images": ["data.jsonl"]},
            r"images\[0\]: expected an image \(png, jpeg, webp, gif\)",
        ),
        (said("<image>Hm", "A.") | {"images": ["很" * 300]}, r"images\[0\]: expected an image's file below"),
        (said("<image>Hm", "A.") | {"images": ["a\x00b"]}, r"images\[0\]: expected an image's file below"),
        (said("<image>Hm", "A.") | {"images": [RED, BLUE]}, "expected an image for each of 1 places .* got 2"),
        (said([{"type": "image"}], "A."), "expected an image for each of 1 places .* got 0"),
        (said("Hm", "A.") | {"videos": ["a.mp4"]}, "videos: expected text alone; sounds and films cannot"),
        (said([{"type": "video", "video": "a.mp4"}], "A."), "a part of type 'video' cannot be learned yet"),
        (
            said([{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}], "A."),
            r"messages\[0\]\.content\[0\]\.image_url\.url: .*none is fetched",
        ),
        (
            said("Hm", "A.") | {"image": f"data:image/png;base64,{base64.b64encode(bomb(20000, 20000)).decode()}"},
            "pixels",
        ),
    ],
)
def test_what_cannot_be_taken_is_an_error_or_left_out_and_counted(record: Any, reason: str, folder: Path) -> None:
    (folder / "secret.png").write_bytes(picture())
    with pytest.raises(ValueError, match=r"data\.jsonl:1: " + f"(.*{reason})"):
        read(folder, record)
    found = read(folder, record, ONE["openai"], skip_bad=True)
    assert len(found.records) == len(found.rejected) == 1


def test_without_a_workspace_images_are_refused(tmp_path: Path) -> None:
    for record in (ONE["llava"], ONE["openai"]):
        path = tmp_path / "data.jsonl"
        path.write_text(json.dumps(record))
        with pytest.raises(ValueError, match="cannot be learned yet"):
            parse_file(path)


def test_citations_of_answers_come_along(folder: Path) -> None:
    record = said("Where is it?", "See the page.")
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://x.org", "title": "X", "start_index": 4, "end_index": 12},
    }
    record["messages"][1]["annotations"] = [cited, {"type": "file_citation", "file_id": "f"}]
    found = read(folder, record)
    (made,) = found.records
    assert isinstance(made, Conversation)
    assert made.messages[1].citations == (Citation("https://x.org", "X", 4, 12),)
    assert found.changed["annotations of turns that are no citations of addresses left out"] == 1
    for others in ([{"type": "file_citation", "file_id": "f"}], None, []):
        record["messages"][1]["annotations"] = others
        (made,) = read(folder, record | {"id": "7"}).records  # not taken for our own JSON, which has citations alone
        assert isinstance(made, Conversation)
        assert made.messages[1] == Message("assistant", "See the page.")


def command(*arguments: object) -> Any:
    return CliRunner().invoke(build(), [*map(str, arguments)])


def files(space: Path) -> list[bytes]:
    return sorted(p.read_bytes() for p in (space / "media").rglob("*.*") if p.is_file())


def test_imported_moved_to_another_workspace_and_removed(folder: Path) -> None:
    path, space, other = folder / "in" / "pictures.jsonl", folder / "w", folder / "v"
    blue = said([{"type": "image_url", "image_url": BLUE}, {"type": "text", "text": ZH[0]}], ZH[1])
    refused = said("<image>", "A.") | {"images": ["https://x.org/a.png"]}
    records = (ONE["openai"], ONE["llava"] | {"id": "2"}, blue, refused)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    for root in (space, other):
        assert command("init", root).exit_code == 0
    stopped = command("data", "import", path, "-w", space)
    assert stopped.exit_code == 2
    assert files(space) == [], "what was kept before an import stopped goes"
    done = command("data", "import", path, "-w", space, "--skip-bad")
    assert done.exit_code == 0, done.stderr
    assert files(space) == sorted((picture(), picture("jpeg", "blue")))
    made = load_conversations(space / "data" / "pictures.jsonl")
    assert [len(r.messages[0].images) for r in made] == [1, 1]
    assert command("data", "show", "pictures", "-w", space).exit_code == 0
    moved = command("data", "import", space / "data" / "pictures.jsonl", "-w", other)
    assert moved.exit_code == 0, moved.stderr
    assert files(other) == files(space)
    again = (other / "data" / "pictures.jsonl").read_bytes()
    assert again == (space / "data" / "pictures.jsonl").read_bytes()
    assert command("data", "remove", "pictures", "--yes", "-w", space).exit_code == 0
    assert files(space) == []
    (other / "media").rename(folder / "gone")
    lost = command("data", "import", other / "data" / "pictures.jsonl", "-w", space)
    assert lost.exit_code == 2
    assert "expected an image's file below" in lost.stderr


def test_a_stage_of_a_text_model_names_record_and_part(folder: Path) -> None:
    (made,) = read(folder, ONE["openai"] | {"id": "r7"}).records
    assert isinstance(made, Conversation)
    with pytest.raises(
        ValueError, match=r"conversation 'r7': messages\[0\]\.content\[1\] is an image; .* takes text alone"
    ):
        Template(tiny.tokenizer(), today=False).examples(made)
