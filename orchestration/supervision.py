"""The process supervisor of the embedded stack: supervisord's configuration, its daemon and its control socket.

Belongs here: how programs are kept running and ended. Not here: which programs there are (servers.py), what
they need before they start and how one sees that they are ready (stack.py).
"""

import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import psutil
from supervisor.xmlrpc import SupervisorTransport
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from orchestration.settings import UserError

MARKER = "OFFERLINE_SUPERVISED_BY"
"""Every supervised process carries this variable (value: the home), so that exactly ours are found again."""

SOCKET_PATH_LIMIT = 90  # the kernel allows 107 bytes on Linux and 103 on macOS; supervisord appends `.PID` for a moment
KILL_AFTER_SECONDS = 15.0
STOP_SECONDS = 60.0  # longer than any program's `stop_seconds`, after which supervisord kills it
COMPLAINT = re.compile(r"\b(fatal|panic|error)\b|^[A-Za-z.]+Error:|^F\d{4} ", re.IGNORECASE)
ACTIVE = ("STARTING", "RUNNING", "BACKOFF")


class SupervisionError(UserError):
    """The supervisor cannot be started or reached; the message says why."""


class MissingDependency(UserError):
    """A program that the stack needs is not installed; the message says what to do."""


class ServerError(UserError):
    """A server cannot be used; the message names it and what it said."""


class NotReady(ServerError):
    """A server does not answer properly yet: worth asking again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One supervised server.

    Attributes:
        name: Its name in `status`, in the configuration and of its log file.
        command: Executable and arguments.
        directory: Working directory.
        environment: Variables added to the inherited ones.
        stop_signal: What asks it to end cleanly.
        stop_seconds: Patience before it is killed.
        start_retries: Attempts before it counts as failed; the pause grows by a second each time.
    """

    name: str
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    start_retries: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """A program as the supervisor sees it; `state` is supervisord's word (RUNNING, BACKOFF, FATAL, ...)."""

    name: str
    state: str
    pid: int | None
    seconds: float
    reason: str

    @property
    def alive(self) -> bool:
        """Whether it runs or is just about to."""
        return self.state in ("STARTING", "RUNNING")


class Supervisor:
    """One supervisord per home. Every call either reaches it or raises `SupervisionError`.

    Args:
        home: The folder of its configuration, socket and logs.
        forget: Variables that programs must not inherit from whoever happens to start the daemon: each program is
            given them, or not, by its own configuration.
    """

    def __init__(self, home: Path, forget: Collection[str] = ()) -> None:
        self._home = home
        self._forget = frozenset(forget)
        self._configuration = home / "run" / "supervisord.conf"
        self._pid_file = home / "run" / "supervisord.pid"
        self._socket = _socket_path(home)
        self._logs = home / "logs"

    def running(self) -> bool:
        """Whether the daemon answers."""
        if not self._socket.exists():
            return False
        _refuse_foreign(self._socket.parent)
        try:
            with self._rpc() as rpc:
                return str(rpc.supervisor.getState()["statename"]) == "RUNNING"
        except SupervisionError:
            return False

    def pid(self) -> int | None:
        """The daemon's process id, or None."""
        if not self.running():
            return None
        with self._rpc() as rpc:
            return int(rpc.supervisor.getPID())

    def states(self) -> dict[str, ProcessState]:
        """Every configured program by name; empty when the daemon does not run."""
        if not self.running():
            return {}
        with self._rpc() as rpc:
            return {
                info["name"]: ProcessState(
                    name=info["name"],
                    state=info["statename"],
                    pid=info["pid"] or None,
                    seconds=float(info["now"] - info["start"]) if info["pid"] else 0.0,
                    reason=info["spawnerr"] or info["description"],
                )
                for info in rpc.supervisor.getAllProcessInfo()
            }

    def start(self, programs: Sequence[Program], names: Iterable[str]) -> None:
        """Start the named ones of `programs`, and the daemon with them where it does not run.

        A program that runs with another configuration (a new port, a new key) is restarted; one that runs as
        configured is left alone.
        """
        wanted = tuple(names)
        self._write_configuration(programs)
        if not self.running():
            self._launch()
        with self._rpc() as rpc:
            added, changed, _ = rpc.supervisor.reloadConfig()[0]
            for name in wanted:
                if name in changed:
                    _stop(rpc, name)
                    rpc.supervisor.removeProcessGroup(name)
                if name in changed or name in added:
                    rpc.supervisor.addProcessGroup(name)
                if rpc.supervisor.getProcessInfo(name)["statename"] not in ACTIVE:
                    rpc.supervisor.startProcess(name, False)

    def stop(self, names: Iterable[str]) -> list[str]:
        """Stop those of the named programs that run, all at once, and wait for their end. Returns which did."""
        with self._rpc() as rpc:
            stopping = [name for name in names if rpc.supervisor.getProcessInfo(name)["statename"] in ACTIVE]
            for name in stopping:
                rpc.supervisor.stopProcess(name, False)
        Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_delay(STOP_SECONDS),
            wait=wait_fixed(0.1),
            retry_error_callback=lambda _: None,  # `shutdown` kills what does not end
        )(lambda: [name for name in stopping if self.states()[name].state == "STOPPING"])
        return stopping

    def shutdown(self) -> None:
        """Stop every program, the daemon, and whatever they left behind. Nothing to stop is no error."""
        daemon = self._daemon()
        if daemon is not None:
            daemon.terminate()  # SIGTERM is supervisord's orderly shutdown, programs included
            _wait_or_kill([daemon], patience=60.0)
        self.sweep()
        self._remove_files()

    def recover(self) -> list[str]:
        """Clear what a killed supervisor left: orphaned servers, sockets. Returns the names of ended processes."""
        if self.running():
            return []
        daemon = self._daemon()
        if daemon is not None:  # alive but deaf: its socket was removed under it
            daemon.terminate()
            _wait_or_kill([daemon], patience=60.0)
        ended = self.sweep()
        self._remove_files()
        return ended

    def sweep(self) -> list[str]:
        """End every process that carries this home's marker, gently first. Returns their names."""
        ours = list(self._marked())
        names = sorted({process.name() for process in ours if process.is_running()})
        for process in ours:
            # SIGINT: PostgreSQL's fast shutdown; SIGTERM would let it wait for its clients for ever.
            _send(process, signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
        _wait_or_kill(ours, patience=KILL_AFTER_SECONDS)
        return names

    def log_path(self, name: str) -> Path:
        """Where a program's output goes."""
        return self._logs / f"{name}.log"

    def complaint(self, name: str, lines: int = 4) -> str:
        """The last lines in a program's log that look like the reason of its end, or just its last lines."""
        try:
            written = self.log_path(name).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(([line for line in written if COMPLAINT.search(line)] or written)[-lines:])

    def _remove_files(self) -> None:
        for path in (self._socket, self._pid_file):
            path.unlink(missing_ok=True)
        if self._socket.parent != self._configuration.parent and self._socket.parent.exists():
            self._socket.parent.rmdir()

    def _marked(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARKER) == str(self._home) and process.pid != os.getpid():
                    yield process
            except (psutil.Error, OSError):
                continue  # not ours to look into, or gone

    def _daemon(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            return process if str(self._configuration) in process.cmdline() else None
        except (FileNotFoundError, ValueError, psutil.Error):
            return None

    def _launch(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)]
        inherited = {name: value for name, value in os.environ.items() if name not in self._forget}
        outcome = subprocess.run(
            command,
            cwd=self._home,
            env=inherited,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if outcome.returncode != 0:
            message = (outcome.stderr or outcome.stdout).strip().splitlines()[:1]
            raise SupervisionError(f"the process supervisor did not start: {' '.join(message)}")
        Retrying(
            retry=retry_if_result(lambda answered: not answered),
            stop=stop_after_delay(15),
            wait=wait_fixed(0.05),
            retry_error_callback=lambda _: self._refuse(),
        )(self.running)

    def _refuse(self) -> None:
        log = (self._logs / "supervisord.log").read_text(errors="replace").splitlines()[-1:]
        raise SupervisionError(f"the process supervisor does not answer: {' '.join(log)}")

    @contextmanager
    def _rpc(self) -> Iterator[Any]:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        # The address only satisfies the client's parser; the transport speaks over the socket.
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            yield cast(Any, proxy)
        except xmlrpc.client.Fault as fault:
            raise SupervisionError(f"the process supervisor refused: {fault.faultString}") from fault
        except (OSError, HTTPException, xmlrpc.client.ProtocolError) as error:
            raise SupervisionError(f"the process supervisor does not answer on {self._socket}: {error}") from error
        finally:
            transport.close()

    def _write_configuration(self, programs: Sequence[Program]) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        for folder in (self._configuration.parent, self._socket.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_foreign(self._socket.parent)
        sections = [
            _section("unix_http_server", {"file": _literal(self._socket), "chmod": "0700"}),
            _section(
                "supervisord",
                {
                    "identifier": "offerline",
                    "pidfile": _literal(self._pid_file),
                    "logfile": _literal(self._logs / "supervisord.log"),
                    "logfile_maxbytes": "5MB",
                    "logfile_backups": "2",
                    "directory": _literal(self._home),
                }
                | ({"user": "root"} if os.geteuid() == 0 else {}),  # said explicitly, or it warns at every start
            ),
            _section(
                "rpcinterface:supervisor",
                {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
            ),
            *(self._program_section(program) for program in programs),
        ]
        self._configuration.touch(mode=0o600)
        self._configuration.write_text("\n".join(sections))

    def _program_section(self, program: Program) -> str:
        environment = {MARKER: str(self._home), **program.environment}
        return _section(
            f"program:{program.name}",
            {
                "command": " ".join(_literal(shlex.quote(word)) for word in program.command),
                "directory": _literal(program.directory),
                "environment": ",".join(f"{name}={_quoted(name, environment[name])}" for name in sorted(environment)),
                "autostart": "false",
                "autorestart": "true",
                "startsecs": "1",
                "startretries": str(program.start_retries),
                "stopsignal": program.stop_signal,
                "stopwaitsecs": str(program.stop_seconds),
                "killasgroup": "true",
                "redirect_stderr": "true",
                # supervisord expands this one option twice.
                "stdout_logfile": _literal(_literal(self.log_path(program.name))),
                "stdout_logfile_maxbytes": "10MB",
                "stdout_logfile_backups": "2",
            },
        )


def _section(name: str, options: Mapping[str, str]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {value}" for key, value in options.items()), ""])


def _literal(value: str | Path) -> str:
    text = str(value)
    if "\n" in text or " ;" in text or " #" in text:
        raise SupervisionError(f"{text!r} cannot be passed to the process supervisor: rename the folder")
    return text.replace("%", "%%")


def _quoted(name: str, value: str) -> str:
    if '"' in value:
        raise SupervisionError(f"{name} holds a double quote, which the process supervisor cannot pass on")
    return f'"{_literal(value)}"'


def _socket_path(home: Path) -> Path:
    direct = home / "run" / "supervisor.sock"
    if len(os.fsencode(direct)) <= SOCKET_PATH_LIMIT:
        return direct
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"offerline-{os.getuid()}-{digest}" / "supervisor.sock"


def _refuse_foreign(folder: Path) -> None:
    """Anybody may make a folder in the temporary folder; a socket in somebody else's would not be ours."""
    if folder.is_symlink() or folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise SupervisionError(f"{folder} belongs to somebody else; remove it or choose a shorter OFFERLINE_HOME")


def _stop(rpc: Any, name: str) -> None:
    if rpc.supervisor.getProcessInfo(name)["statename"] in ACTIVE:
        rpc.supervisor.stopProcess(name)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _wait_or_kill(processes: Sequence[psutil.Process], patience: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)
