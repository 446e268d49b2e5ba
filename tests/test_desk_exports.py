"""Exports of help desks and chat tools as these write them: whose words are whose, in which order, what is left out.

Each has a customer's Q and an answer A; what else it holds (notes, machines, drafts, pictures) must be counted.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from imported import said
from steersman.cold.legacy import stripped
from steersman.data.formats.markup import text_of
from steersman.data.importing import Imported, parse_file
from steersman.data.reading import Reading
from steersman.types import Conversation

Q, A = "Where is my parcel 1234?", "It left on Monday."
NOTES, OTHERS, EMPTY = (
    "internal notes left out of tickets",
    "messages of others (in copy, systems) left out of tickets",
    "messages without text left out of tickets",
)
BOTS, ORDERED = "messages of bots taken for the assistant's", "tickets whose messages were put in order of time"
BEGAN = "messages of people alone: who wrote first is taken for the customer, all others for the team"
GUESSED = (
    "messages whose columns were guessed: conversation = conversationId, sender = senderType,senderId, "
    "message = contents, time = time (--map says others)"
)
ROWS_ORDERED = "conversations whose messages were put in order of time"


def at(minute: int) -> str:
    return f"2024-01-02T09:{minute:02d}:00Z"


ZENDESK = {
    **{"id": 7, "subject": "Parcel", "description": Q, "requester_id": 9, "assignee_id": 5, "created_at": at(0)},
    "comments": [
        {"author_id": 9, "body": Q, "html_body": f"<p>{Q}</p>", "public": True, "created_at": at(0)},
        {
            **{"author_id": -1, "body": "We have received your request.", "public": True, "created_at": at(1)},
            "via": {"channel": "rule", "source": {"rel": "trigger"}},
        },
        {"author_id": 5, "body": "she called twice", "public": False, "created_at": at(2)},
        {"author_id": 5, "body": A, "public": True, "created_at": at(3), "attachments": [{"file_name": "a.pdf"}]},
    ],
}
EVENTS = {
    "ticket_events": [
        {
            **{"id": i, "ticket_id": 7, "timestamp": 1704186000 + i, "updater_id": who, "via": "Mail"},
            "child_events": [{"event_type": "Comment", "author_id": who, "body": text, "public": public}],
        }
        for i, (who, text, public) in enumerate([(9, Q, True), (5, "angry", False), (5, A, True)])
    ]
}


def zopim(kind: str, nick: str, minute: int, **more: str) -> dict[str, str]:
    return {"type": kind, "nick": nick, "name": nick, "timestamp": at(minute), "channel": "#1", **more}


ZOPIM = {
    "chats": [
        {
            **{"id": "2401.1", "type": "chat", "visitor": {"id": "v1", "name": "Visitor 1"}, "timestamp": at(0)},
            "history": [
                zopim("chat.memberjoin", "visitor", 0),
                zopim("chat.msg", "visitor", 1, msg=Q, sender_type="Visitor"),
                zopim("chat.msg", "agent:501", 2, msg=A, sender_type="Agent"),
            ],
        }
    ]
}


def thread(kind: str, who: str, minute: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "createdBy": {"type": who, "id": 1}, "createdAt": at(minute), "state": "published", **more}


HELPSCOUT = {
    **{"id": 10, "threads": 4, "subject": "Parcel", "primaryCustomer": {"id": 12, "type": "customer"}},
    "_embedded": {
        "threads": [
            thread("lineitem", "user", 4, action={"text": "closed"}),
            thread("message", "user", 3, body=f"{A}<br>"),
            thread("note", "user", 2, body="check"),
            thread("customer", "customer", 1, body=Q),
        ]
    },
}


def hubspot(kind: str, minute: int, text: str, **more: str) -> dict[str, str]:
    return {"type": kind, "conversationsThreadId": "77", "createdAt": at(minute), "text": text, **more}


HUBSPOT = {
    "results": [
        hubspot("MESSAGE", 5, A, direction="OUTGOING"),
        hubspot("WELCOME_MESSAGE", 0, "Got any questions?"),
        hubspot("COMMENT", 3, "ask Jo"),
        hubspot("MESSAGE", 1, Q, direction="INCOMING", richText=f"<p>{Q}</p>"),
    ]
}


def article(sender: str, minute: int, body: str, internal: bool = False) -> dict[str, Any]:
    kind = {"content_type": "text/html", "created_at": at(minute), "ticket_id": 3}
    return {"sender": sender, "body": body, "internal": internal, **kind}


ARTICLES = [
    article("Customer", 0, f"{Q}<br>"),
    article("Agent", 1, "toner?", True),
    article("System", 2, "updated"),
    article("Agent", 3, A),
]
OTRS = {
    "Ticket": [
        {
            "TicketID": "1",
            "Article": [
                {"SenderType": "customer", "Body": Q, "CreateTime": "2024-01-02 09:00:00", "IsVisibleForCustomer": "1"},
                {"SenderType": "agent", "Body": "x", "CreateTime": "2024-01-02 09:01:00", "IsVisibleForCustomer": "0"},
                {"SenderType": "agent", "Body": A, "CreateTime": "2024-01-02 09:02:00", "IsVisibleForCustomer": "1"},
            ],
        }
    ]
}


def front(inbound: bool, seconds: int, text: str, draft: bool = False) -> dict[str, Any]:
    where = {"related": {"conversation": "https://api2.frontapp.com/conversations/cnv_1"}}
    own = {"is_inbound": inbound, "is_draft": draft, "created_at": 1704186000.5 + seconds, "recipients": []}
    return {"_links": where, "type": "email", "body": f"<div>{text}</div>", "text": text, **own}


FRONT = [front(False, 60, A), front(False, 90, "a draft", True), front(True, 0, Q)]


def crisp(who: str, kind: str, content: Any, minute: int) -> dict[str, Any]:
    stamp = {"timestamp": 1704186000000 + minute * 60000, "fingerprint": minute}
    return {"session_id": "s1", "from": who, "type": kind, "content": content, **stamp}


CRISP = [
    crisp("user", "text", Q, 0),
    crisp("operator", "note", "vip", 1),
    crisp("user", "file", {"name": "a.png"}, 2),
    crisp("operator", "text", A, 3),
]
TAWK = {
    "event": "chat:transcript_created",
    "chat": {
        "id": "c1",
        "messages": [
            {"sender": {"t": who}, "type": "msg", "msg": text, "time": at(i)}
            for i, (who, text) in enumerate([("s", "Chat started"), ("v", Q), ("a", A)])
        ],
    },
}


def chatwoot(kind: Any, text: str, private: bool = False) -> dict[str, Any]:
    return {"content": text, "message_type": kind, "private": private, "conversation_id": 5, "created_at": 1704186000}


CHATWOOT = [chatwoot(0, Q), chatwoot(2, "was assigned"), chatwoot(1, "qa?", True), chatwoot("outgoing", A)]
LIVECHAT = {
    "users": [{"id": "c", "type": "customer"}, {"id": "t", "type": "agent"}],
    "thread": {
        "events": [
            {"type": "message", "text": Q, "author_id": "c", "visibility": "all", "created_at": at(0)},
            {"type": "message", "text": "fraud?", "author_id": "t", "visibility": "agents", "created_at": at(1)},
            {"type": "system_message", "text": "Tom joined", "created_at": at(2)},
            {"type": "message", "text": A, "author_id": "t", "visibility": "all", "created_at": at(3)},
        ]
    },
}
JSM = {
    **{"issueKey": "H-1", "summary": "Parcel", "reporter": {"accountId": "c1"}},
    "requestFieldValues": [{"fieldId": "description", "value": Q}],
    "comments": {
        "values": [
            {
                "body": text,
                "public": public,
                "author": {"accountId": "a1"},
                "created": {"iso8601": f"{day}T10:00:00+0700"},
            }
            for text, public, day in ((A, True, "2024-01-02"), ("x", False, "2024-01-03"))
        ]
    },
}
SALESFORCE = {
    "records": [
        {
            **{"Id": "500A", "CaseNumber": "26", "Description": Q},
            "CaseComments": {
                "records": [
                    {"CommentBody": A, "IsPublished": True, "CreatedDate": "2024-01-02T10:00:00.000+0000"},
                    {"CommentBody": "VIP", "IsPublished": False, "CreatedDate": "2024-01-02T10:05:00.000+0000"},
                ]
            },
        }
    ]
}
MAILS = f'''"ID","PARENTID","CREATEDDATE","TEXTBODY","HTMLBODY","FROMADDRESS","INCOMING","ISDELETED"
"2","5A","2024-01-02T10:00:00.000Z","{A}","","s@x.example","0","0"
"1","5A","2024-01-02T09:00:00.000Z","{Q}","<p>x</p>","a@x.example","1","0"
'''


def qiyu(user: int, text: str, kind: str = "text") -> dict[str, Any]:
    return {"content": text, "type": kind, "time": 1447014454010, "fromUser": user, "sessionId": 8}


QIYU = [qiyu(1, Q), qiyu(1, '{"url":"https://x/y.png","w":1}', "image"), qiyu(0, f"<p>{A}</p>")]
QIYU_TABLE = (
    "会话ID,消息时间,消息来源,发送者,消息内容\n"
    f"8,2024-01-02 09:00:00,访客,访客8821,{Q}\n8,2024-01-02 09:00:30,客服,小王,{A}\n"
    "8,2024-01-02 09:01:00,系统,系统,访客已离开\n"
)
SOBOT = [
    {"cid": "c", "sender_type": kind, "content": text, "msg_type": "0", "t": f"170418600{i}000"}
    for i, (kind, text) in enumerate([(1, "您好"), (0, Q), (2, A)])
]
MEIQIA = {
    "conv_id": 1,
    "conv_content": [
        {"type": kind, "from": who, "content": text, "timestamp": f"2024-01-02T09:0{i}:00"}
        for i, (kind, who, text) in enumerate(
            [("message", "client", Q), ("message", "agent", A), ("event", "system", "对话结束")]
        )
    ],
}
UDESK = {
    "im_logs": [
        {"im_sub_session_id": 9, "sender": who, "content": json.dumps({"type": "message", "data": {"content": text}})}
        | {"created_at": f"2024-01-02T09:0{i}:00+08:00", "id": i}
        for i, (who, text) in enumerate([("customer", Q), ("agent", A)])
    ]
}


def wecom(who: str, to: str, minute: int, kind: str, action: str = "send", **more: Any) -> dict[str, Any]:
    where = {"tolist": [to], "roomid": "", "msgtime": 1704186000000 + minute * 60000}
    return {"msgid": f"{minute}", "action": action, "from": who, "msgtype": kind, **where, **more}


WECOM = [
    wecom("wmA", "ZhangSan", 0, "text", text={"content": Q}),
    wecom("wmA", "ZhangSan", 1, "image", image={"md5sum": "x"}),
    wecom("ZhangSan", "wmA", 2, "text", text={"content": A}),
    wecom("ZhangSan", "wmA", 3, "revoke", "revoke", revoke={"pre_msgid": "9"}),
]
WECHAT = (
    "localId,TalkerId,Type,IsSender,CreateTime,StrContent\n"
    f'1,1,1,0,1704186000,{Q}\n2,1,1,1,1704186020,{A}\n3,1,3,0,1704186030,"<msg><img/></msg>"\n'
)


def olark(kind: str, minute: int, body: str) -> dict[str, Any]:
    return {"kind": kind, "nickname": "x", "timestamp": str(1704186000.5 + 60 * minute), "body": body}


OLARK = {
    **{"kind": "Conversation", "id": "EV1", "visitor": {"fullName": "Bo"}},
    "items": [
        *(olark("MessageToVisitor", 0, "Need help?"), olark("MessageToOperator", 1, Q)),
        *(olark("Note", 2, "VIP"), olark("MessageToVisitor", 3, A)),
    ],
}
HELPCRUNCH = [
    {"id": i, "chat": 5, "type": kind, "from": who, "text": text, "createdAt": at(i), "agent": None}
    for i, (kind, who, text) in enumerate(
        (("message", "customer", Q), ("private", "agent", "?"), ("message", "agent", A))
    )
]
SMARTSUPP = [
    {"id": f"m{i}", "type": kind, "subType": who, "createdAt": at(i), "content": {"type": "text", "text": text}}
    for i, (kind, who, text) in enumerate(
        (("message", "contact", Q), ("message", "agent", A), ("event", "system", "x"))
    )
]
UVDESK = [
    {"id": i, "threadType": kind, "createdBy": who, "message": f"<p>{text}</p>", "createdAt": at(i)}
    for i, (kind, who, text) in enumerate((("create", "customer", Q), ("note", "agent", "?"), ("reply", "agent", A)))
]
RESPOND = [
    {
        "messageId": 7 + i,
        "contactId": 7,
        "traffic": way,
        "timestamp": 1704186000 + i,
        "message": {"type": "text", "text": t},
    }
    for i, way, t in ((9, "outgoing", A), (1, "incoming", Q))
]
MISSIVE = [
    {
        "id": i,
        "type": "email",
        "delivered_at": 1704186000 + i,
        "from_field": {"address": who},
        "to_fields": [],
        "body": text,
    }
    for i, who, text in ((2, "help@firm.example", f"<div>{A}</div>"), (1, "bo@mail.example", f"<div>{Q}</div>"))
]
COMM100 = [
    {
        "id": f"{i}",
        "conversationId": 7,
        "senderType": who,
        "senderId": "x",
        "time": at(i),
        "contents": [{"type": t, "data": d}],
    }
    for i, (who, t, d) in enumerate(
        (
            ("contact", "text", {"type": "text", "text": Q}),
            ("agent", "htmlText", {"type": "htmlText", "htmlText": f"<p>{A}</p>"}),
        )
    )
]
BITRIX = {
    "sessionId": 469,
    "message": {
        str(i): {"id": str(i), "senderid": who, "date": at(i), "text": text}
        for i, who, text in ((3, "0", "Dialog closed"), (2, "7", f"[b]{A}[/b]"), (1, "55", Q))
    },
    "users": {"55": {"id": "55", "connector": True}, "7": {"id": "7", "connector": False, "bot": False}},
}
AUDITS = [
    {"id": i, "ticket_id": 7, "author_id": who, "events": [{"type": "Comment", "body": text, "public": i != 1}]}
    for i, (who, text) in enumerate([(9, Q), (5, "angry"), (5, A)])
]
DIXA = [
    {"id": i, "createdAt": at(i), "attributes": {"content": {"value": text}, "direction": way}}
    for i, (way, text) in enumerate((("Inbound", Q), ("Outbound", A)))
]
GITLAB = {
    **{"id": 8, "title": "Parcel", "description": Q, "author": {"id": 99, "username": "support-bot"}},
    "notes": [
        {"id": i, "body": text, "author": {"id": 3}, "system": not i, "internal": i == 1, "created_at": at(i)}
        for i, text in enumerate(("assigned to @jo", "angry", A))
    ],
}
SALESIQ = [
    {"id": i, "time": 1704186000000 + i, "sender": {"id": i, "type": who}, "type": "text", "message": {"text": text}}
    for i, (who, text) in enumerate((("visitor", Q), ("operator", A), ("system", "Chat ended")))
]
FEISHU = [
    {"create_time": f"{1704186000000 + i}", "chat_id": "oc", "sender": {"id": "x", "sender_type": who}, "body": body}
    for i, (who, body) in enumerate((who, {"content": json.dumps({"text": t})}) for who, t in (("user", Q), ("app", A)))
]
PINDUODUO = [
    {"from": {"role": who, "uid": "1"}, "content": text, "ts": 1704186000 + i}
    for i, (who, text) in enumerate((("user", Q), ("mall_cs", A)))
]
JD = [{"customer": "c", "sid": "s1", "time": 1704186000 + i, "waiterSend": i > 0, "content": (Q, A)[i]} for i in (0, 1)]
SWITCH = {"msgid": "9", "action": "switch", "time": 1704186000000, "user": "LiSi"}
CHATRA = {
    "id": "x1",
    "messages": [
        {"id": i, "createdAt": 1704186000000 + i, "type": kind, "message": text}
        for i, (kind, text) in enumerate((("client", Q), ("note", "angry"), ("agent", A), ("note", "done")))
    ],
}
HUBSPOT_MAILS = [
    {
        **{"id": str(i), "createdAt": at(i), "archived": False},
        "properties": {
            "hs_email_direction": way,
            "hs_email_text": text,
            "hs_timestamp": at(i),
            "hs_email_thread_id": 1,
        },
    }
    for i, way, text in ((2, "EMAIL", A), (1, "INCOMING_EMAIL", Q), (3, "DRAFT_EMAIL", "x"))
]
ZAMMAD_DE = f"""Ticketnummer,Absender,Typ,Erstellt am,Inhalt,Intern
7,Kunde,E-Mail,01.03.2024 10:00,{Q},nein
7,Agent,Notiz,01.03.2024 10:01,schwierig,ja
7,Agent,E-Mail,01.03.2024 10:05,{A},nein
"""
EXPORTS: dict[str, tuple[Any, dict[str, int]]] = {
    "zendesk": (ZENDESK, {NOTES: 1, OTHERS: 1}),
    "zendesk events": (EVENTS, {NOTES: 1}),
    "zendesk chat": (ZOPIM, {EMPTY: 1}),
    "help scout": ([HELPSCOUT], {NOTES: 1, EMPTY: 1, ORDERED: 1}),
    "help scout pages": ({"_embedded": {"conversations": [HELPSCOUT]}, "page": {}}, {NOTES: 1, EMPTY: 1, ORDERED: 1}),
    "hubspot": (HUBSPOT, {NOTES: 1, OTHERS: 1, ROWS_ORDERED: 1}),
    "zammad": ([{"id": 3, "title": "x", "articles": ARTICLES}], {NOTES: 1, OTHERS: 1}),
    "zammad articles": (ARTICLES, {NOTES: 1, OTHERS: 1}),
    "otrs": (OTRS, {NOTES: 1}),
    "front": ({"_results": FRONT}, {OTHERS: 1, ROWS_ORDERED: 1}),
    "front conversations": ([{"id": "cnv_1", "messages": FRONT}], {OTHERS: 1, ORDERED: 1}),
    "crisp": ({"error": False, "data": CRISP}, {NOTES: 1, EMPTY: 1}),
    "tawk": (TAWK, {OTHERS: 1}),
    "chatwoot": ({"data": {"meta": {}, "payload": [{"id": 5, "messages": CHATWOOT}]}}, {NOTES: 1, OTHERS: 1}),
    "chatwoot messages": ({"meta": {}, "payload": CHATWOOT}, {NOTES: 1, OTHERS: 1}),
    "livechat": ({"chats": [LIVECHAT]}, {NOTES: 1, OTHERS: 1}),
    "jira service management": (JSM, {NOTES: 1}),
    "salesforce": (SALESFORCE, {NOTES: 1}),
    "salesforce mails": (MAILS, {ROWS_ORDERED: 1}),
    "qiyu": (QIYU, {EMPTY: 1}),
    "qiyu table": (QIYU_TABLE, {OTHERS: 1}),
    "sobot": ({"items": SOBOT}, {BOTS: 1, "turns before the first question left out": 1}),
    "meiqia": ({"result": [MEIQIA]}, {OTHERS: 1}),
    "udesk": (UDESK, {}),
    "wecom": (WECOM, {EMPTY: 2}),
    "wechat table": (WECHAT, {EMPTY: 1}),
    "olark": (OLARK, {NOTES: 1, "turns before the first question left out": 1}),
    "helpcrunch": ({"data": HELPCRUNCH, "total": 3}, {NOTES: 1}),
    "smartsupp": ({"items": [{"id": "co", "messages": SMARTSUPP}]}, {OTHERS: 1}),
    "uvdesk": ({"ticket": {"id": 4}, "threads": UVDESK}, {NOTES: 1}),
    "respond.io": ({"items": RESPOND, "pagination": {}}, {ROWS_ORDERED: 1}),
    "missive": ({"messages": MISSIVE}, {ORDERED: 1, BEGAN: 2}),
    "bitrix24": ({"result": BITRIX, "time": {}}, {OTHERS: 1, ORDERED: 1}),
    "zendesk audits": ({"audits": AUDITS, "count": 3}, {NOTES: 1}),
    "dixa": ({"data": DIXA}, {}),
    "gitlab": (GITLAB, {NOTES: 1, OTHERS: 1}),
    "zoho salesiq": ({"object": "list", "data": SALESIQ}, {OTHERS: 1}),
    "feishu": ({"code": 0, "data": {"items": FEISHU}}, {BOTS: 1}),
    "pinduoduo": ({"result": {"messages": PINDUODUO}}, {}),
    "jd": ({"jd_response": {"code": "0", "ChatLog": JD}}, {}),
    "wecom, who came": ([*WECOM, SWITCH], {EMPTY: 3}),
    "chatra": ([CHATRA], {NOTES: 2}),
    "hubspot mails": ({"results": HUBSPOT_MAILS}, {OTHERS: 1, ROWS_ORDERED: 1}),
    "zammad, german": (ZAMMAD_DE, {NOTES: 1}),
    "comm100": ({"total": 2, "messages": COMM100}, {GUESSED: 2}),
}


def read(folder: Path, value: Any, name: str = "", **options: Any) -> Imported:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    path = folder / (name or ("file.csv" if isinstance(value, str) else "file.json"))
    path.write_bytes(text.encode("gb18030" if path.suffix == ".csv" else "utf-8-sig"))
    return parse_file(path, "demonstrations", reading=Reading(encoding="auto", session_hours=6, **options))


@pytest.mark.parametrize("name", EXPORTS)
def test_whose_words_are_whose(tmp_path: Path, name: str) -> None:
    value, counts = EXPORTS[name]
    found = read(tmp_path, value)
    assert said(found) == [[("user", Q), ("assistant", A)]]
    assert {what: n for what, n in found.changed.items() if not what.startswith("messages of a row each")} == counts
    assert found.read == 1


def test_marks_of_bitrix_go_in_pairs_and_links_stay(tmp_path: Path) -> None:
    text = "a[i] and a[b], [i][url=https://x.example]here[/url][/i]" + "[url=" * 8000
    began = time.process_time()
    items = {**BITRIX["message"], "2": {**BITRIX["message"]["2"], "text": text}}
    found = said(read(tmp_path, {"result": {**BITRIX, "message": items}, "time": {}}))
    assert found[0][1][1] == "a[i] and a[b], here (https://x.example)" + "[url=" * 8000
    assert time.process_time() - began < 1


def test_tickets_that_nobody_answered_are_left_out_and_counted(tmp_path: Path) -> None:
    alone = {**ZENDESK, "id": 8, "comments": ZENDESK["comments"][:1]}
    bare = {key: value for key, value in ZENDESK.items() if key != "comments"}
    found = read(tmp_path, [ZENDESK, alone, bare])
    assert (len(found.records), found.read) == (1, 3)
    ((why, count),) = found.left_out.items()
    assert (count, why.partition(" (")[0]) == (2, "tickets and chats in which one side alone speaks")
    with pytest.raises(ValueError, match="--kind prompts takes their questions"):
        read(tmp_path, {"tickets": [bare], "end_of_stream": True})
    with pytest.raises(ValueError, match="got one message"):
        read(tmp_path, {"_results": [{**m, "_links": {}} for m in FRONT]})


def test_chats_of_one_contact_are_parted_by_time(tmp_path: Path) -> None:
    later = [wecom("wmA", "ZhangSan", 900, "text", text={"content": "有停车场吗"})]
    later += [wecom("ZhangSan", "wmA", 901, "text", text={"content": "有，在地下"})]
    other = [wecom("wmB", "ZhangSan", 1, "text", text={"content": "几点开门"})]
    other += [wecom("ZhangSan", "wmB", 4, "text", text={"content": "九点"})]
    lines = "\n".join(json.dumps(m) for m in [*WECOM, *later, *other])
    found = read(tmp_path, lines, "chats.jsonl")
    assert [[text for _, text in turns] for turns in said(found)] == [
        [Q, A],
        ["有停车场吗", "有，在地下"],
        ["几点开门", "九点"],
    ]


SHOP = (("小红_99", 0, "在吗"), ("旗舰店:小美", 1, "亲，在的"), ("小红_99", 2, "谢谢"))


@pytest.mark.parametrize("form", ["{} (2024-01-02 09:0{}:00):\n{}\n", "{}  2024-01-02 09:0{}:00\n{}\n"])
def test_names_with_a_colon_of_a_shops_people(tmp_path: Path, form: str) -> None:
    found = read(tmp_path, "".join(form.format(*one) for one in SHOP), "log.txt", speakers="*,旗舰店:小美")
    assert said(found) == [[("user", "在吗"), ("assistant", "亲，在的")]]


def test_quotes_and_signatures_of_html_are_taken_out_by_the_steps(tmp_path: Path) -> None:
    quote = f"<blockquote class='freshdesk_quote'>On Tue, 2 Jan at 9:00 AM, Ann wrote:<br>{Q}</blockquote>"
    body = f"<div>{A}<br>{quote}</div><div data-signature='true'>Tom<br>Tel. 030 1</div>"
    ticket = {
        **{"id": 1, "subject": "x", "description": f"<div>{Q}</div>", "description_text": Q, "requester_id": 1},
        "conversations": [{"body": body, "body_text": f"{A} On Tue, Ann wrote: {Q} Tom", "incoming": False}],
    }
    (record,) = (r for r in read(tmp_path, [ticket]).records if isinstance(r, Conversation))
    kept, report = stripped([record])
    assert [m.text for m in kept[0].messages] == [Q, A]
    assert (report.pieces["quotes"], report.pieces["signatures"]) == (1, 1)


def test_html_becomes_lines() -> None:
    page = "<style>p{}</style><p>Dear Ann,<p>use&nbsp;these:<ul><li>one<li>two &amp; three</ul><pre>a\n  b</pre>bye"
    assert text_of(page) == "Dear Ann,\n\nuse these:\n- one\n- two & three\na\nb\nbye"
    nested = "<div class='gmail_quote'>x<div>y</div></div><div>z</div>"
    assert text_of(nested) == "> x\n> y\nz"


def test_days_of_an_older_qq_log_are_no_words(tmp_path: Path) -> None:
    """Its messages have times alone, below a line with the day; where they have days, such a line is somebody's."""
    log = "日期: 2010-5-1\n14:03:12 小明\n几点关门？\n\n14:03:40 客服\n九点。\n\n"
    log += "日期: 2010-5-2\n9:10:01 小明\n今天开吗？\n9:10:30 客服\n开的。\n"
    assert said(read(tmp_path, log, "old.txt")) == [
        [("user", "几点关门？"), ("assistant", "九点。")],
        [("user", "今天开吗？"), ("assistant", "开的。")],
    ]
    told = "2010-05-01 14:03:12 小明\n哪天到？\n\n2010-05-01 14:03:40 客服\n日期：2010-5-3\n"
    assert said(read(tmp_path, told, "new.txt")) == [[("user", "哪天到？"), ("assistant", "日期：2010-5-3")]]


def test_who_wrote_is_no_guess_by_turns(tmp_path: Path) -> None:
    who = ({"user": {"nickname": "Ann"}}, {"user": {"nickname": "Tom"}}, {})
    sent = [{"message": (Q, A, "Closed")[i], "created_at": 1704186000000 + i, **who[i]} for i in range(3)]
    with pytest.raises(ValueError, match=r"the log has: Ann \(1\), Tom \(1\)"):
        read(tmp_path, {"messages": sent})
    flags = [{"text": text, "from_customer": text == Q} for text in (Q, A, A)]
    assert said(read(tmp_path, {"messages": flags})) == [[("user", Q), ("assistant", f"{A}\n\n{A}")]]


def test_mails_exported_without_their_thread_are_of_their_customer(tmp_path: Path) -> None:
    mails: list[Any] = [
        {"id": str(i), "createdAt": at(i), "archived": False, "properties": {"hs_timestamp": at(i), **told}}
        for i, told in enumerate(
            {"hs_email_direction": way, "hs_email_text": text, "hs_email_from_email": by, "hs_email_to_email": to}
            for who in ("ann@x.example", "bob@x.example")
            for way, text, by, to in (("INCOMING_EMAIL", Q, who, "us@x.example"), ("EMAIL", A, "us@x.example", who))
        )
    ]
    assert [len(c.messages) for c in read(tmp_path, {"results": mails}).records] == [2, 2]
    for mail in mails:
        del mail["properties"]["hs_email_from_email"], mail["properties"]["hs_email_to_email"]
    with pytest.raises(ValueError, match="one side alone"):
        read(tmp_path, {"results": mails})


def test_notes_to_colleagues_answer_nobody(tmp_path: Path) -> None:
    """Dixa's lie within `attributes`; of Chatra's chat of a customer and a note nothing is an answer."""
    told = (("Inbound", False, Q), ("Outbound", True, "angry"), ("Outbound", False, A))
    dixa = [
        {"id": f"{i}", "attributes": {"direction": way, "isInternal": note, "content": {"value": text}}}
        | {"conversation_id": "c", "created_at": at(i)}
        for i, (way, note, text) in enumerate(told)
    ]
    found = read(tmp_path, dixa)
    assert [[m.text for m in c.messages] for c in found.records if isinstance(c, Conversation)] == [[Q, A]]
    assert found.changed[NOTES] == 1
    alone = CHATRA | {"messages": CHATRA["messages"][:2]}
    with pytest.raises(ValueError, match="ends with the user"):
        read(tmp_path, alone)
