"""The embedded stack: real servers as local processes, started, watched and ended as one.

Belongs here: the order of starting, recovery, what to do about taken ports, and the status a person sees.
Not here: what a server is (servers.py), how processes are kept (supervision.py), the commands (cli_stack.py).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import psutil
from filelock import FileLock, Timeout
from sqlalchemy.engine import make_url
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from orchestration.postgres import prepare_databases, prepare_postgres
from orchestration.servers import (
    PAGES,
    SERVICES,
    WORKSPACE,
    choose_ports,
    new_state,
    prepare_buckets,
    prepare_dagster,
    probes,
    programs,
    taken_ports,
)
from orchestration.settings import Endpoints, Settings, StackState, UserError, endpoints, resolve, variable_names
from orchestration.supervision import NotReady, Supervisor

Group = Literal["services", "ui"]
"""`services`: PostgreSQL and the S3 server. `ui`: Dagster's page and daemon and MLflow's page (and the services)."""


class StackError(UserError):
    """The stack cannot be started; the message says why and what to do."""


class Progress(Protocol):
    """Told about every step, for a person's eyes."""

    def __call__(self, server: str, news: str) -> None:
        """`server` ('' for the stack itself) has `news`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRules:
    """How patient the stack is, in seconds."""

    lock_seconds: float = 180.0
    service_seconds: float = 60.0
    page_seconds: float = 180.0
    poll_seconds: float = 0.1
    attempts: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One server as `offerline status` shows it.

    Attributes:
        state: running, starting, stopped, failed, or external (configured, not ours to start).
        uptime: Seconds since its start.
        memory: Bytes in memory, its child processes included.
    """

    name: str
    state: Literal["running", "starting", "stopped", "failed", "external"]
    pid: int | None
    address: str
    uptime: float | None
    memory: int | None


class Stack:
    """The servers of one home. Several processes may use it at once; starting and stopping take turns."""

    def __init__(self, settings: Settings, *, rules: StackRules | None = None, workspace: Path = WORKSPACE) -> None:
        self.settings = settings
        self._rules = rules or StackRules()
        self._workspace = workspace
        self._supervisor = Supervisor(settings.home, forget=variable_names())

    def start(
        self,
        group: Group = "services",
        progress: Progress | None = None,
    ) -> Endpoints:
        """Start what is not running, wait until it answers (MLflow's page follows: see `wait`).

        Starting a running stack changes nothing. What a killed stack left behind is recovered; a port that
        somebody else took meanwhile is replaced.

        Args:
            group: What to start.
            progress: Told about every step.

        Returns:
            Where everything is.

        Raises:
            StackError: a server does not start or answer.
            MissingDependency: something is not installed.
        """
        tell: Progress = progress or _silent
        home = self.settings.home
        home.mkdir(parents=True, exist_ok=True)
        with self._lock():
            for leftover in self._supervisor.recover():
                tell("", f"ended {leftover}, left over by a killed stack")
            state = self._state()
            for folder in ("s3", "qdrant"):
                (home / folder).mkdir(mode=0o700, exist_ok=True)
            if self.settings.embeds_database and prepare_postgres(home, state):
                tell("postgres", "made a new database cluster")
            services = [name for name in SERVICES if self._embeds(name)]
            where = self._launch(services, services, tell)
            prepare_databases(where)
            prepare_buckets(where)
            prepare_dagster(where)
            if group == "ui":
                # MLflow's page is the slowest and is needed last: started beside the others it would delay them.
                where = self._launch(("webserver", "daemon"), ("webserver", "daemon"), tell)
                if self._embeds("mlflow"):
                    where = self._launch(("mlflow",), (), tell)
        return where

    def stop(self, progress: Progress | None = None) -> bool:
        """Stop exactly what this home's stack started. Returns whether anything was running."""
        tell: Progress = progress or _silent
        if not self.settings.home.exists():
            return False
        with self._lock():
            stopped = self._supervisor.recover()
            if self._supervisor.running():
                known = self._supervisor.states()
                for group in (PAGES, SERVICES):  # pages first, so that none complains about a lost database
                    for name in self._supervisor.stop([name for name in group if name in known]):
                        tell(name, "stopped")
                        stopped.append(name)
            self._supervisor.shutdown()
        return bool(stopped)

    def status(self) -> list[ServiceStatus]:
        """Every server, running or not."""
        state = StackState.read(self.settings.state_path)
        states = self._supervisor.states()
        addresses = _addresses(resolve(self.settings, state)) if state else {}
        found = []
        for name in (*SERVICES, *PAGES):
            process = states.get(name)
            pid = process.pid if process else None
            found.append(
                ServiceStatus(
                    name=name,
                    state=_word(process.state if process else "") if self._embeds(name) else "external",
                    pid=pid,
                    address=addresses.get(name, ""),
                    uptime=process.seconds if process and pid else None,
                    memory=_memory(pid) if pid else None,
                )
            )
        return found

    def wait(self, names: Sequence[str], progress: Progress | None = None) -> None:
        """Wait until the named servers answer.

        Raises:
            StackError: one does not, in time.
        """
        self._await([name for name in names if self._embeds(name)], endpoints(self.settings), progress or _silent)

    def answers(self, name: str) -> bool:
        """Whether a server answers at this moment."""
        try:
            self._check(name, probes(endpoints(self.settings))[name])
        except (NotReady, StackError):
            return False
        return True

    def _embeds(self, name: str) -> bool:
        replaced = {
            "postgres": not self.settings.embeds_database,
            "s3": not self.settings.embeds_object_store,
            "mlflow": not self.settings.embeds_tracking_server,
        }
        return not replaced.get(name, False)

    def _state(self) -> StackState:
        state = StackState.read(self.settings.state_path)
        if state is None:
            if self.settings.embeds_database and (self.settings.home / "postgres" / "PG_VERSION").exists():
                raise StackError(
                    f"{self.settings.state_path} is missing, and with it the passwords of the data beside it: "
                    f"bring it back, or move {self.settings.home} away to start afresh"
                )
            state = new_state()
            state.write(self.settings.state_path)
        return state

    def _launch(self, names: Sequence[str], awaited: Sequence[str], tell: Progress) -> Endpoints:
        """Start `names`, wait for `awaited`; once more with other ports where one was lost to somebody else."""
        for attempt in range(1, self._rules.attempts + 1):
            state = self._settle_ports(names, tell)
            where = resolve(self.settings, state)
            before = self._alive()
            if names:
                self._supervisor.start(list(programs(self.settings, state, where, self._workspace).values()), names)
            for name in names:
                if name not in before:
                    tell(name, "starting")
            try:
                self._await(awaited, where, tell)
                break
            except StackError:
                lost = any(taken_ports(name, state.ports) for name in names if name not in self._alive())
                if not lost or attempt == self._rules.attempts:
                    raise
        return where

    def _settle_ports(self, names: Sequence[str], tell: Progress) -> StackState:
        state = self._state()
        moved = []
        for name in names:
            if name not in self._alive() and (taken := taken_ports(name, state.ports)):
                moved.append(name)
                tell(name, f"port {taken[0]} was taken by another program: using another one")
        if moved:
            state = state.model_copy(update={"ports": choose_ports(moved, state.ports)})
            state.write(self.settings.state_path)
        return state

    def _alive(self) -> set[str]:
        return {name for name, process in self._supervisor.states().items() if process.alive}

    def _await(self, names: Sequence[str], where: Endpoints, tell: Progress) -> None:
        checks = probes(where)
        for name in names:
            seconds = self._rules.service_seconds if name in SERVICES else self._rules.page_seconds
            try:
                Retrying(
                    retry=retry_if_exception_type(NotReady),
                    stop=stop_after_delay(seconds),
                    wait=wait_fixed(self._rules.poll_seconds),
                    reraise=True,
                )(self._check, name, checks[name])
            except NotReady as error:
                raise StackError(f"{name} does not answer after {seconds:.0f} s: {error}") from error
            tell(name, "ready")

    def _check(self, name: str, probe: Callable[[], None]) -> None:
        process = self._supervisor.states().get(name)
        if process is None or process.state in ("FATAL", "STOPPED", "UNKNOWN"):
            reason = self._supervisor.complaint(name) or (process.reason if process else "it is not supervised")
            raise StackError(f"{name} does not start; {self._supervisor.log_path(name)} says:\n{reason}")
        if process.state == "BACKOFF":
            raise NotReady(f"it ended at once and is tried again; see {self._supervisor.log_path(name)}")
        probe()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            with FileLock(self.settings.home / "stack.lock", timeout=self._rules.lock_seconds):
                yield
        except Timeout as error:
            raise StackError(
                f"another `offerline` process is starting or stopping the stack in {self.settings.home}"
            ) from error


def _silent(server: str, news: str) -> None:
    del server, news


def _word(state: str) -> Literal["running", "starting", "stopped", "failed"]:
    if state == "RUNNING":
        return "running"
    if state in ("STARTING", "BACKOFF"):
        return "starting"
    return "failed" if state in ("FATAL", "UNKNOWN") else "stopped"


def _addresses(where: Endpoints) -> dict[str, str]:
    database = make_url(where.database_url)
    return {
        "postgres": f"{database.host}:{database.port}",
        "s3": where.s3_endpoint,
        "webserver": where.dagster_url,
        "mlflow": where.mlflow_url,
    }


def _memory(pid: int) -> int | None:
    """Bytes of a process and its children; shared pages are shared out among them where the kernel tells (PSS)."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            full = process.memory_full_info()
            total += getattr(full, "pss", 0) or full.rss
    except psutil.Error:
        return total or None
    return total
