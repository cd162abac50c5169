"""Bringing the catalogue up to date from the command line, in this process, with Dagster's own jobs.

Belongs here: which jobs run for what has landed, and telling a watcher of every asset and check. Not here: printing
(see `cli`), deciding what is new (see `sensors.deliveries`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, sleep
from types import MappingProxyType
from typing import Any, Literal

import dagster as dg

from assets.batches import BATCHES
from orchestration.jobs import CATALOGUE, INGEST
from orchestration.runners import IN_FLIGHT, RUNNER_TAG, fail_dead_runs, is_alive, this_process
from resources.batch_book import PostgresBatchBook
from resources.landing_zone import LandingBucket
from sensors.catalogue import catalogue_runs, read_moment
from sensors.landing import look, release_lost_requests, tell_of_applied

#: The step that matches, which may be told to do so from scratch.
MATCH_STEP = "clusters__match"
#: How often a running job's events are read, and how often another process's batches are looked at (seconds).
POLL_SECONDS = 0.25
#: How often it is looked whether a run has begun (seconds).
BEGIN_SECONDS = 0.02
#: How long to wait for batches that another process (the landing sensor) has taken on, or for its run over the whole
#: catalogue (seconds).
OTHERS_PATIENCE = 600.0
#: Whoever begins a run over the whole catalogue holds this lock from looking for others until his own can be seen.
CATALOGUE_TURN = "a run over the whole catalogue begins"
#: Dagster's own log lines go to its event log; the terminal belongs to the progress display.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something a watcher may want to show.

    A step started, ended, or will be tried again; a check was evaluated; the run of another process is waited for.
    """

    kind: Literal["started", "ended", "failed", "skipped", "delayed", "check", "waiting"]
    run: str
    step: str
    seconds: float = 0.0
    passed: bool = True
    severity: str = ""
    description: str = ""


Watcher = Callable[[Happening], None]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What happened in all runs of one refresh, in order; what failed; and what a person should know beside."""

    happenings: list[Happening] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def seconds_by_stage(self) -> dict[str, float]:
        """Return the seconds of all steps, by the stage that is the first part of their name."""
        seconds: dict[str, float] = {}
        for happening in self.happenings:
            if happening.kind in ("ended", "failed"):
                stage = happening.step.split("/", 1)[0]
                seconds[stage] = seconds.get(stage, 0.0) + happening.seconds
        return seconds

    def checks(self) -> list[Happening]:
        """Return the evaluated checks."""
        return [happening for happening in self.happenings if happening.kind == "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """Runs what is due, one job after the other, in this process.

    Args:
        definitions: The code location.
        instance: Dagster's instance, shared with the daemon where one runs.
        zone: The landing bucket.
        book: The ledger of deliveries.
    """

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    zone: LandingBucket
    book: PostgresBatchBook

    def take_in(self, watch: Watcher, outcome: Outcome) -> None:
        """Run one batch job for everything that waits; batches that another process took on are waited for.

        Should that process die, they are taken over. A batch is claimed just before it runs: what is
        claimed and does not run for long would be taken for lost.
        """
        self._pick_up_from_the_dead()
        outcome.failures.extend(look(self.zone, self.book).problems)
        ours: set[str] = set()
        self._take_waiting(ours, watch, outcome)
        deadline = monotonic() + OTHERS_PATIENCE
        while others := [batch_key for batch_key in self._open("requested") if batch_key not in ours]:
            if monotonic() > deadline:
                outcome.failures.append(f"{', '.join(others)}: another process does not finish taking them in")
                break
            sleep(POLL_SECONDS)
            self._pick_up_from_the_dead()
            self._take_waiting(ours, watch, outcome)
        outcome.notes.extend(
            f"{batch_key} was declared otherwise while it was taken in; offerline run takes it in by that"
            for batch_key in self._open("pending")
            if batch_key in ours
        )
        for row in self.book.refusals():
            if not any(failure.endswith(row["reason"]) for failure in outcome.failures):
                outcome.notes.append(f"{row['object_key']} was not taken in: {row['reason']}")

    def _take_waiting(self, ours: set[str], watch: Watcher, outcome: Outcome) -> None:
        """Run the job of every batch that waits and was not ours before; those that we claim become ours."""
        while waiting := [batch_key for batch_key in self._open("pending") if batch_key not in ours]:
            claimed = self.book.claim(waiting[:1], this_process())
            self.instance.add_dynamic_partitions(str(BATCHES.name), claimed)
            for batch_key in claimed:
                ours.add(batch_key)
                self._run(INGEST.name, batch_key, watch, outcome)

    def _pick_up_from_the_dead(self) -> None:
        """End the runs of processes that are gone, let their batches wait again, and tell of those they had applied."""
        fail_dead_runs(self.instance)
        release_lost_requests(self.book, self.instance, datetime.now(UTC), is_alive)
        tell_of_applied(self.book, self.instance)

    def _open(self, state: str) -> list[str]:
        """Return the batches of which a delivery is in this state, oldest first."""
        return list(dict.fromkeys(row["batch_key"] for row in self.book.open_deliveries() if row["state"] == state))

    def catalogue_is_due(self) -> bool:
        """Whether a stage of the whole catalogue is missing, older than what it is made from, or of other code.

        So it is where the last run came to nothing: it may have made everything and died before it had checked it; and
        where a batch came after it began: it may have read before. What batches have said again without changing a
        product is nothing that it is made from.
        """
        last = self.instance.get_runs(dg.RunsFilter(job_name=CATALOGUE.name), limit=1)
        if last and last[0].status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
            return True
        if read_moment(self.instance, CATALOGUE.name, INGEST.name).is_changed:
            return True
        graph = self.definitions.resolve_asset_graph()
        made = {key: _newest(self.instance, key) for key in graph.materializable_asset_keys}
        for key, own in made.items():
            if graph.get(key).partitions_def is not None:
                continue
            if own is None or own.code_version != graph.get(key).code_version:
                return True
            for parent in graph.get(key).parent_keys:
                # What came of the batches was looked at above.
                upstream = made.get(parent) if graph.get(parent).partitions_def is None else None
                if upstream is not None and upstream.storage_id > own.storage_id:
                    return True
        return False

    def update_catalogue(self, watch: Watcher, outcome: Outcome, *, from_scratch: bool = False) -> bool:
        """Run the job of the whole catalogue if that is due, and return whether it was.

        One run over the whole catalogue at a time, as in the daemon's queue: of two that read at different moments the
        older could write last. That of another process is waited for, and may have done what was due here.

        Args:
            watch: Told what happens.
            outcome: Gets what happened.
            from_scratch: Match the whole catalogue anew, due or not; otherwise matching goes on from the last one.
        """
        deadline = monotonic() + OTHERS_PATIENCE
        told: str | None = None
        while True:
            with self.book.warehouse.alone(CATALOGUE_TURN):
                if not (others := self._others_runs()):
                    if not (from_scratch or self.catalogue_is_due()):
                        return False
                    config = {"ops": {MATCH_STEP: {"config": {"from_scratch": True}}}} if from_scratch else {}
                    running = self._begin(CATALOGUE.name, None, config)
            if not others:
                self._see_through(running, watch, outcome)
                return True
            if monotonic() > deadline:
                outcome.failures.append(
                    f"run {others[0].run_id} over the whole catalogue does not end; wait for it, or end it in Dagster"
                )
                return True
            if told != others[0].run_id:
                told = others[0].run_id
                watch(Happening(kind="waiting", run=CATALOGUE.name, step="", description=f"run {told} to end"))
            sleep(POLL_SECONDS)

    def _others_runs(self) -> list[dg.DagsterRun]:
        """Return the runs over the whole catalogue that somebody works on; queued ones wait for ours.

        A command's own run is not queued: it begins at once.
        """
        fail_dead_runs(self.instance)
        runs = catalogue_runs(self.instance, CATALOGUE.name)
        return [run for run in runs if run.status in IN_FLIGHT or RUNNER_TAG in run.tags]

    def standing_checks(self) -> list[Happening]:
        """Return every check as it was last evaluated (one of a batch: for the newest batch), for when nothing ran."""
        keys = sorted(self.definitions.resolve_asset_graph().asset_check_keys)
        latest = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        found = []
        for key in keys:
            entry = latest[key].event if key in latest else None
            event = entry.dagster_event if entry is not None else None
            if (
                entry is not None
                and event is not None
                and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
            ):
                found.append(_evaluated(event, self._label(entry.run_id)))
        return found

    def _label(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        return run.tags.get("dagster/partition", run.job_name) if run is not None else run_id

    def _run(self, job_name: str, batch_key: str | None, watch: Watcher, outcome: Outcome) -> None:
        self._see_through(self._begin(job_name, batch_key), watch, outcome)

    def _begin(
        self, job_name: str, batch_key: str | None, config: Mapping[str, object] = MappingProxyType({})
    ) -> "_Running":
        """Run a job in a thread of its own, and return once everybody can see that it runs."""
        job = self.definitions.resolve_job_def(job_name)
        run_id = dg.DagsterRun(job_name=job_name).run_id
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=job_name)
        result = pool.submit(
            job.execute_in_process,
            instance=self.instance,
            partition_key=batch_key,
            run_id=run_id,
            run_config={**QUIET, **config},
            tags={RUNNER_TAG: this_process()},
            raise_on_error=False,
        )
        pool.shutdown(wait=False)
        while not (result.done() or self.instance.has_run(run_id)):
            wait([result], timeout=BEGIN_SECONDS)
        return _Running(run_id, batch_key or job_name, result)

    def _see_through(self, running: "_Running", watch: Watcher, outcome: Outcome) -> None:
        """Tell of everything that happens in a run until it has ended, and of what failed in it."""
        for happening in _follow(self.instance, running.run_id, running.label, running.result.done):
            outcome.happenings.append(happening)
            watch(happening)
        if not running.result.result().success:
            outcome.failures.extend(_reasons(self.instance, running.run_id, running.label))


@dataclass(frozen=True, slots=True)
class _Running:
    """A run in a thread of this process, by what it is called for people."""

    run_id: str
    label: str
    result: Future[dg.ExecuteInProcessResult]


@dataclass(frozen=True, slots=True)
class _Made:
    storage_id: int
    code_version: str | None


def _newest(instance: dg.DagsterInstance, key: dg.AssetKey) -> _Made | None:
    records = instance.fetch_materializations(key, limit=1).records
    if not records:
        return None
    materialization = records[0].asset_materialization
    tags: Mapping[str, str] = (materialization.tags or {}) if materialization else {}
    return _Made(records[0].storage_id, tags.get("dagster/code_version"))


def _follow(instance: dg.DagsterInstance, run_id: str, label: str, done: Callable[[], bool]) -> Iterator[Happening]:
    """Yield what happens in a run until it is over and every event was read."""
    cursor = None
    started: dict[str, float] = {}
    while True:
        last_round = done()
        connection = instance.get_records_for_run(run_id, cursor=cursor)
        cursor = connection.cursor
        for record in connection.records:
            yield from _happenings(record.event_log_entry, label, started)
        if last_round and not connection.has_more:
            return
        if not connection.has_more:
            sleep(POLL_SECONDS)


def _happenings(entry: dg.EventLogEntry, label: str, started: dict[str, float]) -> Iterator[Happening]:
    event = entry.dagster_event
    if event is None:
        return
    if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        yield _evaluated(event, label)
    if event.step_key is None:
        return
    step = _readable(event.step_key)
    if event.event_type == dg.DagsterEventType.STEP_START:
        started[step] = entry.timestamp
        yield Happening(kind="started", run=label, step=step)
    elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
        yield Happening(
            kind="ended", run=label, step=step, seconds=entry.timestamp - started.get(step, entry.timestamp)
        )
    elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
        yield Happening(
            kind="failed", run=label, step=step, seconds=entry.timestamp - started.get(step, entry.timestamp)
        )
    elif event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
        retry = event.step_retry_data
        yield Happening(
            kind="delayed", run=label, step=step, seconds=retry.seconds_to_wait or 0, description=_message(retry.error)
        )
    elif event.event_type == dg.DagsterEventType.STEP_SKIPPED:
        yield Happening(kind="skipped", run=label, step=step)


def _evaluated(event: dg.DagsterEvent, label: str) -> Happening:
    check = event.asset_check_evaluation_data
    return Happening(
        kind="check",
        run=label,
        step=f"{check.asset_key.to_user_string()}: {check.check_name}",
        passed=check.passed,
        severity=check.severity.value,
        description=check.description or "",
    )


def _readable(step_key: str) -> str:
    """Turn a step's key into the key of its asset: `listings__raw` -> `listings/raw`."""
    return step_key.replace("__", "/", 1)


def _reasons(instance: dg.DagsterInstance, run_id: str, label: str) -> Sequence[str]:
    """Return why the steps of a run failed, in words for a person."""
    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    reasons = []
    for entry in failures:
        event = entry.dagster_event
        if event is None:
            continue
        failure = event.step_failure_data
        told = failure.user_failure_data.description if failure.user_failure_data is not None else None
        if told is None and failure.error is not None:
            told = _message(failure.error)
        if told:
            reasons.append(f"{label}, {_readable(event.step_key or '')}: {told.strip().splitlines()[0]}")
    return reasons or [f"{label}: the run failed; see run {run_id} in Dagster"]


def _message(error: Any) -> str:
    """Return the first line of what went wrong, as Dagster keeps it."""
    return str((error.cause or error).message).strip().splitlines()[0]
