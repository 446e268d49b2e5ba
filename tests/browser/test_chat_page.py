"""The chat page's tools: settings, models, blind votes, search, folders, sharing, export, attachments, shortcuts.

Both languages, desktop and phone; texts that would be scripts are shown as texts.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the page's tests need playwright: pip install 'steersman[browser]'")

from axe import violations
from browser_site import Site, button
from playwright.sync_api import Browser, Page, expect
from spoken import said

from server_double import FakeEngine, live
from steersman.parts import Citation
from steersman.server.app import create_app
from steersman.server.models import Models
from steersman.store import Store
from steersman.types import Completion

SCRIPT = "<img src=x onerror=alert(1)>"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
ANSWER = "Two *kinds*:\n\n```python\nprint('一')\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
EXAMPLES = ["Where is my teapot?", "运费多少？", SCRIPT]


@pytest.fixture
def shop(browser: Browser, tmp_path: Path) -> Iterator[Site]:
    """Two models, and a workspace with words of its own."""
    ours, base = FakeEngine(pieces=(ANSWER,)), FakeEngine(pieces=("plain ", "words"), policy_version="base")
    with Store.open(tmp_path / "store.db") as store:
        words = {"greeting": f"You are Mona\nAsk about {SCRIPT}", "examples": lambda: EXAMPLES}
        app = create_app(Models(ours, {"base": base}), store, name="Lamp shop", language="en", max_tokens=20, **words)
        with live(app) as url:
            site = Site(url, ours, store, browser, [], tmp_path, app.state.context.generations)
            yield site
            for context in browser.contexts:
                context.close()
    assert site.complaints == []


def fits(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.querySelectorAll('main')].every(m => m.scrollWidth <= m.clientWidth)")


def test_greeting_and_questions_are_the_workspaces(shop: Site) -> None:
    page = shop.open()
    expect(page.get_by_role("heading", name="You are Mona")).to_be_visible()
    expect(page.get_by_text(f"Ask about {SCRIPT}")).to_be_visible()
    expect(page.locator(".examples button")).to_have_text(EXAMPLES)
    page.locator(".examples button").nth(1).click()
    expect(page.locator("article.mine .plain")).to_have_text("运费多少？")


def test_code_and_tables(shop: Site) -> None:
    page = shop.open()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shop.ask(page, "show me")
    code = page.locator(".code")
    expect(code.locator(".code-head span")).to_have_text("python")
    button(code, "Copy").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "print('一')"
    expect(page.locator(".markdown .scrolling table")).to_be_visible()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_settings_of_a_chat_before_and_after_it_begins(shop: Site, size: dict[str, int]) -> None:
    page = shop.open(viewport=size)
    button(page, "Settings of this conversation").click()
    drawer = page.get_by_role("dialog", name="Settings of this conversation")
    expect(drawer.get_by_label("Temperature")).to_have_attribute("placeholder", "0.7")
    drawer.get_by_label("System prompt").fill(SCRIPT)
    drawer.get_by_label("Temperature").fill("0.2")
    drawer.get_by_label("Longest answer").fill("9")
    drawer.get_by_label("Seed").fill("7")
    drawer.get_by_label("Stop at").fill("END\n。")
    fits(page, size["width"])
    assert violations(page) == []
    button(drawer, "Save").click()
    expect(drawer).to_be_hidden()
    shop.ask(page, "hello")
    expect(button(page, "Good answer")).to_be_visible()
    prompt, params = shop.engine.seen[-1]
    assert prompt.messages[0].text == SCRIPT
    assert (params.temperature, params.max_tokens, params.seed, params.stop) == (0.2, 9, 7, ("END", "。"))
    page.reload()
    button(page, "Settings of this conversation").click()
    expect(drawer.get_by_label("Seed")).to_have_value("7")
    drawer.get_by_label("Model").select_option("base")
    button(drawer, "As the server has it").click()
    expect(drawer.get_by_label("System prompt")).to_have_value("")
    drawer.get_by_label("Model").select_option("base")
    button(drawer, "Save").click()
    expect(drawer).to_be_hidden()
    expect(page.locator(".picker select")).to_have_value("base")
    shop.ask(page, "again")
    expect(page.locator("article .markdown").last).to_have_text("plain words")
    assert shop.store.conversations()[0].settings == {"model": "base"}


@pytest.mark.parametrize(
    ("size", "language", "choice"),
    [
        (DESKTOP, "en", "left"),
        (PHONE, "zh", "bad"),
        pytest.param(DESKTOP, "zh", "tie", marks=pytest.mark.slow),
        pytest.param(PHONE, "en", "right", marks=pytest.mark.slow),
    ],
)
def test_two_models_side_by_side_and_a_blind_vote(shop: Site, size: dict[str, int], language: str, choice: str) -> None:
    en = language == "en"
    page = shop.open(viewport=size, locale="en-GB" if en else "zh-CN")
    if not en:
        page.evaluate("localStorage.setItem('steersman.language', 'zh')")
        page.reload()
    assert violations(page) == []
    button(page, "Side by side" if en else "并排比较").click()
    other = shop.engine.turn = threading.Event()
    shop.ask(page, f"Which? {SCRIPT}")
    pair = page.locator("section .sides article")
    expect(pair.get_by_text("plain words")).to_be_visible()  # while the other one is not begun
    other.set()
    expect(pair.locator(".markdown")).to_have_count(2)
    names = {"left": ("A is better", "A 更好"), "right": ("B is better", "B 更好")}
    names |= {"tie": ("As good", "一样好"), "bad": ("Both are bad", "都不好")}
    vote = page.get_by_role("button", name=names[choice][not en])
    expect(vote).to_be_enabled()
    expect(pair.locator(".model")).to_have_count(0)
    fits(page, size["width"])
    assert violations(page) == []
    page.reload()  # nothing is lost, and nothing told
    expect(pair.locator(".markdown")).to_have_count(2)
    expect(pair.locator(".model")).to_have_count(0)
    expect(vote).to_be_enabled()
    shop.ask(page, "next")
    expect(page.locator("#composer")).to_have_value("next")  # one chooses first
    if size == DESKTOP and en:
        page.locator("#main").focus()
        page.keyboard.press("1")
    else:
        vote.click()
    expect(pair.locator(".model")).to_have_count(2)
    assert sorted(pair.locator(".model").all_inner_texts()) == ["base", "ppo-7"]
    expect(pair.locator(".won")).to_have_count({"tie": 2, "bad": 0}.get(choice, 1))
    (ranking,) = shop.store.rankings()
    assert ranking.all_bad == (choice == "bad")
    if choice in ("left", "right"):
        better = ranking.answers[0 if ranking.order[0] == 1 else 1]
        expect(page.locator("article.better")).to_contain_text("plain words" if better == "plain words" else "kinds")
    button(page, "Change or take back" if en else "更改或撤回").click()
    if choice == "left":  # it was the wrong key
        button(page, "B is better" if en else "B 更好").click()
        expect(page.get_by_text("You chose B" if en else "您选了 B")).to_be_visible()
        expect(page.locator("article.better")).not_to_contain_text(
            "plain words" if better == "plain words" else "kinds"
        )
        assert [one.ranks for one in shop.store.rankings()] == [(2, 1)]
    else:
        assert violations(page) == []
        button(page, "Take the choice back" if en else "撤回选择").click()
        expect(page.get_by_text("Taken back" if en else "已撤回")).to_be_visible()
        assert list(shop.store.rankings()) == []
    page.locator("#composer").press("Enter")
    expect(page.locator("section .sides")).to_have_count(0)
    expect(button(page, "Good answer" if en else "回答得好")).to_have_count(2)


def test_one_model_has_nothing_to_be_compared_with(site: Site) -> None:
    page = site.open()
    page.get_by_role("button", name="Side by side").click(force=True)
    expect(page.get_by_text("Only one model is served now.")).to_be_visible()


def test_search_leads_to_the_place_and_marks_it(shop: Site) -> None:
    chat = shop.store.create_conversation("Old one")
    parent = None
    for i in range(12):
        question = shop.store.add_question(chat.id, f"question {i} " + "台灯什么时候送到" * (i == 3), parent)
        parent = shop.store.add_answer(question.id, Completion("word " * 60, (1,), (0.0,), "stop", "v")).id
    shop.store.create_conversation(SCRIPT)
    page = shop.open()
    page.keyboard.press("Control+k")
    field = page.get_by_placeholder("Search conversations")
    expect(field).to_be_focused()
    field.fill("送到")
    hit = page.get_by_role("navigation", name="Conversations").get_by_role("link")
    expect(hit.locator("mark")).to_have_text("送到")
    hit.click()
    expect(page.locator("#main").get_by_text("question 3 台灯")).to_be_in_viewport()
    assert page.evaluate("[...CSS.highlights.get('found')].map(String)") == ["送到"]
    field.fill("onerror")
    expect(hit).to_have_text(SCRIPT)
    field.fill("nothing like it")
    expect(page.get_by_text("Nothing matches “nothing like it”.")).to_be_visible()


def test_folders_and_pins(shop: Site) -> None:
    for title in ("One", "Two", "Three"):
        shop.store.create_conversation(title)
    page = shop.open()
    nav = page.get_by_role("navigation", name="Conversations")
    nav.get_by_role("link", name="One").hover()
    button(page, "Pin: One").click()
    expect(nav.get_by_role("heading")).to_have_text(["Pinned", "Today"])
    expect(nav.get_by_role("link").first).to_have_text("One")
    nav.get_by_role("link", name="Two").hover()
    button(page, "Folder: Two").click()
    page.get_by_label("Name of the folder").fill(SCRIPT)
    button(page, "Move there").click()
    fold = nav.get_by_role("button", name=re.compile("onerror"))
    expect(fold).to_have_attribute("aria-expanded", "true")
    fold.click()
    expect(nav.get_by_role("link")).to_have_text(["One", "Three"])
    page.reload()
    expect(nav.get_by_role("link")).to_have_text(["One", "Three"])
    assert {c.title: (c.folder, c.pinned) for c in shop.store.conversations()} == {
        "One": ("", True),
        "Two": (SCRIPT, False),
        "Three": ("", False),
    }


@pytest.mark.parametrize(
    "size", [pytest.param(DESKTOP, id="desktop", marks=pytest.mark.slow), pytest.param(PHONE, id="phone")]
)
def test_a_link_and_a_file(shop: Site, size: dict[str, int]) -> None:
    page = shop.open(viewport=size)
    shop.ask(page, SCRIPT)
    expect(button(page, "Good answer")).to_be_visible()
    button(page, "Share and export").click()
    dialog = page.get_by_role("dialog", name="Share and export")
    button(dialog, "Make a link").click()
    path = dialog.get_by_role("link", name="/shared/").get_attribute("href") or ""
    with page.expect_download() as markdown:
        dialog.get_by_role("link", name="Markdown").click()
    text = Path(markdown.value.path()).read_text(encoding="utf-8")
    you, assistant = said("You")[0], said("Assistant")[0]
    assert text == f"# {SCRIPT}\n\n## {you}\n\n{SCRIPT}\n\n## {assistant} (ppo-7)\n\n{ANSWER}\n"
    with page.expect_download() as whole:
        dialog.get_by_role("link", name="JSON").click()
    assert len(json.loads(Path(whole.value.path()).read_text(encoding="utf-8"))["messages"]) == 2
    other = shop.open(path, viewport=size)
    expect(other.locator("article")).to_have_count(2)
    expect(other.get_by_text(SCRIPT).last).to_be_visible()
    expect(other.locator("textarea")).to_have_count(0)
    fits(other, size["width"])
    assert violations(page) == violations(other) == []
    button(dialog, "Take the link back").click()
    expect(dialog.get_by_role("link", name="/shared/")).to_have_count(0)
    shop.refusals = True
    other.route("**/api/shared/*", lambda route: route.abort())
    other.reload()
    expect(other.get_by_text("cannot be reached")).to_be_visible()
    other.unroute("**/api/shared/*")
    button(other, "Try again").click()
    expect(other.get_by_text("This link leads nowhere")).to_be_visible()
    expect(button(other, "Try again")).to_have_count(0)


def test_attachments_are_text_with_the_question(shop: Site) -> None:
    page = shop.open()
    files: list[Any] = [
        {"name": f'a"{SCRIPT}.csv', "mimeType": "text/csv", "buffer": "名,数\n灯,2\n".encode("gb18030")},
        {"name": "b.bin", "mimeType": "application/octet-stream", "buffer": b"\x00\x01\xff"},
    ]
    page.locator("input[type=file]").set_input_files(files)
    expect(page.get_by_text(re.compile(r"b\.bin.*CSV.*JSON"))).to_be_visible()
    expect(page.locator(".files li")).to_have_count(1)
    shop.ask(page, "Sum this up")
    expect(button(page, "Good answer")).to_be_visible()
    expect(page.locator("article.mine .plain")).to_have_text("Sum this up")
    page.locator("article.mine summary").click()
    expect(page.locator("article.mine pre")).to_have_text("名,数\n灯,2")
    asked = shop.engine.seen[-1][0].messages[-1].text
    assert asked == 'Sum this up\n\n<attachment name="a__img src=x onerror=alert(1)_.csv">\n名,数\n灯,2\n</attachment>'
    large = {"name": "c.txt", "mimeType": "text/plain", "buffer": b"x" * 200_001}
    page.locator("input[type=file]").set_input_files([large])
    expect(page.get_by_text("c.txt was not attached: it is larger than 200 kB.")).to_be_visible()


def test_sources_are_listed(shop: Site) -> None:
    chat = shop.store.create_conversation("t")
    question = shop.store.add_question(chat.id, "q")
    cited = [Citation("https://example.org/r", SCRIPT), Citation("javascript:alert(1)", "bad"), Citation("policy.md")]
    shop.store.add_answer(question.id, Completion("See.", (1,), (0.0,), "stop", "v"), citations=cited)
    page = shop.open(f"/?c={chat.id}")
    expect(page.locator(".sources li")).to_have_text([SCRIPT, "bad", "policy.md"])
    expect(page.locator(".sources a")).to_have_count(1)


def test_shortcuts_and_their_sheet(shop: Site) -> None:
    page = shop.open()
    page.locator("#composer").fill("what?")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)  # in a text it is a question mark
    expect(page.locator("#composer")).to_have_value("what??")
    page.locator("#main").focus()
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(sheet.locator("dd")).to_have_count(14)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+,")
    expect(page.get_by_role("dialog", name="Settings of this conversation")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#main").focus()
    page.keyboard.press("/")
    expect(page.locator("#composer")).to_be_focused()
    page.keyboard.press("Control+Shift+S")
    expect(page.get_by_role("navigation", name="Conversations")).to_have_count(0)
