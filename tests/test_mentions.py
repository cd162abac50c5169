"""Where a listing is named, in values alone; the stores are gone through in `integration/test_corrections.py`."""

import json

import pyarrow as pa
import pytest

from assets.listings.feeds import FeedContract
from assets.listings.schema import REJECTED_LISTINGS
from assets.presentation import plain
from assets.summaries.facts import plain as in_prose
from orchestration.erasure.mentions import Mentions

LONG = "A title that begins as many others do, with more than forty characters"
#: Titles and ids with what JSON, Markdown and HTML escape.
AWKWARD = [
    ('Dell 27" Monitor P2723D', "1"),
    ("Cable USB-C #1 [2m]", "1"),
    ("Black & Decker <18V> *Drill*", "1"),
    ("C:\\Path & Co. #7 Toolbox", "1"),
    ("Ünter | Über_Kabel", "1"),
    (f"A long title & [{', '.join(f'part {number}' for number in range(30))}]", "1"),
    ("A plain title", "A_1"),
    ("A plain title", 'A"[1]'),
]


@pytest.mark.parametrize(("title", "listing_id"), AWKWARD)
def test_nothing_of_a_listing_is_left_in_an_event_however_it_is_spelt(title: str, listing_id: str) -> None:
    mentions = Mentions(source="best_buy", listing_id=listing_id, titles={title})
    for name in (title, mentions.product_id):
        for said, left in (
            (f"| id |\n| --- |\n| {plain(name)} |\n| best_buy:2 |", "| id |\n| --- |\n| best_buy:2 |"),
            (f"joined {name} with another", "joined (erased) with another"),
            (f"For {in_prose(name, 160)} there is 1 offer", "For (erased) there is 1 offer"),
            (f"| {plain(f'For {in_prose(name, 160)} there are 2 offers in one shop.')} |\n| x |", "| x |"),
        ):
            event = {
                "told": [{"text": said}],
                "pictures": [{"label": "scores, step by step", "entry_data": {"__class__": "Md", "md_str": "picture"}}],
            }
            assert any(spelt in json.dumps(event) for spelt in mentions.in_json), "the database finds it"
            cut = mentions.cut_from_event(event)
            assert cut["told"] == [{"text": left}]
            assert cut["pictures"][0]["entry_data"] == {"__class__": "Md", "md_str": "(erased)"}
            assert mentions.cut_from_event(cut) == cut


def test_an_event_that_names_others_alone_stays_as_it_is() -> None:
    mentions = Mentions(
        source="best_buy", listing_id="A_1", titles={'Dell 27" Monitor P2723D', f"{LONG} and other things"}
    )
    event = {
        "told": ["best_buy:A_12", "best_buy:A_1-b", 'A Dell 27" Monitor P2723DE', "bestbuy:A_1", f"{LONG} and more"],
        "pictures": [{"label": "scores, step by step", "entry_data": {"md_str": "a picture of others"}}],
    }
    assert mentions.cut_from_event(event) == event


def test_a_rejected_row_is_the_listings_wherever_the_contract_finds_its_id() -> None:
    contract = FeedContract.model_validate(
        {"source": "shop", "path": "a.jsonl", "format": "jsonl", "fields": {"listing_id": ["ids", "variants.0.sku"]}}
    )
    rows = [
        {"ids": ["7", "8"]},
        {"ids": " 7 "},
        {"variants": [{"sku": "7"}]},
        {"ids": ["8", "7"]},
        {"title": "7"},
    ]
    rejected = [("shop", n, "missing_field", "title", "no text", json.dumps(row)) for n, row in enumerate(rows, 1)]
    table = pa.table(list(map(list, zip(*rejected, strict=True))), schema=REJECTED_LISTINGS.arrow)
    mentions = Mentions(source="shop", listing_id="7", contracts={"b": contract})
    assert mentions.in_table(table, "rejected_listings", "b").to_pylist() == [True, True, True, False, False]
