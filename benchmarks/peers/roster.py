"""Which peers there are, how each is used, and the environment each needs.

Belongs here: names, adapters, requirements. Not here: installing (environments), running (supervision).
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A matcher to compare with.

    Attributes:
        name: What `--only` and the table call it.
        module: Adapter, run as a process of its own with `python -m`.
        requirements: File of pins, complete, installed as they stand; none: the adapter runs in this environment.
        defaults: What is used at its documented defaults, for the notes below the table.
        swept: What the best setting is a value of.
    """

    name: str
    module: str
    requirements: Path | None
    defaults: str
    swept: str


def _peer(name: str, *, defaults: str, swept: str) -> Peer:
    return Peer(
        name=name,
        module=f"benchmarks.peers.{name}_adapter",
        requirements=FOLDER / f"{name}.txt",
        defaults=defaults,
        swept=swept,
    )


PEERS = (
    _peer(
        "splink",
        defaults="comparisons of embedding, model codes and brand at their default levels, the tutorial's training, "
        "clusters at probability 0.95; blocking by codes and rare words is ours, for Splink has no default",
        swept="match weight",
    ),
    _peer(
        "pyjedai",
        defaults="default_blocking_workflow_ccer (unique mapping) for two sources, _der (connected components) else",
        swept="cosine",
    ),
    _peer(
        "goldenmatch",
        defaults="zero configuration; match_df for two sources without its product keys, with which it fails; "
        "dedupe_df else",
        swept="score",
    ),
    _peer(
        "hdbscan",
        defaults="scikit-learn's, on Offerline's embeddings; but min_cluster_size 2, as 5 would call pairs noise",
        swept="epsilon",
    ),
)
