"""Mails (mbox, eml, Outlook's tables) -> dialogues: one a thread, by ids, a ticket's number, or their subject.

Quoted mails and signatures stay here; `steersman cold legacy` takes them out and shows them.
"""

from __future__ import annotations

import dataclasses
import datetime
import email
import email.errors
import email.policy
import email.utils
import itertools
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage, MIMEPart
from typing import Any

from steersman.data import chatlog, encodings
from steersman.data.chatlog import Said
from steersman.data.containers import Part
from steersman.data.formats.exports import THREAD_DAYS
from steersman.data.formats.markup import text_of
from steersman.data.partners import TAKEN, team_of
from steersman.data.readers import SHOWN, Record
from steersman.data.reading import Reading
from steersman.data.shelves import Numbers, Pile, Shelf
from steersman.data.speakers import ANYBODY, Speakers, ask_speakers, name_key, speakers_of
from steersman.data.stamps import When

HEAD = re.compile(
    r"(?:Return-Path|Received|Delivered-To|Message-ID|From|To|Subject|Date|MIME-Version|X-[\w-]+|DKIM-Signature|"
    r"Reply-To|Content-Type|ARC-[\w-]+|Authentication-Results|Envelope-To):",
    re.I,
)
SEPARATOR = re.compile(rb"From \S+.*\d{4}")
REPLY = re.compile(
    r"\s*(?:(?:re|aw|antw|fw|fwd|wg|tr|sv|回复|回覆|答复|转发|轉寄)(?:\[\d+\])?\s*[:：]|\[(?:ext|extern|external)\])\s*",
    re.I,
)
TICKET = re.compile(
    r"\[?(?:ticket|case|vorgang|工单)\s?(?:id|nr|no|号)?[.:#：\s]*#?\s?([A-Z]{0,5}-?\d{3,})\]?|\[#(\d{3,})\]", re.I
)
CUT_OFF = email.errors.CloseBoundaryNotFoundDefect
AUTO = ("auto_reply", "bulk", "junk")
"""Values of Precedence of mails that no person wrote to another."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail: where it begins, who wrote to whom, when, and what."""

    line: int
    file: str
    id: str
    answers: tuple[str, ...]
    """Ids of the mails it answers."""
    sender: str
    name: str
    to: tuple[str, ...]
    subject: str
    at: datetime.datetime | None
    text: str


SIDES = ("", "user", "assistant")
TABLES = (
    ("subject", "from: (address)", "from: (name)", "to: (address)", "body"),
    ("betreff", "von: (adresse)", "von: (name)", "an: (adresse)", "text"),
)
"""Columns of Outlook's tables: subject, sender, the sender's name, who gets it, text."""
SUFFIXES = (".eml", ".mbox", ".mbx")


def looks_like(part: Part) -> bool:
    """Whether a part begins as a mail or an mbox does, in whatever encoding its mails are."""
    if part.kind != "text":
        return False
    lines = part.head.lstrip(b"\xef\xbb\xbf\r\n").decode("latin-1").split("\n")
    mbox = bool(lines) and SEPARATOR.match(lines[0].encode("latin-1"))
    head = list(itertools.takewhile(str.strip, lines[1:] if mbox else lines))
    known = {m[0].casefold() for line in head if (m := HEAD.match(line))}
    begins = bool(head) and HEAD.match(head[0]) is not None
    return begins and "from:" in known and bool({"date:", "message-id:", "received:"} & known)


def scan_mail(part: Part, reading: Reading) -> Iterator[Record]:
    """Every mail of a part as a Record of a `Mail`; `threaded` makes dialogues of those of all files."""
    for line, raw in _messages(part):
        try:
            mail = _parsed(line, part.name, email.message_from_bytes(raw, policy=email.policy.default), reading)
        except (
            ValueError,
            LookupError,
            AttributeError,
            IndexError,
            TypeError,
        ) as error:  # of odd headers
            yield Record(line, None, raw[:SHOWN].decode("utf-8", "replace"), f"expected a mail: {error}")
            continue
        if mail is not None:
            yield Record(line, mail, mail.text[:SHOWN])


def is_table(columns: Iterable[str]) -> bool:
    """Whether a table is a folder that Outlook exported, in English or German."""
    return any({sender, body} <= {c.casefold() for c in columns} for _, sender, _, _, body in TABLES)


def of_rows(records: Iterable[Record], file: str, reading: Reading) -> Iterator[Record]:
    """The rows of such a table as mails; they have no dates and no ids, so threads are by subject."""
    for record in records:
        if record.error:
            yield record
            continue
        row = {str(key).casefold(): str(value or "").strip() for key, value in record.value.items()}
        subject, sender, name, to, body = next(names for names in TABLES if names[1] in row)
        if not row[sender] or not row[body]:
            reading.changed["mails without a sender or a text left out"] += 1
            continue
        people = tuple(a.strip().casefold() for a in row.get(to, "").split(";") if a.strip())
        own, about = f"<{file}:{record.line}>", " ".join(row.get(subject, "").split())
        text = row[body].replace("\r\n", "\n")
        mail = Mail(record.line, file, own, (), row[sender].casefold(), row.get(name, ""), people, about, None, text)
        yield dataclasses.replace(record, value=mail)


def _messages(part: Part) -> Iterator[tuple[int, bytes]]:
    """(line, bytes) of each mail: at every 'From ' line after a blank one, in an mbox; else the whole part."""
    mbox = bool(SEPARATOR.match(part.head.lstrip(b"\r\n")))
    held: list[bytes] = []
    begun, blank = 1, True
    with part.open() as file:
        for number, line in enumerate(file, 1):
            if mbox and blank and SEPARATOR.match(line):
                if any(piece.strip() for piece in held):
                    yield begun, b"".join(held)
                held, begun = [], number
                continue
            blank = not line.strip()
            held.append(line[1:] if re.match(rb">+From ", line) and mbox else line)
    if any(piece.strip() for piece in held):
        yield begun, b"".join(held)


def _parsed(line: int, file: str, mail: Any, reading: Reading) -> Mail | None:
    """The mail's facts and text; None (counted) for what no person wrote."""
    notes = reading.changed
    if _automatic(mail):
        notes["mails of machines (out of office, bounces, newsletters) left out"] += 1
        return None
    name, sender = email.utils.parseaddr(str(mail.get("From", "")))
    if not sender:
        raise ValueError("no address in From")
    to = [a for _, a in email.utils.getaddresses([str(v) for k in ("To", "Cc") for v in mail.get_all(k, [])])]
    answers = re.findall(r"<[^<>\s]+>", f"{mail.get('References', '')} {mail.get('In-Reply-To', '')}")
    subject = " ".join(str(mail.get("Subject", "")).split())
    text = _text(mail, notes)
    if not text and subject:
        text = REPLY.sub("", subject)
        notes["mails without text, whose subject is taken"] += 1
    notes["mails that end in the middle of their parts kept"] += any(isinstance(d, CUT_OFF) for d in mail.defects)
    own = str(mail.get("Message-ID", "")).strip() or f"<{file}:{line}>"
    people = tuple(a.casefold() for a in to if a)
    return Mail(line, file, own, tuple(answers), sender.casefold(), name, people, subject, _when(mail), text)


def _automatic(mail: EmailMessage) -> bool:
    auto = str(mail.get("Auto-Submitted", "no")).casefold()
    bounced = mail.get_content_type() == "multipart/report" or "mailer-daemon" in str(mail.get("From", "")).casefold()
    listed = str(mail.get("Precedence", "")).strip().casefold() in AUTO or "X-Autoreply" in mail
    return auto not in ("no", "") or bounced or listed


def _when(mail: EmailMessage) -> datetime.datetime | None:
    try:
        at = email.utils.parsedate_to_datetime(str(mail.get("Date", "")))
    except (ValueError, TypeError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)


def _text(mail: EmailMessage, notes: Counter[str]) -> str:
    notes["attachments of mails left out"] += sum(1 for _ in mail.iter_attachments()) if mail.is_multipart() else 0
    part = mail.get_body(("plain", "html"))
    if part is None:
        return ""
    text = _decoded(part, notes)
    if part.get_param("format") == "flowed":  # a space at a line's end: the paragraph goes on (RFC 3676)
        joined = r"\1" if part.get_param("delsp") == "yes" else r"\1 "
        text = re.sub(r"(?m)^((?!>|-- \r?$).*) \r?\n(?!>|-- )", joined, text)  # a quote's lines stay lines
    if part.get_content_type() == "text/html":
        text = text_of(text)
    return re.sub(r"\n{3,}", "\n\n", text.replace("\r\n", "\n")).strip()


def _decoded(part: MIMEPart, notes: Counter[str]) -> str:
    """A part's text; where it names no encoding, or a wrong one, in the one that it surely is, or UTF-8 (counted)."""
    raw = part.get_payload(decode=True)
    raw = raw if isinstance(raw, bytes) else str(raw).encode()
    named = part.get_content_charset()
    try:
        return raw.decode(named or "utf-8")
    except (LookupError, UnicodeError):
        guesses = encodings.guesses(raw)
        found = guesses[0].encoding if encodings.sure(guesses) else "utf-8"
        notes[f"mails that name no encoding or a wrong one, read as {found}"] += 1
        return raw.decode(found, "replace")


def threaded(records: Iterable[Record], reading: Reading) -> Iterator[Record]:
    """The records with the mails among them, whatever files they are from, gathered into dialogues at the end."""
    mails, seen, read = Shelf[Mail](), Numbers[str](), 0
    for record in records:
        if not isinstance(record.value, Mail):
            yield record
            continue
        mail, read = record.value, read + 1
        if seen.get_or("\n".join((mail.id, mail.sender, str(mail.at))), read) == read:
            mails.append(mail)
    reading.changed["mails that came again (the same id, sender and time) left out"] += read - len(mails)
    if not mails:
        return
    speakers = speakers_of(reading.speakers) or _team(mails, reading)
    sides = Numbers[str]()
    for mail in mails:
        sides[mail.sender] = SIDES.index(_side(mail.sender, mail.name, speakers))
    if not any(sides.values()):
        raise ValueError(
            f"{mails[0].file}: --speakers {reading.speakers}: no mail is of theirs; expected addresses, as "
            f"'*,desk@firm.example', or domains, as '*,@firm.example'; the mails are of: {_addresses(mails)}"
        )
    for thread in threads(mails):
        who = {mail.sender: SIDES[sides[mail.sender]] for mail in thread}
        yield from _dialogues(thread, who, speakers, reading)


def _team(mails: Pile[Mail], reading: Reading) -> Speakers:
    """The sides by who takes part in several threads."""
    team = team_of((i, mail.sender) for i, thread in enumerate(threads(mails)) for mail in thread)
    if team is None:
        raise ValueError(f"{mails[0].file}: {ask_speakers(_addresses(mails))}")
    reading.tell(f"note: {mails[0].file}: {team.told()}")
    reading.changed[TAKEN] += team.chats
    return team.speakers


def _addresses(mails: Iterable[Mail]) -> str:
    return ", ".join(f"{who} ({n})" for who, n in Counter(m.sender for m in mails).most_common(12))


def _side(address: str, name: str, speakers: Speakers) -> str:
    """'user', 'assistant' or '' by the address, its domain or the name; a named side goes before '*'."""
    for key in (address, f"@{address.rpartition('@')[2]}", name_key(name)):
        for role, names in (("user", speakers.users), ("assistant", speakers.assistants)):
            if key and key in names:
                return role
    for role, names in (("user", speakers.users), ("assistant", speakers.assistants)):
        if ANYBODY in names:
            return role
    return ""


def threads(mails: Pile[Mail]) -> Iterator[list[Mail]]:
    """The mails of each thread by time: joined by ids, by a ticket's number, and answers by their subject."""
    import numpy as np

    parent = array("q", range(len(mails)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first, subjects = Numbers[str](), Numbers[str]()
    for i, mail in enumerate(mails):
        keys = [f"id {one}" for one in (mail.id, *mail.answers)]
        keys += [f"ticket {m[1] or m[2]}" for m in [TICKET.search(mail.subject)] if m]
        for key in keys:
            parent[root(i)] = root(first.get_or(key, i))
    for i, mail in enumerate(mails):
        bare = REPLY.sub("", mail.subject).casefold()
        if bare and not mail.answers:
            at = subjects.get_or("\n".join((bare, *sorted({mail.sender, *mail.to[:1]}))), i)
            undated = at != i and mail.at is None and REPLY.match(mails[at].subject)  # an answer may stand before it
            if REPLY.match(mail.subject) or undated:
                parent[root(i)] = root(at)
    # threads come in the order of their first mails
    roots = np.fromiter(map(root, range(len(mails))), np.int64, len(mails))
    _, begins, of = np.unique(roots, return_index=True, return_inverse=True)
    order = np.argsort(begins[of], kind="stable")
    early = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    for _, places in itertools.groupby(order.tolist(), key=lambda i: roots[i]):
        thread = [mails[i] for i in places]  # of those without a date, answers come after what they answer
        yield sorted(thread, key=lambda m: (m.at or early, m.at is None and REPLY.match(m.subject) is not None))


def _dialogues(thread: Sequence[Mail], sides: dict[str, str], speakers: Speakers, reading: Reading) -> Iterator[Record]:
    """The dialogues of one thread; mails among colleagues are left out, other people's words end a dialogue."""
    said: list[Said] = []
    for mail in thread:
        others = [_side(to, "", speakers) for to in mail.to]
        if sides[mail.sender] == "assistant" and others and all(side == "assistant" for side in others):
            reading.changed["mails among colleagues left out"] += 1
        elif not mail.text:
            reading.changed["mails without a text left out"] += 1
        else:
            at = mail.at
            when = When((at.year, at.month, at.day), "ymd", at.hour * 3600 + at.minute * 60 + at.second) if at else None
            said.append(Said(mail.line, when, mail.sender, mail.text))
    by_side = {side: frozenset(who for who, of in sides.items() if of == side) for side in ("user", "assistant")}
    known = Speakers(by_side["user"], by_side["assistant"])
    if any(known.role(m.who) for m in said):
        hours = dataclasses.replace(reading, session_hours=24.0 * THREAD_DAYS, speakers="by address")
        for record in chatlog.dialogues(said, known, thread[0].file, hours):
            yield dataclasses.replace(record, file=thread[0].file)
