"""Signing in, invitations, people, keys and the log in a browser: both languages, desktop and phone, and axe.

Also below a path behind a proxy, and at an OpenID Connect provider.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import argon2
import pytest

pytest.importorskip("playwright", reason="the page's tests need playwright: pip install 'steersman[browser]'")

from axe import violations
from browser_site import Site, button
from playwright.sync_api import Browser, Page, Route, expect

from oidc_double import CLIENT, SECRET, Provider
from proxy_double import Proxy
from server_double import FakeEngine, live
from steersman.config import AccountsConfig
from steersman.server import passwords
from steersman.server.app import create_app
from steersman.server.team import Team
from steersman.store import Store
from steersman.store.roles import Role
from steersman.types import Completion

PASSWORD = "correct horse battery"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
_EN = pytest.param("en", DESKTOP, id="en-desktop")
_ZH = pytest.param("zh", PHONE, id="zh-phone")
MOSTLY_EN, MOSTLY_ZH = (
    pytest.mark.parametrize(
        ("language", "size"), [quick, pytest.param(*other.values, id=other.id, marks=pytest.mark.slow)]
    )
    for quick, other in ((_EN, _ZH), (_ZH, _EN))
)
"""Both, one of them in `make test-slow` alone."""
SCRIPT = "<img src=x onerror=alert(1)>"


@dataclass
class TeamSite(Site):
    accounts: Team = field(kw_only=True)


@pytest.fixture(scope="module", autouse=True)
def hashed() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        passwords._nobody.cache_clear()
        yield passwords.hashed(PASSWORD)
    passwords._nobody.cache_clear()


@pytest.fixture
def team(browser: Browser, tmp_path: Path, hashed: str) -> Iterator[Callable[..., TeamSite]]:
    """`team(...)` is a server with ada, an admin, and chloe; requests may fail in these tests."""
    with Store.open(tmp_path / "store.db") as store:
        for name, role in {"ada": Role.ADMIN, "chloe": Role.CHATTER}.items():
            store.accounts.set_password(store.accounts.add(name, role).id, hashed)
        served: list[Any] = []

        def made(root_path: str = "", **settings: Any) -> TeamSite:
            engine = FakeEngine(pieces=("An ", "answer."))
            accounts = Team(store, AccountsConfig(**settings))
            app = create_app(engine, store, name="Lamp shop", language="en", team=accounts, root_path=root_path)
            running = live(app)
            served.append(running)
            url = running.__enter__()
            told = (engine, store, browser, [], tmp_path, app.state.context.generations)
            return TeamSite(url, *told, refusals=True, accounts=accounts)

        yield made
        for context in browser.contexts:
            context.close()
        for running in served:
            running.__exit__(None, None, None)


def opened(site: Site, path: str, language: str, size: dict[str, int], name: str = "") -> Page:
    """A browser that speaks the language, in which `name` is signed in."""
    chosen = {"origin": site.url, "localStorage": [{"name": "steersman.language", "value": language}]}
    state: dict[str, Any] = {"cookies": [], "origins": [chosen]}
    if name:
        token = site.store.credentials.begin(site.store.accounts.named(name).id, 1)
        place = {"name": f"steersman_{site.url.rsplit(':', 1)[1]}", "value": token, "domain": "127.0.0.1", "path": "/"}
        state["cookies"].append(place | {"expires": -1, "httpOnly": True, "secure": False, "sameSite": "Strict"})
    return site.open(path, storage_state=state, viewport=size, locale=language)


def looks_right(page: Page, size: dict[str, int]) -> None:
    wide = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth)"
    wider = f"{wide}.filter(e => !e.closest('.scrolling')).map(e => e.outerHTML.slice(0, 200))"
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"], page.evaluate(wider)
    assert violations(page) == []


def enter(page: Page, language: str, password: str) -> None:
    en = language == "en"
    page.get_by_label("Password" if en else "密码", exact=True).fill(password)
    button(page, "Sign in" if en else "登录").click()


@MOSTLY_ZH
def test_signing_in_and_out(team: Callable[..., TeamSite], language: str, size: dict[str, int]) -> None:
    site, en = team(), language == "en"
    site.refusals = False  # nothing is asked in vain
    page = opened(site, "/desk", language, size)
    page.wait_for_url("**/login?next=%2Fdesk")
    page.get_by_label("Name" if en else "姓名", exact=True).fill("Chloe")
    looks_right(page, size)
    site.refusals = True
    enter(page, language, "wrong password")
    expect(page.get_by_role("alert")).to_have_text(
        "The name or the password is wrong." if en else "用户名或密码不正确。"
    )
    looks_right(page, size)
    enter(page, language, PASSWORD)
    page.wait_for_url("**/desk")
    page.goto(f"{site.url}/")
    expect(page.locator("#composer")).to_be_visible()
    if size is PHONE:
        button(page, "菜单").click()
    expect(page.locator(".me")).to_have_text("chloe")
    looks_right(page, size)
    page.locator("header").get_by_role("button", name="Sign out" if en else "退出登录", exact=True).click()
    page.wait_for_url("**/login")
    page.goto(f"{site.url}/")
    page.wait_for_url("**/login?next=%2F")
    assert site.complaints == []


@MOSTLY_EN
def test_an_invitation(team: Callable[..., TeamSite], language: str, size: dict[str, int]) -> None:
    site, en = team(), language == "en"
    token = site.store.accounts.invite(Role.LABELER, by="")
    page = opened(site, "/login", language, size)
    held: list[Route] = []
    page.route("**/api/invitation", lambda route: held.append(route))
    with page.expect_request("**/api/invitation"):
        page.goto(f"{site.url}/login?once#invitation={token}")
    name, password = page.locator("input[name=username]"), page.locator("input[type=password]")
    expect(page.get_by_role("heading", name="Welcome" if en else "欢迎")).to_be_visible()
    expect(name).to_have_count(0)  # what is typed before it is known what is asked would be lost
    held[0].fulfill(status=502, body="<h1>Bad Gateway</h1>")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached" if en else "无法连接")
    name.fill("Zoe")
    site.complaints.clear()
    page.unroute("**/api/invitation")
    button(page, "Try again" if en else "重试").click()
    expect(page.get_by_role("heading", name="Welcome" if en else "欢迎")).to_be_visible()
    assert token not in page.url
    expect(name).to_have_value("Zoe")
    name.fill("ＡＤＡ")
    password.fill("aaaaaaaaaaaa")
    page.get_by_label("Show the password" if en else "显示密码").check()
    expect(page.locator("input[name=password]")).to_have_attribute("type", "text")
    join = button(page, "Join" if en else "加入")
    join.click()
    expect(page.get_by_role("alert")).to_contain_text("too easily guessed" if en else "太容易猜到")
    password.fill(PASSWORD)
    join.click()
    expect(page.get_by_role("alert")).to_contain_text("somebody of that name" if en else "已有同名的人")
    name.fill(SCRIPT)
    looks_right(page, size)
    join.click()
    expect(page.locator("#composer")).to_be_visible()
    assert site.store.accounts.named(SCRIPT).role is Role.LABELER
    late = opened(site, f"/login#invitation={token}", language, size)
    expect(late.get_by_role("alert")).to_contain_text("was used" if en else "已使用")
    assert site.complaints == []


@MOSTLY_EN
def test_a_session_that_ends_amid_a_chat(team: Callable[..., TeamSite], language: str, size: dict[str, int]) -> None:
    site, en = team(), language == "en"
    page = opened(site, "/", language, size, "chloe")
    site.ask(page, "first")
    expect(button(page, "Good answer" if en else "回答得好")).to_be_visible()
    chat = page.url.split("c=")[1]
    page.locator("#composer").fill("What I wrote for long 写了很久")
    site.store.credentials.end_all(site.store.accounts.named("chloe").id)
    site.accounts.door.forget()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/login\?next="))  # several requests lead there at a time
    expect(page.get_by_role("status").first).to_have_text(
        "Your session has ended. Sign in again; what you wrote is kept."
        if en
        else "登录已过期，请重新登录；您写的内容已保留。"
    )
    looks_right(page, size)
    page.locator("input[name=username]").fill("chloe")
    enter(page, language, PASSWORD)
    page.wait_for_url(f"**/?c={chat}")
    expect(page.locator("#composer")).to_have_value("What I wrote for long 写了很久")
    expect(button(page, "Good answer" if en else "回答得好")).to_have_count(1)
    page.locator("#composer").press("Enter")
    expect(button(page, "Good answer" if en else "回答得好")).to_have_count(2)
    page.locator("#composer").fill("For nobody else 不给别人看")
    site.store.credentials.end_all(site.store.accounts.named("chloe").id)
    site.accounts.door.forget()
    page.goto(f"{site.url}/?c={chat}")
    page.locator("input[name=username]").fill("ada")
    enter(page, language, PASSWORD)
    expect(page.locator("#composer")).to_have_value("")
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('draft'))") == []
    assert site.complaints == []


@MOSTLY_ZH
def test_ones_own_account(team: Callable[..., TeamSite], language: str, size: dict[str, int]) -> None:
    site, en = team(), language == "en"
    page = opened(site, "/people", language, size, "chloe")
    page.get_by_label("What for" if en else "用途").fill(SCRIPT)
    button(page, "Make a key" if en else "创建密钥").dblclick()  # which makes one
    secret = page.locator("input[readonly]")
    expect(secret).to_have_value(re.compile("^sk-.{40,}"))
    looks_right(page, size)
    assert site.store.credentials.key(secret.input_value()) is not None
    assert len(site.store.credentials.keys(site.store.accounts.named("chloe").id)) == 1
    button(page, "Close" if en else "关闭").click()
    row = page.get_by_role("row", name=SCRIPT)
    button(row, "Revoke" if en else "撤销").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(SCRIPT)
    looks_right(page, size)
    button(dialog, "Revoke" if en else "撤销").click()
    expect(row).to_have_count(0)
    page.get_by_label("Present password" if en else "当前密码").fill("wrong password")
    fresh = page.get_by_label("New password" if en else "新密码")
    fresh.fill("another good one")
    change = button(page, "Change password" if en else "修改密码")
    change.click()
    expect(page.locator(".notice.bad")).to_contain_text("The name or the password" if en else "密码不正确")
    page.get_by_label("Present password" if en else "当前密码").fill(PASSWORD)
    change.click()
    expect(page.locator(".notice:not(.bad)")).to_be_visible()
    assert page.get_by_role("heading", name="Team" if en else "团队").count() == 0
    assert site.store.audit.page()[1].action == "password changed"
    assert site.complaints == []


@MOSTLY_EN
def test_an_admins_page(team: Callable[..., TeamSite], language: str, size: dict[str, int]) -> None:
    site, en = team(), language == "en"
    page = opened(site, "/people", language, size, "ada")
    people = page.get_by_role("region", name="Team" if en else "团队", exact=True)
    form = page.locator("form", has=page.get_by_role("button", name="Invite" if en else "邀请", exact=True))
    form.locator("input").fill(f"Ivy {SCRIPT}")
    form.locator("select").select_option("labeler")
    late: list[Route] = []
    page.route("**/api/people", lambda route: late.append(route) if route.request.post_data else route.continue_())
    with page.expect_request(lambda request: request.method == "POST"):
        button(form, "Invite" if en else "邀请").dblclick()  # which invites once
    form.locator("input").fill("the next")
    late[0].continue_()
    link = page.locator("input[readonly]")
    expect(link).to_have_value(re.compile(rf"^{re.escape(site.url)}/login#invitation=.+"))
    expect(form.locator("input")).to_have_value("the next")
    looks_right(page, size)
    button(page, "Close" if en else "关闭").click()
    row = people.get_by_role("row", name="Ivy")
    expect(row).to_contain_text(SCRIPT)
    wide = row.locator("select").bounding_box()
    assert wide is not None
    assert wide["width"] > 100  # a role that can be read, on a phone too
    own = people.get_by_role("row", name="ada").locator("select")
    own.select_option("chatter")  # the last admin's, which is refused
    expect(page.get_by_role("status")).to_contain_text("one admin" if en else "至少要保留一位")
    expect(own).to_have_value("admin")
    row.locator("select").select_option("manager")
    expect(page.get_by_role("row", name="labeler, after: manager" if en else "labeler")).to_have_count(0)
    button(people.get_by_role("row", name="chloe"), "Disable" if en else "停用").click()
    expect(people.get_by_role("row", name="chloe")).to_contain_text("disabled" if en else "已停用")
    assert site.store.accounts.named("chloe").disabled
    assert site.store.accounts.named(f"Ivy {SCRIPT}").role is Role.MANAGER
    site.store.credentials.add_key(site.store.accounts.named("chloe").id, "program", ["chat"])
    button(people.get_by_role("row", name="chloe"), "Reset password" if en else "重置密码").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("checkbox", name="Revoke 1 key for programs too" if en else "同时撤销此人的 1 个密钥").check()
    looks_right(page, size)
    button(dialog, "Reset password" if en else "重置密码").click()
    expect(dialog).to_have_count(0)
    expect(link).to_have_value(re.compile("invitation="))
    assert site.store.credentials.keys(site.store.accounts.named("chloe").id) == []
    button(page, "Close" if en else "关闭").click()
    button(people.get_by_role("row", name="chloe"), "Delete" if en else "删除").click()
    expect(dialog).to_contain_text("chloe")
    looks_right(page, size)
    button(dialog, "Delete" if en else "删除").click()
    expect(people.get_by_role("row", name="chloe")).to_have_count(0)
    page.reload()
    log = page.get_by_role("region", name="Log" if en else "日志", exact=True)
    expect(log.get_by_role("row")).to_have_count(6)
    expect(log).to_contain_text("changed a role" if en else "更改")
    expect(log).to_contain_text("before: labeler, after: manager" if en else "原为：标注员、改为：经理")
    expect(log).to_contain_text(SCRIPT)
    looks_right(page, size)
    assert site.complaints == []


@MOSTLY_ZH
def test_what_is_lost_is_said_before(team: Callable[..., TeamSite], language: str, size: dict[str, int]) -> None:
    site, en = team(), language == "en"
    chloe = site.store.accounts.named("chloe").id
    chats = [site.store.create_conversation(f"{title} {SCRIPT}", owner=chloe) for title in ("Kept", "Liked")]
    question = site.store.add_question(chats[1].id, "Hi")
    answer = site.store.add_answer(question.id, Completion("Hello", (1,), (0.0,), "stop", "v"))
    site.store.add_feedback(answer.id, "like", user=chloe)
    page = opened(site, f"/?c={chats[0].id}", language, size, "chloe")
    if size is PHONE:
        button(page, "显示对话列表").click()
    row = page.locator("aside li", has_text="Liked")
    row.hover()
    row.get_by_role("button", name=re.compile("^Delete: " if en else "^删除")).click()
    dialog = page.get_by_role("dialog")
    button(dialog, "Delete" if en else "删除").click()
    expect(dialog.get_by_role("alert")).to_contain_text("1 piece of feedback" if en else "1 条反馈")
    looks_right(page, size)
    assert len(site.store.conversations([chloe])) == 2
    button(dialog, "Delete all the same" if en else "仍然删除").click()
    expect(dialog).to_have_count(0)
    expect(row).to_have_count(0)
    assert [chat.id for chat in site.store.conversations([chloe])] == [chats[0].id]
    page.goto(f"{site.url}/people")
    with page.expect_download() as file:
        page.get_by_role("link", name="Download everything" if en else "下载全部内容").click()
    with zipfile.ZipFile(file.value.path()) as told:
        assert SCRIPT in told.read("everything.json").decode()
    page.locator("form", has=page.get_by_role("link")).locator("input[type=password]").fill(PASSWORD)
    button(page, "Delete my account" if en else "删除我的账户").click()
    expect(dialog).to_contain_text("1 chat" if en else "1 个对话")
    looks_right(page, size)
    button(dialog, "Delete my account" if en else "删除我的账户").click()
    page.wait_for_url("**/login")
    assert [user.name for user in site.store.accounts.users()] == ["ada"]
    assert site.complaints == []


def test_below_a_path_behind_a_proxy(team: Callable[..., TeamSite]) -> None:
    site = team(root_path="/assistant")
    with Proxy(site.url, "/assistant") as proxy:
        page = site.open("/desk/", url=proxy.url)
        page.wait_for_url("**/assistant/login?next=%2Fdesk")
        page.locator("input[name=username]").fill("ada")
        enter(page, "en", PASSWORD)
        page.wait_for_url("**/assistant/desk")
        page.goto(f"{proxy.url}/desk/")
        places = page.get_by_role("navigation", name="Places")
        places.get_by_role("link", name="Chat").click()
        site.ask(page, "Hi")
        expect(button(page, "Good answer")).to_be_visible()
        page.wait_for_url("**/assistant/?c=*")
        page.reload()
        expect(button(page, "Good answer")).to_be_visible()
        for name, path in {"Rounds": "rounds", "People": "people", "Labeling desk": "desk"}.items():
            places.get_by_role("link", name=name).click()
            page.wait_for_url(f"**/assistant/{path}")
            expect(page.get_by_role("heading", name=name).first).to_be_visible()
        for link in page.locator("a[href]").all():
            assert (link.get_attribute("href") or "").startswith(("/assistant/", "#")), link
        page.go_back()
        page.wait_for_url("**/assistant/people")
        form = page.locator("form", has=page.get_by_role("button", name="Invite", exact=True))
        button(form, "Invite").click()
        link = page.locator("input[readonly]")
        expect(link).to_have_value(re.compile(rf"^{re.escape(proxy.url)}/login#invitation="))
        page.locator("header").get_by_role("button", name="Sign out", exact=True).click()
        page.wait_for_url("**/assistant/login")
        assert proxy.asked == [], "asked beside the path"
    assert site.complaints == []


def test_by_the_teams_provider(team: Callable[..., TeamSite]) -> None:
    with Provider() as provider:
        told = {"oidc_issuer": provider.url, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET}
        site = team(**told, public_url="http://127.0.0.1:1")
        # where the browser comes back to is known once the server listens
        object.__setattr__(site.accounts.settings, "public_url", site.url)
        provider.subject = SCRIPT
        page = site.open("/")
        page.get_by_role("link", name="Sign in with the team's provider").click()
        expect(page.get_by_text("nobody has let you in here yet")).to_be_visible()
        token = site.store.accounts.invite(Role.CHATTER, by="")
        page.goto("about:blank")
        page.goto(f"{site.url}/login#invitation={token}")
        button(page, "Sign in with the team's provider").click()
        expect(page.locator(".me")).to_have_text(f"Ann 安 {SCRIPT}")
        assert violations(page) == []
    assert site.complaints == []
