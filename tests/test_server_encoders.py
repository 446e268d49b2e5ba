"""What small models do in the server: vectors, moderation, and where a question goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from encoder_folders import encoder_folder
from server_double import FakeEngine
from steersman import config_file
from steersman.config import Config, RouteConfig, ServeConfig
from steersman.data.examples import Example, Examples
from steersman.engine.apart.wire import Wanted
from steersman.engine.load import load_engine
from steersman.engine.protocol import Classifies, Embeds, Refused
from steersman.retrieval.index import Vectors, build
from steersman.retrieval.passages import Passage
from steersman.server.app import create_app
from steersman.server.encoders import Encoders, open_encoders, open_indexes
from steersman.server.models import Models
from steersman.store import Store
from test_encoders import intents, learn


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    base = encoder_folder(root / "bert")
    learn(base, root / "router", intents(), epochs=8, evals=0, baseline=False)
    rude = {"safe": "where is my order", "insult": "我要退款"}
    records = [Example(str(i), f"{t} {i}", labels=(l,)) for i in range(20) for l, t in rude.items()]
    learn(base, root / "rude", Examples("single_label", records), epochs=6, evals=0, baseline=False)
    pairs = Examples("embedding", [Example(str(i), f"where {i}", f"order {i}") for i in range(12)])
    learn(base, root / "vectors", pairs, epochs=1, baseline=False)
    return {name: root / name for name in ("bert", "router", "rude", "vectors")}


def opened(folders: dict[str, Path], **settings: Any) -> Encoders:
    def load(name: str) -> Any:
        return load_engine(folders[name], backend="headed", dtype="float32", device="cpu", name=name)

    return open_encoders(ServeConfig(**settings), load, lambda name: name == "refunds")


def client(tmp_path: Path, encoders: Encoders) -> TestClient:
    models = Models(FakeEngine(), {"refunds": FakeEngine(pieces=("Refunds.",), policy_version="r-1")})
    store = Store.open(tmp_path / "store.db")
    app = create_app(models, store, name="S", language="en", system_prompt="Be kind.", encoders=encoders)
    return TestClient(app, "http://localhost")


def test_embeddings_come_from_the_model_that_the_setting_names(folders: dict[str, Path], tmp_path: Path) -> None:
    encoders = opened(folders, embeddings="vectors")
    with client(tmp_path, encoders) as http:
        assert "vectors" in [m["id"] for m in http.get("/v1/models").json()["data"]]
        assert http.get("/v1/models/vectors").status_code == 200
        found = http.post("/v1/embeddings", json={"model": "vectors", "input": ["我要退款", "a b c d"]}).json()
        assert found["model"] == "vectors"
        both = torch.tensor([one["embedding"] for one in found["data"]])
        torch.testing.assert_close(both.norm(dim=1), torch.ones(2))
        alone = http.post("/v1/embeddings", json={"model": "vectors", "input": "a b c d"}).json()
        torch.testing.assert_close(torch.tensor(alone["data"][0]["embedding"]), both[1], rtol=1e-4, atol=1e-6)
        assert alone["usage"]["prompt_tokens"] == 6
        long = http.post("/v1/embeddings", json={"model": "vectors", "input": "a " * 200})
        assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert http.post("/v1/embeddings", json={"model": "nobody", "input": "a"}).status_code == 404


def test_moderation_asks_the_classifier_beside_the_word_lists(folders: dict[str, Path], tmp_path: Path) -> None:
    with client(tmp_path, opened(folders, moderation="rude")) as http:
        found = http.post("/v1/moderations", json={"input": ["我要退款 3", "where is my order 3"]}).json()
        assert found["model"] == "rude+steersman-words"
        bad, good = found["results"]
        assert (bad["flagged"], bad["categories"]["insult"], good["flagged"]) == (True, True, False)
        assert bad["category_scores"]["insult"] > 0.5 > good["category_scores"]["insult"]
        assert bad["category_judged_by"]["insult"] == "rude"
        assert "safe" not in bad["categories"]
        words = http.post("/v1/moderations", json={"input": "我要退款 3", "model": "steersman-words"}).json()
        assert (words["model"], words["results"][0]["flagged"]) == ("steersman-words", False)
    with client(tmp_path, opened(folders, moderation="rude", moderation_least=1.0)) as http:
        assert not http.post("/v1/moderations", json={"input": "我要退款 3"}).json()["results"][0]["flagged"]


ROUTES = [
    RouteConfig("refund", model="refunds", system_prompt="You pay back.", least=0.4),
    RouteConfig("invoice", system_prompt="Write invoices.", least=0.4),
]


def test_a_question_goes_where_its_label_leads(folders: dict[str, Path], tmp_path: Path) -> None:
    with client(tmp_path, opened(folders, router="router", routes=ROUTES)) as http:

        def ask(text: str, model: str = "tiny", **more: Any) -> dict[str, Any]:
            turns = [*more.pop("before", []), {"role": "user", "content": text}]
            found: dict[str, Any] = http.post("/v1/chat/completions", json={"model": model, "messages": turns}).json()
            return found

        refund = ask("我要退款 7")
        assert (refund["model"], refund["route"]["label"]) == ("refunds", "refund")
        assert refund["choices"][0]["message"]["content"] == "Refunds."
        assert ask("发票 please 7")["route"] == {**ask("发票 please 7")["route"], "label": "invoice", "model": ""}
        assert "route" not in ask("where is my order 7")
        assert "route" not in ask("我要退款 7", model="ppo-7")
        assert "route" not in ask("我要退款 7", before=[{"role": "system", "content": "Mine."}])
        chat = http.post("/api/conversations", json={}).json()["id"]
        http.post(f"/api/conversations/{chat}/messages", json={"content": "我要退款 7"})
        answer = http.get(f"/api/conversations/{chat}").json()["messages"][-1]
        assert (answer["content"], answer["policy_version"]) == ("Refunds.", "r-1")
        store = http.app.state.context.store  # type: ignore[attr-defined]
        assert store.message(answer["id"]).sampling["route"]["label"] == "refund"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"embeddings": "router"}, "serve.embeddings: router gives no vectors"),
        ({"moderation": "vectors"}, "serve.moderation: vectors gives vectors; expected a classifier"),
        ({"moderation": "router"}, r"no label of router \(invoice, order, refund\) is known to mean that nothing is"),
        ({"moderation": "rude", "moderation_fine": ["sage"]}, "'sage' is no label of rude; expected some of insult, s"),
        ({"routes": ROUTES}, "there is no serve.router"),
        ({"router": "router", "routes": [RouteConfig("refnd")]}, "'refnd' is no label of router; expected some of inv"),
        ({"router": "router", "routes": [RouteConfig("refund", model="x")]}, "leads to 'x', which is not served"),
        ({"router": "router", "routes": [ROUTES[0], ROUTES[0]]}, "a label stands there twice"),
        ({"router": "bert"}, "gives vectors; expected a classifier"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: Any, wanted: str, folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=wanted):
        opened(folders, **settings)


def test_labels_of_two_texts_are_not_asked_of_one(folders: dict[str, Path], tmp_path: Path) -> None:
    two = [Example(str(i), f"where {i}", f"order {i}", labels=("no" if i % 2 else "yes",)) for i in range(12)]
    learn(folders["bert"], tmp_path / "same", Examples("single_label", two), epochs=1, evals=0, baseline=False)
    with pytest.raises(ValueError, match="it learned labels of two texts together"):
        opened({"same": tmp_path / "same"}, router="same")
    learn(tmp_path / "same", tmp_path / "one", intents(), epochs=1, evals=0, baseline=False)
    assert opened({"one": tmp_path / "one"}, router="one").router is not None  # of a base of pairs


def test_routes_are_settings() -> None:
    text = 'serve.routes=[{label = "refund", system_prompt = "退款"}, {label = "a", least = 0.9}]'
    config = config_file.with_overrides(Config(), [text])
    assert config.serve.routes == [RouteConfig("refund", system_prompt="退款"), RouteConfig("a", least=0.9)]
    written = config_file.to_toml(config, only_changed=True)
    assert 'routes = [{label = "refund", system_prompt = "退款"}, {label = "a", least = 0.9}]' in written
    with pytest.raises(ValueError, match=r"routes\[0\]: unknown key lable; did you mean 'label'"):
        config_file.with_overrides(Config(), ['serve.routes=[{label = "a", lable = "b"}]'])
    with pytest.raises(ValueError, match="expected a list of tables with 'label'"):
        config_file.with_overrides(Config(), ["serve.routes=[1]"])


def test_what_gives_labels_writes_nothing(folders: dict[str, Path]) -> None:
    from steersman.engine.apart.host import about, load
    from steersman.types import SamplingParams

    engine = load(Wanted(str(folders["router"]), {"backend": "headed", "dtype": "bfloat16", "device": "cpu"}))
    assert isinstance(engine, Classifies)
    assert not isinstance(engine, Embeds)
    assert about(engine).abilities == ("classify",)
    assert about(engine).facts["labels"] == ["invoice", "order", "refund"]
    assert about(engine).facts["exclusive"]
    (found,) = engine.classify(["我要退款 9"])
    assert max(found, key=lambda name: found[name]) == "refund"
    assert sum(found.values()) == pytest.approx(1, abs=1e-2)
    with pytest.raises(Refused, match="writes no answers"):
        engine.generate(["a"], SamplingParams())


def test_groups_of_prompts_may_use_a_model_of_vectors(folders: dict[str, Path]) -> None:
    from steersman.cold.hidden import embedder

    found = embedder(folders["vectors"], "float32", "cpu")(["我要退款", "where is my order " * 60, "我要退款"])
    assert found.shape == (3, 32)
    assert float(found[0] @ found[2]) == pytest.approx(1, abs=1e-5)
    assert float((found[1] ** 2).sum()) == pytest.approx(1, abs=1e-5)


def test_indexes_are_searched(folders: dict[str, Path], tmp_path: Path) -> None:
    encoders = opened(folders, embeddings="vectors")
    model: Any = encoders.embeddings
    passages = [Passage("a:1", "Orders", 0, "where is my order"), Passage("b", "", 7, "怎么退款")]
    build(tmp_path / "help", passages, {}, Vectors("m", "h", lambda texts: [v for v, _ in model.embed(list(texts))]))
    build(tmp_path / "words", passages, {}, None)
    folders_of = [tmp_path / "help", tmp_path / "words"]
    with client(tmp_path, open_indexes(folders_of, encoders, "h")) as http:
        stores = http.get("/v1/vector_stores").json()["data"]
        assert [(s["id"], s["file_counts"]["total"]) for s in stores] == [("help", 2), ("words", 2)]
        for how in ("hybrid", "dense", "bm25", None):
            asked = {"query": "怎么退款", "max_num_results": 1, "how": how}
            (found,) = http.post("/v1/vector_stores/help/search", json=asked).json()["data"]
            assert (found["file_id"], found["attributes"], found["content"][0]["text"]) == (
                "b",
                {"start": 7},
                "怎么退款",
            )
        dense = http.post("/v1/vector_stores/words/search", json={"query": "x", "how": "dense"})
        assert (dense.status_code, dense.json()["error"]["param"]) == (400, "how")
        assert http.post("/v1/vector_stores/none/search", json={"query": "x"}).status_code == 404
        assert http.post("/v1/vector_stores/help/search", json={"query": ""}).status_code == 400
    with pytest.raises(ValueError, match="is another model"):
        open_indexes(folders_of, encoders, "other")
    with pytest.raises(ValueError, match="expected an index"):
        open_indexes([tmp_path], encoders, "h")
