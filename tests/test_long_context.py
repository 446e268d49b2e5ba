"""Longer contexts: rotary scalings, attention in blocks, whole documents in rows, needles and losses by position."""

from __future__ import annotations

import copy
import json
import math
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import tiny
from steersman.compute import packing
from steersman.compute.attention import attend
from steersman.compute.packing import Tree, build_row
from steersman.eval import context_measure, context_page, context_texts, context_verdict
from steersman.eval.needles import Haystack, haystack, ids_of, least, sentences
from steersman.eval.suites import needle_suite
from steersman.families.longer import METHODS, extend, lengthen
from steersman.families.outputs import response_logprobs
from steersman.weights.folders import load_causal, save_model, use_packed_rows
from verbs import both as verb


def config_of(kind: str, **more: object) -> object:
    usual = tiny.config(kind).to_dict() | {"max_position_embeddings": 64, "rope_parameters": None} | more
    usual.pop("model_type")
    if kind == "mistral":
        usual["sliding_window"] = None
    return AutoConfig.for_model(kind, **{k: v for k, v in usual.items() if v is not None or k == "sliding_window"})


def formula(method: str, theta: float, factor: float, original: int, dimensions: int) -> list[float]:
    """Frequencies as the papers write them, one pair at a time."""
    if method == "ntk":
        theta = theta * factor ** (dimensions / (dimensions - 2))
    found = []
    for pair in range(dimensions // 2):
        plain = theta ** (-2 * pair / dimensions)
        if method == "linear":
            plain /= factor
        if method == "yarn":  # turns within the original context: above 32 as before, below 1 interpolated

            def place(turns: float) -> float:
                return dimensions * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

            low, high = max(math.floor(place(32)), 0), min(math.ceil(place(1)), dimensions - 1)
            share = min(max((pair - low) / (high - low), 0.0), 1.0)
            plain = plain / factor * share + plain * (1 - share)
        found.append(plain)
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral", "gemma3_text"])
def test_frequencies_are_those_of_the_papers_and_of_transformers(kind: str, method: str) -> None:
    config = config_of(kind, max_position_embeddings=2048)
    before = copy.deepcopy(config.rope_parameters)
    assert extend(config, 32768, method) == 16
    assert config.max_position_embeddings == 32768
    again = type(config)(**config.to_dict())
    config.validate_rope()
    nested = "full_attention" in config.rope_parameters
    part = again.rope_parameters["full_attention"] if nested else again.rope_parameters
    theta = before["full_attention"]["rope_theta"] if nested else before["rope_theta"]
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    wanted = formula(method, theta, 16.0, 2048, head)
    model = AutoModelForCausalLM.from_config(again)
    rotary = model.model.rotary_emb
    used = rotary.full_attention_inv_freq if nested else rotary.inv_freq
    torch.testing.assert_close(used.double(), torch.tensor(wanted, dtype=torch.float64), rtol=2e-6, atol=0)
    if method != "ntk":
        theirs, sharper = ROPE_INIT_FUNCTIONS[method](again, layer_type="full_attention" if nested else None)
        torch.testing.assert_close(used, theirs)
        assert sharper == pytest.approx(0.1 * math.log(16) + 1 if method == "yarn" else 1.0)
    else:
        assert part["rope_type"] == "default"
    if nested:  # local layers never look that far
        assert config.rope_parameters["sliding_attention"] == before["sliding_attention"]


WRONG = [
    ("gpt2", {}, 4096, "yarn", "no rotary positions"),
    ("bloom", {}, 4096, "yarn", "no rotary positions"),
    ("t5", {}, 4096, "ntk", "no rotary positions"),
    ("phi3", {}, 8192, "yarn", "known of"),
    ("mistral", {"sliding_window": 4096}, 1 << 18, "yarn", "last 4096 tokens alone"),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}, 1 << 17, "yarn", "share their rotary positions"),
    ("llama", {"max_position_embeddings": 2048}, 2048, "linear", "above the model's 2048, got 2048"),
    ("llama", {"max_position_embeddings": 2048}, 1024, "linear", "above the model's 2048, got 1024"),
    (
        "llama",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
        8192,
        "ntk",
        "scaled already",
    ),
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, 8192, "ntk", "already"),
    ("llama", {}, 8192, "longrope", "expected one of linear, ntk, yarn"),
]


@pytest.mark.parametrize(("kind", "more", "context", "method", "said"), WRONG)
def test_what_cannot_be_extended_says_why(kind: str, more: dict, context: int, method: str, said: str) -> None:
    config = AutoConfig.for_model(kind, **more)
    before = config.to_dict()
    with pytest.raises(ValueError, match=said):
        extend(config, context, method)
    assert config.to_dict() == before


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_loss_and_gradients_beyond_the_old_context_are_those_of_transformers(
    kind: str, method: str, tmp_path: Path
) -> None:
    config = config_of(kind)
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    ours = use_packed_rows(lengthen(load_causal(tmp_path / "base", "float32"), 256, method))
    extend(config, 256, method)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "base", config=config)
    ids = torch.randint(5, 300, (256,), generator=torch.Generator().manual_seed(2))
    row = build_row([Tree(tuple(ids.tolist()), learn=(False, *[True] * 255))])
    logprobs, _ = response_logprobs(ours, row)
    logits = theirs(input_ids=ids[None]).logits[0, :-1]
    wanted = -F.cross_entropy(logits, ids[1:], reduction="none")
    torch.testing.assert_close(logprobs, wanted, atol=3e-5, rtol=1e-4)
    (-logprobs.mean()).backward()
    (-wanted.mean()).backward()
    of = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, of[name].grad, atol=2e-6, rtol=2e-3, msg=name)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("branches", [(), ((3,) * 9, (4,) * 30)])
def test_attention_in_blocks_is_attention(
    window: int | None, branches: tuple[tuple[int, ...], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = build_row([Tree((1,) * 150, branches), Tree((2,) * 10)])
    t, heads, d = len(row.ids), 4, 16
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (torch.randn(t, n, d, generator=generator) for n in (heads, 2, 2, heads))
    found = {}
    for most in (1 << 26, 1):
        monkeypatch.setattr(packing, "MOST_SCORES", most)
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attend(*leaves, row.__class__(**vars_of(row)), d**-0.5, window)
        out.backward(grad)
        found[most] = [out.detach(), *(x.grad for x in leaves)]
        ends = [keys.stop for _, keys, _ in row.documents[0][2].blocks(window, q.dtype, heads)]
        assert ends == sorted(ends, reverse=True), "later ones would not fit into the room of those before"
    mask = row.mask[0, 0]
    if window:
        mask = mask & ((row.positions[:, None] - row.positions[None]) < window)
    leaves = [x.double().requires_grad_() for x in (q, k, v)]
    scores = torch.einsum("thd,shd->hts", leaves[0], leaves[1].repeat_interleave(2, 1)) * d**-0.5
    p = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    plain = torch.einsum("hts,shd->thd", p, leaves[2].repeat_interleave(2, 1))
    plain.backward(grad.double())
    for got in found.values():
        for a, b in zip(got, [plain.detach(), *(x.grad for x in leaves)], strict=True):
            torch.testing.assert_close(a.double(), b, atol=2e-6, rtol=1e-4)


def vars_of(row: packing.Row) -> dict:
    """A row's fields without what it has computed of them."""
    return {name: getattr(row, name) for name in packing.Row.__dataclass_fields__}


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a context of 256."""
    folder = tmp_path_factory.mktemp("short") / "base"
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(config_of("llama", max_position_embeddings=256))
    save_model(model, tiny.tokenizer(), folder)
    return folder


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_haystack_has_its_length_its_needles_and_its_depths(language: str) -> None:
    tokenizer = tiny.tokenizer()
    text = "Some words. And more of them!\n" * 400 if language == "en" else "一些文字。还有更多文字！\n" * 300
    pieces = [ids_of(tokenizer, piece) for piece in sentences(text, language)]
    assert "".join(sentences(text, language)) == text
    made = haystack(tokenizer, pieces, language, 2000, random.Random(3))
    assert len(made.trunk) + max(len(q) + len(a) for q, a in made.branches) == 2000
    assert made.depths[0] == 0
    assert made.depths[-1] > 0.9
    assert all(abs(depth - i / 9) < 0.1 for i, depth in enumerate(made.depths))
    whole = tokenizer.decode(made.trunk)
    answers = [tokenizer.decode(answer).strip() for _, answer in made.branches]
    assert len(set(answers)) == 10
    places = [whole.index(answer) for answer in answers]
    assert places == sorted(places)
    for question, answer in made.branches:
        fact = tokenizer.decode([*question, *answer]).strip()
        assert fact in whole
    assert haystack(tokenizer, pieces, language, 2000, random.Random(3)) == made
    with pytest.raises(ValueError, match="too short for a haystack"):
        haystack(tokenizer, pieces[:20], language, 2000, random.Random(3))
    with pytest.raises(ValueError, match="expected room for 10 needles"):
        haystack(tokenizer, pieces, language, 300, random.Random(3))
    for seed in range(9):
        haystack(tokenizer, pieces, language, least(tokenizer, language), random.Random(seed))


def test_needles_and_losses_are_those_of_plain_transformers(short: Path) -> None:
    """Each question alone behind the text; a needle is found where greedy decoding writes the answer."""
    tokenizer = tiny.tokenizer()
    theirs = AutoModelForCausalLM.from_pretrained(short)
    ours = use_packed_rows(load_causal(short, "float32"))
    text = tuple(ids_of(tokenizer, tiny.CORPUS[0] * 4))
    branches = []
    for start in (3, 9, 20):
        question = text[start : start + 4]
        said = theirs.generate(torch.tensor([[*text, *question]]), max_new_tokens=3, min_new_tokens=3, do_sample=False)
        branches.append((question, tuple(said[0, -3:].tolist())))
    wrong = (branches[0][0], (*branches[0][1][:2], branches[0][1][2] + 1))
    made = Haystack(text, (*branches, wrong), (0.0,) * 4)
    assert context_measure.found(ours, made) == [True, True, True, False]
    ids = (text * 3)[:128]
    logits = theirs(torch.tensor([ids])).logits[0, :-1]
    nats = F.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none").tolist()
    wanted = [sum(nats[max(0, low - 1) : high - 1]) / (high - max(1, low)) for low, high in ((0, 32), (32, 128))]
    assert context_measure.losses(ours, ids, [0, 32, 128]) == pytest.approx(wanted, abs=1e-5)


def test_one_window_shows_no_rise_and_no_fall() -> None:
    def told(*rises: float) -> str:
        done = {f"m/window/en/256/{n}": [1.0, 1.0 + rise] for n, rise in enumerate(rises)}
        units = [context_measure.Unit("window", "en", 256, n) for n in range(len(rises))]
        loss = context_verdict.results(["m"], {"m": 128}, units, done, [0, 128, 256], 0)["models"]["m"]["loss"]["en"]
        return str(loss["rise"]["word"])

    assert told(0.3) == "one window alone shows nothing"
    assert told(0.3, -0.3) == "no evidence of a rise"
    assert (told(0.3, 0.31), told(-0.3, -0.31)) == ("rises", "falls")
    assert told(0.3) in context_page.EN


def test_texts_begin_as_the_tokenizer_begins_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = copy.deepcopy(tiny.tokenizer())  # which others share
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    monkeypatch.setattr(context_measure, "losses", lambda _model, ids, _bounds: list(ids))
    monkeypatch.setattr(context_measure, "found", lambda _model, made: list(made.trunk))
    loaded = context_measure._Loaded(None, tokenizer)
    texts = context_texts.Texts("x", {"en": [tiny.CORPUS[0] * 100]})
    window = loaded.measured(context_measure.Unit("window", "en", 256, 0), texts, 0)
    assert (window[0], len(window)) == (tokenizer.bos_token_id, 256)
    text = loaded.measured(context_measure.Unit("needles", "en", 1024, 0), texts, 0)["found"]
    assert text.index(tokenizer.bos_token_id) == 0
    assert text.count(tokenizer.bos_token_id) == 1
    assert 900 < len(text) < 1024


def test_a_decoder_is_extended_and_measured_by_the_verbs(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{tiny.CORPUS[n % 2]} Number {n} is here. " * (1 + 40 * (n % 5 == 0)) for n in range(30)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    verb("init", tmp_path / "work", "--set", "project.domain=none")
    monkeypatch.chdir(tmp_path / "work")
    verb("corpus", "build", "en=../t.jsonl", "--into", "c", "--steps", "length", "--validation", 0.2)
    verb("corpus", "tokenize", "c", "--tokenizer", short)
    asked = ["pretrain", "c", "--from", short, "--into", "long", "--tokens", 2048, "--epochs", 0, "-s"]
    asked += ["pretrain.samples=0", "-s", "pretrain.evals=0", "-s", "pretrain.checkpointing=true"]
    assert "is beyond its 256" in verb(*asked, "--context", 1024, code=2)[1]
    assert "expected a context above the model's 256" in verb(*asked, "--context", 256, "--rope", "ntk", code=2)[1]
    assert "expected --from MODEL" in verb(*asked[:2], "--tokenizer", short, "--depth", 1, "--rope", "yarn", code=2)[1]
    _, told = verb(*asked, "--context", 1024, "--rope", "yarn")
    assert "context: 256 -> 1024, yarn by 4" in told
    assert "weight decay 0 (none where a model is extended)" in told
    config = AutoConfig.from_pretrained("models/long")
    assert config.max_position_embeddings == 1024
    assert config.rope_parameters["rope_type"] == "yarn"
    assert config.rope_parameters["original_max_position_embeddings"] == 256
    assert AutoTokenizer.from_pretrained("models/long").model_max_length == 1024
    assert "scaled already" in verb(*asked[:2], "--from", "long", "--context", 2048, "--rope", "yarn", code=2)[1]
    measure = ["context", f"plain={short}", f"untrained={short}@yarn", "long", "-o", "seen", "--windows", 2]
    said, _ = verb(*measure, "--length", 1024, "--length", 512, "--haystacks", 1, "--text", "../t.jsonl")
    assert "long (context 1024)" in said
    assert "ten needles and a question may take" in verb(*measure, "--length", 256, "--text", "../t.jsonl", code=2)[1]
    assert [path.name for path in Path().glob("seen*")] == ["seen"], "no window is read before that is known"
    assert "en needles found, by length: 512: " in said
    result = json.loads(Path("seen/context.json").read_text(encoding="utf-8"))
    assert sorted(result["models"]) == ["long", "plain", "untrained"]
    assert result["positions"] == [0, 16, 32, 64, 128, 256, 512, 1024]
    assert len(result["models"]["long"]["loss"]["en"]["nats"]) == 7
    assert result["models"]["long"]["loss"]["en"]["rise"]["from"] == 256
    page = Path("seen/context.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "<image" not in page  # the page's policy loads none
    assert context_page.EN.keys() == context_page.ZH.keys()
    context_page.draw(tmp_path / "zh.html", result, "zh")
    assert "大海捞针" in (tmp_path / "zh.html").read_text(encoding="utf-8")


def test_needles_are_asked_of_engines_too() -> None:
    items = needle_suite.suite().items
    assert len(items) == 60
    assert len({item.prompt.messages[0].text.rpartition("\n\n")[0] for item in items}) == 6  # prefixes that are shared
    for item in items[::7]:
        text = item.prompt.messages[0].text
        assert item.expected in text
        assert item.score([f"It is {item.expected}."]) == 1
        assert item.score(["It is 1."]) == 0
