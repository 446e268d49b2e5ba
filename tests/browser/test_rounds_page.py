"""Rounds in the browser, on two real rounds: a manager looks, starts, stops, goes on, promotes and goes back."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the page's tests need playwright: pip install 'steersman[browser]'")
pytest.importorskip("axe_playwright_python", reason="it needs axe: pip install 'steersman[browser]'")

from axe import violations
from browser_site import WAIT, Site, button
from playwright.sync_api import Browser, Page, Route, expect

from commands import Command, forking
from round_space import allow_judges
from server_double import FakeEngine, live
from steersman.artifact.workspace import Workspace
from steersman.rounds import jobs
from steersman.server import started
from steersman.server.app import create_app
from steersman.store import Store

START = 4 * WAIT
"""Milliseconds for a job to begin, which loads Python and a model first."""
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}


@pytest.fixture(scope="module")
def slowly() -> Iterator[subprocess.Popen[str]]:
    with pytest.MonkeyPatch.context() as patch:
        allow_judges(patch)
        with forking() as process:
            yield process


@pytest.fixture
def root(two_rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    allow_judges(monkeypatch)
    return shutil.copytree(two_rounds, tmp_path / "w", copy_function=shutil.copy2)


@pytest.fixture
def rounds(browser: Browser, root: Path) -> Iterator[Site]:
    report = root / "rounds/002/report/report.html"
    with Store.open(root / "store.db") as store:
        engine = FakeEngine(policy_version="001/sft")
        app = create_app(engine, store, name="S", language="en", workspace=root, report=lambda: report)
        with live(app) as url:
            site = Site(url, engine, store, browser, [], root, app.state.context.generations)
            yield site
            for context in browser.contexts:
                context.close()
    assert site.complaints == []


@pytest.fixture
def quick(slowly: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Jobs are forked from a process that has torch already; the list: seconds of each step of the next ones."""
    seconds: list[float] = []

    def fork(command: list[str], place: Path) -> Command:
        Path(f"{place}.log").symlink_to(f"{place}.err")
        return Command(slowly, place, seconds.pop(0) if seconds else 0.0, *command[3:])

    monkeypatch.setattr(jobs, "_spawn", fork)
    return seconds


def look(rounds: Site, path: str, **form: Any) -> Page:
    """A page that polls in a hurry."""
    return rounds.open(path, hurried=True, **(form or DESKTOP))


@pytest.mark.slow
def test_a_round_from_the_browser(rounds: Site, quick: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    quick += [4.0]
    page, beside = (look(rounds, "/rounds", english=True, **DESKTOP) for _ in range(2))
    expect(page.get_by_text("The fine-tuned model of round 1")).to_be_visible()
    page.get_by_role("link", name="Make the next model").click()
    expect(page.get_by_text("Round 3 would learn")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("edited answers"))).to_contain_text("3")
    button(page, "Start a whole round").click()
    job = page.get_by_role("article", name="Job 1")
    expect(job.get_by_text("running", exact=True)).to_be_visible(timeout=START)
    expect(job.get_by_text(re.compile("^Round 3"))).to_be_visible(timeout=START)
    expect(job.get_by_text(re.compile(r"step \d+ / \d+"))).to_be_visible(timeout=START)
    # another browser sees the same
    expect(beside.get_by_text("Job 1 is running: a whole round.")).to_be_visible()
    job.get_by_text("Log", exact=True).click()
    expect(job.get_by_role("log")).to_contain_text("sft")
    assert violations(page) == []
    # the server is started again meanwhile; the job goes on
    monkeypatch.setenv(started.VARIABLE, "2030-01-02T03:04:05Z")
    expect(page.get_by_text(re.compile("The server was started again on Jan 2, 2030"))).to_be_visible()
    button(page, "Understood").click()
    button(job, "Stop").click()
    expect(job.get_by_text("stopped", exact=True)).to_be_visible(timeout=START)
    button(job, "Go on").click()
    again = page.get_by_role("article", name="Job 2")
    expect(again.get_by_text("done", exact=True)).to_be_visible(timeout=2 * START)
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("link", name="Round 3").click()
    expect(page.get_by_role("heading", name="What the gate said")).to_be_visible()
    expect(page.get_by_text("met: enough test questions")).to_be_visible()
    expect(page.get_by_role("link", name="Report").last).to_have_attribute("href", "/reports/3?lang=en")
    assert violations(page) == []


def test_a_round_that_would_learn_nothing_is_not_offered(rounds: Site) -> None:
    (rounds.workspace / "steersman.toml").write_text("[round]\nmin_new = 1000\n", encoding="utf-8")
    page = look(rounds, "/rounds/run", english=True, **DESKTOP)
    expect(page.get_by_text(re.compile(r"begins with at least \d+ more: like, improve or compare"))).to_be_visible()
    expect(button(page, "Start a whole round")).to_be_disabled()
    (rounds.workspace / "steersman.toml").write_text("[round]\nmin_new = 1\n", encoding="utf-8")
    expect(button(page, "Start a whole round")).to_be_enabled()


def test_an_error_of_a_job_is_said_in_words(rounds: Site, quick: list[float]) -> None:
    page = look(rounds, "/rounds/run")
    page.get_by_role("combobox", name="Stage").select_option("reward")
    button(page, "Start").click()
    job = page.get_by_role("article", name="Job 1")
    expect(job.get_by_text("failed", exact=True)).to_be_visible(timeout=START)
    expect(job.get_by_text("It ended with an error, and says what was expected:")).to_be_visible()
    expect(job.get_by_text(re.compile("rankings|条排序"))).to_be_visible()


def test_a_workspace_that_cannot_be_opened_is_said_once_and_until_it_can(rounds: Site) -> None:
    page = look(rounds, "/rounds", english=True, **DESKTOP)
    expect(page.get_by_text("All rounds")).to_be_visible()
    settings = rounds.workspace / "steersman.toml"
    good = settings.read_text(encoding="utf-8")
    rounds.refusals = True
    settings.write_text(good + "\nno such key", encoding="utf-8")
    expect(page.get_by_role("alert").first).to_contain_text("The workspace cannot be opened any more.")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("steersman.toml")
    expect(page.get_by_role("alert")).to_have_count(1)  # said once
    settings.write_text(good, encoding="utf-8")
    expect(page.get_by_text("All rounds")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_settings_are_changed_from_the_page(rounds: Site) -> None:
    page = look(rounds, "/rounds/run", english=True, **DESKTOP)
    page.get_by_role("combobox", name="Stage").select_option("reward")
    page.get_by_text("Settings of Reward model").click()
    rate = page.get_by_label("optimizer.lr", exact=True)
    rate.fill("0.002")
    page.route("**/api/rounds/now", lambda route: route.fulfill(json=route.fetch().json() | {"mark": "other"}))
    with page.expect_response(re.compile("/stages$")):
        pass
    page.unroute_all(behavior="ignoreErrors")  # one may be under way
    expect(rate).to_have_value("0.002")  # what is looked at again takes nothing away that was typed
    page.get_by_role("combobox", name="Stage").select_option("ppo")
    page.reload()  # as where the session ends and somebody signs in again
    page.get_by_role("combobox", name="Stage").select_option("reward")
    expect(rate).to_have_value("0.002")
    button(page, "Save 1 change").click()
    expect(page.get_by_text("Saved in steersman.toml.")).to_be_visible()
    assert Workspace.open(rounds.workspace).config.reward.optimizer.lr == 0.002
    expect(button(page, "Save 0 changes")).to_be_disabled()
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('draft'))") == []
    late: list[Route] = []
    page.route("**/settings/reward", lambda route: late.append(route))
    rate.fill("0.003")
    button(page, "Save 1 change").click()
    members = page.get_by_label("members", exact=True)
    members.fill("3")  # which the button was not pressed for
    stage = page.get_by_role("combobox", name="Stage")
    stage.select_option("ppo")  # before the first is saved
    page.get_by_label("iterations", exact=True).fill("7")
    late[0].continue_()
    expect(page.get_by_text("Saved in steersman.toml.")).to_be_visible()
    expect(page.get_by_label("iterations", exact=True)).to_have_value("7")
    expect(button(page, "Save 1 change")).to_be_enabled()
    page.unroute("**/settings/reward")
    stage.select_option("reward")
    expect(rate).to_have_value("0.003")
    expect(members).to_have_value("3")
    members.fill("1")
    expect(button(page, "Save 0 changes")).to_be_disabled()
    rate.fill("-1")
    rounds.refusals = True
    button(page, "Save 1 change").click()
    expect(page.get_by_role("alert")).to_contain_text("reward.optimizer.lr: expected at least 0, got -1")
    assert violations(page) == []
    button(page, re.compile("^Show all")).click()
    expect(page.get_by_text("only in steersman.toml").first).to_be_visible()
    assert Workspace.open(rounds.workspace).config.reward.optimizer.lr == 0.003


def test_a_file_becomes_a_data_set(rounds: Site, quick: list[float], tmp_path: Path) -> None:
    file = tmp_path / "问答.csv"
    file.write_text("question,answer\n" + "".join(f"Where is lamp {i}?,Soon {i}.\n" for i in range(12)))
    page = look(rounds, "/rounds/data")
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_label("For").select_option("train")
    button(page, "Import").click()
    expect(page.get_by_role("link", name="问答")).to_be_visible(timeout=START)
    page.get_by_role("link", name="问答").click()
    expect(page.get_by_text("12 demonstrations for training")).to_be_visible()
    page.get_by_label("Containing these words").fill("lamp 7")
    button(page, "Show").click()
    expect(page.get_by_text("Where is lamp 7?")).to_be_visible()
    expect(page.get_by_text("Where is lamp 1?")).to_have_count(0)


def test_promoting_and_going_back_say_what_changes(rounds: Site) -> None:
    page = look(rounds, "/rounds/2", english=True, **DESKTOP)
    late: list[Route] = []
    page.route("**/promotion?*stage=sft", lambda route: late.append(route))
    with page.expect_request("**/promotion?*stage=sft"):
        button(page, "Promote: The fine-tuned model").click()
    button(page, "Promote: The KTO model").click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("The KTO model of round 2")
    with page.expect_response("**/promotion?*stage=sft"):
        late[0].continue_()
    page.wait_for_timeout(100)  # what comes late is of another question
    expect(asked).to_contain_text("The fine-tuned model of round 1")
    expect(asked).to_contain_text("The KTO model of round 2")
    expect(asked).to_contain_text("6 chats were written in during the last 7 days")
    expect(button(asked, "Promote")).to_be_disabled()
    assert violations(page) == []
    button(asked, "Cancel").click()
    assert Workspace.open(rounds.workspace).history()[-1]["stage"] == "sft"
    button(page, "Promote: The KTO model").click()
    asked.get_by_label("Promote it all the same").check()
    button(asked, "Promote").click()
    expect(asked).to_be_hidden()  # it closes when the server has answered; what it says stands on the page already
    expect(page.get_by_text("served", exact=True)).to_be_visible()
    assert Workspace.open(rounds.workspace).history()[-1]["stage"] == "kto"
    page.get_by_role("link", name="Overview").click()
    button(page, "Go back to the model before").click()
    expect(asked).to_contain_text("The KTO model of round 2")
    button(asked, "Go back to the model before").click()
    expect(asked).to_be_hidden()
    expect(page.get_by_text("The fine-tuned model of round 1")).to_be_visible()
    assert Workspace.open(rounds.workspace).history()[-1]["stage"] == "sft"


def test_a_canary_starts_and_stops(rounds: Site) -> None:
    page = look(rounds, "/rounds/canary")
    page.get_by_label("Share of new chats, %").fill("20")
    page.get_by_label("even if its report calls it worse").check()
    button(page, "Start the canary").click()
    expect(page.get_by_text("under way")).to_be_visible()
    expect(page.get_by_text("20 % of new chats")).to_be_visible()
    assert violations(page) == []
    button(page, "Stop the canary").click()
    expect(page.get_by_text("stopped", exact=True)).to_be_visible()


def test_from_an_answer_to_its_lineage(rounds: Site) -> None:
    chat = rounds.store.conversations()[0].id
    page = look(rounds, f"/?c={chat}", english=True, **DESKTOP)
    page.locator("article:not(.mine)").hover()
    page.get_by_role("link", name="Where it comes from").click()
    expect(page.get_by_text(re.compile("Given by 001/sft: promoted/001-sft"))).to_be_visible()
    expect(page.get_by_role("link", name="chats")).to_be_visible()
    expect(page.locator("main")).to_contain_text("learned it")


@pytest.mark.parametrize(
    ("language", "form"),
    [
        pytest.param("zh", PHONE, id="zh-phone-dark"),
        pytest.param("en", DESKTOP, id="en-desktop", marks=pytest.mark.slow),
    ],
)
def test_every_page_is_accessible_and_fits(rounds: Site, language: str, form: dict[str, Any]) -> None:
    answer = rounds.store.messages(rounds.store.conversations()[0].id)[-1].id
    page = look(rounds, "/", english=language == "en", **form)
    page.evaluate(f"localStorage.setItem('steersman.language', '{language}')")
    heading = {"zh": "轮次", "en": "Rounds"}[language]
    for path in ("", "/2", "/run", "/curves", "/data", "/data/chats", "/canary", f"/lineage/{answer}"):
        page.goto(f"{rounds.url}/rounds{path}")
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
        expect(page.locator("main .panel").first).to_be_visible()
        expect(page.get_by_text(re.compile("^(Loading|加载|正在加载|载入)"))).to_have_count(0)
        assert violations(page) == []
        _fits(page)
    page.evaluate("localStorage.setItem('steersman.language', 'en')")  # whose tabs are longer
    page.goto(f"{rounds.url}/rounds")
    tabs = page.locator("main .tabs")
    expect(tabs).to_contain_text("Canary")
    assert tabs.evaluate("tabs => tabs.scrollWidth <= tabs.clientWidth"), "a tab is out of sight"
    for path in ("/report", "/reports/2"):
        page.goto(f"{rounds.url}{path}?lang={language}")
        assert (page.locator("html").get_attribute("lang") or "")[:2] == language
        assert violations(page) == []
        _fits(page)


def _fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url


def test_the_report_prints_on_a4(rounds: Site) -> None:
    page = rounds.open("/report?lang=en", viewport={"width": 718, "height": 1000})  # A4 less its margins, at 96 dpi
    page.emulate_media(media="print")
    _fits(page)
    parts = page.locator("table, svg, article").all()
    wide = [part for part in parts if (box := part.bounding_box()) and box["x"] + box["width"] > 719]
    assert [part.evaluate("e => e.outerHTML.slice(0, 100)") for part in wide] == []
