"""Chats as exporters of messengers and platforms write them: pages, web archives, stamps on lines of their own,
deliveries. The shapes are those of the exporters' own sources and documents; the words are ours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imported import said as turns
from steersman.data.importing import Imported, parse_file
from steersman.data.message_pages import chat_in

ASKED, ANSWER, AGAIN, LAST = "Is the lab open?", "Yes, from 8.\nNo appointment needed.", "And parking?", "It is free."
SAID = (("Ann Lee", ASKED), ("Me", ANSWER), ("Ann Lee", AGAIN), ("Me", LAST))
TURNS = [("user", ASKED), ("assistant", ANSWER), ("user", AGAIN), ("assistant", LAST)]
TIMES = ("10:01", "10:03", "10:09", "10:10")


def read(folder: Path, name: str, text: str, speakers: str = "*,Me", **options: Any) -> Imported:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return parse_file(path, options.pop("kind", None), speakers=speakers, **options)


def page(messages: list[str], head: str = "") -> str:
    return (
        f"<html><head><title>Ann Lee</title><style>.a {{}}</style></head><body>{head}{''.join(messages)}</body></html>"
    )


def br(text: str) -> str:
    return text.replace("\n", "<br>")


IMESSAGE = [
    f'<div class="message"><div><p><span class="timestamp"><a href="sms://x">Jun 3, 2024 {at}:42 AM</a> (Read '
    f'by you after 1 minute)</span> <span class="sender">{who}</span></p><hr><div class="message_part"><span '
    f'class="bubble">{br(text)}</span></div></div></div>'
    for (who, text), at in zip(SAID, TIMES, strict=True)
]
SIGNAL = [
    f"<div class=msg><span class=date>2024-06-03</span> <span class=time>{at}:00</span> <span class=sender>{who}</span>"
    f"<p class=body>{br(text)}</p></div>"
    for (who, text), at in zip(SAID, TIMES, strict=True)
]
WECHAT = [
    f'<div class="msg chat-left"><div class="nt-box"><span class="name-left">{who}</span> 2024-06-03 {at}:00</div>'
    f'<div class="content-box msg"><span class="dont-break-out">{br(text)}</span></div></div>'
    for (who, text), at in zip(SAID, TIMES, strict=True)
]
DISCORD = [
    f'<div class="chatlog__header"><span class="chatlog__author">{who}</span><span class="chatlog__timestamp"><a '
    f'href="#">03/06/2024 {at}</a></span></div><div class="chatlog__content"><span>{br(text).replace("8", "<b>8</b>")}'
    "</span></div>"
    for (who, text), at in zip(SAID, TIMES, strict=True)
]
FACEBOOK = [
    f'<div><h2>{who}</h2><div class="_a6-p"><div>{br(text)}</div></div><div class="_a6-o">Jun 03, 2024 '
    f"{at}:00 am</div></div>"
    for (who, text), at in reversed([*zip(SAID, TIMES, strict=True)])
]
QQ = [
    "<tr><td style=color:#3568BB;>日期: 2024-06-03</td></tr>",
    *(
        f"<tr><td><div style=color:#006EFE;><div style=float:left;>{who}</div>{at}:00</div><div><font>{br(text)}</font>"
        "</div></td></tr>"
        for (who, text), at in zip(SAID, TIMES, strict=True)
    ),
]


@pytest.mark.parametrize(
    ("messages", "head"),
    [
        (IMESSAGE, ""),
        (SIGNAL, "<div>FIRST</div>"),
        (WECHAT, ""),
        (DISCORD, "<div>Server</div>"),
        (FACEBOOK, "<div>Ann Lee</div>"),
        (QQ, "<table><tr><td>消息对象:Ann Lee</td></tr>"),
    ],
    ids=["iMessage", "Signal", "WeChat", "Discord", "Facebook, newest first", "QQ"],
)
def test_a_page_of_a_chat_is_no_page_of_questions(tmp_path: Path, messages: list[str], head: str) -> None:
    """The people's questions were taken for those of a list of questions and answers, with names and times inside."""
    assert turns(read(tmp_path, "chat.html", page(messages, head))) == [TURNS]
    with pytest.raises(ValueError, match=r"the log has: (?:Ann Lee|Me) \(2\)"):
        read(tmp_path, "chat.html", page(messages, head), speakers="")


REPLY = '<div class="mb-2 text-sm reply-box"><p class="text-[#111b21] text-xs">"older words?"</p></div>'


def telegram(who: str, at: str, text: str, more: str = "") -> str:
    named = f'<div class="from_name">\n{who}\n</div>' if who else ""
    return (
        f'<div class="message default clearfix"><div class="initials">A</div><div class="body"><div class="pull_right '
        f'date details" title="03.06.2024 {at}:00 UTC+02:00">{at}</div>{named}<div class="text">\n{br(text)}\n</div>'
        f"{more}</div></div>\n"
    )


def qq_exporter(who: str, at: str, text: str) -> str:
    return (
        f'<div class="message-block"><div class="message {"self" if who == "Me" else "other"}"><div class="avatar">A'
        f'</div><div class="message-header"><span class="sender-title">LV3</span><span class="sender">{who}</span>'
        f'<span class="time">2024/06/03 {at}:00</span></div><div class="content"><div class="reply-content">old?</div>'
        f'<span class="text-content">{br(text)}</span></div></div></div>'
    )


def whatsapp(who: str, at: str, text: str) -> str:
    side, foot = (
        ("end", f'<p class="text-[10px]">{at}\n<span>✓✓</span></p>')
        if who == "Me"
        else ("start", f'<div class="text-[10px]"><span></span><span>{at}</span></div>')
    )
    said = f'{REPLY}<p class="text-[#111b21] text-sm">\n{br(text)}\n</p>{foot}'
    return f'<div class="flex justify-{side} items-center group" id="{at}"><div>{said}</div></div>'


def memotrace(who: str, at: str, text: str) -> str:
    seconds = 1717400000 + 60 * int(at[-2:])
    said = text.replace("\n", "\\n").replace("'", "\\'")
    return (
        f"{{ type:1, text: '{said}',is_send:{int(who == 'Me')},avatar_path:'./a.png',timestamp:{seconds},"
        f"is_chatroom:0,displayname:'{who}'}},"
    )


FORWARDED = '<div class="forwarded body"><div class="from_name">Bob</div><div class="text">Not on Sundays.</div></div>'
LAYOUTS = {
    "Telegram": (
        telegram,
        '<div class="page_header"><div class="text bold">Ann Lee</div></div><div class="message service">3 June</div>',
        telegram("", "10:11", "", FORWARDED),
    ),
    "QQ": (
        qq_exporter,
        '<div class="system-message-container">Ann joined<div class="system-message-time">x</div></div>',
        "",
    ),
    "WhatsApp": (
        whatsapp,
        '<div class="bg-[#e1f2fb]">\n2024-06-03\n</div><div class="flex justify-start items-center group" id="n"><p '
        'class="text-[#111b21] text-sm"><div class="bg-[#FFF3C5]">Security code changed</div></p></div>',
        "",
    ),
    "MemoTrace": (
        memotrace,
        "<script>const chatMessages = [{ type:0, text: '{x} joined',timestamp:1717390000,displayname:''},",
        "{ type:49,sub_type:5, text:'',title:'It's here'},{ type:3, text: './a.png',is_send:0,timestamp:1717409000,"
        "displayname:'Ann Lee'},\n]</script>",
    ),
}


@pytest.mark.parametrize("source", LAYOUTS)
def test_known_exporters_say_who_is_the_partner(tmp_path: Path, source: str) -> None:
    """They were refused, or needed --speakers; a forwarded message's writer was joined to the name of who sent it."""
    layout, head, tail = LAYOUTS[source]
    text = page([layout(who, at, text) for (who, text), at in zip(SAID, TIMES, strict=True)], head)
    found = read(tmp_path, "chat.html", text.replace("</body>", f"{tail}</body>"), speakers="")
    last = [("assistant", f"{LAST}\nNot on Sundays.")] if source == "Telegram" else [("assistant", LAST)]
    assert turns(found) == [TURNS[:-1] + last]
    assert found.changed["notices of the messenger left out"] == 1
    if source == "MemoTrace":
        assert found.changed["messages of a page that are no JavaScript left out"] == 1
        assert found.changed["placeholders of images, voice and the like left out"] == 1
    if source == "Telegram":
        other = telegram("Zed", "10:12", "Hello all")
        with pytest.raises(ValueError, match=r"the log has: Ann Lee \(2\), Me \(2\), Zed"):
            read(tmp_path, "group.html", text.replace("</body>", f"{other}</body>"), speakers="")


def test_pages_that_hide_their_messages_are_read_in_a_line(tmp_path: Path) -> None:
    """Broken objects of a script's list were each looked through to the end of the page."""
    with pytest.raises(ValueError, match="found more than 100 broken ones"):
        chat_in("chatMessages = [" + "{ type:1'\\'" * 3000, Counter())


def test_a_page_with_times_and_without_names_is_refused_and_one_of_questions_is_not(tmp_path: Path) -> None:
    bare = [
        f"<div><p>{text}</p><small>2024-06-03 {at}</small></div>" for (_, text), at in zip(SAID, TIMES, strict=True)
    ]
    with pytest.raises(ValueError, match="expected the writers of its messages beside their times"):
        read(tmp_path, "chat.html", page(bare))
    faq = "<h2>When are you open?</h2><p>09:00 - 17:00</p><p>Updated 2024-06-03 10:00</p><h2>Cards?</h2><p>8</p>"
    assert len(read(tmp_path, "faq.html", page([faq]), speakers="").records) == 2


def test_the_page_of_a_web_archive(tmp_path: Path) -> None:
    head = 'From: <Save by MsgMgr>\r\nContent-Type:multipart/related;\r\n\tcharset="utf-8"\r\n\ttype="text/html";'
    head += '\r\n\tboundary="-b"'
    part = "\r\n\r\n---b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding:7bit\r\n\r\n"
    image = "\r\n\r\n---b\r\nContent-Type:image/jpeg\r\nContent-Transfer-Encoding:base64\r\n\r\nAAAA\r\n\r\n---b--\r\n"
    assert turns(read(tmp_path, "QQ.mht", head + part + page(QQ, "<table>") + image)) == [TURNS]
    with pytest.raises(ValueError, match="expected a page in this web archive, found none"):
        read(tmp_path, "none.mht", head + image)


def test_stamps_on_lines_above_the_names(tmp_path: Path) -> None:
    """iMessage's exporter: what stood in brackets behind the stamp was taken for the writer's name. An answer is there
    twice: set in below what it answers, and at its own time."""
    blocks = [f"Jun  3, 2024 {at}:42 AM (Read by you after 1 minute)\n{who}\n{text}\n" for (who, text), at in
              zip(SAID, TIMES, strict=True)]  # fmt: skip
    blocks[0] += f"Reactions:\nLoved by Me\n    Jun  3, 2024 10:03:42 AM\n    Me\n    {ANSWER.splitlines()[0]}\n"
    found = read(tmp_path, "chat.txt", "\n".join(blocks))
    assert turns(found) == [TURNS]
    assert found.changed["lines set in below a message (answers that come again at their own time) left out"] == 3
    assert found.changed["placeholders of images, voice and the like left out"] == 2
    with pytest.raises(ValueError, match=r"Ann Lee \(2\), Me \(2\)"):
        read(tmp_path, "chat.txt", "\n".join(blocks), speakers="")


def test_a_log_in_markdown_and_one_that_begins_with_the_newest(tmp_path: Path) -> None:
    lines = [f"[2024-06-03 {at}:00] {who}: {text}\n" for (who, text), at in zip(SAID, TIMES, strict=True)]
    lines[2] += "![photo](./media/a.jpg)\n~/Library/Messages/Attachments/1f/IMG_1.heic\n"
    assert turns(read(tmp_path, "chat.md", "".join(lines))) == [TURNS]
    told: list[str] = []
    found = read(tmp_path, "chat.txt", "".join(reversed(lines)), tell=told.append)
    assert turns(found) == [TURNS]
    assert any("its newest message stands first" in text for text in told)
    assert read(tmp_path, "c.md", "# Changes\n\n## 2024-06-03\n\n- 10:00 fix: a\n- 11:00 add: b\n", "").kind == "texts"


def test_placeholders_in_any_language_come_back(tmp_path: Path) -> None:
    lines = [f"2024/06/03 10:0{i} Ann: {text}" for i, text in enumerate(("<Medya dahil edilmedi>", "a b c", "[ok]"))]
    lines += [f"2024/06/03 10:1{i} {who}: <Medya dahil edilmedi>" for i, who in enumerate(("Me", "Ann"))]
    found = read(tmp_path, "chat.txt", "\n".join([*lines, "2024/06/03 10:20 Me: d e f"]))
    assert turns(found) == [[("user", "a b c\n[ok]"), ("assistant", "d e f")]]
    assert found.changed["messages that are <Medya dahil edilmedi>, taken for a placeholder, left out"] == 3


def cloud(value: Mapping[str, Any]) -> dict[str, Any]:
    change = {
        "field": "messages",
        "value": {"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1"}, **value},
    }
    return {"object": "whatsapp_business_account", "entry": [{"id": "9", "changes": [change]}]}


def test_what_messengers_deliver_to_a_firms_program(tmp_path: Path) -> None:
    def message(i: int, own: bool, text: str) -> dict[str, Any]:
        body = {"id": f"m{i}", "timestamp": str(1717400000 + 60 * i), "type": "text", "text": {"body": text}}
        return cloud(
            {"message_echoes": [{**body, "from": "1", "to": "44"}]} if own else {"messages": [{**body, "from": "44"}]}
        )

    lines = [message(i, who == "Me", text) for i, (who, text) in enumerate(SAID)]
    lines.insert(
        2, cloud({"statuses": [{"id": "m1", "status": "read", "timestamp": "1717400100", "recipient_id": "44"}]})
    )
    lines.append(lines[0])  # delivered again
    log = "\n".join(json.dumps(line) for line in lines)
    found = read(tmp_path, "log.jsonl", log, "")
    assert turns(found) == [TURNS]
    assert found.changed["deliveries without a message (received, read) left out"] == 1
    asked = "\n".join(json.dumps(line) for line in lines if "message_echoes" not in json.dumps(line))
    with pytest.raises(ValueError, match="one side alone speaks"):
        read(tmp_path, "log.jsonl", asked, "")
    page = [
        {"object": "page", "entry": [{"id": "7", "messaging": [
            {"sender": {"id": "7" if own else "5"}, "recipient": {"id": "5" if own else "7"},
             "timestamp": 1717400000000 + i, "message": {"mid": f"m{i}", "text": text, "is_echo": own}}]}]}
        for i, (own, text) in enumerate((who == "Me", text) for who, text in SAID)
    ]  # fmt: skip
    assert turns(read(tmp_path, "page.json", json.dumps(page), "")) == [TURNS]


def test_an_archive_of_direct_messages_is_a_script(tmp_path: Path) -> None:
    chats = [
        {"dmConversation": {"conversationId": f"{c}-900", "messages": [
            {"messageCreate": {"recipientId": c if who == "Me" else "900", "senderId": "900" if who == "Me" else c,
                               "text": text, "id": f"{i}", "createdAt": f"2024-06-03T{at}:00.000Z"}}
            for i, ((who, text), at) in reversed([*enumerate(zip(SAID, TIMES, strict=True))])]}}
        for c in map(str, range(40, 48))
    ]  # fmt: skip
    script = f"window.YTD.direct_messages.part0 = {json.dumps(chats, indent=1)};\n"
    assert turns(read(tmp_path, "direct-messages.js", script, "*,900")) == [TURNS] * 8
    assert turns(read(tmp_path, "direct-messages.js", script, "")) == [TURNS] * 8  # 900 takes part in each


def test_tables_and_pages_that_say_which_way_a_message_went(tmp_path: Path) -> None:
    line = "アカウント名,みどり病院\nタイムゾーン,'+09:00\n送信者タイプ,送信者名,送信日,送信時刻,内容\n" + "".join(
        f'{"Account" if who == "Me" else "User"},{who},2024/06/03,{at}:00,"{text}"\n'
        for (who, text), at in zip(SAID, TIMES, strict=True)
    )
    assert turns(read(tmp_path, "line.csv", line, "")) == [TURNS]
    rows = "Thread ID,Ticket ID,Direction,From,Content,Created Time\n" + "".join(
        f'{i},77,{"out" if who == "Me" else "in"},{who},"{text}",2024-06-03 {at}:00\n'
        for i, ((who, text), at) in enumerate(zip(SAID, TIMES, strict=True))
    )
    assert turns(read(tmp_path, "threads.csv", rows, "")) == [TURNS]
    rows = "conversation_id,sender,message,note\n1,patient,Open?,\n1,agent,Yes.,\n1,agent,a VIP,internal\n"
    assert turns(read(tmp_path, "rows.csv", rows, "")) == [[("user", "Open?"), ("assistant", "Yes.")]]
    mails = [
        {"activityid": str(i), "description": text, "directioncode": who == "Me", "createdon": f"2024-06-03T{at}:00Z",
         "_regardingobjectid_value": "c1", "statuscode": 3}
        for i, ((who, text), at) in enumerate(zip(SAID, TIMES, strict=True))
    ]  # fmt: skip
    odata = {"@odata.context": "https://x/$metadata#emails", "value": [*reversed(mails)]}
    assert turns(read(tmp_path, "emails.json", json.dumps(odata), "")) == [TURNS]


def test_the_journal_of_an_incident(tmp_path: Path) -> None:
    """ServiceNow's export: newest first, with the caller's words in another column, and work notes among them."""
    entry = "2024-06-03 {at}:00 - {who} ({kind})\n{text}\n\n"
    journal = [entry.format(at=at, who=who, kind="Additional comments", text=text) for (who, text), at in
               zip(SAID[1:], TIMES[1:], strict=True)]  # fmt: skip
    journal.insert(1, entry.format(at="10:05", who="Me", kind="Work notes", text="asked the lab"))
    head = "number,caller_id,short_description,description,comments_and_work_notes\n"
    found = read(tmp_path, "incident.csv", f'{head}INC1,Ann Lee,Lab,{ASKED},"{"".join(reversed(journal))}"\n', "")
    assert turns(found) == [TURNS]
    assert found.changed["internal notes left out of tickets"] == 1


def test_chats_of_meetings_and_captions_without_an_arrow(tmp_path: Path) -> None:
    """Zoom says whom a message was for, which was part of the writer's name; the times of SBV's captions were words."""
    turns_of = [*zip(SAID, TIMES, strict=True)]
    zoom = "".join(f"{at}:05\t From {who} to Everyone : {text}\n" for (who, text), at in turns_of)
    assert turns(read(tmp_path, "chat.txt", zoom)) == [TURNS]
    newer = "".join(f"{at}:05 From {who} to Ann Lee(Direct Message):\n\t{text}\n" for (who, text), at in turns_of)
    assert turns(read(tmp_path, "newer.txt", newer)) == [TURNS]
    flat = [[(role, text.replace("\n", " ")) for role, text in TURNS]]
    captions = "".join(f"0:{at}.123,0:{at}.900\n{who}: {text}\n\n" for (who, text), at in turns_of)
    assert turns(read(tmp_path, "call.sbv.txt", captions)) == flat


def test_speakers_that_nothing_uses_are_no_texts(tmp_path: Path) -> None:
    rows = "Date,Who,Text\n" + "".join(
        f'2024-06-03 {at},{who},"{text}"\n' for (who, text), at in zip(SAID, TIMES, strict=True)
    )
    assert turns(read(tmp_path, "rows.csv", rows)) == [TURNS]
    with pytest.raises(ValueError, match="no messages with their writers were found"):
        read(tmp_path, "texts.csv", rows.replace("Who", "Thing"))
    assert len(read(tmp_path, "texts.csv", rows.replace("Who", "Thing"), kind="texts").records) == 4
