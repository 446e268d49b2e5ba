"""A bank's help desk for bench/outsider.py: what its agents know, how they write, and what its customers hold good.

Questions are real ones (banking77); answers are made of two facts a matter, so that what an answer says can be told.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

MATTERS: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "card_arrival": (
        ("New cards take five to seven working days to arrive.", r"(?:five|5)\W+(?:to\W+)?(?:seven|7)"),
        ("If it is later than that, order a replacement under Cards in the app.", r"replace"),
    ),
    "lost_or_stolen_card": (
        ("Freeze the card at once under Cards in the app.", r"freez"),
        ("Then order a replacement there; it is free of charge.", r"replace"),
    ),
    "change_pin": (
        ("You can change your PIN at any cash machine, under PIN services.", r"cash machine|atm"),
        ("The app shows the present PIN but does not change it.", r"\bapp\b"),
    ),
    "pin_blocked": (
        ("After three wrong entries the PIN is blocked.", r"three|3"),
        ("Unblock it at a cash machine, under PIN services.", r"unblock"),
    ),
    "passcode_forgotten": (
        ("Tap Forgot passcode on the first page of the app.", r"forgot"),
        ("We then send a link to your e-mail address, valid for one hour.", r"link"),
    ),
    "cash_withdrawal_charge": (
        ("Withdrawals are free up to 200 a month.", r"200"),
        (
            "Beyond that we charge two percent, and some machines charge a fee of their own.",
            r"(?:two|2)\W*(?:percent|%)",
        ),
    ),
    "card_payment_fee_charged": (
        ("We charge nothing for card payments in your own currency.", r"currency"),
        ("Some shops add a fee of their own, which the receipt names.", r"receipt|shop"),
    ),
    "exchange_rate": (
        ("We use the interbank rate of the moment you pay.", r"interbank"),
        ("At weekends half a percent is added, as the markets are closed.", r"weekend"),
    ),
    "pending_transfer": (
        ("Transfers within the country are done within two hours.", r"(?:two|2) hours"),
        ("Those abroad take up to three working days.", r"three|3|abroad"),
    ),
    "failed_transfer": (
        ("Please check the account number and the name of the recipient.", r"account number|recipient"),
        ("A failed transfer is paid back to you within one working day.", r"paid back|one working day"),
    ),
    "cancel_transfer": (
        ("A transfer can be cancelled while it is marked as pending.", r"pending"),
        ("Open it in the app and tap Cancel; afterwards only the recipient can send it back.", r"tap cancel|recipient"),
    ),
    "top_up_failed": (
        ("Top-ups fail mostly because your bank asks for a confirmation.", r"confirm"),
        ("Confirm it in your bank's app and try again after ten minutes.", r"again|ten"),
    ),
    "top_up_limits": (
        ("You can top up at most 5,000 a day.", r"5[,.]?000"),
        ("With a verified account the limit is 15,000.", r"15[,.]?000|verified"),
    ),
    "verify_my_identity": (
        ("Take a photo of your passport or identity card in the app, under Profile.", r"passport|identity card"),
        ("The check takes about ten minutes.", r"ten|10"),
    ),
    "why_verify_identity": (
        ("The law asks every bank to know who its customers are.", r"\blaw\b"),
        ("Your documents are deleted five years after you leave.", r"five|5 years|delet"),
    ),
    "edit_personal_details": (
        ("Change your address under Profile in the app.", r"profile"),
        ("For a new name we need a photo of the certificate.", r"certificate"),
    ),
    "request_refund": (
        ("Please ask the shop first, since it must return the money.", r"\bshop\b"),
        ("If it refuses, send us the receipt and we open a dispute.", r"dispute|receipt"),
    ),
    "transaction_charged_twice": (
        ("One of the two is mostly a reservation that disappears within seven days.", r"reserv"),
        ("If it stays, report it under Transactions in the app.", r"report"),
    ),
    "compromised_card": (
        ("Freeze the card at once under Cards in the app.", r"freez"),
        ("Then mark the payments that are not yours, and we refund them.", r"mark|refund"),
    ),
    "age_limit": (
        ("You must be 18 to open an account.", r"18"),
        ("From seven years on there is a junior account, which a parent opens.", r"junior"),
    ),
    "terminate_account": (
        ("Please empty the account first.", r"empty"),
        ("Then close it under Profile in the app; you have 14 days to change your mind.", r"close|14"),
    ),
    "apple_pay_or_google_pay": (
        ("Add the card under Cards in the app, with Add to wallet.", r"wallet"),
        ("It works at once, before the plastic card arrives.", r"at once|before"),
    ),
    "contactless_not_working": (
        ("Contactless works after the first payment with your PIN.", r"first payment|\bpin\b"),
        ("If it still fails, order a replacement card; it is free.", r"replace"),
    ),
    "country_support": (
        ("We open accounts for residents of 32 European countries.", r"32|europe"),
        ("The card itself works worldwide.", r"world"),
    ),
}
"""Matter -> its two facts, each with the words by which it is known in an answer."""
CURT = ("See the FAQ.", "We are looking into it.", "This has been forwarded.", "Please be patient.")
OPENERS = ("", "", "Thanks for writing. ", "I am sorry about that. ", "Happy to help. ")
ENDINGS = ("", "", " Let us know if that does not help.", " Write to us any time.")
NAMES = ("Anna Keller", "James O'Brien", "Priya Shah", "Tom Becker", "Laura Rossi", "Mehmet Yilmaz", "Sofie Jensen")
AGENTS = ("Nora", "Felix", "Amira")
MACRO = "This is an automatic reply. We have received your request and answer within one working day."


def answer(matter: str, rng: random.Random) -> str:
    """An agent's answer: mostly one of the facts or both, sometimes nothing of use."""
    (first, _), (second, _) = MATTERS[matter]
    chance = rng.random()
    if chance < 0.25:
        return rng.choice(CURT)
    said = first if chance < 0.4 else f"{first} {second}"
    return f"{rng.choice(OPENERS)}{said}{rng.choice(ENDINGS)}"


def best(matter: str) -> str:
    (first, _), (second, _) = MATTERS[matter]
    return f"{first} {second}"


def utility(matter: str, text: str) -> float:
    """0 to 1: the facts of the matter that an answer says, without going on and on or repeating itself."""
    words = text.split()
    if not words:
        return 0.0
    facts = sum(bool(re.search(pattern, text, re.I)) for _, pattern in MATTERS[matter])
    lines = [s.strip().casefold() for s in re.split(r"[.!?\n]+", text) if s.strip()]
    repeats = 1 - len(set(lines)) / len(lines) if lines else 0.0
    long = min(1.0, max(0, len(words) - 50) / 50)
    return max(0.0, 0.15 + 0.4 * facts + (0.05 if 8 <= len(words) <= 50 else 0.0) - 0.3 * long - 0.3 * repeats)


def ranks(values: Sequence[float], rng: random.Random, noise: float = 0.1) -> list[int]:
    """A person's ranks of answers of these utilities: near ones are ties."""
    felt = [round((v + rng.gauss(0, noise)) * 5) for v in values]
    order = sorted(set(felt), reverse=True)
    return [order.index(f) + 1 for f in felt]
