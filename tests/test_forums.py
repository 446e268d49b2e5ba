"""Topics of forums, issues of trackers, threads of Slack, pages of Facebook: whose words answer whose."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from imported import said
from steersman.data.formats import exports
from steersman.data.formats.markup import plain_text
from steersman.data.importing import parse_file

Q, A = "Where is my parcel 1234?", "It left on Monday."
NOTES, OTHERS, EMPTY = (
    "internal notes left out of tickets",
    "messages of others (in copy, systems) left out of tickets",
    "messages without text left out of tickets",
)


def at(minute: int) -> str:
    return f"2024-01-02T09:{minute:02d}:00Z"


def post(who: int, text: str, kind: int = 1, **more: Any) -> dict[str, Any]:
    return {"user_id": who, "cooked": f"<p>{text}</p>", "post_type": kind, "created_at": at(who), **more}


DISCOURSE = {
    **{"id": 4, "title": "Parcel", "fancy_title": "Parcel", "posts_count": 6, "details": {}},
    "post_stream": {
        "posts": [
            *(post(1, Q), post(2, "moved", 3), post(3, "stock?", 4, staff=True), post(4, "me too")),
            post(5, A, staff=True),
        ],
        "stream": [1, 2, 3, 4, 5, 6],
    },
}
REDMINE = {
    "issues": [
        {
            **{"id": 1, "subject": "Parcel", "description": Q, "author": {"id": 9}, "created_on": at(0)},
            "journals": [
                {"user": {"id": 2}, "notes": text, "private_notes": private, "created_on": at(i)}
                for i, (text, private) in enumerate([("", False), ("angry", True), (A, False)], 1)
            ],
        }
    ],
    "total_count": 1,
}
GITHUB = [
    {
        **{"number": 1, "title": "Parcel", "body": Q, "author": {"login": "ann"}, "createdAt": at(0)},
        "comments": [
            {"author": {"login": who}, "authorAssociation": of, "body": text, "createdAt": at(i)}
            for i, (who, of, text) in enumerate([("bob", "NONE", "me too"), ("jo", "MEMBER", A)], 1)
        ],
    }
]


@pytest.mark.parametrize(
    ("value", "counts"),
    [
        (DISCOURSE, {NOTES: 1, OTHERS: 2, exports.TRUNCATED: 1}),
        (REDMINE, {NOTES: 1, EMPTY: 1}),
        (GITHUB, {OTHERS: 1}),
    ],
    ids=["discourse", "redmine", "github"],
)
def test_who_began_a_topic_asked(tmp_path: Path, value: Any, counts: dict[str, int]) -> None:
    """Issues of GitHub were read as notices of nobody, the others refused."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps(value, indent=1))
    found = parse_file(path, "demonstrations")
    assert said(found) == [[("user", Q), ("assistant", A)]]
    assert dict(found.changed) == counts


def test_a_post_of_phpbb_is_its_words() -> None:
    """Its XML was learned: <r><QUOTE author=...><s>[quote=...]</s>."""
    quoted = '<QUOTE author="ann"><s>[quote="ann"]</s>Where?<e>[/quote]</e></QUOTE>'
    assert plain_text(f"<r>{quoted}It left &amp; <B><s>[b]</s>arrives<e>[/b]</e></B>.<br/>Soon.</r>") == (
        "> Where?\nIt left & arrives.\nSoon."
    )
    assert plain_text("<t>a &lt; b</t>") == "a < b"
    assert plain_text("&lt;p&gt; or &lt;br&gt;") == "<p> or <br>"  # about HTML: it became "or"
    assert plain_text("&lt;p&gt;a&lt;br&gt;b&lt;/p&gt;") == "a\nb"


def slack(who: str, second: int, text: str, thread: int = 0) -> dict[str, str]:
    own = {"type": "message", "user": who, "text": text, "ts": f"17103204{second:02d}.000100"}
    return {**own, **({"thread_ts": f"17103204{thread:02d}.000100"} if thread else {})}


@pytest.mark.parametrize("packed", [True, False])
def test_slack_is_read_by_thread_over_days(tmp_path: Path, packed: bool) -> None:
    """Threads of a channel ran into one another, so that answers stood under other questions; ids were the names."""
    files: dict[str, Any] = {
        "users.json": [{"id": "U1", "profile": {"real_name": "Ann"}}, {"id": "U2", "real_name": "Helga Brandt"}],
        "channels.json": [{"id": "C1", "name": "help"}],
        "help/2024-03-13.json": [
            slack("U1", 10, "Is it open?", 10),
            slack("U1", 11, "Where is it?", 11),
            slack("U2", 12, "<@U1> Yes.", 10),
            {"type": "message", "subtype": "channel_join", "user": "U1", "text": "joined", "ts": "1710320413.1"},
        ],
        "help/2024-03-14.json": [slack("U2", 20, "In <#C1|help> street.", 11)],
    }
    for name, value in files.items():
        (tmp_path / "export" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "export" / name).write_text(json.dumps(value))
    path = tmp_path / "export"
    if packed:
        path = tmp_path / "export.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, value in files.items():
                archive.writestr(name, json.dumps(value))
    found = parse_file(path, "demonstrations", speakers="*,U2")
    assert said(found) == [
        [("user", "Is it open?"), ("assistant", "@Ann Yes.")],
        [("user", "Where is it?"), ("assistant", "In #help street.")],
    ]
    assert found.changed["messages gathered into dialogues"] == 4
    assert found.changed["notices of the messenger left out"] == 1
    with pytest.raises(ValueError, match=r"the log has: Ann \(2\), Helga Brandt \(2\)"):
        parse_file(path, "demonstrations")


def test_pages_of_facebook_are_parted_by_conversation(tmp_path: Path) -> None:
    def message(who: str, minute: int, text: str) -> dict[str, Any]:
        return {"from": {"name": who}, "message": text, "created_time": f"2024-01-02T09:0{minute}:00+0000"}

    page = [
        {"id": f"t{i}", "messages": {"data": [message("Shop", 2, A), message(f"C{i}", 1, ""), message(f"C{i}", 0, Q)]}}
        for i in range(9)
    ]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"data": page, "paging": {}}))
    found = parse_file(path, "demonstrations")
    assert said(found) == 9 * [[("user", Q), ("assistant", A)]]
    assert found.changed["placeholders of images, voice and the like left out"] == 9


def test_a_table_without_names_of_columns_is_said_to_be_one(tmp_path: Path) -> None:
    """The first message stood there as a list of columns."""
    path = tmp_path / "viber.csv"
    path.write_text(f'03/01/2025,09:00:00 AM,Ann,+4917012,"{Q}"\n03/01/2025,09:04:00 AM,Me,,"{A}"\n')
    with pytest.raises(ValueError, match="expected a first row of column names, got a row of data"):
        parse_file(path, "demonstrations")
