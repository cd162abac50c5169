"""The servers that the whole test session shares.

Belongs here: the embedded stack of the session. Not here: fixtures of one stage.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.settings import Endpoints, Settings
from orchestration.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """Real PostgreSQL and S3 servers in a temporary home, ended with the session."""
    home: Path = tmp_path_factory.mktemp("offerline") / ".offerline"
    servers = Stack(Settings(home=home))
    try:
        yield servers.start("services")
    finally:
        servers.stop()
