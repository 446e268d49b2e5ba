"""Fields that say with yes or no whether one side spoke: `inbound`, `is_customer`, `waiter_send`, 是否客服."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.fields import plain

_USERS = "customer|client|user|visitor|buyer|guest|requester|客户|顾客|用户|买家|访客"
_STAFF = "agent|waiter|staff|seller|servicer|operator|employee|support|admin|bot|me|self|客服|坐席|座席|商家|卖家"
FLAG = re.compile(
    rf"(?!is_?me_)(?:(?P<way>inbound|incoming|outbound|outgoing)|(?:is_?|from_?|by_?|is_?from_?|sent_?by_?|是否)(?:{_USERS}|{_STAFF})"
    rf"(?:_?(?:message|msg|reply|消息|发送|发言|回复))?|(?:{_USERS}|{_STAFF})_?(?:send|sent|发送|发言))"
)
"""Pattern of such a field's name, in the form of `plain`. (`is_me_message` is a message of the kind "/me waves".)"""
ONE_OF_SEVERAL = re.compile(r"bot|admin")
"""Staff beside whom others answer too: who is none of them may be the customer, or a colleague."""
OF_USERS = re.compile(rf"inbound|incoming|{_USERS}")
SPOKEN_AS = re.compile(
    r"user|customer|visitor|client|agent|operator|bot|assistant|inbound|outbound|incoming|outgoing|note", re.I
)
"""Pattern of types of messages that say who wrote them, or that colleagues did to each other."""
YES, NO = ("true", "1", "yes", "1.0", "t", "y", "是"), ("false", "0", "no", "0.0", "f", "n", "否")


_OWN = r"(?:_?(?:name|nick(?:_?name)?|id|account|昵称|名称|姓名|账号|工号|编号))?"
OF_STAFF = re.compile(rf"(?:agent|staff|operator|waiter|seller|客服|坐席|座席|商家|卖家){_OWN}")
OF_CUSTOMERS = re.compile(rf"(?:customer|client|visitor|buyer|chatter|guest|客户|顾客|买家|访客|会员){_OWN}")
OF_ANYBODY = re.compile(rf"(?:user|用户){_OWN}")
"""Patterns of columns that name one side; a user's may name whoever wrote, but where another names the staff."""
TO = re.compile(rf"(?:recipient|receiver|to|接收方|接收人){_OWN}")


def named_side(record: Mapping[str, Any], who: str, column: Any) -> str | None:
    """The side of a writer whom another column of the row names as the customer or the agent of the conversation;
    None where no column does, or both do."""
    names = {plain(str(k)): str(v).strip() for k, v in record.items() if k != column and v not in (None, "")}
    staff = {v for n, v in names.items() if OF_STAFF.fullmatch(n)}
    people = {v for n, v in names.items() if OF_CUSTOMERS.fullmatch(n)}
    people |= {v for n, v in names.items() if OF_ANYBODY.fullmatch(n)} if staff else set()
    if staff & people:
        return None
    if who in people or who in staff:
        return "user" if who in people else "assistant"
    return "assistant" if people & {v for n, v in names.items() if TO.fullmatch(n)} else None


@functools.lru_cache(maxsize=1024)
def is_flag(name: str) -> bool:
    return FLAG.fullmatch(plain(name)) is not None


def flagged(name: str, value: Any) -> str | None:
    """'user' or 'assistant' by such a field; None for other fields, for values that are neither yes nor no, and for a
    no that leaves both (who is no bot may be an agent)."""
    said = str(value).strip().casefold()
    if said not in YES + NO or not is_flag(name):
        return None
    if said in NO and ONE_OF_SEVERAL.search(plain(name)):
        return None
    return "user" if (said in YES) == bool(OF_USERS.search(plain(name))) else "assistant"
