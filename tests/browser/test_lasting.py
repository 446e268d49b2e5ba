"""Nobody's words are lost: reloads, outages, refusals, two tabs, dialogues that outgrow the model."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("playwright", reason="the page's tests need playwright: pip install 'steersman[browser]'")

from browser_site import Site, Wire, button
from playwright.sync_api import Page, expect

from steersman.server.errors import ApiError
from steersman.types import Completion

ENDLESS = tuple(f"word{i} " for i in range(40))


def until(page: Page, condition: Any) -> None:
    for _ in range(600):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("waited in vain")


def begin(site: Site, url: str = "") -> Page:
    """A page that reads an endless answer."""
    site.engine.endless, site.engine.pieces = True, ENDLESS
    page = site.open(url=url)
    site.ask(page, "tell me everything")
    expect(page.locator("article .markdown")).to_contain_text("word39")
    return page


def test_an_answer_goes_on_while_the_page_is_reloaded_and_closed(site: Site) -> None:
    page = begin(site)
    page.reload()
    answer = page.locator("article .markdown")
    expect(answer).to_contain_text("word39")
    expect(button(page, "Stop answering")).to_be_visible()
    length = len(answer.inner_text())
    until(page, lambda: len(answer.inner_text()) > length)
    page.close()
    assert not site.engine.closed.is_set()
    site.engine.endless = False
    assert site.engine.closed.wait(60)
    again = site.open(f"/?c={site.store.conversations()[0].id}")
    expect(button(again, "Good answer")).to_be_visible()
    assert [m.finish_reason for m in site.messages()] == [None, "stop"]
    expect(again.locator("article .markdown")).to_contain_text("word39")


def test_another_window_reads_along_and_stops(site: Site) -> None:
    first = begin(site)
    second = site.open(f"/?c={site.store.conversations()[0].id}")
    expect(second.locator("article .markdown")).to_contain_text("word39")
    button(second, "Stop answering").click()
    for page in (first, second):
        expect(page.get_by_text("Stopped", exact=True)).to_be_visible()
    assert [m.finish_reason for m in site.messages()] == [None, "cancelled"]


def test_nothing_that_was_seen_is_gone_after_an_outage(site: Site) -> None:
    site.refusals = True
    with Wire(site.url) as wire:
        page = begin(site, wire.url)
        answer = page.locator("article .markdown")
        seen = answer.inner_text()[:200]
        wire.cut()
        expect(page.get_by_role("alert")).to_contain_text("The connection broke. What was written stays here")
        assert answer.inner_text().startswith(seen)
        wire.mend()
        expect(page.get_by_role("alert")).to_have_count(0)
        length = len(answer.inner_text())
        until(page, lambda: len(answer.inner_text()) > length)
        assert answer.inner_text().startswith(seen)
        site.engine.endless = False
        expect(button(page, "Good answer")).to_be_visible()
        text = site.messages()[1].content
        expect(answer).to_have_text(" ".join(text.split()))


def test_a_question_without_an_answer_is_answered(site: Site) -> None:
    chat = site.store.create_conversation("Old")
    site.store.add_question(chat.id, "Where is it?")
    page = site.open(f"/?c={chat.id}")
    expect(page.get_by_text("This message has no answer yet.")).to_be_visible()
    button(page, "Answer this").click()
    expect(button(page, "Good answer")).to_be_visible()
    expect(button(page, "Answer this")).to_have_count(0)
    assert [m.role for m in site.store.messages(chat.id)] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("language", "trouble", "said"),
    [
        ("en", "offline", "The server cannot be reached"),
        ("zh", "offline", "无法连接服务器"),
        ("en", "busy", "Many answers are being written at this moment. Please send it again in 2 seconds."),
        ("zh", "busy", "请在 2 秒后重新发送"),
        ("en", "long", "This message alone is longer than the 100 tokens that the model can read."),
        ("zh", "long", "请缩短后再发送"),
        ("zh", "large", "这条消息太大"),
    ],
)
def test_text_that_could_not_be_sent_is_back(
    site: Site, language: str, trouble: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.refusals = True
    page = site.open()
    if language == "zh":
        button(page, "切换到中文").click()
    text = ("word " * 120).strip() if trouble == "long" else "你好，我的包裹呢？"
    if trouble == "offline":
        page.context.set_offline(True)
    elif trouble == "busy":

        def busy(*_: object) -> None:
            raise ApiError(429, "too many", retry_after=2)

        monkeypatch.setattr(site.generations, "reserve", busy)
    elif trouble == "large":
        page.route("**/messages", lambda route: route.fulfill(status=413, json={"error": {"message": "too large"}}))
    site.ask(page, text)
    expect(page.get_by_role("alert")).to_contain_text(said)
    expect(page.locator("#composer")).to_have_value(text)
    expect(page.locator("article")).to_have_count(0)
    if trouble != "offline":
        page.reload()
        expect(page.locator("#composer")).to_have_value(text)
    assert site.store.conversations() == [], "nothing is left of a refused question"
    if trouble in ("offline", "busy"):
        page.context.set_offline(False)
        monkeypatch.undo()
        expect(page.locator("#composer")).to_have_value(text)
        page.locator("#composer").press("Enter")
        expect(button(page, "回答得好" if language == "zh" else "Good answer")).to_be_visible()
        expect(page.locator("#composer")).to_have_value("")


def test_an_edit_that_could_not_be_sent_stays_in_its_editor(site: Site) -> None:
    site.refusals = True
    page = site.open()
    site.ask(page, "hello")
    expect(button(page, "Good answer")).to_be_visible()
    page.locator("article.mine").hover()
    button(page, "Edit message").click()
    editor = page.get_by_role("textbox", name="Edit message")
    editor.fill("hello again")
    page.reload()
    expect(editor).to_have_value("hello again")
    page.context.set_offline(True)
    button(page.locator("article.editing"), "Send").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(editor).to_have_value("hello again")
    page.context.set_offline(False)
    button(page.locator("article.editing"), "Send").click()
    expect(page.locator("article.mine .plain")).to_have_text("hello again")
    expect(page.get_by_text("2/2")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('draft'))") == []


def test_who_writes_before_the_chat_has_come_goes_on_at_its_end(site: Site) -> None:
    page, held = site.open(), list[Any]()
    site.ask(page, "first")
    expect(button(page, "Good answer")).to_be_visible()
    page.route("**/api/conversations/*", lambda route: held.append(route))
    page.reload()
    expect(page.locator(".loading")).to_be_visible()
    site.ask(page, "second")
    page.keyboard.press("Enter")
    expect(page.locator("#composer")).to_have_value("second")
    held.pop().continue_()
    page.unroute("**/api/conversations/*")
    expect(page.locator("article.mine")).to_have_text(["first", "second"])
    until(page, lambda: len(site.messages()) == 4)
    assert [m.parent_id for m in site.messages()] == [None, *(m.id for m in site.messages()[:3])]


def test_two_tabs_do_not_fork_in_silence(site: Site) -> None:
    site.refusals = True
    first = site.open()
    site.ask(first, "one")
    expect(button(first, "Good answer")).to_have_count(1)
    address = f"/?c={site.store.conversations()[0].id}"
    second = site.open(address)
    expect(button(second, "Good answer")).to_have_count(1)
    # The second has not looked since: it is told, shows what came, and has its text back.
    site.ask(first, "two")
    expect(button(first, "Good answer")).to_have_count(2)
    site.ask(second, "another two")
    expect(second.get_by_role("alert")).to_contain_text("went on in another window")
    expect(second.locator("article.mine .plain")).to_have_text(["one", "two"])
    expect(second.locator("#composer")).to_have_value("another two")
    second.locator("#composer").press("Enter")
    expect(button(second, "Good answer")).to_have_count(3)
    expect(second.get_by_role("alert")).to_have_count(0)
    # Where it looks, it finds out by itself.
    first.evaluate("dispatchEvent(new Event('focus'))")
    expect(first.locator("article.mine .plain")).to_have_text(["one", "two", "another two"])
    third = site.open(address, hurried=True)
    expect(third.locator("article.mine")).to_have_count(3)
    site.ask(second, "four")
    expect(third.locator("article.mine")).to_have_count(4)


def test_a_dialogue_that_outgrows_the_context_goes_on(site: Site) -> None:
    site.refusals = True
    chat = site.store.create_conversation("Long")
    question = site.store.add_question(chat.id, "word " * 50)
    site.store.add_answer(question.id, Completion("word " * 30, (1,), (-0.1,), "stop", "v"))
    page = site.open(f"/?c={chat.id}")
    expect(button(page, "Good answer")).to_be_visible()
    site.ask(page, "more " * 30)
    expect(page.get_by_role("alert")).to_contain_text("has outgrown the 100 tokens")
    expect(page.locator("#composer")).to_have_value(("more " * 30).strip())
    button(page, "Leave out the earliest messages and go on").click()
    expect(page.get_by_text("The model did not read the first 2 messages")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("#composer")).to_have_value("")
    assert [m.content for m in site.engine.seen[-1][0].messages] == [("more " * 30).strip()]
    page.reload()
    expect(page.get_by_text("did not read the first 2 messages")).to_be_visible()


def test_a_draft_outlives_a_reload_and_belongs_to_its_chat(site: Site) -> None:
    one, two = (site.store.create_conversation(title) for title in ("One", "Two"))
    page = site.open(f"/?c={one.id}")
    page.locator("#composer").fill("half a thought")
    page.reload()
    expect(page.locator("#composer")).to_have_value("half a thought")
    page.get_by_role("link", name="Two").click()
    expect(page.locator("#composer")).to_have_value("")
    page.goto(f"{site.url}/?c={one.id}")
    expect(page.locator("#composer")).to_have_value("half a thought")
    assert two.id != one.id


def test_the_view_follows_what_is_written_in_bursts(site: Site) -> None:
    """A frame may bring more than a screen; who scrolled up stays there."""
    site.engine.pieces, site.engine.max_context = tuple(f"- point {i}\n" for i in range(60)), 10_000
    page = site.open(viewport={"width": 390, "height": 500})
    far = "(e) => e.scrollHeight - e.scrollTop - e.clientHeight"
    for number in range(3):
        site.ask(page, f"question {number}")
        expect(page.locator("article .markdown")).to_have_count(number + 1)
        expect(button(page, "Good answer")).to_have_count(number + 1)
        until(page, lambda: page.locator("main").evaluate(far) < 5)
    page.locator("main").hover()
    page.mouse.wheel(0, -2000)
    until(page, lambda: page.locator("main").evaluate(far) > 500)
    page.evaluate("document.querySelector('.thread').append('more '.repeat(500))")
    page.wait_for_timeout(200)
    assert page.locator("main").evaluate(far) > 500
