"""What shops wrote, shown in a terminal: it is seen, and never obeyed."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console

from assets.embeddings.ports import IndexedProduct, Neighbour
from orchestration.cli_stack import explained
from orchestration.erasure.receipt import Removed
from orchestration.refresh import Happening
from orchestration.rejections import ReasonCount, Rejection
from orchestration.report import Cluster, Offer
from orchestration.settings import UserError
from orchestration.tables import (
    batches_table,
    print_checks,
    print_cluster,
    reasons_table,
    receipt_table,
    rejections_table,
    search_table,
)
from orchestration.terminal import print_json, visible

#: Fills the clipboard, wipes the screen, turns the line around, and begins a sequence with one character.
HOSTILE = "1,\x1b]52;c;cm0gLXJm\x07 \x1b[2J\x9b2J\u202e\x7f,x[red]"
SEEN = r"1,\x1b]52;c;cm0gLXJm\x07 \x1b[2J\x9b2J\u202e\x7f,x[red]"
REJECTION = Rejection(
    batch_key="shop-1", source="shop", object_key=f"{HOSTILE}.csv", place=f"listing {HOSTILE}", reason="ragged_row",
    field=None, detail=f"found {HOSTILE}", raw=HOSTILE,
)  # fmt: skip
BATCH = {
    "batch_key": "shop-1", "object_key": HOSTILE, "delivered_at": datetime(2026, 1, 1, tzinfo=UTC), "state": "applied",
    "rows_read": 1, "rows_accepted": 0, "rows_rejected": 1,
}  # fmt: skip
PRODUCT = IndexedProduct(product_id=f"shop:{HOSTILE}", fingerprint="", source="shop", title=HOSTILE, brand=HOSTILE)
OFFER = Offer(
    product_id=f"shop:{HOSTILE}", seller=HOSTILE, title=HOSTILE, price=Decimal(1), currency="EUR", condition="new",
    availability="in_stock", url=None, confidence=1.0,
)  # fmt: skip
CLUSTER = Cluster(
    cluster_id="c_1", asked_for=None, headline=HOSTILE, summary=HOSTILE, author="nobody", weakest_link=1.0,
    provenance={}, offers=[OFFER], events=[],
)  # fmt: skip
CHECK = Happening(kind="check", run="shop-1", step="listings/raw", passed=False, description=HOSTILE)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=400, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("table", "times"),
    [
        (rejections_table([REJECTION]), 4),
        (reasons_table([ReasonCount(reason="ragged_row", rows=1, batches=1, example=REJECTION)]), 3),
        (batches_table([BATCH]), 1),
        (search_table([Neighbour(product=PRODUCT, similarity=0.5)]), 3),
        (receipt_table([Removed(store="qdrant", place=f"shop:{HOSTILE}", count=1, what="vectors")]), 1),
    ],
)
def test_tables_show_what_a_terminal_would_obey(console: Console, table: object, times: int) -> None:
    console.print(table)
    assert shown(console).count(SEEN) == times
    assert visible(shown(console)) == shown(console)


def test_so_do_lines_and_messages(console: Console) -> None:
    print_cluster(console, CLUSTER)
    print_checks(console, [CHECK])
    with pytest.raises(BaseException, match="1"), explained(console):
        raise UserError(HOSTILE)
    assert shown(console).count(SEEN) == 5 + 1 + 1
    assert visible(shown(console)) == shown(console)


def test_json_is_the_same_for_programs_and_harmless_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"raw": HOSTILE, "title": "Käse\u00a0\U0001f9c0 \U000e0041", "lines": "a\nb"}
    print_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert visible(printed) == printed
    assert "Käse\u00a0\U0001f9c0" in printed, "people read it too"


def test_what_people_read_stays_as_it_is() -> None:
    text = "Käse\u00a0\U0001f9c0\tgrün\nñandú"
    assert visible(text) == text
