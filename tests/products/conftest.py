"""Fixtures of the catalogue to which shops deliver."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from shops import Shops, empty

from resources.warehouse import Warehouse


@pytest.fixture(scope="module")
def warehouse(new_warehouse: Callable[[str], AbstractContextManager[Warehouse]]) -> Iterator[Warehouse]:
    with new_warehouse("batches") as warehouse:
        yield warehouse


@pytest.fixture
def shops(warehouse: Warehouse) -> Shops:
    empty(warehouse)
    return Shops(warehouse)
