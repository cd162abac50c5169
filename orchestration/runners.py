"""Who is working on a run, so that a run whose worker died can be told from one that goes on.

Belongs here: naming a process so that it cannot be mistaken for a later one of the same number; ending the runs of dead
ones. Not here: starting runs.
"""

import os
from collections.abc import Callable

import dagster as dg
import psutil

#: Tag of the runs that a command works on in its own process.
RUNNER_TAG = "offerline/runner"
#: Runs that some process is, or should be, working on.
IN_FLIGHT = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
#: The same, and those that are made and not begun: a command begins its own at once, a launcher when it comes to them.
OPEN = (dg.DagsterRunStatus.NOT_STARTED, *IN_FLIGHT)


def this_process() -> str:
    """Return the name of this process: its number and when it began."""
    return _name(psutil.Process(os.getpid()))


def is_alive(name: str) -> bool:
    """Whether the process of this name still runs; one that has ended and that nobody has asked about does not."""
    number = name.partition("@")[0]
    if not (number.isascii() and number.isdigit()):
        return False
    try:
        process = psutil.Process(int(number))
        return _name(process) == name and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed the runs of commands whose process is gone; returns their ids. Safe at any time."""
    return _fail(instance, _is_of_a_dead_command)


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


def _is_of_a_dead_command(run: dg.DagsterRun) -> bool:
    return RUNNER_TAG in run.tags and not is_alive(run.tags[RUNNER_TAG])


def _fail(instance: dg.DagsterInstance, is_dead: Callable[[dg.DagsterRun], bool]) -> list[str]:
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=list(OPEN))) if is_dead(run)]
    for run in dead:
        instance.report_run_failed(run, "The process that worked on this run ended without saying so.")
    return [run.run_id for run in dead]


def _name(process: psutil.Process) -> str:
    return f"{process.pid}@{process.create_time():.2f}"
