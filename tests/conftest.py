"""The servers that the whole test session shares.

Belongs here: the embedded stack of the session, empty catalogues and buckets in it, and how properties are tried. Not
here: fixtures of one stage.
"""

import os
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from sqlalchemy import make_url

from orchestration.settings import Endpoints, Settings
from orchestration.stack import Stack
from resources.object_store import ObjectStore
from resources.warehouse import Warehouse

# How long a test takes depends on the machine, and says nothing of what is right.
settings.register_profile("offerline", deadline=None)
settings.load_profile("offerline")

#: What `test_crashes` draws its points by, the same in every process of a session.
SEED = os.environ.setdefault("OFFERLINE_KILL_SEED", str(secrets.randbelow(1_000_000)))


def pytest_report_header() -> str:
    """Say what repeats the session's draws."""
    return f"OFFERLINE_KILL_SEED={SEED}"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """Real PostgreSQL and S3 servers in a temporary home, ended with the session."""
    home: Path = tmp_path_factory.mktemp("offerline") / ".offerline"
    servers = Stack(Settings(home=home))
    try:
        yield servers.start("services")
    finally:
        servers.stop()


@pytest.fixture(scope="session")
def store(stack: Endpoints) -> ObjectStore:
    """The real object store."""
    return ObjectStore(stack.s3_endpoint, stack.s3_access_key, stack.s3_secret_key, stack.s3_region)


@pytest.fixture(scope="session")
def new_bucket(store: ObjectStore) -> Callable[[str], str]:
    """Make an empty bucket named after the caller, and return its name."""

    def made(caller: str) -> str:
        name = f"{caller}-{uuid.uuid4().hex[:8]}"
        store.ensure_bucket(name)
        return name

    return made


@pytest.fixture(scope="session")
def new_warehouse(stack: Endpoints) -> Callable[[str], AbstractContextManager[Warehouse]]:
    """Open an empty, migrated catalogue in a database of its own, named after the caller, and drop it at the end."""

    @contextmanager
    def opened(caller: str) -> Iterator[Warehouse]:
        name = f"{caller}_{uuid.uuid4().hex[:8]}"
        admin = make_url(stack.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            warehouse = Warehouse(make_url(stack.database_url).set(database=name).render_as_string(hide_password=False))
            warehouse.migrate()
            yield warehouse
            warehouse.close()
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return opened
