"""How answers look that models write in both languages, and that nothing in them is run."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("playwright", reason="the page's tests need playwright: pip install 'steersman[browser]'")

from browser_site import Site
from playwright.sync_api import Locator, expect

from steersman.types import Completion


def shown(site: Site, *answers: str) -> list[Locator]:
    """The answers of a chat in a page, each as it is drawn."""
    chat, parent = site.store.create_conversation("t"), None
    for text in answers:
        question = site.store.add_question(chat.id, "q", parent)
        parent = site.store.add_answer(question.id, Completion(text, (1,), (-0.1,), "stop", "v")).id
    page = site.open(f"/?c={chat.id}")
    expect(page.locator("article .markdown")).to_have_count(len(answers), timeout=30_000)
    return page.locator("article .markdown").all()


LINK = 'target="_blank" rel="noopener noreferrer nofollow"'


WRITTEN = [
    ("3. three\n4. four\n\ntext\n\n5. five", ['<ol start="3"', '<ol start="5"']),
    ("[a](https://a.org)", [f'<a href="https://a.org" {LINK}>a</a>']),
    ("|a|b|c|\n|:-|:-:|-:|\n|1|2|3|", ['<th align="left"', '<td align="center"', '<td align="right"']),
    ("3~5天，还有5~7天，~~三天~~。", [">3~5天，还有5~7天，<del>三天</del>。<"]),
    ("**“七天无理由”**退货", ["<strong>“七天无理由”</strong>退货"]),
    ("**价格：**100元，*重点。*注意", ["<strong>价格：</strong>100元，<em>重点。</em>注意"]),
    ("[注意]: 请保留小票", ["[注意]: 请保留小票"]),
    ("[^1]: 见附录", ["[^1]: 见附录"]),
    ("- [1]: https://a.org\n\n[2]: https://b.org", ["[1]: <a", "[2]: <a"]),
    ("see [x][2]\n\n[2]: https://b.org", [f'see <a href="https://b.org" {LINK}>x</a>']),
    ("请看https://a.org/x。谢谢", [f'<a href="https://a.org/x" {LINK}>https://a.org/x</a>。谢谢']),
    ("（https://a.org/b_(c)），好", ['href="https://a.org/b_(c)"', "</a>），好"]),
    ("https://a.org/x查看，https://a.org/?q=中文", ['href="https://a.org/x"', ">https://a.org/?q=中文</a>"]),
    ("שלום עולם\n\nhello", ['<p dir="auto">שלום']),
    ("1. שלום, hello\n2. hello", ['<ol dir="rtl">\n<li>שלום']),
    ("- hello שלום\n\n> مرحبا", ['<ul dir="ltr">', '<blockquote dir="rtl">']),
    ("```py\nx = 1  # one\n```", ['<pre dir="ltr"', '<span class="hljs-comment"># one</span>']),
    ("```unheard\nx < 1\n```", ['<code class="language-unheard">x &lt; 1']),
    ("``` \\draw (0,0);\n```", ["\\draw (0,0);"]),
    ('```js title="a.js"\nx\n```', ['<code class="language-js">x']),
    ("it costs $5 and $10, US$7-$9, $20 for two or 5$", ["it costs $5 and $10, US$7-$9, $20 for two or 5$"]),
    ("价格$5（约￥35），运费$3；售价5$到10$", ["价格$5（约￥35），运费$3；售价5$到10$"]),
    ("`$x$` and \\[1\\] and \\[注意\\]", ["<code>$x$</code> and [1] and [注意]"]),
    ("$\\nosuchcommand{x}$", ['<code class="math">\\nosuchcommand{x}</code>']),
]


def test_what_is_written_is_what_is_shown(site: Site) -> None:
    answers = shown(site, *(source for source, _ in WRITTEN))
    expect(answers[0].page.locator("[class^=hljs]").first).to_be_visible()
    for answer, (_, html) in zip(answers, WRITTEN, strict=True):
        text = answer.inner_html()
        for part in html:
            assert part in text, text


FORMULAS = [
    (r"\(a^2\)和\(b\)", ["a^2", "b"], "和"),
    ("\\[\na\n- b\n= c\n\\]\nthen", ["a\n- b\n= c"], "then"),
    ("公式如下：\n$$\nE\n= mc^2\n$$\n其中", ["E\n= mc^2"], "其中"),
    ("当$x_1*y*z$时，$$\\sum_i x_i$$成立", ["x_1*y*z", "\\sum_i x_i"], "成立"),
    (r"**注意 \(a*b*c\) 事项**", ["a*b*c"], "事项"),
    ("- item\n  \\[ x = 1 \\]\n- $y$", ["x = 1", "y"], "item"),
    (r"| $\|x\|$ |" + "\n|-|\n| $a_1$ |", ["|x|", "a_1"], ""),
    (r"$速度=\frac{距离}{时间}$", [r"速度=\frac{距离}{时间}"], ""),
]


def test_formulas_are_drawn(site: Site) -> None:
    answers = shown(site, *(source for source, _, _ in FORMULAS))
    for answer, (_, formulas, rest) in zip(answers, FORMULAS, strict=True):
        expect(answer.locator(".katex")).to_have_count(len(formulas))
        assert answer.locator("annotation").all_text_contents() == formulas
        expect(answer).to_contain_text(rest)
    loaded = "() => document.fonts.ready.then(() => [...document.fonts].some(f => f.status == 'loaded'))"
    assert answers[0].page.evaluate(loaded)


EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "[x](javascript:alert(1)) [x](data:text/html,<script>alert(1)</script>) [x](JaVaScRiPt&#58;alert(1))",
    '![x](x"onerror=alert(1)) [x](https://a.org"onmouseover=alert(1))',
    "$\\href{javascript:alert(1)}{x}$ $\\htmlData{x=1}{y}$ $\\text{<img src=x onerror=alert(1)>}$",
    "$$\\includegraphics[alt=<img/src/onerror=alert(1)>]{x}$$ \\(<script>alert(1)</script>\\)",
    "```html\n<img src=x onerror=alert(1)>\n```",
    '```x"onmouseover=alert(1)\n1\n```',
    "```math display\n<script>alert(1)</script>\n```",
    '<a href="javascript:alert(1)">x</a> <form action=//evil><input></form>',
    "[a]: javascript:alert(1)\n[a][a]",
    "|<img src=x onerror=alert(1)>|\n|-|\n|`<b onclick=alert(1)>`|",
]


def test_nothing_that_is_written_is_run(site: Site) -> None:
    answers = shown(site, *EVIL)
    page = answers[0].page
    page.wait_for_timeout(500)
    bad = "img, script, iframe, form, input, style, link, object, embed, [onerror], [onclick], [onmouseover], [onload]"
    assert [answer.locator(bad).count() for answer in answers] == [0] * len(EVIL)
    hrefs = page.locator("article a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert all(href.startswith(("https://", "/rounds/lineage/")) for href in hrefs), hrefs
    expect(answers[1]).to_contain_text("<img src=x onerror=alert(1)>")


DEEP = {
    "quotes": ">" * 10_000,
    "quotes and spaces": "> " * 10_000,
    "brackets": "[" * 10_000,
    "images": "![" * 5000,
    "stars": "**a " * 3000,
    "dollars": "$" * 10_000,
    "dollars and words": "*$a " * 2500,
    "formulas": "\\[\n" * 3000,
    "braces": "$" + "{" * 900 + "}" * 900 + "$",
    "lists": "".join("  " * i + "- a\n" for i in range(300)),
    "numbers": "".join("   " * i + "1. a\n" for i in range(200)),
    "mixed": "> - " * 2000 + "x",
    "addresses": "http://" * 3000,
}


def test_deep_nesting_is_shown(site: Site) -> None:
    before = time.monotonic()
    answers = shown(site, *DEEP.values())
    assert time.monotonic() - before < 40
    for name, answer in zip(DEEP, answers, strict=True):
        text = answer.evaluate("e => e.textContent")
        letters = sum(c.isalpha() for c in DEEP[name])
        if name != "braces":
            assert sum(c.isalpha() for c in text) >= letters, name
