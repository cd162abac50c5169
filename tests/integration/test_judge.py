"""The judge through the wire and through PostgreSQL: a server that knows the truth of the samples decides pairs."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from chat_server import FakeApi, Reply, chat, serving, wrong

from assets.clusters.answers import CatalogueMemory
from assets.clusters.assets import match_products
from assets.clusters.consulting import judge_uncertain
from assets.clusters.judging import tell_offers
from assets.clusters.matching import Matching, match
from assets.clusters.model_judge import ModelJudge
from assets.clusters.ports import Answer
from assets.clusters.quality import read_truth
from assets.clusters.rules import JudgeRules, MatchRules
from assets.embeddings.schema import DIMENSIONS, PRODUCT_EMBEDDINGS
from assets.presentation import asset_key
from assets.products.schema import CURRENT_PRODUCTS
from assets.tracking import ModelVersion, RunRecord
from benchmarks.judge import NoMemory
from benchmarks.matching import clean_feeds, judge, read_feeds
from resources.object_store import ObjectStore
from resources.patience import Patience
from resources.state_shelf import ObjectStateShelf
from resources.warehouse import Warehouse

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
RULES = MatchRules(judging=JudgeRules(questions=60))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return clean_feeds(read_feeds(SAMPLES, tmp_path_factory.mktemp("samples")))


@pytest.fixture(scope="module")
def vectors(products: pa.Table) -> np.ndarray:
    """Hashed words of the titles: stand-ins for embeddings."""
    result = np.zeros((products.num_rows, DIMENSIONS), dtype=np.float32)
    for row, title in enumerate(products.column("title").to_pylist()):
        for word in title.lower().split():
            result[row, xxhash.xxh3_64_intdigest(word.encode()) % DIMENSIONS] += 1
    return (result / np.linalg.norm(result, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="module")
def alone(products: pa.Table, vectors: np.ndarray) -> Matching:
    return match(products, vectors, rules=RULES)


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    return read_truth((SAMPLES / "truth.csv").read_bytes(), "truth.csv")


@pytest.fixture(scope="module")
def knowing(products: pa.Table, truth: Mapping[str, str]) -> Callable[[dict[str, Any]], Reply]:
    """How the server answers: it knows every offer by what is told of it."""
    ids = products.column("product_id").to_pylist()
    told = tell_offers(products, ids, RULES.judging)
    product_of = {json.dumps(told[name], sort_keys=True): truth.get(name, name) for name in ids}

    def reply(question: dict[str, Any]) -> Reply:
        sent = question["messages"][1]["content"].removeprefix("<pairs>\n").removesuffix("\n</pairs>")
        answers = []
        for pair in json.loads(sent)["pairs"]:
            one, other = (product_of[json.dumps(offer, sort_keys=True)] for offer in pair["offers"])
            answers.append({"pair": pair["pair"], "answer": "yes" if one == other else "no"})
        return Reply(chat(json.dumps({"answers": answers})))

    return reply


@pytest.fixture
def warehouse(new_warehouse: Callable[[str], AbstractContextManager[Warehouse]]) -> Iterator[Warehouse]:
    with new_warehouse("judge") as warehouse:
        yield warehouse


def f1(matching: Matching, truth: dict[str, str]) -> float:
    costs: dict[str, Any] = {"seconds": 0, "cpu_seconds": 0, "peak_mb": 0, "embedded": 0, "stages": {}}
    return judge(matching, truth, folder="samples", **costs).f1


def test_a_server_that_knows_the_truth_improves_the_samples(
    api: FakeApi, knowing: Any, alone: Matching, products: pa.Table, truth: dict[str, str]
) -> None:
    api.replies = [knowing]
    settled, consultation = judge_uncertain(alone, products, ModelJudge(api.model(), colours=False), NoMemory())
    assert (consultation.asked, consultation.failure, dict(consultation.faults)) == (60, None, {})
    assert consultation.usage.requests == len(api.asked) == 6
    assert consultation.usage.prompt_tokens == 600
    assert set(consultation.by_pair.values()) == {Answer.YES, Answer.NO}
    assert f1(settled, truth) > f1(alone, truth) + 0.003
    [system, user] = api.asked[0]["messages"]
    assert system["role"] == "system" and "<pairs>" in system["content"]
    assert user["role"] == "user" and user["content"].count("</pairs>") == 1
    assert api.asked[0]["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize(
    ("reply", "failure"),
    [(wrong(401, message="wrong key"), "rejected: 401"), (wrong(503, retry_after_ms="1"), "unavailable: 503")],
)
def test_a_server_that_does_not_answer_changes_nothing(
    api: FakeApi, reply: Reply, failure: str, alone: Matching, products: pa.Table
) -> None:
    api.replies = [reply]
    judging = replace(RULES, judging=JudgeRules(questions=60, concurrency=1))
    model = ModelJudge(api.model(patience=Patience(tries=2)), colours=False)
    settled, consultation = judge_uncertain(replace(alone, rules=judging), products, model, NoMemory())
    assert consultation.failure is not None and consultation.failure.startswith(failure)
    assert consultation.asked == 10
    assert settled.labels == alone.labels


def test_a_server_that_talks_nonsense_changes_nothing(api: FakeApi, alone: Matching, products: pa.Table) -> None:
    api.replies = [Reply(chat("Sure! They are all the same.")), Reply(chat('{"answers": [{"pair": 77}]}'))]
    settled, consultation = judge_uncertain(alone, products, ModelJudge(api.model(), colours=False), NoMemory())
    assert consultation.faults == {"malformed": 10 + 5, "missing": 50}
    assert (consultation.failure, dict(consultation.by_pair)) == (None, {})
    assert settled.labels == alone.labels


# -- PostgreSQL and Dagster -------------------------------------------------------------------------------------


@pytest.mark.stack
def test_answers_are_kept_by_judge_and_question(warehouse: Warehouse) -> None:
    memory = CatalogueMemory(warehouse)
    one, two, three = ("1" * 32, "2" * 32, "3" * 32)
    memory.keep("tiny (prompt 1)", {one: Answer.YES, two: Answer.UNSURE})
    memory.keep("tiny (prompt 2)", {one: Answer.NO})
    memory.keep("tiny (prompt 1)", {one: Answer.NO, three: Answer.NO})
    memory.keep("tiny (prompt 1)", {})
    known = memory.known("tiny (prompt 1)", [one, three, "4" * 32])
    assert known == {one: Answer.YES, three: Answer.NO}, "the first answer stays, and only what was wanted comes"
    assert memory.known("tiny (prompt 2)", [one, two]) == {one: Answer.NO}
    assert memory.known("tiny (prompt 1)", []) == {}
    columns = "SELECT count(*) AS rows FROM catalog.judge_answers WHERE answered_at <= now()"
    assert warehouse.read(columns).to_pylist() == [{"rows": 4}]


class Tracker:
    """Keeps what it is told to record."""

    def __init__(self) -> None:
        self.records: list[RunRecord] = []

    def record(self, run: RunRecord) -> str:
        self.records.append(run)
        return "http://mlflow/run"

    def register(self, name: str, digest: str, files: Any, *, run: RunRecord, description: str) -> ModelVersion:
        return ModelVersion(name=name, version=1, is_new=True, link="http://mlflow/model")


class Shelf:
    """A shelf in the object store that counts how often a state was kept."""

    def __init__(self, shelf: ObjectStateShelf) -> None:
        self.shelf, self.kept = shelf, 0

    def load(self) -> bytes | None:
        return self.shelf.load()

    def keep(self, state: bytes) -> None:
        self.kept += 1
        self.shelf.keep(state)


@pytest.fixture
def shelf(store: ObjectStore, new_bucket: Callable[[str], str]) -> Shelf:
    """Where the state of the last clustering of this test lies."""
    return Shelf(ObjectStateShelf(store, new_bucket("state")))


def clustered(
    products: pa.Table, vectors: np.ndarray, warehouse: Warehouse, shelf: Shelf, judge: ModelJudge | None
) -> tuple[dict[str, Any], RunRecord]:
    """Materialise the matcher's assets; metadata of the clusters, and what MLflow was told."""

    @dg.asset(key=asset_key(CURRENT_PRODUCTS))
    def current_products() -> pa.Table:
        return products

    @dg.asset(key=asset_key(PRODUCT_EMBEDDINGS))
    def product_embeddings() -> pa.Table:
        flat = pa.array(vectors.ravel(), pa.float16())
        return pa.table(
            {
                "product_id": products.column("product_id"),
                "model_version": pa.array(["stand-in@1"] * products.num_rows, pa.string()),
                "vector": pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS),
            }
        )

    tracker = Tracker()
    result = dg.materialize(
        [current_products, product_embeddings, match_products],
        resources={
            "catalogue": warehouse,
            "tracking": tracker,
            "match_rules": RULES,
            "match_state": shelf,
            "judge": dg.ResourceDefinition.hardcoded_resource(judge),
            "io_manager": dg.mem_io_manager,
        },
    )
    events = result.asset_materializations_for_node(match_products.node_def.name)
    [metadata] = [event.metadata for event in events if event.asset_key.path[-1] == "product_clusters"]
    return {name: getattr(value, "md_str", value.value) for name, value in metadata.items()}, tracker.records[0]


@pytest.mark.stack
@pytest.mark.laws
def test_a_clustering_tells_what_was_judged_and_the_next_one_asks_nothing(
    api: FakeApi,
    knowing: Any,
    products: pa.Table,
    vectors: np.ndarray,
    warehouse: Warehouse,
    shelf: Shelf,
) -> None:
    api.replies = [knowing]
    model = ModelJudge(api.model(), colours=False)
    assert shelf.load() is None
    first, record = clustered(products, vectors, warehouse, shelf, model)
    assert first["way"] == "from scratch, with a model of its own: no earlier matching is kept"
    assert first["judge"] == model.name
    assert "| asked | 60 |" in first["judge answers"] and "| unanswered | 0 |" in first["judge answers"]
    assert len(first["judged pairs"].splitlines()) == 52
    assert not {"judge faults", "judge failure"} & first.keys()
    assert (record.metrics["judge_asked"], record.metrics["judge_prompt_tokens"]) == (60, 600)
    assert record.metrics["judge_yes"] + record.metrics["judge_no"] == 60
    assert record.params["judge"] == model.name and record.params["judging.questions"] == 60
    assert record.files["judged_pairs.csv"].count(b"\n") == 61

    again, remembered = clustered(products, vectors, warehouse, shelf, model)
    assert shelf.kept == 1, "the state of an unchanged catalogue is not written again"
    assert again["way"].startswith("followed the last one: 0 offers came or changed, 0 left, 0 of ")
    assert len(api.asked) == 6
    assert (remembered.metrics["judge_asked"], remembered.metrics["judge_remembered"]) == (0, 60)
    assert remembered.files["judged_pairs.csv"] == record.files["judged_pairs.csv"]
    assert again["judged pairs"] == first["judged pairs"]


@pytest.mark.stack
def test_a_clustering_goes_on_without_its_judge(
    api: FakeApi, products: pa.Table, vectors: np.ndarray, warehouse: Warehouse, shelf: Shelf
) -> None:
    api.replies = [wrong(401, message="wrong key")]
    metadata, record = clustered(products, vectors, warehouse, shelf, ModelJudge(api.model(), colours=False))
    assert metadata["judge failure"].startswith("rejected: 401: ")
    assert record.tags["judge_failure"] == metadata["judge failure"]
    assert "rejected" in metadata["judge faults"]
    silent, plain = clustered(products, vectors, warehouse, shelf, None)
    assert not [name for name in silent if name.startswith("judge")]
    assert not [name for name in plain.metrics if name.startswith("judge")]
    assert silent["clusters"] == metadata["clusters"]
