"""`offerline run`: from a folder of feeds to a catalogue, watched by a person.

Belongs here: the order of things and what is shown of them, also where something other than a delivery makes the
catalogue be brought up to date. Not here: the jobs (see `refresh`), the figures (see `report`), their layout (see
`tables`), what is corrected (see `corrections`).
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from orchestration import report
from orchestration.cli_stack import StackProgress
from orchestration.context import Platform
from orchestration.delivery import Delivered, deliver_folder
from orchestration.refresh import Happening, Outcome, Refresh
from orchestration.stack import Stack
from orchestration.tables import print_checks, print_cluster, print_figures, print_stages
from orchestration.terminal import escape, print_json

#: Standard output and standard error, as the operating system numbers them.
STANDARD_STREAMS = (1, 2)


#: What is done before the catalogue is brought up to date: it says what it did on the console, and to programs as what
#: it adds to the JSON document.
Preparation = Callable[[Platform, Console, dict[str, Any]], None]


def run_feeds(feeds: Path | None, *, stay: bool, force: bool, as_json: bool) -> bool:
    """Deliver `feeds`, run what is due, print what came out, and return whether all of it succeeded."""

    def deliver(platform: Platform, console: Console, told: dict[str, Any]) -> None:
        if feeds is not None:
            refused = [row["object_key"] for row in platform.parts.batch_book.refusals()]
            _print_delivered(list(deliver_folder(feeds, platform.parts.landing_zone, again=refused)), console)

    return bring_up_to_date(deliver, stay=stay, force=force, as_json=as_json)


def bring_up_to_date(prepare: Preparation, *, stay: bool = False, force: bool = False, as_json: bool = False) -> bool:
    """Prepare, run what is due then, print what came out, and return whether all of it succeeded."""
    began = monotonic()
    with _own_terminal(quiet=as_json) as console:
        was_running = _is_running()
        with StackProgress(console) as progress:
            platform = Platform.enter(progress)
        try:
            seconds = {"start-up": monotonic() - began}
            refresh = _refresher(platform)
            told: dict[str, Any] = {}
            try:
                prepare(platform, console, told)
                outcome = _refresh(platform, refresh, force, console)
                seconds.update(outcome.seconds_by_stage())
                seconds["total"] = monotonic() - began
                if as_json:
                    told.update(_as_json(platform, outcome, seconds))
                else:
                    _print(platform, refresh, outcome, seconds, console)
            finally:  # what was prepared is told, whatever comes of the refresh
                if as_json and told:
                    print_json(told)
            if stay:
                _stay(platform, console)
        finally:
            if not stay and not was_running:
                platform.parts.warehouse.close()
                platform.instance.dispose()
                Stack(platform.settings).stop()
    return not outcome.failures


def _refresher(platform: Platform) -> Refresh:
    return Refresh(
        definitions=platform.definitions,
        instance=platform.instance,
        zone=platform.parts.landing_zone,
        book=platform.parts.batch_book,
    )


def _refresh(platform: Platform, refresh: Refresh, force: bool, console: Console) -> Outcome:
    outcome = Outcome()
    log = platform.settings.home / "logs" / "run.log"
    with _diverted(log), _StepDisplay(console) as display:
        refresh.take_in(display, outcome)
        if not refresh.update_catalogue(display, outcome, from_scratch=force):
            console.print("Nothing new: the catalogue is up to date.")
    if outcome.failures:
        outcome.failures.append(f"what the libraries printed meanwhile is in {log}")
    return outcome


def _print_delivered(delivered: list[Delivered], console: Console) -> None:
    new = [item for item in delivered if not item.unchanged]
    console.print(f"{len(new)} of {len(delivered)} files are new to the landing bucket.", highlight=False)
    for item in new:
        console.print(f"  {escape(item.object_key)}", highlight=False, style="dim")


def _is_running() -> bool:
    from orchestration.settings import load_settings

    return any(server.state in ("running", "starting") for server in Stack(load_settings()).status())


def _stay(platform: Platform, console: Console) -> None:
    stack = Stack(platform.settings)
    with StackProgress(console) as progress:
        where = stack.start("ui", progress)
    follows = "" if stack.answers("mlflow") else " (follows in some seconds)"
    console.print()
    console.print(f"Dagster  {where.dagster_url}/asset-groups", highlight=False)
    console.print(f"MLflow   {where.mlflow_url}{follows}", highlight=False)
    console.print("Search   offerline search 'wireless headphones'", highlight=False)
    console.print("Stop it  make down", highlight=False)


def _print(platform: Platform, refresh: Refresh, outcome: Outcome, seconds: dict[str, float], console: Console) -> None:
    catalogue = platform.parts.warehouse
    print_figures(console, report.figures(catalogue))
    for cluster in report.example_clusters(catalogue):
        print_cluster(console, cluster)
    checks = outcome.checks()
    print_checks(console, checks or refresh.standing_checks(), standing=not checks)
    print_stages(console, seconds)
    for note in outcome.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}", highlight=False, soft_wrap=True)
    for failure in outcome.failures:
        console.print(f"[red]failed:[/red] {escape(failure)}", highlight=False, soft_wrap=True)


def _as_json(platform: Platform, outcome: Outcome, seconds: dict[str, float]) -> dict[str, Any]:
    catalogue = platform.parts.warehouse
    return {
        "figures": dataclasses.asdict(report.figures(catalogue)),
        "examples": [dataclasses.asdict(cluster) for cluster in report.example_clusters(catalogue)],
        "checks": [
            {
                "check": check.step,
                "run": check.run,
                "passed": check.passed,
                "severity": check.severity,
                "description": check.description,
            }
            for check in outcome.checks()
        ],
        "seconds": seconds,
        "failures": outcome.failures,
        "notes": outcome.notes,
        "addresses": {"dagster": platform.where.dagster_url, "mlflow": platform.where.mlflow_url},
    }


@contextmanager
def _own_terminal(*, quiet: bool) -> Iterator[Console]:
    """Give a console on the terminal itself, which still reaches a person while standard output is diverted."""
    original = sys.stderr if quiet else sys.stdout
    shown = Console(file=original)
    with os.fdopen(os.dup(original.fileno()), "w", encoding="utf-8") as terminal:
        yield Console(file=terminal, quiet=quiet, width=shown.width, force_terminal=shown.is_terminal or None)


@contextmanager
def _diverted(log: Path) -> Iterator[None]:
    """Send what libraries print meanwhile (dbt, MLflow, their child processes) to a log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(stream) for stream in STANDARD_STREAMS]
    try:
        with log.open("ab") as file:
            for stream in STANDARD_STREAMS:
                os.dup2(file.fileno(), stream)
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, original in zip(STANDARD_STREAMS, kept, strict=True):
            os.dup2(original, stream)
            os.close(original)


class _StepDisplay:
    """A line per step with a spinner, its seconds, and its checks."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._display = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.fields[run]}", style="dim"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "_StepDisplay":
        self._display.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._display.stop()

    def __call__(self, happening: Happening) -> None:
        """Show what happened; a finished step becomes a line of its own that stays."""
        key = (happening.run, happening.step)
        if happening.kind == "started":
            self._tasks[key] = self._display.add_task(escape(happening.step), run=happening.run, total=None)
            return
        if happening.kind == "waiting":
            self._say(f"[dim]{escape(happening.run)} waits for {escape(happening.description)}[/dim]")
            return
        if happening.kind == "delayed":
            again = f"is tried again in {happening.seconds:.0f} s: {escape(happening.description)}"
            self._say(f"[yellow]![/yellow] [dim]{escape(happening.run)}[/dim] {escape(happening.step)} {again}")
            return
        if key in self._tasks and happening.kind != "check":
            self._display.remove_task(self._tasks.pop(key))
        if happening.kind == "check":
            if not happening.passed:
                mark = "[yellow]![/yellow]" if happening.severity == "WARN" else "[red]✗[/red]"
                self._say(f"{mark} {escape(happening.step)}: {escape(happening.description)}")
        elif happening.kind == "skipped":
            self._say(f"[dim]- {escape(happening.run)} {escape(happening.step)} skipped[/dim]")
        else:
            mark = "[green]✓[/green]" if happening.kind == "ended" else "[red]✗[/red]"
            self._say(f"{mark} [dim]{escape(happening.run)}[/dim] {escape(happening.step)} {happening.seconds:.1f} s")

    def _say(self, line: str) -> None:
        self._display.console.print(line, highlight=False)
