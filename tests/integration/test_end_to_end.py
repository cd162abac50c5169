"""The command as a person uses it: feeds in, catalogue out, again for free, on servers of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
SHOPS = {"bazaar_lane", "circuit_barn", "fern_and_volt", "maison_alpine", "stromhaus"}

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Offerline:
    """The command line in a home of its own."""

    home: Path

    def __call__(self, *words: object, expect: int = 0) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OFFERLINE_")}
        done = subprocess.run(
            [sys.executable, "-c", "from orchestration.cli import app; app()", *map(str, words)],
            cwd=ROOT,
            env=environment | {"OFFERLINE_HOME": str(self.home), "COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def json(self, *words: object, expect: int = 0) -> Any:
        return json.loads(self(*words, "--json", expect=expect))


@pytest.fixture(scope="module")
def offerline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offerline]:
    command = Offerline(tmp_path_factory.mktemp("end-to-end") / ".offerline")
    yield command
    command("down")


@pytest.fixture(scope="module")
def first(offerline: Offerline) -> Any:
    """What the first run of the demo feeds came to."""
    return offerline.json("run", SAMPLES)


def test_the_demo_feeds_become_a_catalogue(first: Any) -> None:
    figures = first["figures"]
    assert first["failures"] == []
    assert figures["sources"] == len(SHOPS)
    assert figures["read"] == figures["accepted"] + figures["rejected"] + figures["repeated"]
    assert figures["read"] > 1400
    assert sum(figures["reasons"].values()) == figures["rejected"] + figures["unusable"] > 5
    assert figures["products"] == figures["accepted"] - figures["unusable"]
    assert 400 < figures["clusters"] < figures["products"]
    assert figures["joined"] > figures["products"] / 2
    blocking = [check for check in first["checks"] if check["severity"] == "ERROR"]
    assert len(blocking) > 60
    assert all(check["passed"] for check in blocking)
    assert set(first["seconds"]) >= {"listings", "products", "embeddings", "clusters", "summaries", "marts", "total"}
    for cluster in first["examples"]:
        assert len({offer["seller"] for offer in cluster["offers"]}) > 1
        assert cluster["summary"]


def test_the_same_feeds_again_change_nothing(offerline: Offerline, first: Any) -> None:
    again = offerline.json("run", SAMPLES)
    assert again["checks"] == [], "nothing ran"
    assert again["figures"] == first["figures"]
    assert again["examples"] == first["examples"]


def test_the_whole_catalogue_made_again_is_the_same(offerline: Offerline, first: Any) -> None:
    again = offerline.json("run", "--force")
    assert again["figures"] == first["figures"]
    assert again["examples"] == first["examples"], "ids and events last"


@pytest.mark.parametrize("backend", ["pgvector", "qdrant"])
def test_search_finds_offers_by_meaning(offerline: Offerline, first: Any, backend: str) -> None:
    found = offerline.json("search", "noise cancelling headphones", "--backend", backend, "--brand", "SONY")
    assert len(found) == 10
    assert {hit["brand"] for hit in found} == {"Sony"}
    assert found == sorted(found, key=lambda hit: -hit["similarity"])
    cheap = offerline.json("search", "coffee machine", "--backend", backend, "--max-price", 150, "--limit", 3)
    assert len(cheap) == 3
    assert all(float(hit["price"]) <= 150 for hit in cheap)


def test_stores_agree_and_one_command_mends_the_one_that_does_not(offerline: Offerline, first: Any) -> None:
    sound = offerline.json("stores")
    assert sound["agrees"] and sound["due"] == {} and sound["repaired"] == []
    products = first["figures"]["products"]
    assert {store["store"]: store["holds"] for store in sound["stores"]} == dict.fromkeys(
        (
            "artifact current_products", "artifact product_embeddings", "artifact product_clusters",
            "PostgreSQL products", "PostgreSQL embeddings", "PostgreSQL cluster_members", "pgvector", "qdrant",
        ),
        products,
    )  # fmt: skip
    shutil.rmtree(offerline.home / "qdrant")
    assert f"{products:,} missing (bazaar_lane:" in offerline("stores", expect=1)
    mended = offerline("stores", "--repair")
    assert "Repaired: qdrant." in mended
    assert offerline.json("stores") == sound


def test_show_tells_of_a_cluster_and_explain_of_two_of_its_offers(offerline: Offerline, first: Any) -> None:
    example = first["examples"][0]
    (shown,) = offerline.json("show", example["cluster_id"])
    assert shown == example
    left, right = (offer["product_id"] for offer in example["offers"][:2])
    explanation = offerline.json("explain", left, right)
    assert explanation["joined"] is True
    total = explanation["intercept"] + sum(explanation["contributions"].values())
    assert total == pytest.approx(explanation["log_odds"], abs=1e-6)
    assert explanation["verdict"] in offerline("explain", left, right)


def test_a_new_snapshot_changes_what_changed_and_delists_what_is_gone(
    offerline: Offerline, first: Any, tmp_path: Path
) -> None:
    before = first["figures"]
    lines = (SAMPLES / "circuit_barn.csv").read_bytes().splitlines(keepends=True)
    shorter = tmp_path / "circuit_barn.csv"
    shorter.write_bytes(b"".join(lines[:-20]))
    assert "delivered" in offerline("land", shorter, "--source", "circuit_barn")
    after = offerline.json("run")
    assert after["failures"] == []
    gone = before["products"] - after["figures"]["products"]
    assert 15 <= gone <= 20, "rejected and repeated rows among the last twenty were no products"
    assert {check["run"] for check in after["checks"]} > {"catalogue"}
    offerline("land", SAMPLES / "circuit_barn.csv", "--source", "circuit_barn")
    back = offerline.json("run")
    assert back["figures"] == before, "the old bytes delivered again bring the old catalogue back"


def test_a_snapshot_that_lost_most_of_its_rows_is_held_until_somebody_accepts_it(
    offerline: Offerline, first: Any, tmp_path: Path
) -> None:
    lines = (SAMPLES / "circuit_barn.csv").read_bytes().splitlines(keepends=True)
    shorter = tmp_path / "circuit_barn.csv"
    shorter.write_bytes(b"".join(lines[: len(lines) // 4]))
    offerline("land", shorter, "--source", "circuit_barn")
    held = offerline.json("run", expect=1)
    assert held["figures"] == first["figures"]
    [failed] = [check for check in held["checks"] if not check["passed"] and check["severity"] == "ERROR"]
    assert failed["check"] == "products/cleaned_products: few_listings_delisted"
    assert failed["description"].startswith("Held: it would delist ")
    [note] = [note for note in held["notes"] if "offerline accept" in note]
    batch = note.rpartition(" ")[2]
    later = offerline.json("run")
    assert (later["failures"], later["checks"]) == ([], []), "it is not tried again by itself"

    assert "is accepted" in offerline("accept", batch)
    accepted = offerline.json("run")
    assert accepted["failures"] == []
    assert accepted["figures"]["products"] < first["figures"]["products"]
    assert "is accepted" in offerline("accept", batch), "twice is as once"
    offerline("land", SAMPLES / "circuit_barn.csv", "--source", "circuit_barn")
    assert offerline.json("run")["figures"] == first["figures"]
    assert "was ever delivered" in offerline("accept", "nothing", expect=1)


def test_mistakes_get_one_clear_line(offerline: Offerline, first: Any, tmp_path: Path) -> None:
    assert "no cluster ever had the id 'c_nothing'" in offerline("show", "c_nothing", expect=1)
    assert "expected a folder with a feeds.yaml" in offerline("run", tmp_path, expect=1)
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "feeds.yaml").write_text("feeds: [{source: Shop, path: a.csv, format: csv}]")
    assert "expected a slug" in offerline("run", folder, expect=1)
    (folder / "feeds.yaml").write_text("feeds: [{source: shop, path: a.csv, format: csv}]")
    assert "declares a.csv" in offerline("run", folder, expect=1)
    assert "is not offered now" in offerline("explain", "shop:1", "shop:2", expect=1)
    assert "expected a file" in offerline("land", tmp_path / "none.csv", "--source", "shop", expect=1)


def test_every_bad_feed_gets_one_clear_line(offerline: Offerline, first: Any, tmp_path: Path) -> None:
    entity = b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss>&x;</rss>'
    table = b"listing_id,title\n" + b"".join(b"%d,Kettle %d\n" % (n, n) for n in range(2_000))
    bad = {
        "cut.csv.zst": ("csv", zstandard.compress(table)[:-9], "expected intact zstd; Truncated compressed stream"),
        "entity.xml": ("google_merchant", entity, "declares a document type or entities"),
        "broken.parquet": ("parquet", b"PAR1" + bytes(99) + b"PAR1", "expected intact Parquet"),
        "semicolons.csv": ("csv", table.replace(b",", b";"), "the header looks separated by ';'"),
    }
    folder = tmp_path / "bad_shops"
    folder.mkdir()
    feeds = []
    for name, (fmt, content, _) in bad.items():
        (folder / name).write_bytes(content)
        feeds.append(f"  - {{source: {name.partition('.')[0]}, path: {name}, format: {fmt}}}\n")
    (folder / "feeds.yaml").write_text(f"feeds:\n{''.join(feeds)}")

    def lines_about(name: str, shown: str) -> list[str]:
        return [line for line in shown.splitlines() if line.startswith(("failed:", "note:")) and name in line]

    shown, later = offerline("run", folder, expect=1), offerline("run")
    for name, (_, _, said) in bad.items():
        (failed,), (noted,) = lines_about(name, shown), lines_about(name, later)
        assert failed.startswith("failed: ") and said in failed
        assert noted.startswith(f"note: bad_shops/{name} was not taken in: ") and said in noted
        assert "Error" not in failed and "assets." not in failed, "no name of Python's"
    assert "Traceback" not in shown
    delivered = offerline("land", folder / "semicolons.csv", "--source", "semicolons").splitlines()
    assert delivered == ["bad_shops/semicolons.csv delivered"]
    (again,) = lines_about("semicolons.csv", offerline("run", expect=1))
    assert again.startswith("failed: ")
    (tmp_path / "feeds.yaml").write_bytes(table)
    (refused,) = offerline("land", tmp_path / "feeds.yaml", "--source", "x", expect=1).splitlines()
    assert refused.startswith("error: ") and "expected a feed" in refused
    assert offerline.json("run")["figures"] == first["figures"]


def test_an_unreadable_feed_fails_alone_and_says_why(offerline: Offerline, first: Any, tmp_path: Path) -> None:
    folder = tmp_path / "broken_shop"
    folder.mkdir()
    shutil.copy(SAMPLES / "bazaar_lane.jsonl.gz", folder / "offers.jsonl.gz")
    truncated = (folder / "offers.jsonl.gz").read_bytes()[:2000]
    (folder / "offers.jsonl.gz").write_bytes(truncated)
    (folder / "feeds.yaml").write_text("feeds: [{source: broken, path: offers.jsonl.gz, format: jsonl}]")
    outcome = offerline.json("run", folder, expect=1)
    assert any("offers.jsonl.gz" in failure for failure in outcome["failures"])
    assert outcome["figures"] == first["figures"]
    later = offerline.json("run")
    assert (later["failures"], later["checks"]) == ([], []), "it is not tried again by itself"
    assert any("offers.jsonl.gz was not taken in" in note for note in later["notes"])
    assert offerline.json("run", folder, expect=1)["failures"], "delivered again, it is tried again"
