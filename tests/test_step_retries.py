"""A step that failed by an outage is tried again; any other failure ends it at once and says so."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from assets.failures import PermanentFailure, RateLimited, TransientFailure
from orchestration.build import build_definitions
from orchestration.jobs import CATALOGUE, INGEST
from orchestration.refresh import Happening, _follow
from orchestration.settings import Settings
from orchestration.step_retries import LONGEST_WAIT_SECONDS, STEP_RETRIES, RetryTransient
from resources.warehouse import Warehouse

AT_ONCE = RetryTransient(max_retries=2, delay=0)


class Outcome:
    """What became of a job of one asset that fails some times and then succeeds."""

    def __init__(self, times: int, error: BaseException, policy: dg.RetryPolicy = AT_ONCE) -> None:
        self.attempts = 0

        @dg.asset
        def fragile() -> None:
            self.attempts += 1
            if self.attempts <= times:
                raise error

        self.result, self.shown = run([fragile], policy)

    @property
    def waits(self) -> list[float | None]:
        retries = [event for event in self.result.all_events if event.is_step_up_for_retry]
        return [event.step_retry_data.seconds_to_wait for event in retries]

    @property
    def reason(self) -> str:
        [failure] = [event.step_failure_data for event in self.result.all_events if event.is_step_failure]
        assert failure.error is not None
        return "\n".join(filter(None, [failure.error.message, failure.error.cause and failure.error.cause.message]))


def run(
    assets: list[Any], policy: dg.RetryPolicy, **resources: Any
) -> tuple[dg.ExecuteInProcessResult, list[Happening]]:
    """Run a job of these assets; what came of it, and what a person is shown of it."""
    job = dg.define_asset_job("fragile_job", selection="*", op_retry_policy=policy)
    definitions = dg.Definitions(assets=assets, jobs=[job], resources=resources, executor=dg.in_process_executor)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("fragile_job").execute_in_process(instance=instance, raise_on_error=False)
        return result, list(_follow(instance, result.run_id, "catalogue", lambda: True))


def test_an_outage_is_outwaited() -> None:
    outcome = Outcome(2, TransientFailure("the store is away"))
    assert outcome.result.success
    assert outcome.attempts == 3
    assert [happening.kind for happening in outcome.shown] == ["started", "delayed", "delayed", "ended"]
    assert outcome.shown[1].description == "assets.failures.TransientFailure: the store is away"


def test_a_lasting_outage_fails_the_step_after_some_tries_and_is_named() -> None:
    outcome = Outcome(9, TransientFailure("the store is away"))
    assert not outcome.result.success
    assert outcome.attempts == 3
    assert "the store is away" in outcome.reason


@pytest.mark.parametrize("error", [PermanentFailure("wrong key"), ValueError("a mistake"), dg.Failure("broken feed")])
def test_what_stays_fails_at_once_and_says_so(error: Exception) -> None:
    outcome = Outcome(1, error)
    assert not outcome.result.success
    assert outcome.attempts == 1
    assert (str(error) or "broken feed") in outcome.reason
    assert ("trying again cannot help" in outcome.reason) == isinstance(error, PermanentFailure)


def test_a_failure_that_a_stage_has_put_into_words_keeps_its_words() -> None:
    outcome = Outcome(1, dg.Failure("broken feed", metadata={"row": 7}))
    [failure] = [event.step_failure_data for event in outcome.result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == "broken feed"
    assert failure.user_failure_data.metadata["row"].value == 7


def test_a_step_waits_as_long_as_the_server_says() -> None:
    outcome = Outcome(2, RateLimited("slow down", 0.01), STEP_RETRIES)
    assert outcome.result.success
    assert outcome.waits == [0.01, 0.01]


@pytest.mark.parametrize("asked", [LONGEST_WAIT_SECONDS + 1, 86_400, 10**18, float("inf")])
def test_a_server_that_asks_for_hours_ends_the_step_instead_of_holding_its_place(asked: float) -> None:
    outcome = Outcome(1, RateLimited("slow down", asked), STEP_RETRIES)
    assert (outcome.attempts, outcome.waits) == (1, [])
    assert f"asks to be left alone for {asked / 60:.0f} minutes: slow down" in outcome.reason
    assert "trying again cannot help" not in outcome.reason


def test_the_longest_wait_is_waited_for() -> None:
    try:
        raise RateLimited("slow down", LONGEST_WAIT_SECONDS)
    except RateLimited:
        assert STEP_RETRIES.calculate_delay(1) == LONGEST_WAIT_SECONDS


@pytest.mark.parametrize("attempt", [1, 2])
def test_other_outages_are_waited_out_for_longer_each_time(attempt: int) -> None:
    for error in (TransientFailure("away"), RateLimited("slow down")):
        try:
            raise error
        except TransientFailure:
            waits = {STEP_RETRIES.calculate_delay(attempt) for _ in range(20)}
        longest = 10 * (2**attempt - 1)
        assert all(longest - 10 <= waited <= longest + 10 for waited in waits)
        assert len(waits) > 1, "with jitter"


def test_who_stops_a_run_is_obeyed() -> None:
    """Dagster asks the policy after an interrupt as well."""
    with pytest.raises(KeyboardInterrupt):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            AT_ONCE.calculate_delay(1)


def test_reading_and_writing_artifacts_is_tried_again_too() -> None:
    class FragileIO(dg.IOManager):
        def __init__(self) -> None:
            self.failures = {"write": 1, "read": 1}

        def _fail_once(self, kind: str) -> None:
            if self.failures[kind]:
                self.failures[kind] -= 1
                raise TransientFailure(kind)

        def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
            self._fail_once("write")

        def load_input(self, context: dg.InputContext) -> int:
            self._fail_once("read")
            return 1

    @dg.asset
    def upper() -> int:
        return 1

    @dg.asset
    def lower(upper: int) -> None:
        del upper

    manager = FragileIO()
    assert run([upper, lower], AT_ONCE, io_manager=manager)[0].success
    assert manager.failures == {"write": 0, "read": 0}


def test_the_jobs_of_the_platform_try_again() -> None:
    definitions = build_definitions(Settings())
    for job in (INGEST, CATALOGUE):
        policy = definitions.resolve_job_def(job.name).op_retry_policy
        assert policy is STEP_RETRIES
        assert policy.max_retries == 2


@pytest.fixture(scope="module")
def warehouse(new_warehouse: Callable[[str], AbstractContextManager[Warehouse]]) -> Iterator[Warehouse]:
    with new_warehouse("retries") as warehouse:
        yield warehouse


@pytest.mark.stack
@pytest.mark.laws
def test_a_transaction_that_lost_its_connection_is_made_again_as_a_whole(warehouse: Warehouse) -> None:
    attempts = 0

    @dg.asset
    def written() -> None:
        nonlocal attempts
        attempts += 1
        with warehouse.transaction() as transaction:
            transaction.execute(
                "INSERT INTO catalog.embeddings (text_hash, model_version, vector) "
                "VALUES (:hash, 'm', array_fill(1, ARRAY[384])::halfvec)",
                hash=str(attempts),
            )
            if attempts == 1:
                victim = transaction.scalar("SELECT pg_backend_pid()")
                with warehouse.transaction() as other:
                    other.execute("SELECT pg_terminate_backend(:victim)", victim=victim)
            transaction.stage("rows", pa.table({"a": ["x" * 1000] * 1000}))

    assert run([written], AT_ONCE)[0].success
    assert attempts == 2
    assert warehouse.read("SELECT text_hash FROM catalog.embeddings").to_pylist() == [{"text_hash": "2"}]
