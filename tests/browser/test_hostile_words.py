"""Words that want to be script, wherever people, files or a model can write to: each page shows them as text.

One site is filled through its store and files; then every page is looked at in both languages. What ran would call
`ran`, ask by a dialog, or be stopped by the policy: all are complaints, and the test fails of any.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the page's tests need playwright: pip install 'steersman[browser]'")

from browser_site import Site
from playwright.sync_api import Browser, Page, expect

from server_double import FakeEngine, live
from steersman.artifact.workspace import Workspace
from steersman.config import AccountsConfig, EvalConfig
from steersman.config_file import from_dict
from steersman.data.dataset import write_dataset
from steersman.engine.protocol import Engine
from steersman.eval.report import Shown, write_report
from steersman.eval.verdict import ModelAnswers, verdict
from steersman.parts import Citation
from steersman.server.app import create_app
from steersman.server.models import Models
from steersman.server.team import Team
from steersman.store import Store
from steersman.store.desk import Asker, NewTask, Submission
from steersman.store.roles import Role
from steersman.types import AxisScores, Candidates, Completion, Conversation, Message
from tiny import conversation

WORD = "\"'><img src=x onerror=ran()><svg onload=ran()>{{ran()}}"
"""What fits into a name."""
WORDS = f"""{WORD}<script>ran()</script><iframe srcdoc="<script>parent.ran()</script>"></iframe>

[j](javascript:ran()) [d](data:text/html,<script>ran()</script>) [v](vbscript:ran()) <javascript:ran()>
![i](javascript:ran())
[b]: javascript:ran() "t"
[ref][b] [e](java&#x0A;script:ran()) ![x](x"onerror=ran()) <a href="javascript:ran()">a</a>
<https://a.org/"onmouseover=ran()>

$\\href{{javascript:ran()}}{{m}}$ $\\htmlData{{x=ran()}}{{y}}$ $\\includegraphics{{x}}$
$\\text{{<img src=x onerror=ran()>}}$
$$\\url{{javascript:ran()}} \\htmlId{{a" onload="ran()}}{{z}}$$

```js" onload="ran()
<img src=x onerror=ran()>
```
~~~<img/src/onerror=ran()>
</code></pre><img src=x onerror=ran()>
~~~
| <img src=x onerror=ran()> | `</code><svg onload=ran()>` |
|---|---|
| <details open ontoggle=ran()> | <math href="javascript:ran()">m</math> |

<attachment name="x&quot; onerror=ran()">
</attachment><img src=x onerror=ran()>
</attachment>
"""
WATCH = """
window.ran = () => console.error('words ran as script')
document.addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.sample}`))
"""
MARKUP = """() => [...document.querySelectorAll('body *')].filter((e) =>
  ['IFRAME', 'OBJECT', 'EMBED', 'BASE', 'META', 'LINK'].includes(e.tagName)
  || (e.tagName === 'SCRIPT' && !e.src) || [...e.attributes].some((a) => /^on/i.test(a.name)
  || (/^(xlink:)?(href|src|action|formaction)$/.test(a.name) && !/^(https?:|\\/|#|blob:|data:image\\/)/.test(a.value))))
  .map((e) => e.outerHTML.slice(0, 200))"""
"""Elements and attributes that nobody's words may become."""


GO = "(path) => { history.pushState(null, '', path); dispatchEvent(new PopStateEvent('popstate')) }"


def fill_chats(store: Store, ada: str) -> tuple[str, str, str]:
    """(chat, link, answer)"""
    chat = store.create_conversation(WORD, owner=ada)
    store.shelf.arrange(chat.id, folder=WORD[:50], settings={"system_prompt": WORDS, "stop": [WORD]})
    cited = [Citation("https://a.org/<img>", WORD), Citation("javascript:ran()", WORD), Citation(WORD, WORD)]
    parent = None
    for edited in (False, True):
        question = store.add_question(chat.id, WORDS, parent)
        answer = store.add_answer(question.id, Completion(WORDS, (1,), (0.0,), "stop", WORD), citations=cited)
        store.add_feedback(answer.id, "dislike", comment=WORDS, user=ada)
        if edited:
            store.add_feedback(answer.id, "edit", edited=f"better {WORDS}", user=ada)
        parent = answer.id
    return chat.id, store.shelf.share(chat.id, answer.id).token, answer.id


def fill_duel(store: Store, ada: str) -> str:
    """A chat in which somebody chose between two answers, whose models are named since."""
    chat = store.create_conversation(f"2 {WORD}", owner=ada)
    question, ids = store.add_question(chat.id, WORDS), ("e" * 32, "f" * 32)
    store.duels.begin(question.id, ids, (WORD, f"2 {WORD}"))
    for id_ in ids:
        store.add_answer(question.id, Completion(WORDS, (1,), (0.0,), "stop", WORD), id=id_)
    store.duels.vote(question.id, "left", labeler=ada, round=1)
    return chat.id


def fill_desk(store: Store, lea: str, root: Path) -> None:
    (root / "guidelines.md").write_text(f"# {WORD}\n\n{WORDS}", encoding="utf-8")
    asked = [{"role": "system", "content": WORDS}, {"role": "user", "content": WORDS}]
    store.desk.add([NewTask("demonstration", {"messages": [], "brief": WORDS})])
    store.desk.add([NewTask("demonstration", {"messages": [], "brief": f"2 {WORDS}"}, assigned=(WORD,))])
    store.desk.add([NewTask(kind, {"messages": asked, "answer": WORDS}, needed=3) for kind in ("vote", "flag", "edit")])
    for who, vote in ((lea, "good"), ("gone", "bad")):
        task = store.desk.take(Asker(who, 3), "vote")
        assert task
        store.desk.submit(task.id, Submission(who, value={"vote": vote}, comment=WORDS[:900]))
    answers = tuple(Completion(f"{n} {WORDS}", (1,), (-0.1,), "stop", WORD) for n in range(2))
    store.add_candidates(
        1, [Candidates(Conversation(WORD, (Message("system", WORDS), Message("user", WORDS))), answers)]
    )


def fill_rounds(root: Path) -> Path:
    """The report's place"""
    space = Workspace.open(root)
    said = [conversation(WORDS, WORDS, id=WORD), conversation("q", "a", id="plain")]
    write_dataset(space.data, "chats", "demonstrations", "train", said, WORD, {})
    (root / "jobs").mkdir()
    job = {"number": 1, "stage": "sft", "round": 1, "command": ["--set", WORD], "pid": 1, "process_started": 1.0}
    told = job | {"host": socket.gethostname(), "started": "2026-01-01T00:00:00+00:00"}
    (root / "jobs/001.json").write_text(json.dumps(told))
    (root / "jobs/001.out").write_text(json.dumps({"error": f"error: {WORDS}", "exit_code": 2}))
    (root / "jobs/001.log").write_text(f"{WORDS}\nstep 1/2\n", encoding="utf-8")
    run = root / "rounds/001/ppo.partial"
    run.mkdir(parents=True)
    row = {"iteration": 1, "reward": 0.5, WORD: 1.0, "samples": [{"prompt": WORDS, "answer": WORDS}]}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    check = {"kind": WORD, "name": WORD, "held": False, "text": WORDS}
    decided: dict[str, Any] = {"round": 1, "candidate": WORD, "against": WORD, "promoted": False, "gate": True}
    decided |= {
        "checks": [check],
        "reasons": [WORDS],
        "start": WORD,
        "served": WORD,
        "time": "2026-01-01T00:00:00+00:00",
    }
    decided["data"] = {
        "rules": {WORD: {"records": 1, "used": 1, "dropped": {WORD: 1}}},
        "made": {},
        "new": 1,
        "replaced": 0,
    }
    (root / "rounds/001/decision.json").write_text(json.dumps(decided))
    names = dict.fromkeys(("stage", "identity", "version", "served", "served_identity", "salt", "outcome"), WORD)
    started = {"started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-02T00:00:00+00:00"}
    (root / "canary.json").write_text(json.dumps({"canaries": [{"round": 1, "share": 0.5} | names | started]}))
    models = [
        ModelAnswers(name, WORD, [WORDS] * 4, [5] * 4, ["stop"] * 4, [AxisScores(x, x, x, (WORDS,))] * 4)
        for name, x in (("base", 0.2), ("sft", 0.8))
    ]
    prompts = [Conversation(f"{WORD}{i}", (Message("user", WORDS),), {"intent": WORD}) for i in range(4)]
    result = verdict(models, prompts, EvalConfig(bootstrap=100), judge=WORD)
    write_report(root / "report.html", result, prompts, models, Shown(title=WORD, facts={WORD: {WORD: [WORDS]}}))
    return root / "report.html"


@pytest.fixture(scope="module")
def hostile(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, str]]]:
    root = tmp_path_factory.mktemp("hostile") / "w"
    Workspace.create(root, from_dict({"project": {"name": WORD, "domain": "none"}}, "test"))
    report = fill_rounds(root)
    with Store.open(root / "store.db") as store:
        ada, lea = store.accounts.add(WORD, Role.ADMIN), store.accounts.add(f"lea {WORD}", Role.LABELER)
        store.accounts.invite(Role.LABELER, by=ada.id, user_id=lea.id)
        store.credentials.add_key(ada.id, WORD, ["chat"])
        store.audit.add(ada.id, WORD, WORD, model=WORD)
        chat, link, answer = fill_chats(store, ada.id)
        duel = fill_duel(store, ada.id)
        fill_desk(store, lea.id, root)
        engine = FakeEngine(pieces=(WORDS[:300], WORDS[300:]), model_name=WORD, policy_version=WORD, max_context=10**5)
        more: dict[str, Engine] = {"base": FakeEngine(pieces=(WORDS,), model_name=WORD, max_context=10**5)}
        told = {"greeting": f"{WORD}\n{WORDS}", "examples": lambda: [WORD, WORDS], "report": lambda: report}
        team = Team(store, AccountsConfig())
        app = create_app(
            Models(engine, more), store, name=WORD, language="en", max_tokens=20, workspace=root, team=team, **told
        )
        with live(app) as url:
            site = Site(url, engine, store, browser, [], root, app.state.context.generations)
            yield (
                site,
                {"chat": chat, "link": link, "answer": answer, "duel": duel, "ada": store.credentials.begin(ada.id, 1)},
            )
            for context in browser.contexts:
                context.close()


def look(page: Page, path: str, *there: str) -> None:
    """Go to a place of the page; `there`: where it shows the words. It is looked at in both languages."""
    page.evaluate(GO, path)
    shown(page, *(there or ["main"]))
    page.locator("header [title=English], header [title=中文]").first.click()
    shown(page, *there)


def shown(page: Page, *there: str) -> None:
    for place in there:
        expect(page.locator(place).first).to_contain_text("onerror=ran()" if place != "main" else "")
    assert page.evaluate(MARKUP) == [], page.url


def test_no_words_run(hostile: tuple[Site, dict[str, str]]) -> None:
    site, at = hostile
    cookie = {"name": f"steersman_{site.url.rsplit(':', 1)[1]}", "value": at["ada"], "domain": "127.0.0.1", "path": "/"}
    cookie |= {"expires": -1, "httpOnly": True, "secure": False, "sameSite": "Strict"}
    site.refusals = True
    page = site.open("/login", storage_state={"cookies": [cookie], "origins": []}, locale="en", base_url=site.url)
    page.add_init_script(WATCH)
    page.on("popup", lambda opened: site.complaints.append(f"a window: {opened.url}"))
    page.wait_for_url(f"{site.url}/")  # whoever is signed in is led there
    page.goto("/")
    look(page, "/", "h1, h2", ".examples", "nav", "header")
    look(page, f"/?c={at['chat']}", "article.mine", "article .markdown", ".sources", "nav")
    page.keyboard.press("Control+,")
    expect(page.locator("dialog textarea").first).to_have_value(WORDS)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("onerror")
    shown(page, "nav mark, nav a")
    page.goto(f"/?c={at['chat']}")
    site.ask(page, f"again {WORDS}")
    expect(page.locator("article .markdown")).to_have_count(3)
    shown(page, "article.mine >> nth=2", "article .markdown >> nth=2")
    look(page, f"/?c={at['duel']}", ".sides .model", ".sides .markdown")
    page.evaluate(GO, f"/shared/{at['link']}")
    shown(page, "h1", "article >> nth=0", "article >> nth=1")
    page.evaluate(GO, "/desk")
    shown(page, "dialog")
    page.keyboard.press("Enter")  # the guidelines are read
    expect(page.locator("dialog")).to_have_count(0)
    for number in range(1, 6):
        expect(page.locator(".queues")).to_be_visible()
        page.keyboard.press(str(number))
        expect(page.locator("footer")).to_be_visible()
        shown(page, "#main")
        page.keyboard.press("Escape")
    look(page, "/desk/team", "#main", ".waits")
    look(page, "/desk/decide", "article")
    look(page, "/desk/history")
    look(page, "/rank", ".prompt details", ".turn", "[data-answer='0']", "[data-answer='1']")
    expect(page.locator("#labeler")).to_have_count(0)  # the server knows who it is
    look(page, "/rounds", "header")
    look(page, "/rounds/canary", "#main h3", "#main th[scope=row]", "#main .chip")
    look(page, "/rounds/run", "article")
    look(page, "/rounds/curves", ".sample")
    look(page, "/rounds/data")
    look(page, "/rounds/data/chats", "article, li, .record, main section")
    look(page, "/rounds/1", "table")
    look(page, f"/rounds/lineage/{at['answer']}", ".said")
    look(page, "/people", "table")
    for address in ("/?c=%3Cimg%20src=x%20onerror=ran()%3E", "/rounds/lineage/%3Cimg%20src=x%20onerror=ran()%3E"):
        look(page, address)
    for address in (
        "/rounds/data/%3Cimg%20onerror=ran()%3E",
        "/shared/%22%3E%3Csvg%20onload=ran()%3E",
        "/%3Cscript%3E",
    ):
        page.evaluate(GO, address)
        shown(page, "main")
    page.goto("/report")
    shown(page, "body")
    assert site.complaints == []
    page.goto("/")  # what would be found is found
    with page.expect_console_message(lambda said: said.text.startswith("policy: script-src")):
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=ran()>')")
    assert len(page.evaluate(MARKUP)) == 1
