"""Exports of help desks that name things in their own way -> the form that `exports` reads: a ticket with `comments`.

Jira Service Management (issues of its API or export, rows of its CSV), Freshdesk's account export, osTicket's table of
thread entries, ServiceNow's journal in a field of an incident.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data.formats.fields import plain

Record = Mapping[str, Any]
ENTRY = {"M": "user", "R": "assistant", "N": "note"}
"""osTicket's types of thread entries."""
STAMPED = re.compile(r"(?P<at>[^;\n]{6,40});(?P<who>[^;\n]{1,80});(?P<text>.*)", re.S)
"""Pattern of a comment in a cell of Jira's CSV: time, author, text."""
COMMENT = re.compile(r"Comment(?: \(\d+\))?")
JOURNAL = re.compile(
    r"^(?P<at>\d[\d/.-]{7,9}[ T]\d{1,2}:\d{2}(?::\d{2})?(?: [AP]M)?) - "
    r"(?P<who>[^\n]{1,80}?) \((?P<kind>[^()\n]{1,40})\)[ \t\r]*$",
    re.M,
)
"""Pattern of the line above an entry of ServiceNow's journal."""
JOURNALS = ("comments_and_work_notes", "comments", "additional_comments")
ASKERS = ("caller_id", "caller", "opened_by", "requested_for", "requested_by", "customer", "contact", "consumer")
INTERNAL = re.compile(r"work|arbeit|travail|trabajo|trabalho|lavoro|工作|作業", re.I)
"""Pattern of what a kind of entries is called that customers do not see."""


def as_ticket(record: Record) -> Record | None:
    """The ticket in the usual form; None for records of other kinds."""
    known: Record | None = (
        _jira(record) or _request(record) or _jira_row(record) or _freshdesk(record) or _salesforce(record)
    )
    known = known or _journal(record)
    if known is None or known["comments"]:
        return known
    return {**known, "requester_id": None, "subject": known.get("description")}  # nobody has answered yet


def _jira(record: Record) -> Record | None:
    fields = record.get("fields")
    if not isinstance(fields, Mapping) or not {"comment", "description", "summary"} & fields.keys():
        return None
    found = fields.get("comment")
    comments = found.get("comments") if isinstance(found, Mapping) else found
    asked = _account(fields.get("reporter")) or _account(fields.get("creator"))
    return {
        "id": record.get("key") or record.get("id"),
        "description": _adf(fields.get("description")) or _adf(fields.get("summary")),
        "comments": [
            {
                "body": _adf(c.get("body")),
                "incoming": _account(c.get("author")) == asked or _is_customer(c.get("author")),
                "public": not (c.get("jsdPublic") is False or c.get("visibility")),
                "created_at": c.get("created"),
            }
            for c in comments or ()
            if isinstance(c, Mapping)
        ],
    }


def _request(record: Record) -> Record | None:
    """A request of Jira Service Management's own API, with its comments beside it."""
    comments, asked = record.get("comments", record.get("comment")), _account(record.get("reporter"))
    found = comments.get("values", ()) if isinstance(comments, Mapping) else comments
    if "issueKey" not in record or not asked or not isinstance(found, list | tuple):
        return None
    given = [f for f in record.get("requestFieldValues") or () if isinstance(f, Mapping)]
    texts = {f.get("fieldId"): _adf(f.get("value")) for f in given}
    return {
        "id": record["issueKey"],
        "description": texts.get("description") or texts.get("summary") or record.get("summary"),
        "comments": [
            {**c, "body": _adf(c.get("body")), "incoming": _account(c.get("author")) == asked}
            for c in found
            if isinstance(c, Mapping)
        ],
    }


def _salesforce(record: Record) -> Record | None:
    """A case of Salesforce with what a query of its comments or mails put inside."""
    inside = [record[k] for k in ("EmailMessages", "CaseComments") if isinstance(record.get(k), Mapping)]
    if "CaseNumber" not in record or not inside:
        return None
    items = [m for one in inside for m in one.get("records") or () if isinstance(m, Mapping)]
    mails = any("TextBody" in m for m in items)
    asked = record.get("Description") or record.get("Subject")
    return {"id": record["CaseNumber"], "comments": items} | ({} if mails else {"description": asked})


def _journal(record: Record) -> Record | None:
    """An incident of ServiceNow whose comments and work notes stand in one text, the newest first."""
    fields = {plain(str(key)): value for key, value in record.items()}
    text = next((str(fields[k] or "").strip() for k in JOURNALS if JOURNAL.match(str(fields.get(k) or "").strip())), "")
    who = {_shown(fields.get(k)) for k in ASKERS} - {""}
    if not text or not who:
        return None
    found = [*JOURNAL.finditer(text)]
    ends = [*(m.start() for m in found[1:]), len(text)]
    items = [
        {"body": text[m.end() : end].strip(), "incoming": m["who"].strip() in who, "created_at": m["at"]}
        | {"public": INTERNAL.search(m["kind"]) is None}
        for m, end in zip(found, ends, strict=True)
    ]
    asked = _shown(fields.get("description")) or _shown(fields.get("short_description"))
    return {
        "id": _shown(fields.get("number")) or fields.get("sys_id"),
        "description": asked,
        "comments": items if len(items) > 1 and found[0]["at"] < found[-1]["at"] else items[::-1],
    }


def _shown(value: Any) -> str:
    value = (
        next((value[k] for k in ("display_value", "name") if value.get(k)), "") if isinstance(value, Mapping) else value
    )
    return str(value or "").strip()


def _account(person: Any) -> str:
    if not isinstance(person, Mapping):
        return str(person or "")
    return str(next((person[k] for k in ("accountId", "key", "name", "emailAddress") if person.get(k)), ""))


def _is_customer(person: Any) -> bool:
    return isinstance(person, Mapping) and person.get("accountType") == "customer"


def _adf(value: Any) -> str:
    """The text of Atlassian's document format, or a string as it is."""
    if isinstance(value, str):
        return value
    return re.sub(r"\n{3,}", "\n\n", "".join(_nodes(value))).strip()


def _nodes(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for one in node:
            yield from _nodes(one)
    elif isinstance(node, Mapping):
        kind = node.get("type")
        yield "- " if kind == "listItem" else "\n" if kind == "hardBreak" else str(node.get("text", ""))
        if kind == "mention":
            yield str((node.get("attrs") or {}).get("text", ""))
        yield from _nodes(node.get("content"))
        yield "\n" if kind in ("paragraph", "heading", "codeBlock", "listItem") else ""


def has_comments(record: Record) -> bool:
    """Whether the columns are those of Jira's CSV with comments, or of ServiceNow's with its journal."""
    names = {plain(str(key)) for key in record}
    if JOURNALS[0] in names and names & {*ASKERS}:
        return True
    return {"Issue key", "Summary"} <= record.keys() and any(COMMENT.fullmatch(str(key)) for key in record)


def _jira_row(record: Record) -> Record | None:
    """A row of Jira's CSV, in which every comment is a column called Comment."""
    if not has_comments(record) or "Issue key" not in record:
        return None
    asked = {str(record.get(k, "")).strip() for k in ("Reporter", "Reporter Id", "Creator", "Creator Id")} - {""}
    found = [m for k, v in record.items() if COMMENT.fullmatch(str(k)) and (m := STAMPED.fullmatch(str(v or "")))]
    items = [{"body": m["text"], "incoming": m["who"].strip() in asked} for m in found]
    return {
        "id": record["Issue key"],
        "description": record.get("Description") or record["Summary"],
        "comments": items,
    }


def _freshdesk(record: Record) -> Record | None:
    """A ticket of the account export, in which tickets and notes are wrapped in objects of their kind."""
    ticket = record.get("helpdesk_ticket")
    if not isinstance(ticket, Mapping):
        return None
    notes = [n.get("helpdesk_note", n) for n in ticket.get("notes") or () if isinstance(n, Mapping)]
    return {
        "id": ticket.get("display_id") or ticket.get("id"),
        "description_text": ticket.get("description"),
        "description": ticket.get("description_html"),
        "comments": [{**n, "body_text": n.get("body")} for n in notes if isinstance(n, Mapping)],
    }


def entry_side(record: Record, key: str) -> str:
    """Who speaks in a row of osTicket's thread entries: user, assistant, note; '' for rows of other tables."""
    known = {"poster", "thread_id"} <= record.keys() and key == "type"
    return ENTRY.get(str(record.get("type")).strip().upper(), "") if known else ""
