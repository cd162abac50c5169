"""What passes is tried again, what stays fails at once, and who is asked to wait waits: the same with every adapter.

The servers are small ones that speak each adapter's protocol and answer as they are told; nobody really waits.
"""

import inspect
import json
import pkgutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from importlib import import_module
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from chat_server import chat
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Answer, Script, scripted

import resources
from assets.failures import PermanentFailure, RateLimited, TransientFailure
from assets.language_model import CompletionRequest, ModelBusy, ModelRejected, ModelUnavailable
from assets.tracking import RunRecord, TrackingRejected, TrackingUnavailable
from orchestration.settings import Endpoints
from resources.language_model import OpenAILanguageModel
from resources.object_errors import ObjectStoreBusy, ObjectStoreRejected
from resources.object_store import ObjectStore, ObjectStoreUnavailable, StoreRules
from resources.parquet_io import ParquetIOManager
from resources.patience import Patience, asked_wait
from resources.pgvector_index import PgVectorIndex
from resources.qdrant_server import QdrantServerIndex, QdrantServerRules
from resources.tracking import MlflowTracking
from resources.vector_index import IndexBusy, IndexRejected, IndexUnavailable
from resources.warehouse import Warehouse, WarehouseRejected, WarehouseRules, WarehouseUnavailable

TRIES = 4


@dataclass(frozen=True)
class Adapter:
    """One adapter, its errors, and its protocol.

    Attributes:
        call: Makes one request to a server at a URL, as patiently as told.
        refusal: What the server says with a status that is no success.
        success: What it says where all is well, request by request.
    """

    call: Callable[[str, Patience], Any]
    refusal: Callable[[int, Mapping[str, str]], Answer]
    success: tuple[Answer, ...]
    unavailable: type[Exception]
    busy: type[Exception]
    rejected: type[Exception]


def read_object(url: str, patience: Patience) -> bytes:
    return ObjectStore(url, "key", "secret", rules=StoreRules(patience=patience)).get_bytes("bucket", "key")


def write_object(url: str, patience: Patience) -> str:
    store = ObjectStore(url, "key", "secret", rules=StoreRules(patience=patience))
    return store.put_bytes("bucket", "key", b"data", if_absent=True)


def read_artifact(url: str, patience: Patience) -> pa.Table:
    store = ObjectStore(url, "key", "secret", rules=StoreRules(patience=patience))
    return ParquetIOManager(store, "bucket").read("s3://bucket/key")


def parquet_file() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": [1]}), sink)
    return bytes(sink.getvalue())


def look_at_object(url: str, patience: Patience) -> int:
    return ObjectStore(url, "key", "secret", rules=StoreRules(patience=patience)).stat("bucket", "key").size


def list_points(url: str, patience: Patience) -> Mapping[str, str]:
    return QdrantServerIndex(url, rules=QdrantServerRules(patience=patience)).fingerprints()


def ask_model(url: str, patience: Patience) -> str:
    request = CompletionRequest(instructions="", data="", form_name="f", form={"type": "object"}, max_tokens=5)
    return OpenAILanguageModel(None, f"{url}/v1", "tiny", patience=patience).complete(request).content


def xml_refusal(status: int, headers: Mapping[str, str]) -> Answer:
    code = {429: "SlowDown", 503: "ServiceUnavailable", 400: "InvalidRequest"}[status]
    body = f"<Error><Code>{code}</Code><Message>no</Message><RequestId>1</RequestId><HostId>h</HostId></Error>"
    return Answer(status, body.encode(), {"content-type": "application/xml", **headers})


def json_refusal(status: int, headers: Mapping[str, str]) -> Answer:
    body = {"status": {"error": "no"}, "error": {"message": "no", "type": "x", "code": None}}
    return Answer(status, json.dumps(body).encode(), headers)


def proxy_page(status: int, headers: Mapping[str, str]) -> Answer:
    """What a proxy says in the server's place: a page for people, in an encoding of its own."""
    page = "<html>Nicht verfügbar</html>".encode("latin-1")
    return Answer(status, page, {"content-type": "text/html; charset=iso-8859-1", **headers})


def json_answer(body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode())


#: What Qdrant's server says of a collection that has all its indexes.
COLLECTION = {
    "status": "green",
    "optimizer_status": "ok",
    "segments_count": 1,
    "config": {
        "params": {},
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
                             "flush_interval_sec": 5},
    },
    "payload_schema": {name: {"data_type": kind, "points": 1}
                       for name, kind in {"source": "keyword", "brand_key": "keyword", "price": "float"}.items()},
}  # fmt: skip
ADAPTERS = {
    "reading an object": Adapter(
        read_object, xml_refusal, (Answer(200, b"data", {"ETag": '"e"'}),),
        ObjectStoreUnavailable, ObjectStoreBusy, ObjectStoreRejected,
    ),
    "writing an object that is absent": Adapter(
        write_object, xml_refusal, (Answer(200, b"", {"ETag": '"e"'}),),
        ObjectStoreUnavailable, ObjectStoreBusy, ObjectStoreRejected,
    ),
    "looking at an object": Adapter(
        look_at_object, xml_refusal, (Answer(200, b"data", {"ETag": '"e"'}),),
        ObjectStoreUnavailable, ObjectStoreBusy, ObjectStoreRejected,
    ),
    "reading an artifact": Adapter(
        read_artifact, xml_refusal, (Answer(200, parquet_file(), {"ETag": '"e"'}),) * 2,
        ObjectStoreUnavailable, ObjectStoreBusy, ObjectStoreRejected,
    ),
    "Qdrant's server": Adapter(
        list_points, json_refusal,
        (
            json_answer({"result": {"exists": True}, "status": "ok", "time": 0}),
            json_answer({"result": COLLECTION, "status": "ok", "time": 0}),
            json_answer({"result": {"points": [], "next_page_offset": None}, "status": "ok", "time": 0}),
        ),
        IndexUnavailable, IndexBusy, IndexRejected,
    ),
    "a language model": Adapter(
        ask_model, json_refusal, (json_answer(chat("{}")),), ModelUnavailable, ModelBusy, ModelRejected
    ),
}  # fmt: skip


@pytest.fixture(params=ADAPTERS.values(), ids=ADAPTERS.keys())
def adapter(request: pytest.FixtureRequest) -> Adapter:
    found: Adapter = request.param
    return found


@pytest.fixture
def server() -> Iterator[Script]:
    with scripted() as script:
        yield script


@pytest.fixture
def waits() -> list[float]:
    """How long was waited for between tries, in order."""
    return []


@pytest.fixture
def patience(waits: list[float]) -> Patience:
    return Patience(tries=TRIES, longest_wait_seconds=2000, sleep=waits.append)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_is_waited_for_as_long_as_it_says_in_seconds(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float], status: int
) -> None:
    server.answers = [adapter.refusal(status, {"Retry-After": "7"}), *adapter.success]
    adapter.call(server.url, patience)
    assert waits == [7]
    assert len(server.asked) == 1 + len(adapter.success)


def test_a_server_is_waited_for_until_the_date_it_says(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float]
) -> None:
    date = formatdate(time.time() + 1000, usegmt=True)
    server.answers = [adapter.refusal(429, {"Retry-After": date}), *adapter.success]
    adapter.call(server.url, patience)
    [waited] = waits
    assert 500 < waited <= 1000, "a date is no number of seconds"
    assert len(server.asked) == 1 + len(adapter.success)


def test_a_server_that_asks_for_too_long_is_not_waited_for(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float]
) -> None:
    server.answers = [adapter.refusal(429, {"Retry-After": "2001"})]
    with pytest.raises(adapter.busy) as raised:
        adapter.call(server.url, patience)
    assert isinstance(raised.value, RateLimited) and isinstance(raised.value, adapter.unavailable)
    assert raised.value.retry_after == 2001
    assert (waits, len(server.asked)) == ([], 1)


def test_a_server_that_limits_and_does_not_say_for_how_long(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float]
) -> None:
    server.answers = [adapter.refusal(429, {}), adapter.refusal(429, {"Retry-After": "soon"}), *adapter.success]
    adapter.call(server.url, patience)
    assert [0 <= waited <= 0.2 for waited in waits] == [True, True]


def test_an_outage_is_outwaited(adapter: Adapter, server: Script, patience: Patience, waits: list[float]) -> None:
    server.answers = [adapter.refusal(503, {})] * 2 + list(adapter.success)
    adapter.call(server.url, patience)
    assert len(waits) == 2
    assert len(server.asked) == 2 + len(adapter.success)


def test_a_lasting_outage_is_told_after_some_tries(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float]
) -> None:
    server.answers = [adapter.refusal(503, {})]
    with pytest.raises(adapter.unavailable) as raised:
        adapter.call(server.url, patience)
    assert isinstance(raised.value, TransientFailure)
    assert not isinstance(raised.value, RateLimited | PermanentFailure)
    assert len(server.asked) == TRIES == len(waits) + 1


def test_a_server_that_is_not_there_is_an_outage(adapter: Adapter, patience: Patience, waits: list[float]) -> None:
    with pytest.raises(adapter.unavailable) as raised:
        adapter.call("http://127.0.0.1:9", patience)
    assert isinstance(raised.value, TransientFailure) and not isinstance(raised.value, RateLimited)
    assert len(waits) == TRIES - 1


def test_what_stays_is_told_at_once(adapter: Adapter, server: Script, patience: Patience, waits: list[float]) -> None:
    server.answers = [adapter.refusal(400, {})]
    with pytest.raises(adapter.rejected) as raised:
        adapter.call(server.url, patience)
    assert isinstance(raised.value, PermanentFailure) and not isinstance(raised.value, TransientFailure)
    assert (waits, len(server.asked)) == ([], 1)


@pytest.mark.parametrize("status", [429, 503])
def test_a_proxy_before_the_server_is_waited_for_as_well(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float], status: int
) -> None:
    server.answers = [proxy_page(status, {"Retry-After": "7"}), *adapter.success]
    adapter.call(server.url, patience)
    assert waits == [7]


def test_a_proxy_without_a_server_is_an_outage(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float]
) -> None:
    server.answers = [proxy_page(503, {})]
    with pytest.raises(adapter.unavailable) as raised:
        adapter.call(server.url, patience)
    assert isinstance(raised.value, TransientFailure)
    assert not isinstance(raised.value, RateLimited | PermanentFailure)
    assert len(waits) == TRIES - 1


def test_a_proxy_that_lets_nobody_through_is_told_at_once(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float]
) -> None:
    server.answers = [proxy_page(403, {})]
    with pytest.raises(adapter.rejected) as raised:
        adapter.call(server.url, patience)
    assert isinstance(raised.value, PermanentFailure) and not isinstance(raised.value, TransientFailure)
    assert waits == []


@pytest.mark.parametrize("header", ["9" * 5000, "Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 99 Foo 2099 99:99:99 GMT"])
def test_a_wait_that_nobody_can_read_says_nothing(
    adapter: Adapter, server: Script, patience: Patience, waits: list[float], header: str
) -> None:
    server.answers = [adapter.refusal(429, {"Retry-After": header}), *adapter.success]
    adapter.call(server.url, patience)
    [waited] = waits
    assert 0 <= waited <= 0.2


# -- MLflow, whose client tries again by itself -------------------------------------------------------------------


@pytest.fixture
def tracked(server: Script, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    tracking = MlflowTracking(tracking_uri=server.url, artifact_root="", ui_url="")
    return lambda: tracking.record(RunRecord(experiment="e", name="n", dagster_run_id="d"))


def mlflow_refusal(status: int, code: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({"error_code": code, "message": "no"}).encode(), named)


def test_mlflow_is_waited_for_as_long_as_it_says_and_a_refusal_is_told_at_once(
    server: Script, tracked: Callable[[], str], waits: list[float]
) -> None:
    server.answers = [
        mlflow_refusal(429, "REQUEST_LIMIT_EXCEEDED", Retry_After="7"),
        mlflow_refusal(400, "INVALID_PARAMETER_VALUE"),
    ]
    with pytest.raises(TrackingRejected) as raised:
        tracked()
    assert isinstance(raised.value, PermanentFailure)
    assert (waits, len(server.asked)) == ([7], 2)


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_a_key_that_mlflow_does_not_know_says_nothing_of_the_record(
    server: Script, tracked: Callable[[], str], code: str
) -> None:
    server.answers = [mlflow_refusal(403, code)]
    with pytest.raises(TrackingUnavailable):
        tracked()
    assert len(server.asked) == 1


def test_an_address_where_no_mlflow_is_says_nothing_of_the_record(server: Script, tracked: Callable[[], str]) -> None:
    for status in (200, 404, 405):
        server.answers = [proxy_page(status, {})]
        with pytest.raises(TrackingUnavailable):
            tracked()


def test_an_mlflow_that_is_away_is_told_after_some_tries(
    server: Script, tracked: Callable[[], str], waits: list[float]
) -> None:
    server.answers = [mlflow_refusal(503, "TEMPORARILY_UNAVAILABLE")]
    with pytest.raises(TrackingUnavailable) as raised:
        tracked()
    assert isinstance(raised.value, TransientFailure)
    assert len(server.asked) == 3
    assert waits and all(waited > 3 for waited in waits), "the first further try comes at once"


# -- PostgreSQL ---------------------------------------------------------------------------------------------------


@pytest.mark.stack
def test_a_database_is_tried_again_while_it_is_away_and_not_with_a_wrong_key(
    stack: Endpoints, patience: Patience, waits: list[float]
) -> None:
    def read(**changes: Any) -> None:
        url = sqlalchemy.make_url(stack.database_url).set(**changes).render_as_string(hide_password=False)
        Warehouse(url, WarehouseRules(patience=patience)).revision()

    with pytest.raises(WarehouseUnavailable) as away:
        read(port=9)
    assert isinstance(away.value, TransientFailure) and not isinstance(away.value, PermanentFailure)
    assert len(waits) == TRIES - 1
    for wrong in ({"password": "wrong"}, {"database": "nowhere"}):
        waits.clear()
        with pytest.raises(WarehouseRejected) as rejected:
            read(**wrong)
        assert isinstance(rejected.value, PermanentFailure) and not isinstance(rejected.value, TransientFailure)
        assert waits == []


@pytest.mark.stack
def test_a_statement_that_cannot_succeed_is_permanent(stack: Endpoints) -> None:
    warehouse = Warehouse(stack.database_url)
    with pytest.raises(WarehouseRejected, match="nowhere"):
        warehouse.read("SELECT * FROM nowhere")
    warehouse.close()
    empty = sqlalchemy.make_url(stack.database_url).set(database="postgres").render_as_string(hide_password=False)
    index = PgVectorIndex(empty)
    with pytest.raises(IndexRejected, match="product_vectors"):
        index.fingerprints()
    index.close()


# -- patience itself ----------------------------------------------------------------------------------------------


def failing(times: int, error: Exception) -> Callable[[], int]:
    """Fail that often, then return how often it was called."""
    calls = 0

    def attempt() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error
        return calls

    return attempt


@given(st.integers(1, 12), st.floats(0.05, 10))
def test_pauses_grow_exponentially_to_a_limit_with_jitter(tries: int, longest: float) -> None:
    waits: list[float] = []
    patience = Patience(tries=tries, longest_pause_seconds=longest, sleep=waits.append)
    with pytest.raises(TransientFailure):
        patience(failing(tries, TransientFailure("away")))
    assert len(waits) == tries - 1
    for number, waited in enumerate(waits):
        assert 0 <= waited <= min(longest, 0.1 * 2**number)
    assert len(set(waits)) == len(waits), "no two callers come back at the same moment"


@given(st.integers(0, 3), st.floats(1, 120))
def test_a_wait_that_was_asked_for_is_kept_exactly(times: int, asked: float) -> None:
    waits: list[float] = []
    patience = Patience(tries=4, sleep=waits.append)
    assert patience(failing(times, RateLimited("slow down", asked))) == times + 1
    assert waits == [asked] * times


@given(st.integers(1, 11), st.floats(0, 5))
def test_who_asks_for_no_wait_gets_the_pauses_that_others_get(times: int, asked: float) -> None:
    """A date by a clock that is behind is a moment that is past."""
    waits: list[float] = []
    Patience(tries=12, longest_pause_seconds=5, sleep=waits.append)(failing(times, RateLimited("slow down", asked)))
    assert all(asked <= waited <= max(asked, min(5, 0.1 * 2**number)) for number, waited in enumerate(waits))
    assert asked or len(set(waits)) == times > 0 == waits.count(0)


def test_only_what_passes_is_tried_again() -> None:
    waits: list[float] = []
    for error in (PermanentFailure("no"), ValueError("a mistake")):
        with pytest.raises(type(error)):
            Patience(sleep=waits.append)(failing(1, error))
    assert waits == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0), ("120", 120), (None, None), ("", None), ("soon", None), ("-5", None), ("86400", 86400)],
)
def test_a_header_asks_for_seconds_or_says_nothing(header: str | None, seconds: float | None) -> None:
    assert asked_wait(header) == seconds


def test_a_date_that_is_past_asks_for_nothing() -> None:
    assert asked_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_every_error_of_an_adapter_is_of_one_kind() -> None:
    #: Families, whose members are of one kind each; and what never leaves the module that raises it.
    families = {"ObjectStoreError", "WarehouseError", "UnsupportedColumn", "ExportDiffers"}
    kinds = (TransientFailure, PermanentFailure)
    for module in pkgutil.iter_modules(resources.__path__, "resources."):
        if module.ispkg or module.name == "resources.batch_book":  # a person's mistakes, told by the command
            continue
        for name, defined in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(defined, Exception) and defined.__module__ == module.name and name not in families:
                assert sum(issubclass(defined, kind) for kind in kinds) == 1, f"{module.name}.{name}"
