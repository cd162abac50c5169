"""What each source promised about its feeds: the contracts of a `feeds.yaml`.

Belongs here: their shape, their errors, which contract a delivered file falls under, and that a file keeps none of it.
Not here: reading a feed's bytes (`readers`), judging its rows (`intake`).
"""

import codecs
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import xxhash
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from assets.listings.schema import CANONICAL_FIELDS

#: Canonical fields without which a row is no listing.
REQUIRED_FIELDS = ("listing_id", "title")

#: Endings of compressed deliveries; a contract's path may leave them out.
COMPRESSED_SUFFIXES = (".gz", ".zst", ".zstd")

#: A contract file is written by hand; anything larger is a feed put in its place.
MAX_CONTRACT_BYTES = 1 << 20

#: Encodings a feed may be in, by Python's own names. Stateful and escaping codecs are left out on purpose.
ENCODINGS = frozenset(
    {"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "koi8-r", "mac-roman"}
    | {f"iso8859-{part}" for part in (1, 2, 5, 7, 9, 15)}
    | {f"cp{page}" for page in (932, 1250, 1251, 1252, 1253, 1254)}
    | {"shift_jis", "euc_jp", "gb18030", "gbk", "big5", "euc_kr"}
)


class ContractError(ValueError):
    """A contract file cannot be used; the message names file, feed, field and what was expected."""


class FeedUnreadable(ValueError):
    """A file as a whole cannot be read, so that nothing of it may be applied.

    Attributes:
        name: The file.
        position: Where in the file, as far as it is known.
        problem: What was found, and what was expected.
    """

    def __init__(self, name: str, problem: str, *, position: str | None = None) -> None:
        super().__init__(f"{name}{f', {position}' if position else ''}: {problem}")
        self.name = name
        self.position = position
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process whole: an exception is otherwise made again from its message alone."""
        return _unreadable, (self.name, self.problem, self.position)


def _unreadable(name: str, problem: str, position: str | None) -> FeedUnreadable:
    return FeedUnreadable(name, problem, position=position)


class FeedFormat(StrEnum):
    """The formats a feed may have."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    GOOGLE_MERCHANT = "google_merchant"
    SHOPIFY = "shopify"
    SCHEMA_ORG = "schema_org"

    @property
    def delimiter(self) -> str | None:
        """What separates cells unless the contract says otherwise; None where there are no cells."""
        return {FeedFormat.CSV: ",", FeedFormat.TSV: "\t", FeedFormat.GOOGLE_MERCHANT: "\t"}.get(self)


class DeliveryMode(StrEnum):
    """What a delivered file says about listings it does not hold."""

    SNAPSHOT = "snapshot"
    DELTA = "delta"


Columns = Mapping[str, tuple[str, ...]]

_SAME_NAME: Columns = {field: (field,) for field in CANONICAL_FIELDS}

#: Where each format keeps the canonical fields; of several columns the first that holds something counts.
DEFAULT_FIELDS: Mapping[FeedFormat, Columns] = {
    FeedFormat.CSV: _SAME_NAME,
    FeedFormat.TSV: _SAME_NAME,
    FeedFormat.JSONL: _SAME_NAME,
    FeedFormat.PARQUET: _SAME_NAME,
    FeedFormat.GOOGLE_MERCHANT: {
        "listing_id": ("id",),
        "title": ("title",),
        "seller": ("seller_name", "external_seller_id"),
        "description": ("description",),
        "brand": ("brand",),
        "gtin": ("gtin",),
        "mpn": ("mpn",),
        "category": ("product_type", "google_product_category"),
        "price": ("price",),
        "url": ("link",),
        "image_url": ("image_link",),
        "condition": ("condition",),
        "availability": ("availability",),
    },
    FeedFormat.SHOPIFY: {
        "listing_id": ("id", "sku"),
        "title": ("title",),
        "description": ("product.body_html",),
        "brand": ("product.vendor",),
        "gtin": ("barcode",),
        "category": ("product.product_type",),
        "price": ("price",),
        "url": ("url", "product.url"),
        "image_url": ("image_url",),
        "availability": ("availability",),
    },
    FeedFormat.SCHEMA_ORG: {
        "listing_id": ("listing_id",),
        "title": ("name",),
        "seller": ("offer.seller",),
        "description": ("description",),
        "brand": ("brand",),
        "gtin": ("gtin",),
        "mpn": ("mpn",),
        "category": ("category",),
        "price": ("offer.price",),
        "currency": ("offer.priceCurrency",),
        "url": ("offer.url", "url"),
        "image_url": ("image",),
        "condition": ("offer.itemCondition", "itemCondition"),
        "availability": ("offer.availability",),
    },
}


def _did_you_mean(found: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(found, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _safe_path(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise ValueError("expected a path relative to the contract's folder, not an absolute one")
    if ".." in parts or "." in parts or "" in parts[:-1]:
        raise ValueError("expected plain folder and file names, without '..', '.' or empty parts")
    if "\\" in path or not path.isprintable():
        raise ValueError("expected '/' between folders, and printable characters only")
    return path


def _plain_pattern(path: str) -> str:
    if any("**" in part and part != "**" for part in path.split("/")):
        raise ValueError("expected '**' as a folder of its own, as in 'drops/**/*.csv'")
    return path


def _known_currency(code: str) -> str:
    from babel.numbers import is_currency  # its locale data is only wanted when a contract is read

    if not is_currency(code):
        raise ValueError("expected an ISO 4217 currency code such as EUR or USD")
    return code


def _known_encoding(name: str) -> str:
    try:
        normal = codecs.lookup(name).name.removesuffix("-sig")
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        normal = ""
    if normal not in ENCODINGS:
        raise ValueError(f"expected one of {', '.join(sorted(ENCODINGS))}")
    return normal


def _one_mark(value: str | None) -> str | None:
    if value is not None and (len(value) != 1 or value in "\r\n\0 "):
        raise ValueError("expected one single character, not a line break, a blank or NUL")
    return value


def _field_columns(value: Any) -> Any:
    """Bring `canonical: column`, `canonical: [columns]` and `canonical: null` to one shape."""
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping of canonical field to the feed's column")
    columns = {}
    for field, named in value.items():
        if field not in CANONICAL_FIELDS:
            known = ", ".join(CANONICAL_FIELDS)
            hint = _did_you_mean(str(field), CANONICAL_FIELDS)
            raise ValueError(f"{field!r} is no canonical field{hint}; expected one of {known}")
        listed = [] if named is None else list(named) if isinstance(named, list | tuple) else [named]
        if not all(isinstance(column, str) and column for column in listed):
            raise ValueError(f"{field}: expected a column name, a list of them, or null; got {named!r} (quote it?)")
        columns[field] = tuple(listed)
    return columns


class FeedContract(BaseModel):
    """What one source promised about one of its feeds.

    Attributes:
        source: Shop, marketplace or feed provider: a slug, for it becomes part of ids and paths.
        path: File, glob (`*` within a folder, `**` across folders) or prefix (ends in `/`), relative to the
            contract's folder or landing prefix.
        format: How the file is written.
        mode: Whether a listing that is missing from the newest file is gone.
        currency: ISO 4217 code where a row names none.
        seller: Who offers the items where a row names none; the source itself by default.
        fields: Canonical field to column(s), on top of the format's defaults: the first column that holds
            something counts, `null` leaves the field empty, dots lead into nested values (`offers.price`).
        encoding: Encoding of the text formats; a byte order mark is tolerated.
        delimiter: Separator of the delimited formats.
        quote: Quotation mark of the delimited formats; null where quotes mean nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)]
    path: Annotated[
        str, Field(min_length=1, max_length=512), AfterValidator(_safe_path), AfterValidator(_plain_pattern)
    ]
    format: FeedFormat
    mode: DeliveryMode = DeliveryMode.SNAPSHOT
    currency: Annotated[str, AfterValidator(_known_currency)] | None = None
    seller: Annotated[str, Field(min_length=1, max_length=256, pattern=r"\S")] | None = None
    fields: Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(_field_columns)] = Field(default_factory=dict)
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"
    delimiter: Annotated[str | None, AfterValidator(_one_mark)] = None
    quote: Annotated[str | None, AfterValidator(_one_mark)] = '"'

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "FeedContract":
        for field in REQUIRED_FIELDS:
            if field not in self.columns:
                raise ValueError(f"fields.{field}: expected a column, for no listing can be without it")
        if self.delimiter and self.format.delimiter is None:
            raise ValueError(f"delimiter: format {self.format.value} has none")
        if self.quote and self.quote == self.separator:
            raise ValueError(f"quote: {self.quote!r} cannot also be the delimiter")
        return self

    @property
    def columns(self) -> Columns:
        """Canonical field to the feed's columns, defaults of the format included."""
        claimed = {column for columns in self.fields.values() for column in columns}
        merged = {}
        for field in CANONICAL_FIELDS:
            default = DEFAULT_FIELDS[self.format].get(field, ())
            columns = self.fields.get(field, tuple(name for name in default if name not in claimed))
            if columns:
                merged[field] = columns
        return merged

    @property
    def promised(self) -> Columns:
        """The part of `columns` that a header must keep: what the contract names, and what is required."""
        return {f: c for f, c in self.columns.items() if f in self.fields or f in REQUIRED_FIELDS}

    @property
    def separator(self) -> str | None:
        """The delimiter in force; None for formats without one."""
        return self.delimiter or self.format.delimiter

    @property
    def digest(self) -> str:
        """xxh3-128 of the contract: the same for the same promises, however they were written down."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return xxhash.xxh3_128_hexdigest(content.encode())

    @property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression that must match whole."""
        return re.compile(_as_expression(self.path), re.DOTALL)

    @property
    def is_exact(self) -> bool:
        """Whether the path names one single file."""
        return not (self.path.endswith("/") or "*" in self.path or "?" in self.path)


def _as_expression(path: str) -> str:
    """A glob as a regular expression that no name keeps busy.

    Of a piece between two wildcards of one kind the first place where it fits is as good as any, so that nothing ever
    has to be tried again (`(?>...)`), however many wildcards there are.
    """
    first, *others = path.split("**/")
    pieces = [_without_folders(first)]
    for number, other in enumerate(others, start=1):
        piece = _without_folders(other)
        pieces.append(f"(?:.*/)?{piece}" if number == len(others) else f"(?>(?:[^/]*/)*?{piece})")
    return "".join(pieces) + (".+" if path.endswith("/") else "")


def _without_folders(piece: str) -> str:
    """The expression of a part of a glob that has no `**/`."""
    names = []
    for name in piece.split("/"):
        fixed = [re.escape(text).replace(r"\?", "[^/]") for text in name.split("*")]
        if name == "**":  # at the end of the path
            names.append(".*")
        elif len(fixed) == 1:
            names.append(fixed[0])
        else:
            names.append(fixed[0] + "".join(f"(?>[^/]*?{text})" for text in fixed[1:-1]) + f"[^/]*{fixed[-1]}")
    return "/".join(names)


@dataclass(frozen=True, slots=True)
class FeedContracts:
    """The contracts of one folder or landing prefix, in the order they were declared."""

    feeds: tuple[FeedContract, ...]

    def __iter__(self) -> Iterator[FeedContract]:
        """Iterate over the contracts in their declared order."""
        return iter(self.feeds)

    def __len__(self) -> int:
        """How many feeds are declared."""
        return len(self.feeds)

    def match(self, relative_path: str) -> FeedContract | None:
        """Return the contract a delivered file falls under, or None.

        An exact path wins over a pattern, an earlier pattern over a later one. The ending of a compressed
        delivery (`abt.csv.gz` for `abt.csv`) is looked through.

        Args:
            relative_path: Path of the file below the contract's folder or prefix, with `/`.
        """
        try:
            names = [_safe_path(relative_path)]
        except ValueError:
            return None
        names += [relative_path.removesuffix(end) for end in COMPRESSED_SUFFIXES if relative_path.endswith(end)]
        for contract in sorted(self.feeds, key=lambda feed: not feed.is_exact):
            if any(contract.pattern.fullmatch(name) for name in names):
                return contract
        return None


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases (they can be made to explode), tags, and keys that silently win over each other."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        # The library's own constructors trip over values that do not fit their tag (`!!float ''`).
        tagged = getattr(event, "tag", None) is not None
        if tagged or isinstance(event, yaml.AliasEvent):
            problem = f"{'tags' if tagged else 'aliases'} are not allowed in a contract"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)  # type: ignore[arg-type]
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_contracts(data: bytes | str, *, origin: str) -> FeedContracts:
    """Read the contracts of a `feeds.yaml`.

    Args:
        data: Content of the file.
        origin: How messages call the file.

    Raises:
        ContractError: one message that names the file and, one a line, each feed, field and expectation.
    """
    declared = _declared_feeds(data, origin)
    contracts: list[FeedContract] = []
    problems: list[str] = []
    first_with_path: dict[str, int] = {}
    for number, entry in enumerate(declared, start=1):
        source = entry.get("source") if isinstance(entry, dict) else None
        where = f"{origin}: feed {number}" + (f" (source {source!r})" if source else "")
        if not isinstance(entry, dict):
            problems.append(f"{where}: expected a mapping with source, path and format; got {_shown(entry)}")
            continue
        try:
            contract = FeedContract.model_validate(entry)
        except ValidationError as error:
            problems += [f"{where}{_explained(detail)}" for detail in error.errors()]
            continue
        earlier = first_with_path.setdefault(contract.path, number)
        if earlier != number:
            problems.append(f"{where}, field 'path': {contract.path!r} is already declared by feed {earlier}")
        contracts.append(contract)
    if problems:
        raise ContractError("\n".join(problems))
    return FeedContracts(tuple(contracts))


def _declared_feeds(data: bytes | str, origin: str) -> list[Any]:
    if len(data) > MAX_CONTRACT_BYTES:
        raise ContractError(f"{origin}: expected a contract of at most {MAX_CONTRACT_BYTES} bytes, and it has more")
    try:
        loader = _StrictLoader(data)
        try:
            content = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ContractError(f"{origin}{place}: expected YAML; {error.problem}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        # What a scalar's own constructor raises (a date of 99 months), besides YAML's own errors.
        raise ContractError(f"{origin}: expected YAML; {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or set(content) != {"feeds"}:
        found = f"keys {sorted(map(str, content))}" if isinstance(content, dict) else _shown(content)
        raise ContractError(f"{origin}: expected one key, 'feeds', with a list of feeds; got {found}")
    if not isinstance(content["feeds"], list) or not content["feeds"]:
        raise ContractError(f"{origin}: expected 'feeds' to list at least one feed; got {_shown(content['feeds'])}")
    return content["feeds"]


def _explained(error: ErrorDetails) -> str:
    """Put one of pydantic's findings into a sentence about the contract."""
    field = ".".join(str(part) for part in error["loc"])
    place = f", field {field!r}" if field else ""
    known = tuple(FeedContract.model_fields)
    match error["type"]:
        case "missing":
            return f"{place}: is missing"
        case "extra_forbidden":
            return f"{place}: is unknown{_did_you_mean(field, known)}; expected one of {', '.join(known)}"
        case "value_error":
            return f"{place}: {error['ctx']['error']}" + (f"; got {_shown(error['input'])}" if place else "")
        case "enum":
            values = [format_.value for format_ in FeedFormat] if field == "format" else [m.value for m in DeliveryMode]
            hint = _did_you_mean(str(error["input"]), values)
            return f"{place}: expected one of {', '.join(values)}; got {_shown(error['input'])}{hint}"
        case "string_pattern_mismatch" if field == "source":
            return f"{place}: expected a slug of a-z, 0-9, '.', '_' and '-'; got {_shown(error['input'])}"
        case "string_type":
            return f"{place}: expected text; got {_shown(error['input'])} (quote it?)"
        case _:
            return f"{place}: {error['msg']}; got {_shown(error['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
