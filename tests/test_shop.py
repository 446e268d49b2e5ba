"""The shop's generator: deterministic, disjoint between splits, unique, correct."""

import functools
import itertools
import json
import re
import statistics
import subprocess
import sys

import pytest

from steersman.data.shop import INTENT_WEIGHTS, generate, judge
from steersman.data.shop.cases import SPECS
from steersman.data.shop.claims import count_length
from steersman.data.shop.compose import LINES, VOICES, slots_of
from steersman.data.shop.generate import answers_to
from steersman.data.shop.lexicon import TURN, parse, tables, templates
from steersman.data.shop.world import (
    FIRST_NAMES,
    GIVEN_NAMES,
    LANGUAGES,
    LAST_NAMES,
    SHOPS,
    SPLITS,
    SURNAMES,
    catalogue,
    draw,
)
from steersman.types import Conversation

PAIRS = [(language, split) for language in LANGUAGES for split in SPLITS]
# hundreds of answers are judged: for the wording that verdicts rest on, and by make test-slow for the others
JUDGED = [pytest.param(*pair, marks=() if pair[1] == "test" else pytest.mark.slow) for pair in PAIRS]
ORDER = re.compile(r"(?<!\d)\d{5}(?!\d)")


def text_of(conversation):
    return "\n".join(m.content for m in conversation.messages)


@functools.cache
def shown(language, split):
    """Demonstrations that several tests look at."""
    return tuple(generate("demonstrations", split, 1500, language, 2))


def digest(kind, split, n, language, seed, stream=""):
    return json.dumps([c.to_json() for c in generate(kind, split, n, language, seed, stream)], ensure_ascii=False)


def test_same_seed_same_text_and_another_seed_another():
    assert digest("demonstrations", "train", 50, "both", 3) == digest("demonstrations", "train", 50, "both", 3)
    assert digest("demonstrations", "train", 50, "both", 3) != digest("demonstrations", "train", 50, "both", 4)


def test_same_text_in_another_process_with_another_hash_seed():
    code = (
        "import json,sys; from steersman.data.shop import generate;"
        "sys.stdout.buffer.write(json.dumps([c.to_json() for c in generate('prompts','test',40,'both',7,'x')],"
        "ensure_ascii=False).encode())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": "99", "PATH": ""}
    )
    assert out.stdout.decode() == digest("prompts", "test", 40, "both", 7, "x")


def test_fewer_are_the_first_of_more():
    more = list(generate("prompts", "train", 60, "en", 1, "rank"))
    assert list(generate("prompts", "train", 25, "en", 1, "rank")) == more[:25]


def test_ids_say_where_a_record_comes_from():
    ids = [c.id for c in generate("prompts", "train", 124, "en", 0, "rank")]
    assert ids[123] == "shop-en-train-rank-000123"
    assert next(generate("demonstrations", "test", 1, "zh", 0)).id == "shop-zh-test-demo-000000"


def test_kinds_end_with_the_right_role():
    assert all(c.is_prompt for c in generate("prompts", "train", 50, "both", 0))
    assert all(c.messages[-1].role == "assistant" for c in generate("demonstrations", "train", 50, "both", 0))
    assert all(c.messages[0].role == "system" for c in generate("prompts", "test", 50, "both", 0))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("answers", "train", 1, "en", 0), "kind"),
        (("prompts", "dev", 1, "en", 0), "split"),
        (("prompts", "train", 1, "fr", 0), "language"),
        (("prompts", "train", -1, "en", 0), "n"),
    ],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=rf"shop.generate {named}: expected"):
        list(generate(*arguments))


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_unique_and_streams_differ(language):
    demonstrations = [text_of(c.without_answer()) for c in generate("demonstrations", "train", 2000, language, 1)]
    rank = {text_of(c) for c in generate("prompts", "train", 1000, language, 1, "rank")}
    ppo = {text_of(c) for c in generate("prompts", "train", 1000, language, 1, "ppo")}
    assert len(set(demonstrations)) == 2000
    assert len(rank) == len(ppo) == 1000
    assert not rank & ppo
    assert not rank & set(demonstrations)


@pytest.mark.slow
@pytest.mark.parametrize("language", [*LANGUAGES, "both"])
def test_published_sizes_are_reached(language):
    rank = {text_of(c) for c in generate("prompts", "train", 33000, language, 1, "rank")}
    ppo = {text_of(c) for c in generate("prompts", "train", 31000, language, 1, "ppo")}
    asked = {text_of(c.without_answer()) for c in generate("demonstrations", "train", 13000, language, 1)}
    assert (len(rank), len(ppo), len(asked)) == (33000, 31000, 13000)
    assert not rank & ppo
    assert not rank & asked


def test_splits_share_no_order_customer_or_product():
    seen = {}
    for split in SPLITS:
        orders, products, customers = set(), set(), set()
        for language in LANGUAGES:
            for c in shown(language, split):
                orders |= set(ORDER.findall(text_of(c)))
                customers.add(c.meta["customer"]["name"])
        products = {form for p in catalogue(split) for form in (p.noun.en, p.noun.zh)}
        seen[split] = (orders, customers, products)
        assert len(orders) > 500
    for one, two in itertools.combinations(SPLITS, 2):
        for mine, other in zip(seen[one], seen[two], strict=True):
            assert not mine & other
        for pool in (FIRST_NAMES, LAST_NAMES):
            assert not set(pool[one].split()) & set(pool[two].split())
        given = [{name for part in GIVEN_NAMES[s].values() for name in part.split()} for s in (one, two)]
        assert not given[0] & given[1]
        assert not set(SURNAMES[one]) & set(SURNAMES[two])
        assert not set(SHOPS[one]) & set(SHOPS[two])


def test_no_text_of_one_split_names_a_product_of_another():
    for language in LANGUAGES:
        which = 0 if language == "en" else 1
        for split in SPLITS:
            words = {(p.noun.en, p.noun.zh)[which] for s in SPLITS if s != split for p in catalogue(s)}
            pattern = re.compile("|".join(rf"\b{w}\b" if which == 0 else w for w in sorted(words)))
            text = "\n".join(text_of(c).lower() for c in shown(language, split))
            assert not pattern.search(text), pattern.search(text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_splits_share_no_template(language):
    texts = {
        s: {t.text for (_, _, split), rows in tables(language).items() if split == s for t in rows} for s in SPLITS
    }
    for one, two in itertools.combinations(SPLITS, 2):
        assert not texts[one] & texts[two]
    for split in SPLITS:
        for c in shown(language, split):
            ids = [*c.meta["templates"], *c.meta["answer_templates"]]
            assert all(i.split(".")[-2] == split for i in ids), ids


@pytest.mark.parametrize(("language", "split"), PAIRS)
def test_every_intent_has_enough_wording(language, split):
    users, cores = {"train": (10, 6)}.get(split, (4, 3))
    for intent in INTENT_WEIGHTS:
        found = {"user": set(), "core": set()}
        for (section, key, s), rows in tables(language).items():
            if s == split and section in found and key.split(".")[0] == intent:
                found[section] |= {row.text for row in rows}
        assert len(found["user"]) >= users, (intent, "user")
        assert len(found["core"]) >= cores, (intent, "core")


@pytest.mark.parametrize(("language", "split"), PAIRS)
def test_users_mention_only_what_the_shop_knows_or_they_have_wrong(language, split):
    for name, spec in SPECS.items():
        lines = [line.replace("$", status) for line in spec.lines for status in spec.statuses or ("",)]
        known = {s for line in (*lines, *spec.policies) for part in line.split("+") for s in slots_of(LINES[part][0])}
        allowed = known | {"shop", "name", "first", "clause", "other"} | set(spec.deny) | {"wrongst"}
        for template in templates(language, "user", spec.user or name, split):
            assert slots_of(template.text) <= allowed, template
            assert template.text.count(TURN) == (2 if name.startswith(("changed", "ellipsis")) else 0), template
        for template in templates(language, "core", name, split):
            assert slots_of(template.text) <= allowed, template


def test_intents_come_as_their_weights_say():
    assert sum(INTENT_WEIGHTS.values()) == 100
    counts = dict.fromkeys(INTENT_WEIGHTS, 0)
    for c in generate("prompts", "train", 300, "en", 9):
        counts[c.meta["intent"]] += 1
    assert counts == {intent: 3 * weight for intent, weight in INTENT_WEIGHTS.items()}


def test_explicit_wishes_come_in_the_wanted_shares():
    numbers = [len(c.meta["constraints"]) for c in generate("prompts", "train", 2000, "zh", 9)]
    assert 0.36 < sum(n == 1 for n in numbers) / 2000 < 0.44
    assert 0.07 < sum(n == 2 for n in numbers) / 2000 < 0.13
    both = [c.meta for c in generate("prompts", "train", 1000, "both", 9)]
    assert sum(m["asked_in"] != m["answer_in"] for m in both) > 80
    assert not any(
        m["asked_in"] != m["answer_in"] for c in generate("prompts", "train", 500, "en", 9) for m in [c.meta]
    )


def test_prompts_and_answers_are_short():
    for language, one_least, one_most, multi_most in (("en", 200, 440, 560), ("zh", 70, 160, 220)):
        made = list(generate("demonstrations", "train", 1000, language, 4))
        prompts = {
            n: [len(text_of(c.without_answer())) for c in made if (len(c.messages) > 3) == n] for n in (True, False)
        }
        assert one_least < statistics.mean(prompts[False]) < one_most
        assert max(prompts[False]) < one_most * 1.1
        assert max(prompts[True]) < multi_most
        answers = [len(c.messages[-1].content) for c in made]
        low, high = (90, 230) if language == "en" else (30, 80)
        assert low < statistics.mean(answers) < high


def test_amounts_dates_and_periods_of_a_draw_differ():
    import random

    for seed in range(300):
        for language in LANGUAGES:
            slots = draw(random.Random(seed), "train", language)
            for names in (
                ("price", "price2", "sum", "wrong_total", "fee", "free"),
                ("placed", "early", "wrong_date", "date", "date2", "late"),
                ("ship_days", "invoice_days", "return_days"),
                ("order", "order2", "other"),
            ):
                assert len({slots[n].raw for n in names}) == len(names), (seed, names)
            assert slots["item"] != slots["item2"]
            assert slots["colour"] != slots["colour2"]


@pytest.mark.parametrize(("language", "split"), JUDGED)
def test_demonstrations_are_right_and_only_some_are_warm(language, split):
    made = shown(language, split)
    scores = [judge(c, c.messages[-1].content) for c in made]
    for c, s in zip(made, scores, strict=True):
        where = (c.id, c.last_user, c.messages[-1].content, s)
        assert s.intent == 1.0, where
        assert s.overall >= (0.95 if c.meta["warm"] else 0.7), where
    assert statistics.mean(s.constraint for s in scores) >= 0.98
    assert 0.62 < statistics.mean(s.fitness for s in scores) < 0.75
    assert 0.3 < statistics.mean(c.meta["warm"] for c in made) < 0.4


def test_demonstrations_in_both_languages_are_right_too():
    for split in SPLITS:
        for c in generate("demonstrations", split, 200, "both", 8):
            score = judge(c, c.messages[-1].content)
            assert score.intent == 1.0, (c.last_user, c.messages[-1].content, score)
            assert score.overall >= (0.95 if c.meta["warm"] else 0.7), (c.messages[-1].content, score)


@pytest.mark.parametrize(("language", "split"), JUDGED)
def test_length_says_little_about_quality(language, split):
    lengths, scores = [], []
    for prompt, answers in answers_to(5, split, language, 120):
        weight = [v.weight for v in VOICES]
        length = [count_length(a, language) for _, a in answers]
        score = [judge(prompt, a).overall for _, a in answers]
        for i, w in enumerate(weight):  # Agents count as often as they write demonstrations.
            lengths += [length[i] - statistics.mean(length)] * w
            scores += [score[i] - statistics.mean(score)] * w
    assert abs(statistics.correlation(lengths, scores)) < 0.3


def test_meta_survives_json():
    for c in generate("prompts", "train", 200, "both", 6):
        back = Conversation.from_json(json.loads(json.dumps(c.to_json())))
        assert back == c
        answer = "Hi, order 12345 is due on 3 May. 您好。"
        assert judge(back, answer) == judge(c, answer)


def test_a_broken_template_line_is_named():
    with pytest.raises(ValueError, match="templates_en, line 2: expected a \\[section\\]"):
        parse("\nhello {first}\n", "en")
    with pytest.raises(ValueError, match=r"no \[core nothing\] for split train"):
        templates("en", "core", "nothing", "train")
