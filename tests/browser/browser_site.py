"""What the browser tests share: a browser, and a site that it opens.

Needs the package playwright and a browser: Chromium on the path, or the one that `playwright install chromium` fetches.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, expect, sync_playwright
from spoken import LANGUAGE, speak

from server_double import FakeEngine, live
from steersman.server.app import create_app
from steersman.server.generation import Generations
from steersman.server.pages import STATIC
from steersman.store import Store
from steersman.types import Candidates, Completion, Conversation, Message

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HURRY = """
for (const name of ['setInterval', 'setTimeout']) {
  const wait = window[name]
  const often = (act, milliseconds) => milliseconds > 1000 && !/notice/.test(act)
  window[name] = (act, milliseconds) => wait(act, often(act, milliseconds) ? milliseconds / 10 : milliseconds)
}
"""
"""Notices stay for as long as ever: one that is gone after a quarter of a second is missed where a machine is busy."""
PIECES = ("Your parcel ", "comes **today**. ", "<img src=x onerror=alert(1)>", " [here](javascript:alert(1))")


LOST = re.compile(r"Failed to load resource|net::ERR_|Failed to fetch|network error")
"""What a browser writes of requests that fail."""
WAIT = 30_000
"""Milliseconds until a test fails for what does not come: a machine may be busy with other work."""
expect.set_options(timeout=WAIT)
if LANGUAGE != "en":
    speak()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built: npm ci && npm run build in web/")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=found, args=FLAGS)
        except Error as error:
            pytest.skip(f"no browser can be started: {error.message.splitlines()[0]}")
        yield opened
        opened.close()


@dataclass
class Site:
    url: str
    engine: FakeEngine
    store: Store
    browser: Browser
    complaints: list[str]
    workspace: Path
    generations: Generations
    refusals: bool = False
    """The test makes requests that fail, of which the browser complains."""

    def open(
        self, path: str = "/", *, url: str = "", hurried: bool = False, english: bool = False, **context: Any
    ) -> Page:
        """`hurried`: what the page does every few seconds it does ten times as often. `english`: whatever language the
        tests are run in."""
        if english:
            context.setdefault("locale", "en-GB")
        if LANGUAGE != "en" and context.setdefault("locale", LANGUAGE) != LANGUAGE:
            pytest.skip("the test chooses its languages")
        page = self.browser.new_context(**context).new_page()
        if LANGUAGE != "en":
            page.add_init_script(f"try {{ localStorage['steersman.language'] ??= '{LANGUAGE}' }} catch {{}}")
        if hurried:
            page.add_init_script(HURRY)
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: self._complain(str(error)))
        page.on("console", self._heard)
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.goto((url or self.url) + path)
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        self._complain(message.text)

    def _complain(self, text: str) -> None:
        if not (self.refusals and LOST.search(text)):
            self.complaints.append(text)

    def ask(self, page: Page, text: str) -> None:
        page.locator("#composer").fill(text)
        page.locator("#composer").press("Enter")

    def messages(self, written: bool = True) -> list[Any]:
        """What is stored of the newest chat; `written`: once no answer is being written (words are shown before)."""
        deadline = time.monotonic() + 10
        while written and self.generations.taken and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.store.messages(self.store.conversations()[0].id)


@pytest.fixture
def site(browser: Browser, tmp_path: Path) -> Iterator[Site]:
    """A server with one ranking task. The test fails if the page wrote an error or warning to the console."""
    engine = FakeEngine(pieces=PIECES)
    with Store.open(tmp_path / "store.db") as store:
        prompt = Conversation("p", (Message("system", "Order 7: a lamp."), Message("user", "<b>Where</b> is it?")))
        answers = tuple(Completion(text, (1,), (-0.1,), "stop", "sft-1") for text in ("alpha", "beta", "gamma"))
        store.add_candidates(1, [Candidates(prompt, answers)])
        app = create_app(
            engine,
            store,
            name="Lamp shop",
            language="en",
            max_tokens=20,
            examples=lambda: ["Where is my lamp?"],
            workspace=tmp_path,
        )
        with live(app) as url:
            site = Site(url, engine, store, browser, [], tmp_path, app.state.context.generations)
            yield site
            for context in browser.contexts:
                context.close()
    assert not site.complaints, site.complaints


def button(where: Page | Locator, name: str) -> Locator:
    if LANGUAGE != "en" and name == "切换到中文":
        pytest.skip("the test changes the language itself")
    return where.get_by_role("button", name=name, exact=True)


class Wire:
    """A way to a server that can be cut and mended. Gives its own URL."""

    def __init__(self, url: str) -> None:
        self._to = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        self._ends: set[socket.socket] = set()
        self._whole, self._listener = True, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        self._whole = False
        for end in tuple(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._whole = True

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                if not self._whole:
                    near.close()
                    continue
                far = socket.create_connection(self._to)
                for pair in ((near, far), (far, near)):
                    self._ends.add(pair[0])
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.discard(source)
        source.close()
