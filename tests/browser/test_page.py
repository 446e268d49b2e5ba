"""The built page in a real browser against the real server with an engine that has no model."""

from __future__ import annotations

import json
import re
import threading

import pytest

pytest.importorskip("playwright", reason="the page's tests need playwright: pip install 'steersman[browser]'")

from browser_site import Site, button
from playwright.sync_api import Route, expect


def test_a_chat_with_all_that_people_do_to_an_answer(site: Site) -> None:
    page = site.open()
    page.locator(".examples button").first.click()
    answer = page.locator("article .markdown").last
    expect(button(page, "Good answer")).to_be_visible()
    expect(page).to_have_title("Lamp shop")
    # What models write is text, not a page: no picture, no script address.
    expect(answer).to_contain_text("<img src=x onerror=alert(1)> here")
    assert answer.locator("img, a").count() == 0
    assert answer.locator("strong").inner_text() == "today"

    button(page, "Good answer").click()
    expect(button(page, "Good answer")).to_have_attribute("aria-pressed", "true")
    button(page, "Good answer").click()
    expect(button(page, "Good answer")).to_have_attribute("aria-pressed", "false")
    button(page, "Bad answer").click()
    page.get_by_label("What was wrong? (optional)").fill("no day")
    button(page.locator("form.why"), "Send").click()
    expect(page.get_by_text("You said: no day")).to_be_visible()
    button(page, "Improve this answer").click()
    page.get_by_label("The better answer").fill("It comes at noon.")
    button(page, "Save as the better answer").click()
    expect(page.get_by_text("Written by a person in place of the model’s answer")).to_be_visible()
    expect(answer).to_have_text("It comes at noon.")
    # What was said of the model's answer was not said of this one.
    expect(button(page, "Bad answer")).to_have_attribute("aria-pressed", "false")
    button(page, "Good answer").click()
    expect(button(page, "Good answer")).to_have_attribute("aria-pressed", "true")
    button(page, "Show the original").click()
    expect(answer).to_contain_text("Your parcel comes today")
    expect(button(page, "Good answer")).to_have_count(0)
    button(page, "Show the improved answer").click()
    button(page, "Withdraw").click()
    expect(answer).to_contain_text("Your parcel comes today")
    expect(button(page, "Good answer")).to_have_attribute("aria-pressed", "false")
    assert list(site.store.feedback()) == []
    button(page, "Bad answer").click()
    button(page, "Improve this answer").click()
    page.get_by_label("The better answer").fill("It comes at noon.")
    button(page, "Save as the better answer").click()

    site.engine.pieces = ("Another answer.",)
    button(page, "Answer again").click()
    expect(page.get_by_text("2/2")).to_be_visible()
    expect(answer).to_have_text("Another answer.")
    button(page, "Previous version").click()
    expect(answer).to_have_text("It comes at noon.")

    page.reload()
    expect(answer).to_have_text("Another answer.")
    question, first, second = site.messages()
    assert (first.liked, first.edited, first.parent_id) == (False, "It comes at noon.", question.id)
    assert (second.liked, second.edited, second.parent_id) == (None, None, question.id)
    assert [(f.kind, f.comment) for f in site.store.feedback()] == [
        ("dislike", ""),
        ("edit", ""),
        ("regenerate", ""),
    ]


def test_a_cut_answer_is_continued_by_keyboard(site: Site) -> None:
    site.engine.ends = "length"
    page = site.open()
    site.ask(page, "How long?")
    expect(page.get_by_text("Reached the length limit")).to_be_visible()
    before = site.messages()[1].content
    site.engine.ends = "stop"
    button(page, "Continue").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("2/2")).to_be_visible()
    expect(button(page, "Continue")).to_have_count(0)
    assert site.messages()[2].content.startswith(before.rstrip())
    assert len(site.messages()[2].content) > len(before)


def test_turns_branches_and_the_composer(site: Site) -> None:
    page = site.open()
    composer = page.locator("#composer")
    expect(composer).to_be_focused()
    composer.fill("one")
    composer.press("Shift+Enter")
    # The Enter that picks a candidate of an input method sends nothing.
    composer.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    composer.press_sequentially("two")
    expect(composer).to_have_value("one\ntwo")
    composer.press("Enter")
    expect(button(page, "Good answer")).to_have_count(1)
    site.ask(page, "three")
    expect(button(page, "Good answer")).to_have_count(2)

    page.locator("article.mine").first.hover()
    button(page, "Edit message").first.click()
    page.get_by_role("textbox", name="Edit message").fill("changed")
    button(page.locator("article.editing"), "Send").click()
    expect(page.locator("article.mine")).to_have_count(1)
    expect(button(page, "Good answer")).to_have_count(1)
    button(page, "Previous version").click()
    expect(page.locator("article.mine .plain")).to_have_text(["one\ntwo", "three"])
    roots = [m.content for m in site.messages() if m.parent_id is None]
    assert roots == ["one\ntwo", "changed"]


def test_stop_keeps_what_was_written(site: Site) -> None:
    site.engine.endless = True
    page = site.open()
    site.ask(page, "tell me everything")
    expect(page.locator("article .markdown")).to_contain_text("today")
    button(page, "Stop answering").click()
    expect(page.get_by_text("Stopped", exact=True)).to_be_visible()
    assert site.engine.closed.wait(60)
    page.reload()
    expect(page.get_by_text("Stopped", exact=True)).to_be_visible()
    assert site.messages()[1].finish_reason == "cancelled"


def test_stop_is_heard_before_the_first_word(site: Site) -> None:
    site.engine.turn = threading.Event()  # other answers come first
    page = site.open()
    site.ask(page, "hello")
    expect(page.locator(".dots, .cursor").first).to_be_visible()  # until it has an id, and from then on
    button(page, "Stop answering").click()
    expect(button(page, "Answer this")).to_be_visible()
    assert [m.role for m in site.messages(written=False)] == ["user"]
    site.engine.turn.set()
    button(page, "Answer this").click()
    expect(button(page, "Good answer")).to_be_visible()


def test_a_failed_answer_can_be_asked_for_again(site: Site) -> None:
    site.engine.failure = RuntimeError("secret")
    page = site.open()
    site.ask(page, "hello")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("alert")).not_to_contain_text("secret")
    site.engine.failure = None
    button(page, "Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("article .markdown").last).to_contain_text("here")
    expect(page.locator("article.mine")).to_have_count(1)
    assert [m.role for m in site.messages()] == ["user", "assistant", "assistant"]


def test_the_list_of_conversations(site: Site) -> None:
    for title in ("First", "Second"):
        site.store.create_conversation(title)
    page = site.open()
    listed = page.get_by_role("navigation", name="Conversations").get_by_role("link")
    expect(listed).to_have_text(["Second", "First"])
    page.get_by_placeholder("Search conversations").fill("sec")
    expect(listed).to_have_text(["Second"])
    page.get_by_placeholder("Search conversations").fill("")
    expect(listed).to_have_text(["Second", "First"])
    listed.first.hover()
    button(page, "Rename: Second").click()
    field = page.get_by_role("textbox", name="Rename")
    field.fill("Secret")
    # Enter that picks a candidate of an input method; Safari ends the composition before it.
    field.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    field.dispatch_event("keydown", {"key": "Enter", "keyCode": 229})
    field.dispatch_event("keydown", {"key": "Escape", "keyCode": 229})
    expect(field).to_have_value("Secret")
    page.keyboard.press("Enter")
    expect(listed).to_have_text(["Secret", "First"])
    listed.first.click()
    expect(page).to_have_url(re.compile(r"/\?c="))
    button(page, "Delete: Secret").click()
    button(page.get_by_role("dialog"), "Delete").click()
    expect(page).to_have_url(site.url + "/")
    expect(listed).to_have_text(["First"])
    assert [c.title for c in site.store.conversations()] == ["First"]


def test_ranking_by_keyboard_and_by_dragging_and_again(site: Site) -> None:
    page = site.open()
    page.goto(site.url + "/rank")
    page.get_by_label("Your name").fill("Mei")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Order 7: a lamp.")).to_be_visible()
    expect(page.get_by_text("<b>Where</b> is it?")).to_be_visible()
    shown = [text.strip() for text in page.locator("article .markdown").all_inner_texts()]
    assert sorted(shown) == ["alpha", "beta", "gamma"]

    for key in ("2", "1", "2"):  # answers A, B, C in turn; a tie
        page.keyboard.press(key)
    page.reload()
    expect(page.locator(".mark-button[aria-pressed=true]")).to_have_text(["2", "1", "2"])
    chip = page.locator(".board .chip", has_text="C").bounding_box()
    shelf = page.locator("[data-shelf='3']").bounding_box()
    assert chip is not None
    assert shelf is not None
    page.mouse.move(chip["x"] + 5, chip["y"] + 5)
    page.mouse.down()
    page.mouse.move(shelf["x"] + 30, shelf["y"] + 30, steps=3)
    page.mouse.up()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing waits to be ranked")).to_be_visible()
    (ranking,) = site.store.rankings()
    assert dict(zip(ranking.answers, ranking.order, strict=True)) == dict(zip(shown, (2, 1, 3), strict=True))
    assert (ranking.labeler, ranking.all_bad, ranking.simulated) == ("Mei", False, False)

    button(page, "Back to the last one").click()
    page.keyboard.press("m")
    for _ in range(3):  # held down: of one answer alone
        page.keyboard.down("3")
    page.keyboard.up("3")
    for key in ("3", "2"):
        page.keyboard.press(key)
    page.get_by_label("All are bad").check()
    button(page, "Submit").click()
    expect(page.get_by_text("Nothing waits to be ranked")).to_be_visible()
    (ranking,) = site.store.rankings()
    assert ranking.grades is not None
    assert dict(zip(ranking.answers, ranking.grades, strict=True)) == dict(
        zip(shown, ("poor", "poor", "average"), strict=True)
    )
    assert ranking.all_bad


@pytest.mark.parametrize("path", ["/", "/rank"])
def test_both_languages_fit_a_phone(site: Site, path: str) -> None:
    page = site.open(path, viewport={"width": 375, "height": 720}, locale="en-GB")
    if path == "/":
        site.ask(page, "a-very-long-word-" * 20)
        expect(button(page, "Good answer")).to_be_visible()
        button(page, "Show conversations").click()
        page.keyboard.press("Escape")
    else:
        page.get_by_label("Your name").fill("Mei")
    button(page, "Menu").click()
    expect(page.get_by_role("link", name="Chat")).to_be_focused()
    button(page, "切换到中文").click()
    page.keyboard.press("Escape")
    expect(button(page, "菜单")).to_be_focused()
    if path == "/":
        expect(button(page, "回答得好")).to_be_visible()
    else:
        button(page, "开始排序").click()
        expect(button(page, "提交")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert page.evaluate("[...document.querySelectorAll('main')].every(m => m.scrollWidth <= m.clientWidth)")
    page.reload()  # the choice is kept
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")


def test_the_header_leads_to_each_place(site: Site) -> None:
    (site.workspace / "steersman.toml").touch()
    page = site.open(english=True)
    places = page.get_by_role("navigation", name="Places").get_by_role("link")
    expect(places).to_have_text(["Chat", re.compile(r"Labeling desk\s*1"), "Rounds"])
    places.nth(2).click()
    expect(page).to_have_title("Rounds · Lamp shop")
    expect(places.nth(2)).to_have_attribute("aria-current", "page")
    page.get_by_role("link", name="Start and watch").click()
    expect(page.get_by_text("A round starts from a promoted model")).to_be_visible()
    expect(page.get_by_text("Nothing has been started yet.")).to_be_visible()
    button(page, "Appearance: as the system").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    places.first.click()
    expect(page.locator("#composer")).to_be_visible()
    expect(page).to_have_title("Lamp shop")


def test_curves_grow_while_a_stage_runs(site: Site) -> None:
    (site.workspace / "steersman.toml").touch()
    page = site.open("/training", hurried=True)
    expect(page.get_by_role("heading", name="Nothing has been trained yet")).to_be_visible()

    def write(run: str, rows: list[dict[str, float]]) -> None:
        path = site.workspace / run / "metrics.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write(
        "rounds/001/sft", [{"step": i, "loss": 4 - i, "lr": 1e-4} for i in range(3)] + [{"step": 4, "eval_loss": 1.0}]
    )
    chart = page.get_by_role("img", name="loss, by step")
    expect(chart.locator("path:not(.held)")).to_have_count(1)
    expect(chart.locator("circle")).to_have_count(1)
    write("rounds/002/sft.partial", [{"step": 0, "loss": 3.5}, {"step": 1, "loss": 3.0}])
    expect(page.get_by_text("running")).to_be_visible()
    lines = chart.locator("path:not(.held)")
    expect(lines).to_have_count(2)
    before = lines.nth(1).get_attribute("d") or ""
    write("rounds/002/sft.partial", [{"step": i, "loss": 3.5 - i / 2} for i in range(4)])
    expect(lines.nth(1)).not_to_have_attribute("d", before)
    assert (lines.nth(1).get_attribute("d") or "").count("L") == 3
    page.get_by_role("checkbox").first.uncheck()
    expect(lines).to_have_count(1)
    write("rounds/002/ppo.partial", [{"iteration": 0, "reward": 0.1, "kl": 0.0}])
    button(page, "PPO").click()
    expect(page.get_by_role("img", name="reward, by iteration")).to_be_visible()
    button(page, "切换到中文").click()
    expect(page.get_by_role("heading", name="训练")).to_be_visible()
    expect(page).to_have_url(re.compile("/rounds/curves$"))


def test_what_was_said_last_holds_on_a_slow_network(site: Site) -> None:
    page = site.open()
    site.ask(page, "one")
    expect(button(page, "Good answer")).to_be_visible()
    held: list[Route] = []
    page.route("**/feedback", lambda route: held.append(route))
    button(page, "Good answer").click()
    button(page, "Bad answer").click()
    for _ in range(2):
        page.wait_for_timeout(150)
        for route in reversed(held):  # as networks may
            with page.expect_response("**/feedback"):
                route.continue_()
        held.clear()
    expect(button(page, "Bad answer")).to_have_attribute("aria-pressed", "true")
    assert [f.kind for f in site.store.feedback()][-1] == "dislike"


def test_a_list_that_comes_late_brings_no_chat_back(site: Site) -> None:
    page = site.open()
    site.ask(page, "one")
    expect(button(page, "Delete: one")).to_be_attached()
    page.wait_for_load_state("networkidle")
    stale = page.request.get(site.url + "/api/conversations").text()
    held: list[Route] = []
    page.route("**/api/conversations", lambda route: held.append(route) if not held else route.continue_())
    site.ask(page, "two")
    expect(button(page, "Good answer")).to_have_count(2)
    page.wait_for_timeout(300)
    assert held
    button(page, "Delete: one").evaluate("one => one.click()")
    button(page.get_by_role("dialog"), "Delete").click()
    expect(button(page, "Delete: one")).to_have_count(0)
    held[0].fulfill(status=200, content_type="application/json", body=stale)
    page.wait_for_timeout(300)
    expect(button(page, "Delete: one")).to_have_count(0)
