"""The `offerline` command.

Belongs here: the commands, their help and what they print. Not here: the stack's commands (see `cli_stack`), what the
commands do (see `refresh`, `delivery`, `report`, `stores`).
"""

import dataclasses
import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from orchestration import cli_corrections, cli_stack
from orchestration.cli_stack import Json, entered, explained
from orchestration.settings import UserError
from orchestration.terminal import escape, print_json

app = typer.Typer(
    name="offerline",
    help="Turns the product listings of many shops into one catalogue.\n\n"
    "Start with `offerline run samples`; look around with `offerline up`.",
    rich_markup_mode="markdown",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
benchmark = typer.Typer(help="Measure quality and cost; prints figures, asserts nothing.", no_args_is_help=True)
app.add_typer(benchmark, name="benchmark")


@app.command()
def run(
    feeds: Annotated[
        Path | None,
        typer.Argument(help="Folder with a feeds.yaml and the feeds it declares; without it, what has landed already."),
    ] = None,
    stay: Annotated[
        bool, typer.Option("--stay", help="Leave everything running afterwards, with Dagster's and MLflow's pages.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Make the whole catalogue again where nothing changed, its matching from scratch."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Land the feeds of a folder and bring the whole catalogue up to date.

    Starts the services it needs, delivers the folder's feeds to the landing bucket, runs Dagster's jobs in this process
    (one per delivered batch, then one for the whole catalogue) and prints what came out. Landing the same feeds again
    changes nothing. Ends with exit code 1 when a run or a blocking check failed.
    """
    from orchestration.run_command import run_feeds

    with explained():
        succeeded = run_feeds(feeds, stay=stay, force=force, as_json=as_json)
    if not succeeded:
        raise typer.Exit(1)


@app.command()
def land(
    file: Annotated[Path, typer.Argument(help="The feed to deliver; .gz and .zst are read as they are.")],
    source: Annotated[str, typer.Option("--source", help="The shop it comes from, as its contract calls it.")],
    as_json: Json = False,
) -> None:
    """Deliver one feed to the landing bucket, as a shop would.

    The landing sensor (`offerline up`) takes it in within a minute; `offerline run` does it at once. The contract is
    the one that the bucket holds for the source; for a new source one is made from the file's ending, and the file's
    columns must then have the canonical names (listing_id, title, price, ...).
    """
    from orchestration.delivery import deliver_file

    with entered() as platform:
        refused = [row["object_key"] for row in platform.parts.batch_book.refusals()]
        delivered = deliver_file(file, source, platform.parts.landing_zone, again=refused)
    if as_json:
        print_json(dataclasses.asdict(delivered))
        return
    state = "is there already" if delivered.unchanged else "delivered"
    Console().print(f"{escape(delivered.object_key)} {state}", highlight=False, soft_wrap=True)


@app.command()
def accept(
    batch: Annotated[str, typer.Argument(help="The batch, as the failed check or the rollback names it.")],
) -> None:
    """Let a batch be applied that is held, because it delists much of its feed, or that was rolled back or given up.

    The landing sensor (`offerline up`) takes it in within a minute; `offerline run` does it at once. It takes its place
    by the time of its delivery: what came after it still comes after it.
    """
    from resources.batch_book import NotHeld, UnknownBatch

    with entered() as platform:
        try:
            platform.parts.batch_book.accept(batch)
        except (NotHeld, UnknownBatch) as error:
            raise UserError(str(error)) from error
    typer.echo(f"{batch} is accepted; offerline run applies it.")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for, in any words.")],
    backend: Annotated[Literal["pgvector", "qdrant"], typer.Option(help="Which index answers.")] = "pgvector",
    brand: Annotated[str | None, typer.Option(help="Only this brand; upper and lower case are equal.")] = None,
    source: Annotated[str | None, typer.Option(help="Only offers of this source.")] = None,
    min_price: Annotated[float | None, typer.Option(help="Only offers of at least this price.")] = None,
    max_price: Annotated[float | None, typer.Option(help="Only offers of at most this price.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many offers to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Find offers by meaning: nearest vectors to the text, with filters.

    Prices are compared as numbers, whatever their currency.
    """
    from assets.embeddings.ports import SearchFilter
    from orchestration.tables import search_table

    where = SearchFilter(brand=brand, source=source, min_price=_money(min_price), max_price=_money(max_price))
    with entered() as platform:
        index = platform.parts.pgvector if backend == "pgvector" else platform.parts.qdrant
        (vector,) = platform.parts.embedder.embed([text])
        found = index.nearest(vector, limit=limit, where=where)
    if as_json:
        print_json([{**dataclasses.asdict(hit.product), "similarity": hit.similarity} for hit in found])
    elif found:
        Console().print(search_table(found))
    else:
        Console().print("No offer meets these conditions; is the catalogue filled? (offerline run samples)")


@app.command()
def show(
    cluster_id: Annotated[str, typer.Argument(help="A cluster's id, of today or of any day before.")],
    as_json: Json = False,
) -> None:
    """Show a cluster: its summary, its offers from cheapest to dearest, and what happened to it.

    An id of a cluster that was merged or split leads to the clusters that hold its members now.
    """
    from orchestration import report
    from orchestration.tables import print_cluster

    with entered() as platform:
        clusters = report.show(platform.parts.warehouse, cluster_id)
    if as_json:
        print_json([dataclasses.asdict(cluster) for cluster in clusters])
        return
    console = Console()
    if not clusters:
        console.print(f"Every member of {cluster_id} has left its shop.")
    for cluster in clusters:
        print_cluster(console, cluster)


@app.command()
def explain(
    left: Annotated[str, typer.Argument(help="An offer, as source:listing_id.")],
    right: Annotated[str, typer.Argument(help="Another one.")],
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Also draw it into this PNG file.")] = None,
    as_json: Json = False,
) -> None:
    """Explain why two offers are, or are not, the same product.

    Prints the evidence as contributions to the log-odds, a hard conflict where there is one, what a judge said, and
    what the clustering made of the pair.
    """
    from orchestration.explaining import explain_offers
    from orchestration.tables import print_explanation

    with entered() as platform:
        parts = platform.parts
        explanation = explain_offers(
            parts.warehouse, parts.embedder, parts.match_rules, parts.match_state.load(), parts.judge, left, right
        )
    if plot_file is not None:
        from assets.clusters.plots import WATERFALL_HEIGHT, waterfalls
        from assets.presentation import png

        with explained():
            _write(plot_file, png(*waterfalls([explanation]), height=WATERFALL_HEIGHT))
    if as_json:
        print_json(dataclasses.asdict(explanation))
    else:
        print_explanation(Console(), explanation)


cli_corrections.register(app)
cli_stack.register(app)


@benchmark.command()
def matching(
    folders: Annotated[
        list[Path],
        typer.Argument(exists=True, help="Folders with feeds.yaml, feeds and a truth.csv; files are left out."),
    ],
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="Also draw to this PNG file how far the probabilities can be trusted.")
    ] = None,
    hide_sellers: Annotated[
        bool, typer.Option("--hide-sellers", help="Read every folder as one source that names no seller.")
    ] = False,
    precision_first: Annotated[
        bool, typer.Option("--precision-first", help="Rather part two offers of one product than join offers of two.")
    ] = False,
    scale: Annotated[
        bool, typer.Option("--scale", help="Measure what growth costs instead: the folder's offers at several sizes.")
    ] = False,
    sizes: Annotated[
        list[int] | None, typer.Option("--size", min=1, help="A size for --scale, in offers; give it more than once.")
    ] = None,
) -> None:
    """Score the matcher end to end on offers whose truth is known, with one configuration for all folders.

    Pairwise precision, recall and F1 over all true pairs, B-cubed F1, candidate recall, candidates per offer and the
    expected error of the probabilities. The truth is read after the clusters are made. Needs no servers.

    With --scale: seconds per 1,000 offers of every stage and how they grow, CPU time and peak memory, at 4,000, 16,000
    and 64,000 offers. Smaller catalogues are samples of whole products, larger ones add respelt copies of the folder.
    """
    from assets.clusters.rules import MatchRules, ResolutionRules
    from benchmarks.matching import benchmark_matching
    from benchmarks.scale import ScaleRules, benchmark_scale
    from orchestration.settings import load_settings
    from orchestration.tables import growth_table, matching_table

    chosen = [folder for folder in folders if folder.is_dir()]
    cache = load_settings().home / "benchmarks"
    if sizes and not scale:
        raise typer.BadParameter("--size belongs to --scale")
    if precision_first and scale:
        raise typer.BadParameter("--precision-first does not belong to --scale: it costs the same")
    if plot_file and scale:
        raise typer.BadParameter("--plot does not belong to --scale")
    results: list[dict[str, Any]]
    with explained(), Console(stderr=True).status("starting") as status:
        if scale:
            wanted = ScaleRules(sizes=tuple(sizes)) if sizes else ScaleRules()
            results = [
                dataclasses.asdict(
                    benchmark_scale(
                        folder, cache=cache, scale=wanted, hide_sellers=hide_sellers, progress=status.update
                    )
                )
                for folder in chosen
            ]
        else:
            results = benchmark_matching(
                chosen,
                cache=cache,
                rules=MatchRules(resolution=ResolutionRules(precision_first=precision_first)),
                hide_sellers=hide_sellers,
                progress=lambda folder: status.update(f"matching {folder}"),
            )
    for table in map(growth_table, results) if scale else [matching_table(results)]:
        Console().print(table)
    if plot_file is not None:
        from assets.clusters.evaluation import Reliability
        from assets.clusters.plots import draw_reliability
        from assets.presentation import png

        measured = {result["folder"]: Reliability(**result["reliability"]) for result in results}
        with explained():
            _write(plot_file, png(lambda axes: draw_reliability(axes, measured), width=6.0, height=5.0))
    if json_file is not None:
        with explained():
            _write(json_file, (json.dumps(results, indent=2) + "\n").encode())


@benchmark.command()
def incremental(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder with feeds.yaml, feeds and a truth.csv.")
    ] = Path("samples"),
    offers: Annotated[int, typer.Option("--offers", min=100, help="Offers of the catalogue that is made of it.")] = (
        100_000
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Measure what a batch costs that changes 1% of a catalogue, beside the whole catalogue from nothing.

    The batch gives 0.4% of the offers another price and 0.2% another title, brings 0.2% and takes 0.2% away. Both are
    measured from cleaned products to clusters, embeddings included, and the outcome is compared with that of matching
    the changed catalogue from nothing. Most of the time, some minutes for 100,000 offers, goes into embedding them.
    Needs no servers.
    """
    from benchmarks.incremental import benchmark_incremental
    from orchestration.settings import load_settings
    from orchestration.tables import incremental_table

    with explained(), Console(stderr=True).status("starting") as status:
        cost = benchmark_incremental(
            folder, offers=offers, cache=load_settings().home / "benchmarks", progress=status.update
        )
    Console().print(incremental_table(cost))
    if json_file is not None:
        with explained():
            _write(json_file, (json.dumps(dataclasses.asdict(cost), indent=2) + "\n").encode())
    if not cost.equal:
        raise typer.Exit(1)


@benchmark.command()
def reading(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder with feeds.yaml and feeds.")
    ] = Path("samples"),
    gigabytes: Annotated[
        float, typer.Option("--gigabytes", min=0.001, help="Size of the large feeds, unpacked, in 10^9 bytes.")
    ] = 2.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Measure what reading a large feed takes, beside one of a tenth of its size: its memory must not grow.

    The feeds, csv, zstd-compressed csv, jsonl and parquet one after the other, repeat the folder's offers under ids,
    prices and links of their own. They are read as a run reads them, each in a process of its own, and removed again.
    Takes some minutes per gigabyte, and the disk space of the largest feed. Needs no servers.
    """
    from benchmarks.reading import benchmark_reading
    from orchestration.settings import load_settings
    from orchestration.tables import reading_table

    with explained(), Console(stderr=True).status("starting") as status:
        cache = load_settings().home / "benchmarks"
        readings = benchmark_reading(folder, gigabytes=gigabytes, cache=cache, progress=status.update)
    Console().print(reading_table(readings))
    if json_file is not None:
        with explained():
            _write(json_file, (json.dumps([dataclasses.asdict(each) for each in readings], indent=2) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def _money(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))
