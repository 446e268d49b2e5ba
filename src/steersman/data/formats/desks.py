"""Exports of help desks that name things in their own way -> the form that `exports` reads: a ticket with `comments`.

Jira Service Management (issues of its API or export, rows of its CSV), Freshdesk's account export, osTicket's table of
thread entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Record = Mapping[str, Any]
ENTRY = {"M": "user", "R": "assistant", "N": "note"}
"""osTicket's types of thread entries."""
STAMPED = re.compile(r"(?P<at>[^;\n]{6,40});(?P<who>[^;\n]{1,80});(?P<text>.*)", re.S)
"""Pattern of a comment in a cell of Jira's CSV: time, author, text."""
COMMENT = re.compile(r"Comment(?: \(\d+\))?")


def as_ticket(record: Record) -> Record | None:
    """The ticket in the usual form; None for records of other kinds."""
    return _jira(record) or _request(record) or _jira_row(record) or _freshdesk(record) or _salesforce(record)


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
    """Whether the columns are those of Jira's CSV with comments."""
    return {"Issue key", "Summary"} <= record.keys() and any(COMMENT.fullmatch(str(key)) for key in record)


def _jira_row(record: Record) -> Record | None:
    """A row of Jira's CSV, in which every comment is a column called Comment."""
    if not has_comments(record):
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
