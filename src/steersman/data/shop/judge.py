"""The rule judge: scores one answer on intent, constraint and fitness, and says where points were lost.

It knows the prompt's `meta` and the texts, nothing else. Each axis earns credit in parts, and multiplicative
penalties take it away: a wrong fact, a contradiction, a broken wish. An empty answer, an echo of the prompt or a
loop scores about 0 on every axis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steersman.data.shop import claims, cues
from steersman.types import AxisScores, Conversation

DEFAULT_LIMIT = {"en": 45, "zh": 90}
TALK_ACTS = ("friendly", "decline", "refuse_privacy", "refuse_fake", "refuse_abuse")
UNITS = {"en": "words", "zh": "characters"}


@dataclass
class Reading:
    """An answer beside its prompt, and the reasons collected so far."""

    meta: Mapping[str, Any]
    prompt: str
    user: str
    text: str
    language: str
    reasons: list[str] = field(default_factory=list)

    def lose(self, factor: float, reason: str) -> float:
        self.reasons.append(reason)
        return factor

    @property
    def act(self) -> str:
        return str(self.meta["act"])

    @property
    def limit(self) -> int:
        wishes = {c["type"]: c["value"] for c in self.meta["constraints"]}
        return int(wishes.get("max_len") or DEFAULT_LIMIT[self.meta["answer_in"]])


def _read(prompt: Conversation, answer: str) -> Reading:
    meta = prompt.meta
    if meta.get("domain") != "shop" or "act" not in meta:
        raise ValueError(
            f"conversation {prompt.id!r}, meta: expected the shop's facts (domain 'shop'), got {sorted(meta)}"
        )
    said = list(prompt.messages)
    if said and said[-1].role == "assistant":
        said.pop()  # A demonstration is judged as the prompt it answers.
    text = claims.normal(answer.strip())
    language = "zh" if claims.language_share(text, "zh") >= 0.5 else "en"
    whole = claims.normal("\n".join(m.text for m in said))
    return Reading(meta, whole, claims.normal("\n".join(m.text for m in said if m.role != "system")), text, language)


def judge(prompt: Conversation, answer: str) -> AxisScores:
    """Score an answer to a prompt of the shop (a demonstration is judged by its prompt).

    Deterministic. Raises ValueError for a conversation without the shop's meta.
    """
    reading = _read(prompt, answer)
    sense = _sense(reading)
    if sense == 0:
        return AxisScores(0.0, 0.0, 0.0, tuple(reading.reasons))
    act = _act(reading)
    key, support = _facts(reading)
    intent = _intent(reading, act, key) * sense
    constraint = _constraint(reading, act, key, support) * sense
    fitness = _fitness(reading, intent) * sense
    intent, constraint, fitness = (round(min(1.0, max(0.0, x)), 4) for x in (intent, constraint, fitness))
    return AxisScores(intent, constraint, fitness, tuple(dict.fromkeys(reading.reasons)))


def _sense(r: Reading) -> float:
    """1 for an answer in sentences of its own; less for loops, echoes and lists of key words; 0 for nothing."""
    if not re.search(r"[^\W_]", r.text):
        return r.lose(0.0, "is empty")
    sense = 1.0
    repeated = claims.repetition(r.text, r.language)
    parts = [s.strip().lower() for s in claims.sentences(r.text)]
    if repeated > 0.45 or len(parts) - len(set(parts)) >= 2:
        sense *= r.lose(0.05, "repeats itself in a loop")
    elif repeated > 0.3 or len(set(parts)) < len(parts):
        sense *= r.lose(0.6, "repeats itself")
    bare = re.sub(r"\W+", "", r.text.lower())
    copied = max(claims.overlap(r.text, r.prompt, r.language), claims.overlap(r.text, r.user, r.language))
    if (bare and bare in re.sub(r"\W+", "", r.prompt.lower()) and len(bare) > 6) or copied > 0.85:
        sense *= r.lose(0.05, "copies the prompt instead of answering")
    elif copied > 0.75:
        sense *= r.lose(0.5, "mostly copies the prompt")
    if claims.is_word_list(r.text, r.language):
        sense *= r.lose(0.3, "is a list of words rather than sentences")
    return sense


def _fact_found(r: Reading, fact: Mapping[str, Any]) -> bool:
    kind = fact["kind"]
    if kind in ("text", "colour", "material", "carrier"):
        return any(claims.find(r.text, form) >= 0 for form in fact["any"])
    return any(m.raw == fact["raw"] for m in claims.mentions(r.text, kind))


def _name_of(fact: Mapping[str, Any], language: str) -> str:
    """A fact in an English sentence; Chinese forms only where the English would not be recognised."""
    forms = [f for f in fact["any"] if bool(claims.CJK.search(f)) == (language == "zh")] or fact["any"]
    labels = {"order": "order number ", "text": "", "money": "amount ", "days": "period ", "years": "period "}
    return f"{labels.get(fact['kind'], fact['kind'] + ' ')}{forms[0]}"


def _facts(r: Reading) -> tuple[float, float]:
    """Shares of the key facts and of the support groups that the answer names (1 where there are none)."""
    key, groups = r.meta["key"], r.meta["support"]
    language = r.meta["answer_in"]
    missing = [f for f in key if not _fact_found(r, f)]
    for f in missing:
        r.reasons.append(f"does not name the {_name_of(f, language)}")
    lacking = [g for g in groups if not any(_fact_found(r, f) for f in g)]
    for group in lacking:
        r.reasons.append("does not name the " + " or ".join(_name_of(f, language) for f in group))
    return 1 - len(missing) / max(1, len(key)), 1 - len(lacking) / max(1, len(groups))


def _act(r: Reading) -> float:
    """How far the answer performs the act that was wanted, in [0, 1]."""
    act, text, language = r.act, r.text, r.language
    if act == "status":
        claimed, _ = claims.statuses(text, language)
        return 1.0 if r.meta["status"] in claimed else r.lose(0.0, f"does not say that the order is {r.meta['status']}")
    if act in ("return_yes", "return_no", "stock_yes", "stock_no"):
        topic, side = act.split("_")
        good = claims.says(cues.POLARITY[topic][side], language, text)
        return 1.0 if good else r.lose(0.0, f"does not answer the question about the {topic} with {side}")
    if act == "correct":
        score = 0.5 if claims.says(cues.CORRECTS, language, text) else r.lose(0.0, "does not correct the customer")
        status = r.meta["status"]
        if not status:
            return score * 2
        if status in claims.statuses(text, language)[0]:
            return score + 0.5
        return r.lose(score, f"does not say that the order is {status}")
    if act in cues.REASONS:
        score = 0.6 if claims.says(cues.DECLINES, language, text) else r.lose(0.0, "does not decline")
        if score and claims.says(cues.REASONS[act], language, text):
            return 1.0
        return r.lose(score, "does not say what can be done instead" if act == "decline" else "gives no reason")
    parts = cues.ACTS[act]
    found = sum(claims.says(cue, language, text) for cue in parts) / len(parts)
    return found if found == 1 else r.lose(found, f"does not do what was wanted ({act.replace('_', ' ')})")


def _contradicts(r: Reading) -> bool:
    """Claims that exclude each other or the truth."""
    act, status = r.act, r.meta["status"]
    if status:
        claimed, denied = claims.statuses(r.text, r.language)
        wrong = claimed - {status, *cues.COMPATIBLE.get(status, ())}
        if wrong:
            r.reasons.append(f"claims that the order is {' and '.join(sorted(wrong))} but it is {status}")
        if status in denied:
            r.reasons.append(f"denies that the order is {status}")
        return bool(wrong) or status in denied
    if act in ("return_yes", "return_no", "stock_yes", "stock_no"):
        topic, side = act.split("_")
        other = "no" if side == "yes" else "yes"
        if claims.says(cues.POLARITY[topic][other], r.language, r.text):
            r.reasons.append(f"says {other} about the {topic} where {side} is right")
            return True
    if act in cues.REASONS and claims.says(cues.COMPLIES, r.language, r.text):
        r.reasons.append("complies with what it should decline")
        return True
    return False


def _strays(r: Reading) -> list[str]:
    """Facts of the kinds in question that are not the right ones, though they may stand in the prompt."""
    key = r.meta["key"]
    kinds = {f["kind"] for f in key} | ({"date", "money", "days"} if r.act in TALK_ACTS else set())
    right = {(f["kind"], f["raw"]) for f in key}
    deny = {(f["kind"], f["raw"]) for f in r.meta["deny"]}
    strays = []
    for kind in sorted(kinds - {"text"}):
        for raw, start in claims.mentions(r.text, kind):
            if (kind, raw) in right:
                if claims.negated(r.text, start, r.language):
                    strays.append(f"denies the right {kind} {raw}")
            elif (kind, raw) in deny:
                if not claims.negated(r.text, start, r.language):
                    strays.append(f"repeats the customer's wrong {kind} {raw}")
            else:
                strays.append(f"names a {kind} that is not the answer: {raw}")
    return strays


def _foreign_orders(r: Reading) -> list[str]:
    own = set(r.meta["orders"])
    return sorted({m.raw for m in claims.mentions(r.text, "order") if m.raw not in own and len(m.raw) >= 5})


def _intent(r: Reading, act: float, key: float) -> float:
    score = 0.4 * act + 0.6 * key if r.meta["key"] else act
    if _contradicts(r):
        score *= 0.25
    strays = _strays(r)
    if strays:
        r.reasons.extend(strays[:3])
        score *= 0.4 if len(strays) == 1 else 0.2
    foreign = _foreign_orders(r)
    if foreign and r.act != "refuse_privacy":
        score *= r.lose(0.4, f"names an order that is not the customer's: {foreign[0]}")
    if r.act not in cues.REASONS and claims.says(cues.REFUSES, r.language, r.text):
        score *= r.lose(0.3, "refuses where help was possible")
    if r.language != r.meta["answer_in"]:
        score *= 0.6
    length = claims.count_length(r.text, r.language)
    if length > 3 * DEFAULT_LIMIT[r.language]:
        score *= r.lose(0.4, "buries the answer in far too much text")
    return score


def _invented(r: Reading) -> list[str]:
    found = []
    for kind in claims.NUMERIC_KINDS:
        known = {m.raw for m in claims.mentions(r.prompt, kind)}
        found += [f"{kind} {m.raw}" for m in claims.mentions(r.text, kind) if m.raw not in known]
    return list(dict.fromkeys(found))


def _constraint(r: Reading, act: float, key: float, support: float) -> float:
    """The share of facts kept, lessened by each thing that breaks a rule or a wish of the customer."""
    facts, groups = len(r.meta["key"]), len(r.meta["support"])
    kept = (key * facts + support * groups) / (facts + groups) if facts + groups else act
    # Rules that any text keeps are worth little where the answer says nothing of the case.
    score = 0.25 + 0.75 * kept if act or kept else 0.15
    invented = _invented(r)
    if invented:
        score *= r.lose(0.6 if len(invented) == 1 else 0.4, f"invents the {', '.join(invented[:3])}")
    wanted = r.meta["answer_in"]
    share = claims.language_share(r.text, wanted)
    if share < 0.75:
        score *= r.lose(0.2 + 0.4 * share, f"is not written in {'Chinese' if wanted == 'zh' else 'English'}")
    length = claims.count_length(r.text, r.language)
    limit = DEFAULT_LIMIT[r.language]
    if length > limit:
        score *= r.lose(
            max(0.2, 1.15 - length / limit * 0.35), f"is too long: {length} {UNITS[r.language]}, limit {limit}"
        )
    for wish in r.meta["constraints"]:
        broken = _broken(r, wish["type"], int(wish["value"]))
        if broken:
            score *= r.lose(0.6, broken)
    if claims.says(cues.RUDE, r.language, r.text):
        score *= r.lose(0.6, "blames the customer or is rude")
    if r.meta["intent"] == "complaint" and not claims.says(cues.APOLOGISES, r.language, r.text):
        score *= r.lose(0.85, "does not apologise for the trouble")
    return score


def _broken(r: Reading, wish: str, value: int) -> str:
    """What is wrong about one explicit wish of the customer; '' where it is kept."""
    text = r.text
    if wish == "one_sentence":
        count = len(claims.sentences(text))
        return f"has {count} sentences, one was wanted" if count != 1 else ""
    if wish == "max_len":
        length = claims.count_length(text, r.language)
        return f"has {length} {UNITS[r.language]}, at most {value} were wanted" if length > value else ""
    if wish == "numbered":
        marks = [int(m) for m in re.findall(r"^\s*(\d{1,2})[.、)]", text, re.M)]
        return "" if len(marks) >= 2 and marks == list(range(1, len(marks) + 1)) else "is not a numbered list"
    if wish == "no_exclaim":
        return "uses an exclamation mark" if re.search(r"[!！]", text) else ""
    if wish == "yes_no":
        right, wrong = ("yes", "no") if r.meta["polarity"] == "yes" else ("no", "yes")
        forms = {"yes": r"(yes\b|是(?!否))", "no": r"(no\b|否|不是)"}
        if re.match(forms[right], text, re.I):
            return ""
        return (
            f"starts with {wrong}, {right} is right"
            if re.match(forms[wrong], text, re.I)
            else f"does not start with {right}"
        )
    if wish == "order_end":
        return (
            "" if re.sub(r"[\s\W]+$", "", text).endswith(r.meta["order_end"]) else "does not end with the order number"
        )
    if wish == "use_name":
        call = r.meta["customer"]["call"]
        names = [call, *r.meta["customer"]["name"].split(), call[:-2] if claims.CJK.search(call) else call]
        return "" if any(claims.find(text, name) >= 0 for name in names) else "does not address the customer by name"
    assert wish == "language", wish
    return ""  # Counted with the language of every answer.


def _fitness(r: Reading, intent: float) -> float:
    """Manners: opening, offer, courtesy, a whole last sentence, a tidy length, the right tone."""
    text, language = r.text, r.language
    limit = r.limit if language == r.meta["answer_in"] else DEFAULT_LIMIT[language]
    length = claims.count_length(text, language)
    score = 0.0
    head = text[:60] if language == "en" else text[:20]
    score += (
        0.2 if claims.says(cues.GREETS, language, head) else r.lose(0.0, "does not greet or acknowledge the customer")
    )
    if claims.says(cues.OFFERS, language, text):
        score += 0.2
    else:
        r.reasons.append("offers no next step or further help")
    tail = text[len(text) // 2 :]
    score += 0.15 if claims.says(cues.COURTEOUS, language, tail) else r.lose(0.0, "has no courteous closing")
    score += 0.15 if re.search(r"[.!?。！？~)）…]\s*$", text) else r.lose(0.0, "breaks off in its last sentence")
    tidy = 1.0 if length <= limit else max(0.0, 1 - (length / limit - 1) * 1.5)
    score += 0.15 * tidy if tidy == 1 else r.lose(0.15 * tidy, "rambles")
    tone = 0.15
    if claims.says(cues.RUDE, language, text):
        tone = r.lose(0.0, "blames the customer or is rude")
        score *= 0.5
    if r.meta["intent"] == "complaint" and not claims.says(cues.APOLOGISES, language, text):
        tone = r.lose(0.0, "does not apologise for the trouble")
    score += tone
    if length > 2 * limit:
        score *= 0.5
    # A friendly tone without help is not good service.
    return score * (0.4 + 0.6 * min(1.0, intent / 0.6))
