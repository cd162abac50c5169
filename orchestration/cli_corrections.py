"""The commands by which a person looks into deliveries and corrects them: `batches`, `rejected`, `replay`, and so on.

Belongs here: what these commands take and print. Not here: how it is done (see `rejections`, `rollback`, `erasure`),
other commands (see `cli`).
"""

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from orchestration.cli_stack import Json, entered, explained
from orchestration.terminal import print_json

if TYPE_CHECKING:
    from orchestration.context import Platform
    from orchestration.run_command import Preparation

Source = Annotated[str | None, typer.Option("--source", help="Only of this shop.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(batches)
    app.command()(rejected)
    app.command()(replay)
    app.command()(rollback)
    app.command()(erase)
    app.command()(stores)


def batches(
    source: Source = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what was delivered, newest first: every batch with what became of it and of its rows."""
    from orchestration.tables import batches_table

    with entered() as platform:
        rows = platform.parts.batch_book.newest(limit, source)
    if as_json:
        print_json(rows)
    elif rows:
        Console().print(batches_table(rows))
    else:
        typer.echo("Nothing was ever delivered.")


def rejected(
    reason: Annotated[
        str | None, typer.Option("--reason", help="Show the rows that were rejected for this reason, one by one.")
    ] = None,
    source: Source = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows to show.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what was rejected and why: rows that broke a contract, and listings that could not be made into a product.

    Of the deliveries that the catalogue is made of now: the newest snapshot of every feed, and every delta. Once the
    contract or the rule is mended, `offerline replay` sends the rows through again.
    """
    from itertools import islice

    from orchestration.rejections import count_by_reason, rejections
    from orchestration.tables import reasons_table, rejections_table

    with entered() as platform:
        archive = platform.parts.batch_archive(platform.instance)
        found = rejections(
            platform.parts.warehouse, archive, reasons=() if reason is None else (reason,), source=source
        )
        if reason is None:
            counts = count_by_reason(found)
            table, values = reasons_table(counts), [dataclasses.asdict(count) for count in counts]
        else:
            rows = list(islice(found, limit))
            table, values = rejections_table(rows), [dataclasses.asdict(row) for row in rows]
    if as_json:
        print_json(values)
    elif values:
        Console().print(table)
    else:
        typer.echo("Nothing is rejected.")


def replay(
    reasons: Annotated[
        list[str], typer.Option("--reason", help="Why the rows were rejected (offerline rejected); more than once.")
    ],
    source: Source = None,
    as_json: Json = False,
) -> None:
    """Send the rows that were rejected for a reason through again, and bring the catalogue up to date.

    Exactly those rows are judged and cleaned anew, by the contract that the landing bucket holds for their feed today;
    every other row of their deliveries stays what it is. They count as delivered when they were delivered. Ends with
    exit code 1 when a run or a blocking check failed.
    """
    from orchestration.rejections import request_replay

    def prepare(platform: "Platform", console: Console, told: dict[str, Any]) -> None:
        parts = platform.parts
        meant = request_replay(
            parts.warehouse,
            parts.batch_archive(platform.instance),
            parts.batch_book,
            parts.landing_zone,
            reasons=frozenset(reasons),
            source=source,
        )
        told["replayed"] = meant
        rows = ", ".join(f"{count:,} of {batch}" for batch, count in sorted(meant.items()))
        console.print(f"Rows that go through again: {rows}", highlight=False)

    _correct(prepare, as_json)


def rollback(
    batch: Annotated[str, typer.Argument(help="The batch, as `offerline batches` and Dagster's partitions name it.")],
    as_json: Json = False,
) -> None:
    """Take a delivery back: the catalogue becomes what it would be had that batch never come.

    Its listings, their history, and whatever was made of them are those of the other deliveries of its shop. The batch
    stays out, also when its contract changes and when `offerline run FOLDER` finds the same file again, until the shop
    uploads it anew or it is taken back in with `offerline accept`.
    Ends with exit code 1 when a run or a blocking check failed.
    """
    from orchestration.rollback import roll_back_batch
    from orchestration.tables import changes_table

    def prepare(platform: "Platform", console: Console, told: dict[str, Any]) -> None:
        parts = platform.parts
        archive = parts.batch_archive(platform.instance)
        undone = roll_back_batch(parts.warehouse, archive, parts.batch_book, platform.instance, batch)
        told["changes"] = dataclasses.asdict(undone)
        if undone.made_anew_from or undone.products:
            console.print(changes_table(undone))
        else:
            console.print("Nothing in the catalogue was made of it.", highlight=False)

    _correct(prepare, as_json)


def erase(
    source: Annotated[str, typer.Argument(help="The shop, as its contract calls it.")],
    listing: Annotated[str, typer.Argument(help="The shop's own id of the listing.")],
    keep_landed: Annotated[
        bool, typer.Option("--keep-landed", help="Leave the delivered files alone that hold it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove one listing from every store, for ever, and print a receipt of what was removed where.

    From the catalogue with its history, both vector indexes, the artifacts of every run, MLflow's files, what Dagster
    keeps of its runs, and the landing bucket: a delivered file that holds it is deleted, for it cannot be changed
    without becoming another delivery. A row of it that is delivered later is rejected as `erased`, and only a digest of
    its id is kept for that. Then the catalogue is brought up to date. While a run is under way nothing is erased.
    Erasing it again finishes what broke off.

    Registered models keep how often words occur in all titles together. Files that MLflow keeps elsewhere than in the
    artifacts bucket are not reached.
    """
    from orchestration.erasure.eraser import Eraser
    from orchestration.erasure.receipt import Removed
    from orchestration.tables import receipt_table

    def prepare(platform: "Platform", console: Console, told: dict[str, Any]) -> None:
        parts = platform.parts
        eraser = Eraser(
            warehouse=parts.warehouse,
            store=parts.store,
            artifacts_bucket=platform.where.artifacts_bucket,
            landing=parts.landing_zone,
            indexes=(parts.pgvector, parts.qdrant),
            instance=platform.instance,
            dagster_database_url=platform.where.dagster_database_url,
        )
        receipt: list[Removed] = []
        try:
            eraser.erase(source, listing, keep_landed=keep_landed, watch=receipt.append)
        finally:  # what is gone is gone, also where a store failed before the last was reached
            if receipt:
                told["receipt"] = [dataclasses.asdict(removed) for removed in receipt]
                console.print(receipt_table(receipt))
        if not receipt:
            told["receipt"] = []
            console.print("It was erased already, and nothing of it was left.")

    _correct(prepare, as_json)


def stores(
    repair: Annotated[
        bool, typer.Option("--repair", help="Bring the stores that differ to what the catalogue's artifacts say.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare all stores: PostgreSQL, pgvector, Qdrant and the artifacts of the last run over the catalogue.

    Every listing's content and vector is compared, and what the indexes find for a sample with the exact nearest ones.
    Listings that came, changed or left since that run are told apart: they are no fault, the next run takes them up.
    Ends with exit code 1 when a store differs.
    """
    from orchestration.stores import Stores
    from orchestration.tables import print_comparison

    console = Console(quiet=as_json)
    repaired: tuple[str, ...] = ()
    with entered() as platform:
        parts = platform.parts
        stores = partial(Stores, platform.instance, parts.io_manager, parts.warehouse, (parts.pgvector, parts.qdrant))
        found = stores()
        if repair:
            found.require_rest()
        comparison = found.compare()
        if repair and not comparison.agrees:
            print_comparison(console, comparison)
            repaired = found.repair(comparison)
            console.print(f"\nRepaired: {', '.join(repaired)}.\n", highlight=False)
            comparison = stores().compare()
    print_comparison(console, comparison)
    if as_json:
        print_json({**comparison.summary(), "repaired": repaired})
    if not comparison.agrees:
        raise typer.Exit(1)


def _correct(prepare: "Preparation", as_json: bool) -> None:
    from orchestration.run_command import bring_up_to_date

    with explained():
        succeeded = bring_up_to_date(prepare, as_json=as_json)
    if not succeeded:
        raise typer.Exit(1)
