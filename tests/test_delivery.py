"""Delivering folders and files into a real bucket: the contracts first, nothing twice, mistakes in words."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from assets.listings.feeds import ContractError, load_contracts
from orchestration.delivery import Delivered, DeliveryError, deliver_file, deliver_folder
from resources.landing_zone import LandingBucket, etag_of
from resources.object_store import ObjectStore

pytestmark = pytest.mark.stack

CONTRACTS = """
feeds:
  - {source: acme, path: offers.csv, format: csv}
  - {source: zeta, path: "daily/*.jsonl", format: jsonl, mode: delta}
"""
OFFERS = "listing_id,title\n1,Kettle\n"


@pytest.fixture
def zone(store: ObjectStore, new_bucket: Callable[[str], str]) -> LandingBucket:
    return LandingBucket(store, new_bucket("delivery"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shops"
    (folder / "daily").mkdir(parents=True)
    (folder / "feeds.yaml").write_text(CONTRACTS)
    (folder / "offers.csv").write_text(OFFERS)
    for day in ("b", "a"):
        (folder / "daily" / f"{day}.jsonl").write_text('{"listing_id": "1", "title": "Pan"}\n')
    (folder / "notes.txt").write_text("not a feed")
    return folder


def keys(delivered: list[Delivered]) -> list[str]:
    return [one.object_key for one in delivered]


def in_bucket(zone: LandingBucket) -> set[str]:
    return {version.key for version in zone.versions()}


def test_contracts_come_first_then_every_declared_feed_and_nothing_else(zone: LandingBucket, folder: Path) -> None:
    delivery = deliver_folder(folder, zone)
    first = next(delivery)
    assert first.object_key == "shops/feeds.yaml"
    assert in_bucket(zone) == {"shops/feeds.yaml"}, "whoever looks meanwhile finds no feed that nobody declared"
    rest = list(delivery)
    assert keys(rest) == ["shops/daily/a.jsonl", "shops/daily/b.jsonl", "shops/offers.csv"]
    assert in_bucket(zone) == {first.object_key, *keys(rest)}
    assert not any(one.unchanged for one in rest)
    assert zone.read("shops/offers.csv", 1 << 20) == OFFERS.encode()


def test_a_truth_travels_with_its_feeds(zone: LandingBucket, folder: Path) -> None:
    (folder / "truth.csv").write_text("source,listing_id,product_id\n")
    assert keys(list(deliver_folder(folder, zone)))[:2] == ["shops/feeds.yaml", "shops/truth.csv"]
    assert [key for key, _ in zone.truths(1 << 20)] == ["shops/truth.csv"]


def test_what_is_there_already_is_left_alone(zone: LandingBucket, folder: Path) -> None:
    list(deliver_folder(folder, zone))
    before = {version.key: version.last_modified for version in zone.versions()}
    assert all(one.unchanged for one in deliver_folder(folder, zone))
    assert {version.key: version.last_modified for version in zone.versions()} == before
    (folder / "offers.csv").write_text(OFFERS + "2,Toaster\n")
    changed = [one.object_key for one in deliver_folder(folder, zone) if not one.unchanged]
    assert changed == ["shops/offers.csv"]


def test_what_was_refused_is_delivered_again(zone: LandingBucket, folder: Path) -> None:
    list(deliver_folder(folder, zone))
    again = list(deliver_folder(folder, zone, again=["shops/offers.csv"]))
    assert [one.object_key for one in again if not one.unchanged] == ["shops/offers.csv"]
    feed = folder / "offers.csv"
    assert deliver_file(feed, "acme", zone).unchanged
    assert not deliver_file(feed, "acme", zone, again=["shops/offers.csv"]).unchanged


def test_a_large_feed_is_known_again(zone: LandingBucket, folder: Path) -> None:
    (folder / "offers.csv").write_bytes(OFFERS.encode() + b"2,Kettle\n" * 1_300_000)
    assert (folder / "offers.csv").stat().st_size > 10 << 20
    list(deliver_folder(folder, zone))
    assert all(one.unchanged for one in deliver_folder(folder, zone))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("feeds.yaml", None, "expected a folder with a feeds.yaml"),
        ("offers.csv", None, "feeds.yaml declares offers.csv, but .*shops has no such file"),
    ],
)
def test_a_folder_that_lacks_something_says_what(
    zone: LandingBucket, folder: Path, name: str, text: str | None, expected: str
) -> None:
    (folder / name).unlink()
    with pytest.raises(DeliveryError, match=expected):
        list(deliver_folder(folder, zone))
    assert in_bucket(zone) == set(), "nothing of it was delivered"


def test_a_glob_without_any_file_is_missing_too(zone: LandingBucket, folder: Path) -> None:
    for path in (folder / "daily").iterdir():
        path.unlink()
    with pytest.raises(DeliveryError, match=r"declares daily/\*\.jsonl"):
        list(deliver_folder(folder, zone))


def test_a_broken_contract_delivers_nothing(zone: LandingBucket, folder: Path) -> None:
    (folder / "feeds.yaml").write_text("feeds: [{source: acme, path: offers.csv, format: cvs}]")
    with pytest.raises(ContractError, match=r"shops/feeds\.yaml.*did you mean 'csv'\?"):
        list(deliver_folder(folder, zone))
    with pytest.raises(DeliveryError, match="nowhere"):
        list(deliver_folder(folder / "nowhere", zone))
    assert in_bucket(zone) == set()


def test_a_file_lands_where_its_sources_contract_says(zone: LandingBucket, folder: Path, tmp_path: Path) -> None:
    list(deliver_folder(folder, zone))
    export = tmp_path / "export-2026-11-23.csv"
    export.write_text(OFFERS + "2,Toaster\n")
    assert deliver_file(export, "acme", zone) == Delivered(export, "shops/offers.csv", unchanged=False)
    assert zone.read("shops/offers.csv", 1 << 20) == export.read_bytes()
    assert deliver_file(export, "acme", zone).unchanged


def test_a_file_lands_by_a_glob_under_its_own_name(zone: LandingBucket, tmp_path: Path) -> None:
    zone.deliver_bytes(b'feeds: [{source: zeta, path: "delta-*.csv", format: csv, mode: delta}]', "shops/feeds.yaml")
    feed = tmp_path / "delta-7.csv"
    feed.write_text(OFFERS)
    assert deliver_file(feed, "zeta", zone).object_key == "shops/delta-7.csv"
    other = tmp_path / "other.csv"
    other.write_text(OFFERS)
    with pytest.raises(
        DeliveryError, match=r"other\.csv fits none of zeta's feeds in shops/feeds\.yaml; expected delta-\*"
    ):
        deliver_file(other, "zeta", zone)


def test_a_new_source_gets_a_contract_of_its_own(zone: LandingBucket, tmp_path: Path) -> None:
    feed = tmp_path / "export.csv.gz"
    feed.write_bytes(gzip.compress(OFFERS.encode(), mtime=0))
    assert deliver_file(feed, "newcomer", zone) == Delivered(feed, "newcomer/export.csv.gz", unchanged=False)
    (contract,) = load_contracts(zone.read("newcomer/feeds.yaml", 1 << 20), origin="feeds.yaml")
    assert (contract.source, contract.path, contract.format.value) == ("newcomer", "export.csv.gz", "csv")
    assert contract.mode.value == "snapshot"
    assert deliver_file(feed, "newcomer", zone).unchanged


def test_a_new_source_takes_no_other_contracts_place(zone: LandingBucket, folder: Path, tmp_path: Path) -> None:
    list(deliver_folder(folder, zone))
    feed = tmp_path / "offers.csv"
    feed.write_text(OFFERS)
    before = in_bucket(zone)
    with pytest.raises(DeliveryError, match=r"shops/feeds\.yaml .* declares no feed of source 'shops'"):
        deliver_file(feed, "shops", zone)
    assert in_bucket(zone) == before
    assert zone.read("shops/feeds.yaml", 1 << 20).decode() == CONTRACTS


def test_a_broken_contract_of_another_shop_turns_no_feed_away(
    zone: LandingBucket, folder: Path, tmp_path: Path
) -> None:
    list(deliver_folder(folder, zone))
    zone.deliver_bytes(b"feeds: [{source: broken}]", "a-shop/feeds.yaml")
    feed = tmp_path / "export.csv"
    feed.write_text(OFFERS)
    assert deliver_file(feed, "acme", zone).object_key == "shops/offers.csv"
    before = in_bucket(zone)
    with pytest.raises(ContractError, match=r"a-shop/feeds\.yaml"):
        deliver_file(feed, "broken", zone)  # which it may declare
    assert in_bucket(zone) == before


def test_a_file_of_no_known_kind_or_source_is_refused(zone: LandingBucket, tmp_path: Path) -> None:
    feed = tmp_path / "offers.docx"
    feed.write_bytes(b"PK")
    with pytest.raises(DeliveryError, match=r"no contract of source 'acme'.*offers\.docx ends in none of \.csv, "):
        deliver_file(feed, "acme", zone)
    with pytest.raises(DeliveryError, match=r"none\.csv: expected a file"):
        deliver_file(tmp_path / "none.csv", "acme", zone)
    feed = tmp_path / "offers.csv"
    feed.write_text(OFFERS)
    with pytest.raises(ContractError, match="expected a slug"):
        deliver_file(feed, "Not A Slug", zone)
    assert in_bucket(zone) == set()


@pytest.mark.parametrize("name", ["feeds.yaml", "truth.csv"])
def test_no_feed_takes_the_place_of_a_contract_or_a_truth(zone: LandingBucket, tmp_path: Path, name: str) -> None:
    zone.deliver_bytes(b'feeds: [{source: zeta, path: "*", format: csv}]', "shops/feeds.yaml")
    before = zone.read("shops/feeds.yaml", 1 << 20)
    feed = tmp_path / name
    feed.write_text(OFFERS)
    for source in ("zeta", "newcomer"):
        with pytest.raises(DeliveryError, match=f"{name}: expected a feed"):
            deliver_file(feed, source, zone)
    assert in_bucket(zone) == {"shops/feeds.yaml"}
    assert zone.read("shops/feeds.yaml", 1 << 20) == before


def test_a_folder_below_brings_no_contract_of_its_own(zone: LandingBucket, folder: Path) -> None:
    (folder / "feeds.yaml").write_text('feeds: [{source: zeta, path: "**/*", format: csv}]')
    (folder / "daily" / "feeds.yaml").write_text(CONTRACTS)
    delivered = keys(list(deliver_folder(folder, zone)))
    assert [key for key in delivered if key.endswith("feeds.yaml")] == ["shops/feeds.yaml"]
    assert "shops/daily/a.jsonl" in delivered


ODD = ["a b%2F..%5C#?&=.csv", "-rf ~ $(id).csv", "=cmd|'C calc'!A0.csv", "größe 🙂.csv", "[bold]x[red].csv", "*.csv"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_of_files_are_only_names(zone: LandingBucket, tmp_path: Path, name: str) -> None:
    feed = tmp_path / name
    feed.write_text(OFFERS)
    delivered = deliver_file(feed, "newcomer", zone)
    assert delivered.object_key == f"newcomer/{name}"
    (version,) = (version for version in zone.versions() if version.key == delivered.object_key)
    assert zone.fetch(version.key, version.etag, tmp_path).read_text() == OFFERS
    (contract,) = load_contracts(zone.read("newcomer/feeds.yaml", 1 << 20), origin="feeds.yaml")
    assert contract.pattern.fullmatch(name)


@pytest.mark.parametrize("name", ["new\nline", "right\u202eleft", "zero\u200bwidth", "escape\x1b[2J", "bad\udcff"])
def test_names_that_do_not_show_what_they_are_are_refused(zone: LandingBucket, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    feed = folder / f"{name}.csv"
    feed.write_text(OFFERS)
    (folder / "feeds.yaml").write_text('feeds: [{source: zeta, path: "*.csv", format: csv}]')
    with pytest.raises(DeliveryError, match="of printable characters") as refused:
        list(deliver_folder(folder, zone))
    assert str(refused.value).isprintable()
    with pytest.raises(ContractError, match=r"printable characters only|a valid string") as unnamed:
        deliver_file(feed, "newcomer", zone)
    assert str(unnamed.value).isprintable()
    assert in_bucket(zone) == set()


GROWN = b"".join(b"%d,Kettle\n" % number for number in range(3, 9_000))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda feed: feed.write_bytes(feed.read_bytes() + GROWN), "changed while it was delivered"),
        (lambda feed: feed.write_text(OFFERS.replace("Kettle", "Kassel")), "changed while it was delivered"),
        (lambda feed: os.truncate(feed, 20), "changed while it was delivered"),
        (Path.unlink, "expected a file that can be read to its end; No such file"),
    ],
    ids=["grown", "rewritten", "cut", "removed"],
)
def test_nothing_is_left_of_a_file_that_changes_while_it_is_delivered(
    zone: LandingBucket, folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], said: str
) -> None:
    """The change comes when the file has been looked at and not yet been sent."""
    feed = folder / "offers.csv"

    def changes_meanwhile(path: Path) -> str:
        etag = etag_of(path)
        if path == feed:
            change(feed)
        return etag

    monkeypatch.setattr("orchestration.delivery.etag_of", changes_meanwhile)
    with pytest.raises(DeliveryError, match=said):
        list(deliver_folder(folder, zone))
    assert "shops/offers.csv" not in in_bucket(zone)


def test_a_file_that_shrinks_while_it_is_sent_is_named(zone: LandingBucket, folder: Path) -> None:
    feed = folder / "offers.csv"

    class Shrinking(LandingBucket):
        def deliver(self, path: Path, object_key: str) -> None:
            if path == feed:
                raise OSError("stream having not enough data; expected: 29, got: 20 bytes")
            super().deliver(path, object_key)

    with pytest.raises(DeliveryError, match=r"offers\.csv: expected a file that can be read to its end; stream having"):
        list(deliver_folder(folder, Shrinking(zone.store, zone.bucket)))
    assert "shops/offers.csv" not in in_bucket(zone)


def test_a_file_without_end_in_the_place_of_a_contract_is_refused(zone: LandingBucket, folder: Path) -> None:
    with (folder / "feeds.yaml").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ContractError, match="expected a contract of at most"):
        list(deliver_folder(folder, zone))
    assert in_bucket(zone) == set()
