"""The deployment: what docker-compose.yaml promises, and its very commands run as local processes.

There is no Docker here. What Compose would do is done by hand where it is simple: variables are filled in, the image's
tree is laid out as .dockerignore allows, addresses of containers are replaced by those of the session's servers.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml
from dagster._core.test_utils import create_run_for_test
from sqlalchemy.engine import make_url

from orchestration.postgres import SERVER_OPTIONS
from orchestration.prepare import fail_orphaned_runs, prepare_services
from orchestration.servers import choose_port
from orchestration.settings import Endpoints, EnvironmentSettings, Settings, SettingsError, dagster_environment

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
SECRETS = (
    "OFFERLINE_POSTGRES_PASSWORD",
    "OFFERLINE_S3_ACCESS_KEY",
    "OFFERLINE_S3_SECRET_KEY",
    "OFFERLINE_QDRANT_API_KEY",
)
STORES = ("postgres", "minio", "qdrant")
DAGSTER_SERVICES = ("migrate", "code", "webserver", "daemon")
#: Innermost first, so that a default may itself hold a variable.
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([?-])([^{}]*))?\}")


def filled(text: str, variables: Mapping[str, str]) -> str:
    """Fill in variables as Compose does; `KeyError` with the file's own message where one must be given."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if variables.get(name):
            return variables[name]
        if kind == "-":
            return str(rest)
        raise KeyError(f"{name}: {rest}")

    while VARIABLE.search(text):
        text = VARIABLE.sub(value, text)
    return text.replace("$$", "$")


def composition(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    known = dict.fromkeys(SECRETS, "0123456789abcdef") | dict(variables or {})
    loaded: dict[str, Any] = yaml.safe_load(filled(COMPOSE, known))
    return loaded


SERVICES: dict[str, dict[str, Any]] = composition()["services"]


# --- What the file promises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_local_healthy_and_logged_within_bounds(name: str) -> None:
    service = SERVICES[name]
    image, _, tag = service["image"].rpartition(":")
    assert image
    assert tag not in ("", "latest")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{port} is open to the network"
    if service["restart"] == "no":  # runs once, and others wait for its success
        waiting = [other for other in SERVICES.values() if name in other.get("depends_on", {})]
        assert waiting
        assert all(other["depends_on"][name]["condition"] == "service_completed_successfully" for other in waiting)
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
    assert service["logging"]["options"]["max-size"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_everything_waits_for_the_migrations_and_nothing_for_itself() -> None:
    def awaited(name: str) -> set[str]:
        direct = set(SERVICES[name].get("depends_on", {}))
        return direct.union(*map(awaited, direct))  # a circle would end in a RecursionError

    assert awaited("migrate") == {"postgres", "minio"}
    for name in SERVICES.keys() - {"migrate", *STORES}:
        assert "migrate" in awaited(name)
        for other, how in SERVICES[name]["depends_on"].items():
            one_shot = SERVICES[other]["restart"] == "no"
            assert how["condition"] == ("service_completed_successfully" if one_shot else "service_healthy")


def test_our_own_services_share_one_image_that_one_of_them_builds() -> None:
    ours = [service for name, service in SERVICES.items() if name not in STORES]
    assert {service["image"] for service in ours} == {"offerline:local"}
    assert [service["pull_policy"] for service in ours if "build" in service] == ["build"]
    assert {service["pull_policy"] for service in ours if "build" not in service} == {"never"}


def test_all_data_are_in_named_volumes_that_are_declared_and_used() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    used = {mount.partition(":")[0] for mount in mounts}
    assert used == set(composition()["volumes"])
    # Mounted one level deeper, where images before 18 kept them, the data would be lost with the container.
    assert "postgres:/var/lib/postgresql" in mounts


@pytest.mark.parametrize("name", SECRETS)
def test_a_missing_or_empty_secret_stops_compose_with_the_remedy(name: str) -> None:
    with pytest.raises(KeyError, match=f"{name}: run deploy/make_env.sh first"):
        composition({name: ""})


def test_no_secret_has_a_default_or_stands_in_the_file() -> None:
    for name, value in re.findall(r"^\s*(\w*(?:PASSWORD|SECRET|API_KEY|ACCESS_KEY)\w*): *(\S.*)$", COMPOSE, re.M):
        assert value.startswith(("${OFFERLINE_", "#")), f"{name} is not taken from .env"
        assert ":-" not in value, f"{name} has a default"


def test_the_example_names_every_variable_with_its_default_and_no_other() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", example, re.M))
    asked = {name: rest if kind == "-" else "" for name, kind, rest in VARIABLE.findall(COMPOSE)}
    handed_through = set(re.findall(r"^ +([A-Z_]+): *(?:#.*)?$", COMPOSE, re.M))
    pages = {"OFFERLINE_DAGSTER_URL", "OFFERLINE_MLFLOW_URL", "OFFERLINE_S3_PUBLIC_ENDPOINT"}  # follow from the ports
    assert named.keys() == {*asked, *pages} | handed_through
    assert {name: named[name] for name in asked} == asked
    assert set(re.findall(r"^([A-Z0-9_]+)=$", example, re.M)) == set(SECRETS)


def test_make_env_gives_each_secret_a_value_of_its_own_and_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy" / "make_env.sh", tmp_path / "deploy")
    shutil.copy(ROOT / ".env.example", tmp_path)
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the secrets, is not installed")
    subprocess.run(["bash", script], check=True, capture_output=True)
    written = tmp_path / ".env"
    values = dict(line.split("=", 1) for line in written.read_text().splitlines() if re.match(r"[A-Z]", line))
    assert values.keys() == set(SECRETS)
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in values.values())
    assert len(set(values.values())) == len(SECRETS)
    assert written.stat().st_mode & 0o077 == 0
    before = written.read_bytes()
    again = subprocess.run(["bash", script], capture_output=True, text=True)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert written.read_bytes() == before


def test_containers_are_told_what_the_embedded_stack_tells_its_processes() -> None:
    where = Endpoints(
        **{name: "x" for name in Endpoints.__slots__ if name not in ("home", "qdrant_path")},
        home=Path("x"),
        qdrant_path=Path("x"),
    )
    told = dagster_environment(where).keys()
    # MLflow's server stands between these processes and the artifacts.
    without_server = {"OFFERLINE_MLFLOW_ARTIFACT_ROOT", "MLFLOW_S3_ENDPOINT_URL"}
    known = {str(field.validation_alias or f"OFFERLINE_{name.upper()}") for name, field in fields().items()}
    for name in DAGSTER_SERVICES:
        environment = SERVICES[name]["environment"]
        assert environment.keys() == told - without_server
        assert {key for key in environment if key.startswith("OFFERLINE_")} <= known | {"OFFERLINE_COMPUTE_LOG_DIR"}
        for variable in re.findall(r"env: (\w+)", (ROOT / "deploy" / "dagster.yaml").read_text()):
            assert environment[variable]


def fields() -> Mapping[str, Any]:
    return EnvironmentSettings.model_fields


def test_postgres_runs_with_the_embedded_servers_options() -> None:
    command = SERVICES["postgres"]["command"]
    options = dict(word.removeprefix("-c").split("=") for word in command if word.startswith("-c"))
    assert options == {name: value for name, value in SERVER_OPTIONS.items() if name != "unix_socket_directories"}


def test_the_web_server_and_the_daemon_look_for_the_code_location_where_it_serves() -> None:
    ((location,),) = (
        entry.values() for entry in yaml.safe_load((ROOT / "deploy/workspace.yaml").read_text())["load_from"]
    )
    assert location["host"] in SERVICES
    script = SERVICES[location["host"]]["command"][-1]
    assert f"--port {location['port']}" in script
    assert f"--location-name {location['location_name']}" in script
    assert (
        location["location_name"]
        == yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]["location_name"]
    )


# --- Preparing -------------------------------------------------------------------------------------------------------


def test_only_configured_servers_are_prepared(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OFFERLINE_DATABASE_URL and OFFERLINE_S3_ENDPOINT"):
        prepare_services(Settings(home=tmp_path))


def test_runs_that_died_with_their_worker_fail_and_others_are_left_alone() -> None:
    states = dg.DagsterRunStatus
    with dg.DagsterInstance.ephemeral() as instance:
        runs = {
            state: create_run_for_test(instance, job_name="ingest", status=state).run_id
            for state in states
            if state is not states.QUEUED  # needs a code location
        }
        failed = fail_orphaned_runs(instance)
        after = {state: instance.get_run_by_id(run_id) for state, run_id in runs.items()}
    assert set(failed) == {runs[states.STARTING], runs[states.STARTED], runs[states.CANCELING]}
    for state, run in after.items():
        assert run is not None
        assert run.status is (states.FAILURE if run.run_id in failed else state)


# --- The commands, run ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Local:
    """The composition with this machine's addresses in place of the containers'."""

    services: Mapping[str, Mapping[str, Any]]
    tree: Path
    ports: Mapping[str, int]

    def run(self, name: str, command: list[str], **how: Any) -> subprocess.Popen[bytes]:
        """Start a command of a service with the environment of its container and nothing else."""
        log = (self.tree.parent / f"{name}.log").open("ab")
        given = self.services[name]["environment"]
        environment = {key: str(value) for key, value in given.items() if value is not None} | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "HOME": str(self.tree.parent),
            "PYTHONPATH": str(self.tree),
            "GIT_PYTHON_REFRESH": "quiet",
        }
        return subprocess.Popen(command, cwd=self.tree, env=environment, stdout=log, stderr=log, **how)

    def log_of(self, name: str) -> str:
        return (self.tree.parent / f"{name}.log").read_text(errors="replace")[-4000:]


def image_tree(into: Path) -> Path:
    """What `COPY . .` would bring into the image."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*", "everything is left out but what is named"
    left_out = shutil.ignore_patterns("__pycache__", "target", "logs", ".env")
    for name in (pattern[1:] for pattern in patterns if pattern.startswith("!")):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=left_out)
        elif source.exists():
            into.mkdir(exist_ok=True)
            shutil.copy(source, into / name)
    return into


@pytest.fixture(scope="module")
def local(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Local:
    """The composition on the session's servers, with databases, buckets and ports of its own."""
    folder = tmp_path_factory.mktemp("deployment")
    tree = image_tree(folder / "opt" / "offerline")
    (folder / "dagster").mkdir()
    shutil.copy(tree / "deploy" / "dagster.yaml", folder / "dagster")
    database = make_url(stack.database_url)
    ports: dict[str, int] = {}
    for name in ("code", "webserver", "mlflow"):
        ports[name] = choose_port(set(ports.values()))
    mark = secrets.token_hex(4)
    server = f"{database.host}:{database.port}"
    text = filled(
        COMPOSE,
        {
            "OFFERLINE_POSTGRES_PASSWORD": str(database.password),
            "OFFERLINE_S3_ACCESS_KEY": stack.s3_access_key,
            "OFFERLINE_S3_SECRET_KEY": stack.s3_secret_key,
            "OFFERLINE_QDRANT_API_KEY": "unused",
        },
    )
    moved = {
        r"@postgres:5432/(\w+)": rf"@{server}/deployed_{mark}_\1",
        r"http://minio:9000": stack.s3_endpoint,
        r"_BUCKET: (\w+)": rf"_BUCKET: deployed-{mark}-\1",
        r"s3://artifacts/": f"s3://deployed-{mark}-artifacts/",
        r"/opt/dagster": str(folder / "dagster"),
        r"/var/lib/offerline": str(folder / "home"),
        r"/tmp/offerline": str(folder / "tmp"),
        r"0\.0\.0\.0": "127.0.0.1",
        r"(?<=[=: \"])4000\b": str(ports["code"]),
        r"(?<=[=: \"])3000\b": str(ports["webserver"]),
        r"(?<=[=: \"])5000\b": str(ports["mlflow"]),
        r"http://mlflow:": "http://127.0.0.1:",
    }
    for container, here in moved.items():
        text, count = re.subn(container, here, text)
        assert count, f"{container} is no longer in docker-compose.yaml"
    workspace = tree / "deploy" / "workspace.yaml"
    workspace.write_text(
        workspace.read_text().replace("host: code", "host: 127.0.0.1").replace("4000", str(ports["code"]))
    )
    return Local(yaml.safe_load(text)["services"], tree, ports)


@pytest.fixture(scope="module")
def running(local: Local) -> Iterator[Local]:
    """Migrations done, then MLflow, code location, web server and daemon: each started by its command, healthy."""
    migration = local.run("migrate", local.services["migrate"]["command"])
    assert migration.wait(timeout=180) == 0, local.log_of("migrate")
    started: dict[str, subprocess.Popen[bytes]] = {}

    def start(*names: str) -> None:
        for name in names:
            started[name] = local.run(name, local.services[name]["command"], start_new_session=True)

    try:
        start("code", "mlflow")
        wait_until_healthy(local, "code", started["code"])
        start("webserver", "daemon")
        for name in ("webserver", "mlflow", "daemon"):
            wait_until_healthy(local, name, started[name])
        yield local
    finally:
        end(list(started.values()))


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Stop commands as Docker does; what one leaves behind in its session ends with its container."""
    for process in processes:
        process.terminate()
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


def wait_until_healthy(local: Local, name: str, process: subprocess.Popen[bytes]) -> None:
    test = local.services[name]["healthcheck"]["test"]
    deadline = time.monotonic() + 240
    while local.run(name, test[1:]).wait(timeout=60) != 0:
        assert process.poll() is None, f"{name} ended:\n{local.log_of(name)}"
        assert time.monotonic() < deadline, f"{name} does not become healthy:\n{local.log_of(name)}"
        time.sleep(0.5)


@pytest.mark.stack
def test_the_web_server_shows_the_code_location_of_the_other_container(running: Local) -> None:
    query = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
        __typename
        ... on PythonError { message }
        ... on RepositoryLocation { repositories { assetNodes { id } sensors { name } } } } } } } }"""
    answer = httpx.post(
        f"http://127.0.0.1:{running.ports['webserver']}/graphql", json={"query": query}, timeout=60
    ).raise_for_status()
    (entry,) = answer.json()["data"]["workspaceOrError"]["locationEntries"]
    location = entry["locationOrLoadError"]
    assert (entry["name"], location["__typename"]) == ("offerline", "RepositoryLocation"), location
    (repository,) = location["repositories"]
    assert repository["assetNodes"]
    assert repository["sensors"]


@pytest.mark.stack
def test_mlflow_hands_artifacts_through_to_the_bucket_and_answers_known_hosts_only(
    running: Local, stack: Endpoints
) -> None:
    from resources.object_store import ObjectStore

    server = f"http://127.0.0.1:{running.ports['mlflow']}"
    where = "/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/note.txt"
    httpx.put(server + where, content=b"kept", timeout=30).raise_for_status()
    assert httpx.get(server + where, timeout=30).content == b"kept"
    bucket = running.services["code"]["environment"]["OFFERLINE_ARTIFACTS_BUCKET"]
    store = ObjectStore(stack.s3_endpoint, stack.s3_access_key, stack.s3_secret_key, stack.s3_region)
    assert store.get_bytes(bucket, "mlflow/1/run/artifacts/note.txt") == b"kept"

    found = f"{server}/api/2.0/mlflow/experiments/get?experiment_id=0"
    for host, status in {
        f"mlflow:{running.ports['mlflow']}": 200,
        "localhost:1234": 200,
        "elsewhere.example": 403,
    }.items():
        assert httpx.get(found, headers={"Host": host}, timeout=30).status_code == status, host


@pytest.mark.stack
def test_an_upgrade_may_run_the_migrations_again(running: Local) -> None:
    migration = running.run("migrate", running.services["migrate"]["command"])
    assert migration.wait(timeout=180) == 0, running.log_of("migrate")


@pytest.mark.parametrize(
    ("answer", "healthy"), [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.1 503 No\r\n\r\n", False)]
)
def test_qdrants_health_check_needs_nothing_but_bash(answer: bytes, healthy: bool) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        check = json.dumps(SERVICES["qdrant"]["healthcheck"]["test"][1:]).replace("6333", str(server.getsockname()[1]))
        outcome = subprocess.run(json.loads(check), timeout=20)
        thread.join(timeout=20)
    assert (outcome.returncode == 0) is healthy
    assert asked[0].startswith(b"GET /readyz HTTP/1.0\r\n")
