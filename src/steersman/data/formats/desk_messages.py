"""One message of a help desk or a chat tool, whatever its fields are called -> side, text, time and conversation.

Zendesk (chats and events), Zoho Desk, Help Scout, HubSpot, Zammad, OTRS and Znuny, Front, Crisp, tawk.to, Chatwoot,
Salesforce, Freshchat, Gladly, Kustomer, Drift, HappyFox, Re:amaze, Groove; NetEase Qiyu, Sobot, Meiqia, Udesk, Easemob,
WeCom's archive, WeChat's tables and customer service; ServiceNow, Olark, HelpCrunch, Smartsupp, UVdesk, respond.io,
Missive. Others by their `shapes`.
Why so: decision 85 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steersman.data.formats import shapes
from steersman.data.formats.desk_sides import (
    ANSWER,
    BOT,
    FIRST,
    NOTE,
    OF_FILE,
    SYSTEM,
    USER,
    Record,
    Said,
    inner,
    is_side,
    of,
    side_of,
    yes,
)
from steersman.data.formats.fields import parsed_json

GLADLY = frozenset(("CHAT_MESSAGE", "EMAIL", "SMS", "FACEBOOK_MESSAGE", "INSTAGRAM_DIRECT", "WHATSAPP", "TWITTER"))
"""Types of its items that hold what somebody wrote to the other side."""


def _chatwoot(m: Record) -> Said:
    kinds = {"0": USER, "incoming": USER, "1": ANSWER, "outgoing": ANSWER}
    side = NOTE if yes(m["private"]) else kinds.get(str(m["messagetype"]), SYSTEM)
    bot = "bot" in str(m.get("sendertype") or of(m.get("sender"), "type")).casefold()
    return BOT if bot and side == ANSWER else side, m["content"], m.get("createdat"), m.get("conversationid")


def _helpscout(m: Record) -> Said:
    kind, author = str(m["type"]), of(m["createdby"], "type")
    sides = {"note": NOTE, "lineitem": SYSTEM, "customer": USER, "message": ANSWER, "reply": ANSWER}
    side = sides.get(kind) or (USER if author == "customer" else ANSWER)
    side = SYSTEM if m.get("state") in ("draft", "hidden") else side
    return side, m.get("body"), m.get("createdat"), m.get("conversationid")


def _zammad(m: Record) -> Said:
    return NOTE if yes(m["internal"]) else side_of(m["sender"]), m["body"], m.get("createdat"), m.get("ticketid")


def _otrs(m: Record) -> Said:
    seen = m.get("isvisibleforcustomer", "0" if "int" in str(m.get("articletype")) else "1")
    return side_of(m["sendertype"]) if yes(seen) else NOTE, m["body"], m.get("createtime"), m.get("ticketid")


def _front(m: Record) -> Said:
    side = SYSTEM if m.get("isdraft") else USER if m["isinbound"] else ANSWER
    return side, m.get("body") or m.get("text"), m.get("createdat"), of(m.get("links"), "related", "conversation")


def _crisp(m: Record) -> Said:
    side = NOTE if m["type"] == "note" else side_of(m["from"])
    side = BOT if side == ANSWER and m.get("automated") is True else side
    return side, m["content"] if m["type"] in ("text", "note") else "", m["timestamp"], m.get("sessionid")


def _tawk(m: Record) -> Said:
    return side_of(of(m["sender"], "t")), m["msg"], m.get("time"), None


def _zopim(m: Record) -> Said:
    side = USER if not str(m["nick"]).startswith("agent") else ANSWER
    if str(m["type"]) != "chat.msg":
        side = SYSTEM
    elif str(m["nick"]).startswith("agent:trigger") or str(m.get("sendertype")).casefold() == "trigger":
        side = BOT
    return side, m.get("msg"), m.get("timestamp"), None


def _hubspot(m: Record) -> Said:
    sides = {"INCOMING": USER, "OUTGOING": ANSWER}
    side = {"MESSAGE": sides.get(str(m.get("direction")), SYSTEM), "COMMENT": NOTE}.get(str(m["type"]), SYSTEM)
    return side, m.get("richtext") or m.get("text"), m.get("createdat"), m["conversationsthreadid"]


def _hubspot_mail(m: Record) -> Said:
    """Mails of HubSpot's contacts, which lie in an object of all that the system knows of each."""
    mail = m["properties"]
    side = {"INCOMING_EMAIL": USER, "EMAIL": ANSWER}.get(str(mail["hs_email_direction"]), SYSTEM)
    text = mail.get("hs_email_text") or mail.get("hs_email_html")
    customer = mail.get("hs_email_from_email" if side == USER else "hs_email_to_email")
    # exported without its thread or addresses a mail stands alone
    return side, text, mail.get("hs_timestamp"), mail.get("hs_email_thread_id") or customer or m.get("id")


def _mail(m: Record) -> Said:
    side = SYSTEM if yes(m.get("isdeleted")) else USER if yes(m["incoming"]) else ANSWER
    return side, m["textbody"] or m.get("htmlbody"), m.get("createddate") or m.get("messagedate"), m.get("parentid")


def _comment(m: Record) -> Said:
    side = ANSWER if yes(m["ispublished"]) else NOTE
    return side, m["commentbody"], m.get("createddate"), m.get("parentid")


def _zoho(m: Record) -> Said:
    """Zoho Desk's threads; its list of a ticket's conversations holds of each a summary alone, and of comments all."""
    side = USER if str(m["direction"]) == "in" else ANSWER
    side = SYSTEM if m.get("isdraft") is True or str(m.get("status")).upper() == "DRAFT" else side
    return side, m.get("plaintext") or m.get("content") or m["summary"], m.get("createdtime"), m.get("ticketid")


def _zoho_comment(m: Record) -> Said:
    side = USER if of(m.get("commenter"), "type") == "END_USER" else ANSWER
    return side if yes(m["ispublic"]) else NOTE, m["content"], m["commentedtime"], m.get("ticketid")


def _event(m: Record) -> Said:
    child = next((c for c in m["childevents"] or () if isinstance(c, Mapping) and c.get("body")), {})
    side = NOTE if child.get("public") is False else f"{FIRST}{child.get('author_id', m['updaterid'])}"
    machine = str(m.get("via")).casefold() in ("rule", "trigger", "automation")
    return SYSTEM if machine or not child else side, child.get("body"), m.get("timestamp"), m["ticketid"]


def _audit(m: Record) -> Said:
    """Zendesk's audits of a ticket: a change each, some of them with a comment."""
    said = next((e for e in m["events"] if isinstance(e, Mapping) and str(e.get("type")).endswith("Comment")), {})
    side = NOTE if said.get("public") is False else f"{FIRST}{said.get('author_id', m['authorid'])}"
    machine = of(m.get("via"), "channel") in ("rule", "system")
    return SYSTEM if machine or not said else side, said.get("body"), m.get("createdat"), m["ticketid"]


def _qiyu(m: Record) -> Said:
    text = inner(m["content"]) if str(m.get("type", m.get("mtype", "text"))) in ("text", "richtext", "1", "qa") else ""
    return USER if yes(m["fromuser"]) else ANSWER, text, m.get("time"), m.get("sessionid")


def _jd(m: Record) -> Said:
    return ANSWER if yes(m["waitersend"]) else USER, m["content"], m.get("time"), m["sid"]


def _sobot(m: Record) -> Said:
    text = inner(m["content"]) if str(m.get("msgtype", "0")) in ("0", "text", "None") else ""
    return side_of(m["sendertype"]), text, m.get("t") or m.get("sendtime"), m["cid"]


def _meiqia(m: Record) -> Said:
    side = side_of(m["from"]) if m["type"] == "message" else SYSTEM
    return side, inner(m.get("content")), m["timestamp"], m.get("convid")


def _udesk(m: Record) -> Said:
    return side_of(m["sender"]), inner(m["content"]), m.get("createdat"), m["imsubsessionid"]


def _wecom(m: Record) -> Said:
    """WeCom names customers by ids that begin with wm or wo, robots with wb."""
    who = str(m["from"])
    side = USER if who.startswith(("wm", "wo")) else BOT if who.startswith("wb") else ANSWER
    if m.get("action", "send") != "send":
        side = SYSTEM
    kind = str(m["msgtype"])
    text = of(parsed_json(m.get(kind)), "content") if kind in ("text", "markdown") else ""
    to = parsed_json(m["tolist"])  # of a table: JSON
    to = to if isinstance(to, list) else [to]
    return side, text, m["msgtime"], m.get("roomid") or "|".join(sorted([who, *map(str, to[:1])]))


def _switched(m: Record) -> Said:
    """Who of the staff came to the archive, which WeCom writes among the messages."""
    return SYSTEM, "", m["time"], m["user"]


def _wecom_service(m: Record) -> Said:
    """WeChat's customer service names who sent by a number: customers 3, the system 4, staff 5."""
    side = {"3": USER, "5": ANSWER}.get(str(m["origin"]), SYSTEM)
    return side, of(m.get("text"), "content"), m["sendtime"], f"{m.get('openkfid')}|{m.get('externaluserid')}"


def _official_account(m: Record) -> Said:
    """WeChat's official accounts: 2002 is sent to the customer, 2003 received; others tell what happened."""
    return {"2002": ANSWER, "2003": USER}.get(str(m["opercode"]), SYSTEM), m["text"], m["time"], m["openid"]


def _wechat(m: Record) -> Said:
    text = m["strcontent"] if str(m.get("type")) == "1" else ""
    return ANSWER if yes(m["issender"]) else USER, text, m.get("createtime"), m["talkerid"]


def _chatlog(m: Record) -> Said:
    text = m["content"] if str(m.get("type", "1")) == "1" else ""
    return ANSWER if yes(m["isself"]) else USER, text, m.get("time"), m["talker"]


def _freshchat(m: Record) -> Said:
    actor = m.get("actortype") or of(m.get("actor"), "actor_type")
    kinds = {"private": NOTE, "system": SYSTEM}
    texts = [of(part, "text", "content") for part in m["messageparts"]]
    text = "\n".join(t for t in texts if isinstance(t, str))
    return kinds.get(str(m["messagetype"])) or side_of(actor), text, m.get("createdtime"), m.get("conversationid")


def _gladly(m: Record) -> Said:
    kind, said = str(of(m["content"], "type")), of(m["content"], "content") or of(m["content"], "body")
    side = NOTE if "NOTE" in kind else side_of(of(m["initiator"], "type"))
    return side, said if kind in GLADLY or side == NOTE else "", m["timestamp"], m["conversationid"]


def _kustomer(m: Record) -> Said:
    inner = m["attributes"]
    side = NOTE if m["type"] == "note" else {"in": USER, "out": ANSWER}.get(str(inner.get("direction")), SYSTEM)
    text = inner.get("body") or inner.get("preview")
    return side, text, inner.get("sentAt"), of(m["relationships"], "conversation", "data", "id")


def _drift(m: Record) -> Said:
    """To Drift a user is one of the desk's people."""
    kinds = {"contact": USER, "user": BOT if m["author"].get("bot") is True else ANSWER}
    side = NOTE if str(m["type"]).startswith("private") else kinds.get(str(m["author"].get("type")), SYSTEM)
    return side, m["body"], m.get("createdat"), m["conversationid"]


def _happyfox(m: Record) -> Said:
    staff, text = of(m["by"], "type") == "staff", of(m["message"], "text") or of(m["message"], "html")
    hidden = str(of(m["message"], "message_type")).casefold() in ("p", "private")
    return NOTE if hidden else ANSWER if staff else USER, text, m.get("timestamp"), m.get("ticketid")


def _reamaze(m: Record) -> Said:
    side = USER if yes(of(m["user"], "customer?")) else ANSWER
    return (
        NOTE if str(m["visibility"]) == "1" else side,
        m["body"],
        m.get("createdat"),
        of(m.get("conversation"), "slug"),
    )


def _groove(m: Record) -> Said:
    side = NOTE if yes(m["note"]) else ANSWER if yes(m["agentresponse"]) else USER
    return side, m["plaintextbody"] or m.get("body"), m.get("createdat"), of(m.get("links"), "ticket", "href")


def _easemob(m: Record) -> Said:
    """Its export says "outgoing" of every message."""
    side = m["to"] if m["chattype"] != "chat" else "|".join(sorted((str(m["from"]), str(m["to"]))))
    return f"{FIRST}{m['from']}", shapes.words(m["payload"], shapes.DEEPER), m.get("timestamp"), side


def _journal(m: Record) -> Said:
    """ServiceNow's table of comments and work notes."""
    side = f"{FIRST}{m['syscreatedby']}" if m["element"] == "comments" else NOTE
    return side, m["value"], m.get("syscreatedon"), m["elementid"]


def _dynamics(m: Record) -> Said:
    """Dynamics 365's mails; of status 1 is a draft."""
    side = SYSTEM if str(m.get("statuscode")) == "1" else ANSWER if yes(m["directioncode"]) else USER
    return side, m["description"], m.get("senton") or m.get("createdon"), m["regardingobjectidvalue"]


def _line_account(m: Record) -> Said:
    """LINE's official accounts: a table a customer."""
    kinds = {"user": USER, "account": ANSWER}
    side = kinds.get(str(m["送信者タイプ"]).casefold(), SYSTEM)
    return side, m["内容"], f"{m.get('送信日', '')} {m.get('送信時刻', '')}".strip(), None


def _olark(m: Record) -> Said:
    """Olark names the one whom a message is for."""
    sides = {"messagetooperator": USER, "offlinemessage": USER, "messagetovisitor": ANSWER, "note": NOTE}
    return sides.get(str(m["kind"]).casefold(), SYSTEM), m["body"], m["timestamp"], None


def _helpcrunch(m: Record) -> Said:
    side = NOTE if m["type"] == "private" else side_of(m["from"]) if m["type"] == "message" else SYSTEM
    chat = m["chat"]["id"] if isinstance(m["chat"], Mapping) else m["chat"]
    return side, m["text"], m.get("createdat"), chat


def _smartsupp(m: Record) -> Said:
    side = side_of(m["subtype"]) if m["type"] == "message" else SYSTEM
    return side, of(m["content"], "text"), m.get("createdat"), None


def _uvdesk(m: Record) -> Said:
    return NOTE if m["threadtype"] == "note" else side_of(m["createdby"]), m["message"], m.get("createdat"), None


def _respond(m: Record) -> Said:
    side = {"incoming": USER, "outgoing": ANSWER}.get(str(m["traffic"]), SYSTEM)
    return side, of(m["message"], "text"), m.get("timestamp") or m["messageid"], m["contactid"]


def _missive(m: Record) -> Said:
    """Missive's mails and chats; whom a mail is from, its address alone says."""
    who = of(m["fromfield"], "address") or of(m["fromfield"], "name")
    return f"{FIRST}{who}", m.get("body"), m.get("deliveredat") or m.get("createdat"), None


FORMS: tuple[tuple[str, Callable[[Record], Said]], ...] = (
    ("messagetype private content", _chatwoot),
    ("conversationsthreadid type", _hubspot),
    ("id properties", _hubspot_mail),
    ("fromuser sessionid content", _qiyu),
    ("imsubsessionid sender content", _udesk),
    ("msgid msgtype tolist from msgtime", _wecom),
    ("msgid action time user", _switched),
    ("msgid origin msgtype sendtime", _wecom_service),
    ("openid opercode text time", _official_account),
    ("talkerid issender strcontent", _wechat),
    ("talker isself content", _chatlog),
    ("cid sendertype content", _sobot),
    ("waitersend sid content customer", _jd),
    ("ticketid childevents updaterid", _event),
    ("ticketid events authorid", _audit),
    ("messageparts messagetype", _freshchat),
    ("initiator content conversationid timestamp", _gladly),
    ("attributes relationships type", _kustomer),
    ("author conversationid body type", _drift),
    ("updateid by message", _happyfox),
    ("visibility origin body user", _reamaze),
    ("agentresponse note plaintextbody", _groove),
    ("sendertype body", _otrs),
    ("sender body internal contenttype", _zammad),
    ("isinbound recipients", _front),
    ("nick msg type", _zopim),
    ("nick type timestamp channel", _zopim),
    ("sender msg type", _tawk),
    ("incoming textbody parentid", _mail),
    ("commentbody ispublished", _comment),
    ("direction summary author createdtime", _zoho),
    ("commentedtime content ispublic", _zoho_comment),
    ("type createdby createdat", _helpscout),
    ("from type content timestamp fingerprint", _crisp),
    ("from type content timestamp sessionid", _crisp),
    ("from type content timestamp", _meiqia),
    ("msgid chattype payload from to", _easemob),
    ("elementid element value syscreatedby", _journal),
    ("directioncode description regardingobjectidvalue", _dynamics),
    ("送信者タイプ 送信者名 内容", _line_account),
    ("kind body timestamp", _olark),
    ("chat from text type", _helpcrunch),
    ("type subtype content createdat", _smartsupp),
    ("threadtype createdby message", _uvdesk),
    ("traffic message contactid messageid", _respond),
    ("fromfield tofields body", _missive),
)
"""Fields by which a system's messages are known, and their reader."""
KNOWN = tuple((frozenset(needed.split()), read) for needed, read in FORMS)
SESSIONS = (_wecom, _wecom_service, _official_account, _wechat, _chatlog, _easemob, _respond)
"""Conversations that last for years: parted where nobody spoke for some hours."""
SURELY: dict[Callable[[Record], Said], Callable[[Record], bool]] = {
    _tawk: lambda m: isinstance(m["sender"], Mapping) and "t" in m["sender"],
    _helpscout: lambda m: isinstance(m["createdby"], Mapping),
    _otrs: lambda m: not m.keys().isdisjoint(("isvisibleforcustomer", "articletype", "articleid")),
    _meiqia: lambda m: "convid" in m or ("conversationid" not in m and m["type"] == "message"),
    _freshchat: lambda m: isinstance(m["messageparts"], list),
    _hubspot_mail: lambda m: isinstance(m["properties"], Mapping) and "hs_email_direction" in m["properties"],
    _audit: lambda m: isinstance(m["events"], list),
    _gladly: lambda m: isinstance(m["content"], Mapping) and isinstance(m["initiator"], Mapping),
    _kustomer: lambda m: isinstance(m["attributes"], Mapping) and isinstance(m["relationships"], Mapping),
    _drift: lambda m: isinstance(m["author"], Mapping) and "bot" in m["author"],
    _happyfox: lambda m: isinstance(m["by"], Mapping),
    _wecom: lambda m: not str(m.get("action", "send")).isdigit(),  # else a table made of it, whose ids are others
    _switched: lambda m: m["action"] == "switch" and "text" not in m,
    _zoho: lambda m: str(m["direction"]) in ("in", "out"),
    _olark: lambda m: str(m["kind"]).casefold() in ("messagetooperator", "messagetovisitor", "offlinemessage", "note"),
    _helpcrunch: lambda m: is_side(m["from"]),
    _smartsupp: lambda m: isinstance(m["content"], Mapping),
    _qiyu: lambda m: str(m["fromuser"]).strip().casefold() in ("0", "1", "0.0", "1.0", "true", "false"),
}
"""What else a message has where other systems use the same fields."""


def usual(record: Any) -> Record | None:
    """{"side", "body", "created_at", "conversation_id"} of a message of a known system, or of a shape that tells who
    spoke; None for other records."""
    if not isinstance(record, Mapping) or "role" in record or len(record) < 3:
        return None
    plain = shapes.named(record)
    read = next((read for needed, read in KNOWN if needed <= plain.keys()), None)
    if read is None or (read in SURELY and not SURELY[read](plain)):
        return shapes.message(record)
    side, text, at, group = read(plain)
    words = text if isinstance(text, str) else ""
    at = int(at) if isinstance(at, float) else at
    key = "contact_id" if read in SESSIONS else "conversation_id"
    place = {key: str(group)} if group is not None else {OF_FILE: True} if read is _line_account else {}
    return {"side": side, "body": words, "created_at": at} | place
