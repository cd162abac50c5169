"""A run whose process died is told from one that goes on."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import dagster as dg
import psutil
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._daemon.types import DaemonHeartbeat

from orchestration.runners import (
    RUNNER_TAG,
    SILENCE,
    fail_dead_runs,
    fail_orphaned_runs,
    is_alive,
    this_process,
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def dead() -> str:
    """The name of a process that has ended."""
    command = "from orchestration.runners import this_process; print(this_process())"
    return subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout.strip()


def begin(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
    runner: str | None = None,
    *,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> str:
    tags = {**tags, **({RUNNER_TAG: runner} if runner else {})}
    run = dg.DagsterRun(job_name="ingest", status=status, tags=tags)
    return instance.add_run(run).run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_this_process_is_alive_and_keeps_its_name() -> None:
    assert this_process() == this_process()
    assert this_process().startswith(f"{os.getpid()}@")
    assert is_alive(this_process())


def test_another_process_is_alive_until_it_ends() -> None:
    command = "from orchestration.runners import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        assert is_alive(name)
        assert name.startswith(f"{other.pid}@")
        other.communicate("\n", timeout=30)
    assert not is_alive(name)


def test_a_later_process_of_the_same_number_is_another_one() -> None:
    began = psutil.Process().create_time()
    assert not is_alive(f"{os.getpid()}@{began - 60:.2f}@{platform.node()}")


def test_a_process_of_another_host_is_left_alone(dead: str) -> None:
    name, _, host = dead.rpartition("@")
    assert host == platform.node()
    assert not is_alive(dead)
    assert is_alive(f"{name}@another.{host}")
    assert not is_alive(f"@1.00@another.{host}"), "a name without a number is no process's anywhere"


def test_a_process_that_nobody_has_asked_about_since_it_ended_is_not_alive() -> None:
    command = "from orchestration.runners import this_process; print(this_process(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        name = other.stdout.read().strip()  # to the end of the process
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE
        assert not is_alive(name)


@pytest.mark.parametrize("name", ["", "@", "nobody", "nobody@1.00", "-1@1.00", "999999999@1.00", "0"])
def test_a_name_of_no_process_is_not_alive(name: str) -> None:
    assert not is_alive(name)


def test_runs_of_a_dead_command_fail_and_all_others_go_on(instance: dg.DagsterInstance, dead: str) -> None:
    started, done = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS
    lost = {
        begin(instance, started, dead),
        begin(instance, dg.DagsterRunStatus.STARTING, dead),
        begin(instance, dg.DagsterRunStatus.NOT_STARTED, dead),
    }
    kept = {
        begin(instance, started, this_process()): started,
        begin(instance, started): started,
        begin(instance, dg.DagsterRunStatus.NOT_STARTED): dg.DagsterRunStatus.NOT_STARTED,
        begin(instance, dg.DagsterRunStatus.NOT_STARTED, this_process()): dg.DagsterRunStatus.NOT_STARTED,
        begin(instance, done, dead): done,
    }
    assert set(fail_dead_runs(instance)) == lost
    assert {status_of(instance, run_id) for run_id in lost} == {dg.DagsterRunStatus.FAILURE}
    assert {run_id: status_of(instance, run_id) for run_id in kept} == kept
    assert fail_dead_runs(instance) == [], "once is enough"


def test_before_a_launcher_starts_its_runs_of_before_are_orphans(instance: dg.DagsterInstance, dead: str) -> None:
    started = dg.DagsterRunStatus.STARTED
    orphans = {
        begin(instance, started),
        begin(instance, started, dead),
        begin(instance, dg.DagsterRunStatus.CANCELING),
        begin(instance, dg.DagsterRunStatus.NOT_STARTED, dead),
    }
    waiting, at_work = begin(instance, dg.DagsterRunStatus.NOT_STARTED), begin(instance, started, this_process())
    assert set(fail_orphaned_runs(instance)) == orphans
    assert status_of(instance, waiting) == dg.DagsterRunStatus.NOT_STARTED, "the new launcher will start it"
    assert status_of(instance, at_work) == started, "a command works on it"


def test_what_was_launched_for_a_daemon_that_is_gone_fails(instance: dg.DagsterInstance, dead: str) -> None:
    started = dg.DagsterRunStatus.STARTED
    launched, by_hand = begin(instance, started, tags={GRPC_INFO_TAG: "{}"}), begin(instance, started)
    queued = begin(instance, dg.DagsterRunStatus.NOT_STARTED, tags={GRPC_INFO_TAG: "{}"})
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - SILENCE - 1, "SENSOR", "1", []))
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - SILENCE / 2, "QUEUED_RUN_COORDINATOR", "1", []))
    assert fail_dead_runs(instance) == [], "one part of it lives"
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - SILENCE - 1, "QUEUED_RUN_COORDINATOR", "1", []))
    assert fail_dead_runs(instance) == [launched]
    assert status_of(instance, by_hand) == started, "another command of Dagster may work on it"
    assert status_of(instance, queued) == dg.DagsterRunStatus.NOT_STARTED
