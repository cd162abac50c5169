"""The command: `python -m benchmarks.peers FOLDER...`, which prints one table.

Belongs here: arguments, the table, the file. Not here: what is measured (comparison).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.matching import NotABenchmark
from benchmarks.peers.comparison import OFFERLINE, Row, compare
from benchmarks.peers.roster import PEERS
from benchmarks.peers.supervision import Bounds
from orchestration.settings import load_settings

DESCRIPTION = """\
Compare Offerline with other matchers on folders whose truth is known, in one run and one table.

Every matcher gets the same cleaned products and the same embeddings. Each peer appears twice: at the defaults it
documents, and at the value of its threshold that the truth says is best. Nobody without labels could choose that
value, and Offerline is not given it: it has one configuration for all folders.
"""
EPILOG = """\
A folder holds feeds.yaml, the feeds it names, and truth.csv (source,listing_id,product_id). Peers that are not there
are installed when first needed, with pinned versions, each into an environment of its own below OFFERLINE_HOME
(benchmarks/peers/NAME; together 1.2 GB). A peer that cannot be installed, breaks off, or goes beyond its bounds
is a row that says so. Example: python -m benchmarks.peers ../shared/data/abt_buy --only splink --json peers.json
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare and print."""
    bounds = Bounds()
    names = [OFFERLINE, *(peer.name for peer in PEERS)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="files among them are passed over")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--hide-sellers", action="store_true", help="all offers as one source's, no seller known")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    parser.add_argument("--seconds", type=float, default=bounds.seconds, help="a peer's bound (default: %(default)s)")
    parser.add_argument("--memory", type=float, default=bounds.memory_mb, help="in MB (default: %(default)s)")
    given = parser.parse_args(arguments)
    chosen = given.only or names
    console = Console()
    try:
        with console.status("comparing") as status:
            rows = list(
                compare(
                    [folder for folder in given.folders if not folder.is_file()],
                    [peer for peer in PEERS if peer.name in chosen],
                    cache=load_settings().home.absolute() / "benchmarks",
                    bounds=Bounds(seconds=given.seconds, memory_mb=given.memory),
                    hide_sellers=given.hide_sellers,
                    with_offerline=OFFERLINE in chosen,
                    progress=status.update,
                )
            )
    except NotABenchmark as error:
        parser.error(str(error))
    console.print(peer_table(rows))
    for note in notes({row.matcher for row in rows}):
        console.print(note, highlight=False)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def peer_table(rows: Sequence[Row]) -> Table:
    """Lay out the rows; a failure takes the place of the setting."""
    title = "Pairwise scores over all true pairs, end to end"
    table = Table(title=title, box=None, title_justify="left", pad_edge=False)
    for column in ("folder", "matcher", "setting"):
        table.add_column(column, no_wrap=column != "setting")
    for column in ("prec.", "recall", "F1", "seconds", "MB"):
        table.add_column(column, justify="right", no_wrap=True)
    above: Row | None = None
    for row in rows:
        figures = (
            *(f"{share:.3f}" if share is not None else "" for share in (row.precision, row.recall, row.f1)),
            f"{row.seconds:,.1f}" if row.seconds is not None else "",
            f"{row.peak_mb:,.0f}" if row.peak_mb is not None else "",
        )
        new_folder = above is None or above.folder != row.folder
        new_matcher = new_folder or above is None or above.matcher != row.matcher
        table.add_row(
            row.folder if new_folder else "",
            row.matcher if new_matcher else "",
            row.failure or row.setting,
            *figures,
        )
        above = row
    return table


def notes(matchers: set[str]) -> list[str]:
    """What must be known to read the table."""
    return [
        "best: at the value that the truth chose; neither Offerline nor a user without labels has that advantage",
        "seconds: from products and embeddings to clusters, at the defaults",
        "MB: most resident memory of the matcher's processes together; Offerline's reads, cleans and embeds as well",
        *(f"{peer.name}: {peer.defaults}; best over {peer.swept}" for peer in PEERS if peer.name in matchers),
    ]


if __name__ == "__main__":
    main()
