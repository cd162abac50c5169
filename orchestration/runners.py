"""Who is working on a run, so that a run whose worker died can be told from one that goes on.

Belongs here: naming a process so that it cannot be mistaken for a later one of the same number; ending the runs of dead
ones. Not here: starting runs.
"""

import os
from collections.abc import Callable
from platform import node
from time import time

import dagster as dg
import psutil
from dagster._core.storage.tags import GRPC_INFO_TAG

#: Tag of the runs that a command works on in its own process.
RUNNER_TAG = "offerline/runner"
#: Runs that some process is, or should be, working on.
IN_FLIGHT = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
#: The same, and those that are made and not begun: a command begins its own at once, a launcher when it comes to them.
OPEN = (dg.DagsterRunStatus.NOT_STARTED, *IN_FLIGHT)
#: Dagster's daemon says every half minute that it lives; one that was silent for so long (seconds) does not.
SILENCE = 180.0


def this_process() -> str:
    """Return the name of this process: its number, when it began, and on which host."""
    return _name(psutil.Process(os.getpid()))


def is_alive(name: str) -> bool:
    """Whether the process of this name still runs; one that has ended and that nobody has asked about does not.

    One of another host is believed to: nobody can tell from here.
    """
    number, _, rest = name.partition("@")
    if not (number.isascii() and number.isdigit()):
        return False
    if rest.partition("@")[2] not in ("", node()):
        return True
    try:
        process = psutil.Process(int(number))
        return _name(process) == name and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed the runs that nobody works on any more; returns their ids. Safe at any time.

    They are those of commands whose process is gone, and those that were launched for a daemon that is gone: it and its
    code servers end together, and no launcher says what became of their runs.
    """
    is_silent = _is_daemon_silent(instance)

    def is_dead(run: dg.DagsterRun) -> bool:
        was_launched = GRPC_INFO_TAG in run.tags and run.status in IN_FLIGHT
        return _is_of_a_dead_command(run) or (was_launched and is_silent)

    return _fail(instance, is_dead)


def fail_orphaned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed also the runs of a launcher that ended without saying so; returns their ids.

    Only right before the one process that launches runs starts: then nobody can be working on a run, but for the
    commands that run jobs themselves. Dagster's default launcher cannot tell that a worker is gone, and such a run
    would hold its place in the queue for ever.
    """
    return _fail(
        instance,
        lambda run: _is_of_a_dead_command(run) or (RUNNER_TAG not in run.tags and run.status in IN_FLIGHT),
    )


def _is_daemon_silent(instance: dg.DagsterInstance) -> bool:
    heartbeats = instance.get_daemon_heartbeats().values()
    return all(time() - heartbeat.timestamp > SILENCE for heartbeat in heartbeats)


def _is_of_a_dead_command(run: dg.DagsterRun) -> bool:
    return RUNNER_TAG in run.tags and not is_alive(run.tags[RUNNER_TAG])


def _fail(instance: dg.DagsterInstance, is_dead: Callable[[dg.DagsterRun], bool]) -> list[str]:
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=list(OPEN))) if is_dead(run)]
    for run in dead:
        instance.report_run_failed(run, "The process that worked on this run ended without saying so.")
    return [run.run_id for run in dead]


def _name(process: psutil.Process) -> str:
    return f"{process.pid}@{process.create_time():.2f}@{node()}"
