"""The labeling desk in a browser: by keyboard alone, in both languages, on a phone, and without a violation for axe."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from axe import violations
from browser_site import Site
from playwright.sync_api import Error, Page, Route, expect

from steersman.store.desk import Asker, NewTask, Submission

PHONE = {"width": 390, "height": 844}


def asks(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def fill(site: Site) -> None:
    store, answer = site.store.desk, "Thirty days <script>alert(1)</script>"
    tasks = [NewTask("demonstration", {"messages": [], "brief": "Play a customer."})]
    for kind in ("edit", "flag", "vote"):
        tasks.append(NewTask(kind, {"messages": asks("How long? 多久？"), "answer": answer}))
    store.add(tasks)
    for name, vote in (("ann", "good"), ("bob", "bad")):
        store.add([NewTask("vote", {"messages": asks("Q"), "answer": "A"}, needed=2)])
        task = store.take(Asker(name), "vote")
        while task is not None and task.answer != "A":
            store.submit(task.id, Submission(name, "skip"))
            task = store.take(Asker(name), "vote")
        assert task is not None
        store.submit(task.id, Submission(name, value={"vote": vote}, seconds=9))
    (site.workspace / "guidelines.md").write_text("# Be kind\n\nSay what you know.\n", encoding="utf-8")


def begin(site: Site, name: str, **context: Any) -> Page:
    page = site.open("/desk", **context)
    page.locator("#labeler").fill(name)
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    expect(dialog.get_by_role("heading", name="Be kind")).to_be_visible()
    page.keyboard.press("Enter")  # "I have read them"
    expect(dialog).to_have_count(0)
    expect(page.locator(".queues")).to_be_visible()
    return page


def test_every_queue_by_keyboard_alone(site: Site) -> None:
    fill(site)
    page = begin(site, "Mei", locale="en")
    press = page.keyboard.press
    press("?")
    expect(page.locator("dialog")).to_be_visible()
    press("Enter")
    expect(page.locator("dialog")).to_have_count(0)
    press("1")
    expect(page.get_by_text("Order 7: a lamp.")).to_be_visible()
    for key in "213":
        press(key)
    press("n")
    page.keyboard.type("clear")
    press("Escape")
    press("Enter")
    expect(page.get_by_text("nothing more waits")).to_be_visible()
    (ranking,) = site.store.rankings()
    assert (ranking.labeler, sorted(ranking.ranks or ())) == ("Mei", [1, 2, 3])

    press("2")
    expect(page.get_by_text("Play a customer.")).to_be_visible()
    press("a")
    page.keyboard.type("Where is it?")
    press("Escape")
    press("a")
    page.keyboard.type("My own words")
    press("Escape")
    suggested = page.get_by_text("suggested by the model", exact=True)
    press("y")
    expect(suggested).to_be_visible()
    press("Escape")
    press("z")  # which took nobody's words away
    expect(page.locator("textarea").last).to_have_value("My own words")
    press("Escape")
    press("Backspace")
    expect(page.locator("textarea")).to_have_count(1)
    press("y")
    expect(suggested).to_be_visible()
    press("Control+Enter")
    expect(page.get_by_text("nothing more waits")).to_be_visible()
    (written,) = site.store.desk.demonstrations()
    assert written.dialogue.meta["origins"] == ["suggested"]

    press("3")
    expect(page.locator("#better")).to_be_visible()
    press("e")
    press("Control+A")
    page.keyboard.type("30 days.")
    press("Control+Enter")
    expect(page.get_by_text("nothing more waits")).to_be_visible()
    press("4")
    expect(page.get_by_role("heading", name="What is wrong with it?")).to_be_visible()
    press("2")
    press("4")
    press("Enter")
    expect(page.get_by_text("nothing more waits")).to_be_visible()
    said = {f.kind: f for f in site.store.feedback() if f.user == "Mei"}
    assert said["edit"].edited == "30 days."
    assert said["flag"].flags == ("wrong", "private")

    press("5")
    expect(page.get_by_role("heading", name="Good enough?")).to_be_visible()
    with page.expect_response(lambda r: r.url.endswith("/draft") and "vote" in (r.request.post_data or "")):
        press("2")
    page.reload()
    expect(page.get_by_role("button", name="Not good enough")).to_have_attribute("aria-pressed", "true")
    press("Escape")
    expect(page.get_by_text("Unfinished")).to_be_visible()
    press("5")
    expect(page.get_by_role("button", name="Not good enough")).to_have_attribute("aria-pressed", "true")
    press("Enter")
    expect(page.get_by_text("nothing more waits")).to_be_visible()

    press("h")
    expect(page.get_by_role("heading", name="What you said")).to_be_visible()
    page.get_by_role("button", name=re.compile("Vote")).first.click()
    expect(page.get_by_text("You have labeled this before")).to_be_visible()
    press("1")
    press("Enter")
    expect(page.get_by_role("heading", name="What you said")).to_be_visible()
    assert "like" in {f.kind for f in site.store.feedback() if f.user == "Mei"}
    press("t")
    expect(page.get_by_role("heading", name="Labelers")).to_be_visible()
    more = {"all": 2}  # as where not all are shown
    page.route("**/differences*", lambda route: route.fulfill(json=route.fetch().json() | more), times=1)
    press("d")
    expect(page.get_by_text("Shown are the 1 strongest of 2.")).to_be_visible()
    page.get_by_role("button", name=re.compile("This one is right.*ann")).click()
    expect(page.get_by_text("Nobody differs")).to_be_visible()


def test_what_waits_for_somebody_is_given_back_by_one_button(site: Site) -> None:
    fill(site)
    (first, second, *_) = (task.id for task in site.store.desk.overview("vote"))
    site.store.desk.assign([first, second], ["old bob"])
    page = begin(site, "Mei", locale="en")
    page.get_by_role("link", name="Team").click()
    waits = page.locator(".waits")
    expect(waits).to_contain_text("2 tasks for old bob alone are not done yet.")
    page.get_by_label("For").last.fill("Lea")
    waits.get_by_role("button", name="Give to Lea").click()
    expect(waits).to_contain_text("2 tasks for Lea alone are not done yet.")
    page.get_by_label("For").last.fill("")
    waits.get_by_role("button", name="Give back to all").click()
    expect(waits).to_have_count(0)
    assert site.store.desk.assigned() == {}
    site.refusals = True
    given = json.dumps([{"prompt": "A lamp?", "answer": "到了", "kind": "vote"}, "Write to Ann"], indent=1)
    for text, told in ((given[:-2] + ",]", "is no JSON"), (given, "2 added, 0 were there already")):
        page.locator("#pasted").fill(text)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("alert").or_(page.get_by_role("status")).filter(has_text=told)).to_be_visible()
    tasks = {one.prompt: one.kind for one in site.store.desk.overview()}
    assert (tasks["A lamp?"], tasks["Write to Ann"]) == ("vote", "demonstration")


SLOWLY = """() => {
    const sent = window.fetch
    window.fetch = async (to, how) => {
        if (String(to).endsWith('/draft')) await new Promise((go) => setTimeout(go, 200))
        return sent(to, how)
    }
    history.back()
    setTimeout(() => history.forward(), 50)
}"""
"""Back and forward again, while the draft is still being kept."""


def test_the_address_says_what_is_shown(site: Site) -> None:
    """Back and forward lead between lists and tasks; a link to a task of somebody else's opens nothing."""
    fill(site)
    page = begin(site, "Mei", locale="en")
    page.get_by_role("link", name="Team").click()
    expect(page.get_by_role("heading", name="Labelers")).to_be_visible()
    page.go_back()
    page.locator(".queue").nth(4).click(click_count=2)
    expect(page.get_by_role("heading", name="Good enough?")).to_be_visible()
    page.keyboard.press("1")
    page.go_back()
    expect(page.get_by_text("Unfinished")).to_be_visible()
    page.go_forward()
    expect(page.locator(".option").first).to_have_attribute("aria-pressed", "true")
    page.evaluate(SLOWLY)
    page.wait_for_timeout(500)
    expect(page.locator(".option").first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Enter")  # the last of its queue, or the next one, whose list is one step back
    page.keyboard.press("Escape")
    expect(page.locator(".queues")).to_be_visible()
    expect(page).to_have_url(f"{site.url}/desk")
    held: list[Route] = []
    page.route("**/api/desk/next", lambda route: held.append(route))
    with page.expect_request("**/api/desk/next"):
        page.keyboard.press("1")
    page.keyboard.press("h")  # gone on before the task comes
    expect(page.get_by_role("heading", name="What you said")).to_be_visible()
    with page.expect_response("**/api/desk/next"):
        held[0].continue_()
    page.wait_for_timeout(200)
    expect(page).to_have_url(f"{site.url}/desk/history")
    page.unroute("**/api/desk/next")
    site.refusals = True
    page.goto(f"{site.url}/desk/history?task=no-such")
    expect(page.get_by_role("heading", name="What you said")).to_be_visible()
    expect(page).to_have_url(f"{site.url}/desk/history")


def test_no_draft_follows_a_label(site: Site) -> None:
    """It came to the server behind the label, and the task was unfinished again; one on its way is waited for."""
    fill(site)
    page = begin(site, "Mei", locale="en")
    sent: list[str] = []
    held: list[Route] = []
    page.on("request", lambda request: sent.append(request.url.rsplit("/", 1)[1]))
    page.route("**/label", lambda route: held.append(route))
    page.keyboard.press("5")
    expect(page.get_by_role("heading", name="Good enough?")).to_be_visible()
    page.keyboard.press("2")
    with page.expect_request("**/label"):
        page.keyboard.press("Enter")
    page.wait_for_timeout(1000)
    assert "draft" not in sent[sent.index("label") :]  # before it one may be kept, where the keys came slowly
    with page.expect_response("**/draft"):  # the label failed: the work is kept again
        held[0].fulfill(status=409, json={"error": {"message": "no", "code": None}})
        site.refusals = True
    page.route("**/draft", lambda route: held.append(route))
    page.unroute("**/label")
    with page.expect_request("**/draft"):
        page.keyboard.press("1")
    page.keyboard.press("Enter")
    page.keyboard.press("2")  # a hand that is at the next task already: it changed what was said of this one
    page.wait_for_timeout(300)
    assert sent.count("label") == 1
    with page.expect_request("**/label") as label, page.expect_response("**/label"):
        held[1].continue_()
    assert label.value.post_data_json["value"] == {"vote": "good"}
    expect(page.get_by_text("nothing more waits")).to_be_visible()


def test_a_server_that_says_nothing_does_not_hold_up_the_desk(site: Site) -> None:
    """Work that it did not get is sent again when the page is opened, for seconds and not until it answers."""
    fill(site)
    page = begin(site, "Mei", locale="en")
    page.keyboard.press("5")
    expect(page.get_by_role("heading", name="Good enough?")).to_be_visible()
    held: list[Route] = []
    page.route("**/draft", lambda route: held.append(route))
    with page.expect_request("**/draft"):
        page.keyboard.press("2")
    page.goto(f"{site.url}/desk")
    expect(page.locator(".queue").nth(4)).to_contain_text("waiting for you")
    page.keyboard.press("5")
    expect(page.get_by_role("button", name="Not good enough")).to_have_attribute("aria-pressed", "true")


def test_work_is_kept_where_it_could_not_be_sent(site: Site) -> None:
    """Left amid a label that fails, and while the server is away altogether."""
    fill(site)
    site.refusals = True
    page = begin(site, "Mei / ann", locale="en")
    held: list[Route] = []
    page.route("**/label", lambda route: held.append(route))
    page.keyboard.press("5")
    expect(page.get_by_role("heading", name="Good enough?")).to_be_visible()
    page.keyboard.press("2")
    with page.expect_request("**/label"):
        page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".queues")).to_be_visible()
    with page.expect_response("**/draft"):
        held[0].fulfill(status=502, body="<h1>Bad Gateway</h1>")
    expect(page.get_by_text("That was not saved: The server cannot be reached.")).to_be_visible()
    page.route("**/api/desk**", lambda route: route.abort())
    page.keyboard.press("h")
    button = page.get_by_role("button", name="Try again")
    expect(button).to_be_visible()
    page.unroute("**/api/desk**")
    button.click()
    page.keyboard.press("q")
    page.locator(".rows .row").first.click()
    expect(page.get_by_role("button", name="Not good enough")).to_have_attribute("aria-pressed", "true")
    page.route("**/draft", lambda route: route.fulfill(status=503, body=""))
    page.keyboard.press("1")
    page.keyboard.press("Escape")
    expect(page.locator(".queues")).to_be_visible()
    page.unroute("**/draft")
    with page.expect_response(lambda r: r.url.endswith("/draft") and '"good"' in (r.request.post_data or "")):
        page.reload()
    expect(page.get_by_text("Unfinished")).to_be_visible()
    page.locator(".rows .row").first.click()
    expect(page.locator(".option").first).to_have_attribute("aria-pressed", "true")
    ended = json.dumps({"error": {"message": "no", "code": "not_signed_in"}})
    page.route("**/draft", lambda route: route.fulfill(status=401, body=ended))
    # where the server says that nobody is signed in; here it is left at once, since somebody is
    with page.expect_request("**/login?next=**"):
        page.keyboard.press("2")
    page.unroute("**/draft")
    page.wait_for_load_state("networkidle")  # back from there; the words went out with the page that was left, or now
    for left in reversed(range(5)):
        try:
            page.goto(f"{site.url}/desk", timeout=10_000)
            break
        except Error:  # not back yet
            if not left:
                raise
    expect(page.get_by_text("Unfinished")).to_be_visible()
    page.locator(".rows .row").first.click()
    expect(page.locator(".option").nth(1)).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('draft'))") == []


@pytest.mark.parametrize(("language", "theme"), [pytest.param("en", "light", marks=pytest.mark.slow), ("zh", "dark")])
def test_each_place_fits_a_phone_and_axe(site: Site, language: str, theme: Any) -> None:
    fill(site)
    page = begin(site, "美", locale=language, color_scheme=theme, viewport=PHONE)
    wrong: dict[str, list[str]] = {}

    def look(what: str) -> None:
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        wrong[what] = [*violations(page), *(["wider than the phone"] if wide else [])]

    look("queues")
    for number in range(1, 6):
        page.keyboard.press(str(number))
        expect(page.locator("footer")).to_be_visible()
        look(f"queue {number}")
        page.keyboard.press("Escape")
        expect(page.locator(".queues")).to_be_visible()
    for key, there in (("h", "#said"), ("t", "#labelers"), ("d", "article")):
        page.keyboard.press(key)
        expect(page.locator(there).first).to_be_visible()
        look(key)
    page.keyboard.press("l")
    expect(page.locator("dialog")).to_be_visible()
    look("guidelines")
    assert not any(wrong.values()), json.dumps(wrong, ensure_ascii=False, indent=1)
