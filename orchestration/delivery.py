"""Delivering feeds from a local folder or file into the landing bucket.

Belongs here: which files of a folder are feeds, and under which key they land. Not here: what happens to them then.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from assets.listings.feeds import MAX_CONTRACT_BYTES, ContractError, FeedContracts, FeedFormat, load_contracts
from assets.listings.intake import state_of
from orchestration.settings import UserError
from resources.landing_zone import TRUTH_FILE, LandingBucket, etag_of
from sensors.deliveries import COMPANIONS, CONTRACTS_FILE

#: Endings by which a feed without a contract is recognised, compression left out.
FORMAT_OF_SUFFIX = {
    ".csv": FeedFormat.CSV,
    ".tsv": FeedFormat.TSV,
    ".jsonl": FeedFormat.JSONL,
    ".ndjson": FeedFormat.JSONL,
    ".parquet": FeedFormat.PARQUET,
    ".xml": FeedFormat.GOOGLE_MERCHANT,
    ".jsonld": FeedFormat.SCHEMA_ORG,
}
COMPRESSIONS = (".gz", ".zst", ".zstd")


class DeliveryError(UserError):
    """A folder or file cannot be delivered; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One file of a delivery: where it landed, and whether the bucket had the same bytes there already."""

    path: Path
    object_key: str
    unchanged: bool


def deliver_folder(folder: Path, zone: LandingBucket, *, again: Collection[str] = ()) -> Iterator[Delivered]:
    """Deliver a folder's contracts, its truth file if it has one, and every declared feed, under the folder's name.

    The contracts come first, so that whoever looks meanwhile does not find feeds that nobody declared. What the bucket
    holds already is left alone, but for the keys in `again`: what was refused may be taken in this time.

    Raises:
        DeliveryError: the folder does not exist, has no `feeds.yaml` or no name that a key can begin with, a declared
            feed has no file, or a file changes while it is delivered.
        ContractError: the `feeds.yaml` cannot be used.
    """
    declaration = folder / CONTRACTS_FILE
    if not declaration.is_file():
        raise DeliveryError(f"{folder}: expected a folder with a {CONTRACTS_FILE} that declares its feeds")
    prefix = folder.resolve().name
    if not prefix or not prefix.isprintable():
        raise DeliveryError(f"{str(folder)!r}: expected a folder with a name, of printable characters")
    with declaration.open("rb") as file:
        contracts = load_contracts(file.read(MAX_CONTRACT_BYTES + 1), origin=str(declaration))
    files = _declared_files(folder, contracts)
    present = {key: etag for key, etag in _present(zone).items() if key not in again}
    truth = folder / TRUTH_FILE
    for path in (declaration, *([truth] if truth.is_file() else []), *files):
        yield _deliver(path, f"{prefix}/{path.relative_to(folder).as_posix()}", zone, present)


def deliver_file(path: Path, source: str, zone: LandingBucket, *, again: Collection[str] = ()) -> Delivered:
    """Deliver one file of a source, by the contract that the bucket holds for it or by a new one for its format.

    What the bucket holds already is left alone, but for the keys in `again`.

    Raises:
        DeliveryError: the file does not exist or changes while it is delivered, it bears the name of a file that lies
            beside feeds, no contract is known and its ending names no format, or the source's folder has a contract
            that does not declare it.
        ContractError: none of the contracts that can be read declares the source, and this one cannot be read.
    """
    if not path.is_file():
        raise DeliveryError(f"{path}: expected a file")
    everything = _present(zone)
    present = {key: etag for key, etag in everything.items() if key not in again}
    broken: ContractError | None = None
    for key in sorted(key for key in everything if PurePosixPath(key).name == CONTRACTS_FILE):
        try:
            contracts = load_contracts(zone.read(key, MAX_CONTRACT_BYTES), origin=key)
        except ContractError as error:
            # One shop's broken contract is no reason to turn another's feed away.
            broken = broken or error
            continue
        prefix = PurePosixPath(key).parent
        feeds = [feed for feed in contracts if feed.source == source]
        fitting = [feed for feed in feeds if not feed.is_exact and contracts.match(path.name) is feed]
        if fitting:
            return _deliver(path, str(prefix / _name_of_feed(path)), zone, present)
        if len(feeds) == 1 and feeds[0].is_exact:
            return _deliver(path, str(prefix / feeds[0].path), zone, present)
        if feeds:
            expected = ", ".join(feed.path for feed in feeds)
            raise DeliveryError(f"{path.name} fits none of {source}'s feeds in {key}; expected {expected}")
    if broken is not None:
        raise broken
    name = _name_of_feed(path)
    contract = f"{source}/{CONTRACTS_FILE}"
    if contract in everything:
        raise DeliveryError(
            f"{path}: {contract} in the landing bucket declares no feed of source {source!r}; declare one there, or "
            "land the file for one of its sources"
        )
    zone.deliver_bytes(_contract_for(path, source), contract)
    return _deliver(path, f"{source}/{name}", zone, present)


def _present(zone: LandingBucket) -> dict[str, str]:
    """Return `object key -> ETag` of everything in the bucket."""
    return {version.key: version.etag for version in zone.versions()}


def _declared_files(folder: Path, contracts: FeedContracts) -> list[Path]:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in COMPANIONS and contracts.match(path.relative_to(folder).as_posix())
    ]
    found = {id(contracts.match(path.relative_to(folder).as_posix())) for path in files}
    missing = [feed.path for feed in contracts if id(feed) not in found]
    if missing:
        raise DeliveryError(f"{folder / CONTRACTS_FILE} declares {', '.join(missing)}, but {folder} has no such file")
    return files


def _name_of_feed(path: Path) -> str:
    """The file's name as the end of its key; one that would pass for a contract or a truth is none."""
    if path.name in COMPANIONS:
        raise DeliveryError(f"{path}: expected a feed; a file of this name lies beside feeds and says what they are")
    return path.name


def _deliver(path: Path, object_key: str, zone: LandingBucket, present: dict[str, str]) -> Delivered:
    before = state_of(path)
    try:
        if present.get(object_key) == etag_of(path):
            return Delivered(path, object_key, unchanged=True)
        zone.deliver(path, object_key)
    except OSError as error:  # the store's own errors are others
        said = error.strerror or error
        raise DeliveryError(f"{path}: expected a file that can be read to its end; {said}") from error
    if state_of(path) != before:
        zone.withdraw(object_key)  # half a snapshot would delist the other half
        raise DeliveryError(f"{path}: the file changed while it was delivered; expected it to be complete")
    return Delivered(path, object_key, unchanged=False)


def _contract_for(path: Path, source: str) -> bytes:
    suffixes = [suffix for suffix in path.suffixes if suffix not in COMPRESSIONS]
    feed_format = FORMAT_OF_SUFFIX.get(suffixes[-1] if suffixes else "")
    if feed_format is None:
        known = ", ".join(FORMAT_OF_SUFFIX)
        raise DeliveryError(
            f"no contract of source {source!r} is in the landing bucket, and {path.name} ends in none of {known}; "
            f"land a folder with a {CONTRACTS_FILE} first (offerline run FOLDER)"
        )
    feed = {"source": source, "path": path.name, "format": feed_format.value}
    contract = yaml.safe_dump({"feeds": [feed]}, sort_keys=False).encode()
    load_contracts(contract, origin=f"a contract for --source {source}")  # what cannot be read must not be delivered
    return contract
