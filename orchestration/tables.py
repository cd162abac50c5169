"""How answers look in a terminal.

Belongs here: tables and lines made of finished values. Not here: finding the values, what a terminal must not be shown
(see `terminal`).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from assets.agreement import told
from assets.clusters.explanation import Explanation
from assets.embeddings.ports import Neighbour
from assets.products.applying import Applied
from orchestration.erasure.receipt import Removed
from orchestration.refresh import Happening
from orchestration.rejections import ReasonCount, Rejection
from orchestration.report import Cluster, Figures
from orchestration.terminal import escape, visible

if TYPE_CHECKING:
    from benchmarks.incremental import Cost
    from benchmarks.reading import Reading
    from orchestration.stores import Comparison

STAGES = ("start-up", "listings", "products", "embeddings", "clusters", "summaries", "marts", "total")
#: Length of the longest bar of a waterfall, in characters: with the figures before it, a line of 80.
WATERFALL_WIDTH = 22
#: How much of a rejected row is shown, in characters.
RAW_SHOWN = 300


def money(amount: Decimal | None, currency: str | None) -> str:
    """Return an amount as `1,234.50 EUR`, or a dash where there is none."""
    return "-" if amount is None else f"{amount:,.2f} {currency or ''}".rstrip()


def print_figures(console: Console, figures: Figures) -> None:
    """Print how many rows went where, and what the catalogue holds."""
    table = Table(title="The catalogue", title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column()
    reasons = ", ".join(f"{reason.replace('_', ' ')} {rows}" for reason, rows in figures.reasons.items())
    table.add_row("listings read", f"{figures.read:,}", f"from {figures.sources} source{'s' * (figures.sources != 1)}")
    table.add_row("accepted", f"{figures.accepted:,}", "")
    table.add_row("rejected", f"{figures.rejected:,}", reasons)
    if figures.unusable:
        table.add_row("unusable", f"{figures.unusable:,}", "kept the contract, but no product can be made of them")
    table.add_row("exact repeats", f"{figures.repeated:,}", "")
    table.add_row("products", f"{figures.products:,}", "offered now")
    table.add_row("clusters", f"{figures.clusters:,}", "distinct products")
    table.add_row("joined offers", f"{figures.joined:,}", "share their cluster with another offer")
    console.print()
    console.print(table)


def print_cluster(console: Console, cluster: Cluster) -> None:
    """Print one cluster with its offers; its id has a line of its own, which no long headline cuts off."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for offer in cluster.offers:
        origin = Text(visible(f"{offer.seller}  {offer.product_id}"), style="dim", no_wrap=True)
        table.add_row(money(offer.price, offer.currency), Group(Text(visible(offer.title)), origin))
    held = f" holds members of {cluster.asked_for}" if cluster.asked_for else ""
    panel = Panel(
        Text(visible(cluster.summary)),
        title=Text(visible(cluster.headline), overflow="ellipsis"),
        title_align="left",
        subtitle=Text(f"{cluster.cluster_id}{held}"),
        subtitle_align="right",
        border_style="dim",
    )
    console.print()
    console.print(panel)
    console.print(table)
    if len(cluster.events) > 1:
        events = ", ".join(f"{event['kind']} {event['occurred_at']:%Y-%m-%d %H:%M}" for event in cluster.events)
        console.print(f"[dim]{events}[/dim]")


def print_checks(console: Console, checks: Sequence[Happening], *, standing: bool = False) -> None:
    """Print how many checks passed, and those that did not; `standing`: as they were last evaluated, not just now."""
    if not checks:
        return
    broken = [check for check in checks if not check.passed and check.severity != "WARN"]
    warned = [check for check in checks if not check.passed and check.severity == "WARN"]
    passed = len(checks) - len(broken) - len(warned)
    console.print()
    title = "Checks, as last evaluated" if standing else "Checks"
    console.print(f"{title}: {passed} passed, {len(warned)} warned, {len(broken)} failed", highlight=False)
    for check in (*broken, *warned):
        mark = "[red]✗[/red]" if check in broken else "[yellow]![/yellow]"
        console.print(
            f"  {mark} {escape(check.step)} ({escape(check.run)}): {escape(check.description)}", highlight=False
        )


def print_comparison(console: Console, comparison: "Comparison") -> None:
    """Print what every store holds and where it differs, and what waits for the next run."""
    table = Table(title="Stores", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("store", no_wrap=True)
    table.add_column("listings", justify="right")
    table.add_column("found", justify="right")
    table.add_column("differs")
    for agreement in comparison.agreements:
        table.add_row(
            "[green]✓[/green]" if agreement.agrees else "[red]✗[/red]",
            agreement.store,
            f"{agreement.holds:,}",
            "" if agreement.recall is None else f"{agreement.recall:.1%}",
            Text("" if agreement.agrees else visible(agreement.description)),
        )
    console.print(table)
    due = "; ".join(told(kind, listings) for kind, listings in comparison.due_by_kind.items())
    if due:
        console.print(f"\nDue since the last run over the catalogue: {escape(due)}. `offerline run` takes it up.")


def print_stages(console: Console, seconds: Mapping[str, float]) -> None:
    """Print the seconds per stage on one line."""
    spent = "  ".join(f"{stage} {seconds[stage]:.1f}" for stage in STAGES if stage in seconds)
    console.print()
    console.print(f"Seconds: {spent}", highlight=False)


def print_explanation(console: Console, explanation: Explanation) -> None:
    """Print the verdict, the evidence as a waterfall of contributions to the log-odds, and the two offers."""
    for side in (explanation.left, explanation.right):
        console.print(Text(visible(f"{side.product_id}  {side.title}")))
    console.print()
    console.print(Text(visible(explanation.verdict), style="bold"))
    table = Table(title="Log-odds", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("evidence")
    table.add_column("value", justify="right")
    table.add_column("contribution", justify="right")
    table.add_column("so far", justify="right")
    table.add_column("")
    steps = explanation.steps()
    largest = max((abs(step.part) for step in steps), default=1.0) or 1.0
    total = 0.0
    for step in steps:
        total += step.part
        bar = "█" * max(1, round(abs(step.part) / largest * WATERFALL_WIDTH)) if step.part else ""
        table.add_row(
            step.name,
            "" if step.value is None else f"{step.value:.3g}",
            f"{step.part:+.2f}",
            f"{total:+.2f}",
            Text(bar, style="green" if step.part > 0 else "red"),
        )
    console.print(table)
    veto = f"veto: {explanation.veto.replace('_', ' ')}; " if explanation.veto else ""
    found = ", ".join(explanation.channels) or "no search: the pair was never compared"
    judged = f"; the judge said {explanation.judgement}" if explanation.judgement else ""
    console.print(f"{veto}probability {explanation.probability:.3f}; proposed by {found}{judged}", highlight=False)
    console.print(
        f"mean probability of the groups {explanation.linkage:.3f}, joined from {explanation.threshold:.2f} up",
        highlight=False,
    )


def search_table(found: Sequence[Neighbour]) -> Table:
    """Return hits as a table, most similar first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (("similarity", "right"), ("price", "right"), ("brand", "left"), ("offer", "left")):
        table.add_column(name, justify=justify, no_wrap=name != "offer")  # type: ignore[arg-type]
    for hit in found:
        product = hit.product
        table.add_row(
            f"{hit.similarity:.3f}",
            money(product.price, product.currency),
            Text(visible(product.brand or "")),
            Group(Text(visible(product.title)), Text(visible(product.product_id), style="dim", no_wrap=True)),
        )
    return table


def batches_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return batches as a table: what was delivered when, where it stands, the fate of its rows."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("batch", overflow="fold")
    for name in ("delivered", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("read", "accepted", "rejected"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        batch = Group(Text(row["batch_key"]), Text(visible(row["object_key"]), style="dim"))
        counts = (f"{row[name]:,}" for name in ("rows_read", "rows_accepted", "rows_rejected"))
        table.add_row(batch, f"{row['delivered_at']:%Y-%m-%d %H:%M}", row["state"].replace("_", " "), *counts)
    return table


def reasons_table(counts: Sequence[ReasonCount]) -> Table:
    """Return why something was rejected, how often, and the first of each kind."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (
        ("reason", "left"),
        ("rows", "right"),
        ("deliveries", "right"),
        ("the first of them", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=name == "reason")  # type: ignore[arg-type]
    for count in counts:
        table.add_row(count.reason, f"{count.rows:,}", f"{count.batches:,}", _rejection(count.example))
    return table


def rejections_table(rows: Sequence[Rejection]) -> Table:
    """Return rejected rows, each with what was found and expected, and its text."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("what was found")
    table.add_column("the row", overflow="fold")
    for row in rows:
        shown = row.raw[:RAW_SHOWN] + ("…" if len(row.raw) > RAW_SHOWN else "")
        table.add_row(_rejection(row), Text(visible(shown), style="dim"))
    return table


def _rejection(rejection: Rejection) -> Group:
    field = f"{rejection.field}: " if rejection.field else ""
    place = f"{rejection.object_key}, {rejection.place}"
    return Group(Text(visible(f"{field}{rejection.detail}")), Text(visible(place), style="dim"))


def receipt_table(receipt: Sequence[Removed]) -> Table:
    """Return what was removed where, the objects of one asset together."""
    table = Table(title="Removed", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("store", no_wrap=True)
    table.add_column("place", overflow="fold")
    table.add_column("removed", no_wrap=True)
    places: dict[tuple[str, str, str], list[int]] = {}
    for removed in receipt:
        folder, _, name = removed.place.rpartition("/")
        place = folder if name.endswith(".parquet") else removed.place
        places.setdefault((removed.store, place, removed.what), []).append(removed.count)
    for (store, place, what), counts in places.items():
        objects = f" of {len(counts)} objects" if len(counts) > 1 else ""
        table.add_row(store, Text(visible(place)), f"{sum(counts):,} {what}{objects}")
    return table


def changes_table(applied: Applied) -> Table:
    """Return what was changed in the catalogue, in listings and in products."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (("change", "left"), ("listings", "right"), ("products", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for change in sorted(applied.listings.keys() | applied.products.keys()):
        table.add_row(change, f"{applied.listings.get(change, 0):,}", f"{applied.products.get(change, 0):,}")
    return table


#: Figure of the benchmark -> its heading and how it is written.
MATCHING_COLUMNS = {
    "folder": ("folder", "{}"),
    "offers": ("offers", "{:,}"),
    "precision": ("prec.", "{:.3f}"),
    "recall": ("recall", "{:.3f}"),
    "f1": ("F1", "{:.3f}"),
    "bcubed_f1": ("B³ F1", "{:.3f}"),
    "candidate_recall": ("found", "{:.3f}"),
    "candidates_per_offer": ("pairs", "{:.1f}"),
    "calibration_error": ("error", "{:.3f}"),
    "seconds": ("seconds", "{:.1f}"),
    "peak_mb": ("MB", "{:,.0f}"),
}


def matching_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Return the matcher's scores, one row per folder."""
    table = Table(
        title="Pairwise scores over all true pairs, end to end",
        caption="found: share of the true pairs among the candidates; pairs: per offer\n"
        "error: of the probabilities, expected\n"
        "seconds: from products to clusters, embeddings apart",
        title_justify="left",
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for name, (heading, _) in MATCHING_COLUMNS.items():
        table.add_column(heading, justify="left" if name == "folder" else "right", no_wrap=True)
    for result in results:
        table.add_row(*(form.format(result[name]) for name, (_, form) in MATCHING_COLUMNS.items()))
    return table


def incremental_table(cost: "Cost") -> Table:
    """Return what a batch costs beside the whole catalogue: a row per stage."""
    table = Table(
        title=f"{cost.folder}: {cost.offers:,} offers, {cost.changed:,} changed by the batch; seconds",
        caption=f"texts embedded: {cost.embedded:,}; pairs compared: {cost.compared:,} of {cost.pairs:,}\n"
        f"state kept: {cost.state_mb:,.0f} MB; peak: {cost.peak_mb:,.0f} MB\n"
        f"a batch that changes nothing: {cost.noop_seconds:.2f} s\n"
        f"the batch left what matching from nothing gives: {'yes' if cost.equal else 'NO'}",
        title_justify="left",
        caption_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for heading in ("stage", "whole", "batch", "share"):
        table.add_column(heading, justify="left" if heading == "stage" else "right", min_width=14)
    for stage in {**cost.full_stages, **cost.incremental_stages}:
        whole, part = cost.full_stages.get(stage), cost.incremental_stages.get(stage)
        table.add_row(stage, *("" if spent is None else f"{spent:.2f}" for spent in (whole, part)), _share(part, whole))
    table.add_row("all", f"{cost.full_seconds:.2f}", f"{cost.incremental_seconds:.2f}", f"{cost.ratio:.2%}")
    return table


def _share(part: float | None, whole: float | None) -> str:
    return f"{part / whole:.2%}" if part is not None and whole else ""


#: Figure of a read feed -> its heading and how it is written.
READING_COLUMNS = {
    "rows": ("rows", "{:,}"),
    "seconds": ("seconds", "{:,.1f}"),
    "megabytes_per_second": ("MB/s", "{:,.1f}"),
    "peak_mb": ("peak", "{:,.0f}"),
}


def reading_table(readings: "Sequence[Reading]") -> Table:
    """Return what reading feeds takes: a row per form, its sizes side by side."""
    by_form: dict[str, list[Reading]] = {}
    for reading in readings:
        by_form.setdefault(reading.form, []).append(reading)
    sizes = [f"{reading.megabytes / 1000:,.2g} GB" for reading in next(iter(by_form.values()))]
    programs = [reading.start_mb for reading in readings]
    table = Table(
        title=f"Reading a feed of {' and of '.join(sizes)}, unpacked",
        caption=f"peak: resident memory in MiB, of which the program takes {max(programs):,.0f}",
        title_justify="left",
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("feed")
    for _ in sizes:
        for heading, _form in READING_COLUMNS.values():
            table.add_column(heading, justify="right", no_wrap=True)
    for form, sized in by_form.items():
        table.add_row(
            form, *(shown.format(getattr(of, name)) for of in sized for name, (_, shown) in READING_COLUMNS.items())
        )
    return table


def growth_table(growth: Mapping[str, Any]) -> Table:
    """Return what the matcher costs at several sizes of one folder: a row per stage, a column per size."""
    table = Table(
        title=f"{growth['folder']}: seconds per 1,000 offers, from products to clusters",
        caption="growth: exponent of the cost in the offers; 1 is linear",
        title_justify="left",
        caption_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("offers")
    figures, exponents = growth["figures"], growth["exponents"]
    for figure in figures:
        table.add_column(f"{figure['offers']:,}", justify="right")
    table.add_column("growth", justify="right")

    def row(name: str, shown: Sequence[str], exponent: str | None = None) -> None:
        grown = exponents.get(exponent)
        table.add_row(name, *shown, "" if grown is None else f"{grown:.2f}")

    def per_thousand(spent: float, offers: int) -> str:
        return f"{1000 * spent / max(offers, 1):.2f}"

    for stage in figures[0]["stages"] if figures else ():
        row(stage, [per_thousand(figure["stages"][stage], figure["offers"]) for figure in figures], stage)
    row("total", [per_thousand(figure["seconds"], figure["offers"]) for figure in figures], "total")
    row("CPU, all threads", [per_thousand(figure["cpu_seconds"], figure["offers"]) for figure in figures], "cpu")
    table.add_section()
    row("seconds, whole", [f"{figure['seconds']:,.1f}" for figure in figures])
    row("peak MB", [f"{figure['peak_mb']:,.0f}" for figure in figures], "memory")
    row("pairs per offer", [f"{figure['candidates_per_offer']:.1f}" for figure in figures])
    row("F1", [f"{figure['f1']:.3f}" for figure in figures])
    return table
