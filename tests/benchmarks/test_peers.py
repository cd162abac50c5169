"""The comparison with other matchers: what it makes of their answers. No peer is installed for it."""

import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.matching import NotABenchmark
from benchmarks.peers import comparison, supervision
from benchmarks.peers.__main__ import main, notes, peer_table
from benchmarks.peers.comparison import OFFERLINE, Row, compare
from benchmarks.peers.environments import NotAvailable, python_of
from benchmarks.peers.exchange import (
    OFFERS,
    Alternatives,
    Answer,
    ScoredPairs,
    connected,
    read_answer,
    write_answer,
)
from benchmarks.peers.hdbscan_adapter import HdbscanAdapter, HdbscanRules, alone_if_noise
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.supervision import Bounds, PeerFailed, resident_mb, run_bounded
from benchmarks.peers.sweep import Judge, SweepRules, clusters_at, thresholds

FEEDS = """
feeds:
  - {source: a, path: a.csv, format: csv, fields: {listing_id: id, title: name}}
  - {source: b, path: b.csv, format: csv, fields: {listing_id: id, title: name}}
"""
TITLES = ("Sony DSC-W150 digital camera", "Bosch WAP28390GB washing machine 8kg", "Garden hose 25 m")
TRUTH = {f"{source}:{number}": str(number) for source in "ab" for number in (1, 2, 3)}

#: What a stand-in peer does with `offers` (a table) and `into` (a folder).
ANSWERS = """
from benchmarks.peers.exchange import Alternatives, Answer, ScoredPairs, write_answer
pairs = ScoredPairs(left=[0, 1, 0], right=[3, 4, 1], score=[0.9, 0.8, 0.5])
write_answer(Answer(labels=[0] * offers.num_rows, alternatives=Alternatives(pairs=pairs), seconds=1.5), into)
"""


class LetterCounts:
    """An embedder that counts letters."""

    model_version = "letters@1"

    def embed(self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None) -> np.ndarray:
        counts = np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], dtype=np.float32)
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float16)


def letter_counts(_: Path) -> LetterCounts:
    return LetterCounts()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "feeds.yaml").write_text(FEEDS)
    truth = [",".join((*offer.split(":"), product)) for offer, product in TRUTH.items()]
    (folder / "truth.csv").write_text("\n".join(["source,listing_id,product_id", *truth]) + "\n")
    rows = "".join(f'{number},"{title}"\n' for number, title in enumerate(TITLES, start=1))
    for source in "ab":
        (folder / f"{source}.csv").write_text("id,name\n" + rows)
    return folder


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Peer]:
    """Makes a peer of the body of a program; it runs in this environment."""

    def make(body: str, name: str = "standin") -> Peer:
        program = """
            import pathlib, sys
            import pyarrow.parquet as pq
            offers, into = pq.read_table(sys.argv[1]), pathlib.Path(sys.argv[2])
            """
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(program) + body)
        real = supervision.ROOT
        monkeypatch.setattr(supervision, "ROOT", f"{tmp_path}:{real}" if isinstance(real, Path) else real)
        return Peer(name=name, module=name, requirements=None, defaults="none", swept="score")

    return make


# --- The sweep ------------------------------------------------------------------------------------------------------


def test_the_best_threshold_is_found_on_the_scores_alone() -> None:
    judge = Judge(list(TRUTH), TRUTH)
    pairs = ScoredPairs(left=[0, 1, 2, 0, 1], right=[3, 4, 5, 1, 2], score=[0.9, 0.8, 0.7, 0.6, 0.5])
    best = judge.best(Alternatives(pairs=pairs))
    assert best is not None
    assert (best[0], best[1].f1) == (0.7, 1.0)


def test_the_best_of_labels_by_setting() -> None:
    judge = Judge(list(TRUTH), TRUTH)
    best = judge.best(Alternatives(labels={0.1: [0, 1, 2, 3, 4, 5], 0.2: [0, 1, 2, 0, 1, 2], 0.3: [0] * 6}))
    assert best is not None
    assert (best[0], best[1].f1) == (0.2, 1.0)
    assert judge.best(Alternatives()) is None
    assert judge.best(Alternatives(pairs=ScoredPairs.of([]))) is None


def test_an_offer_that_did_not_become_a_product_is_alone() -> None:
    judge = Judge(["a:1", "b:1"], {"a:1": "camera", "b:1": "camera", "b:2": "camera", "b:3": "hose"})
    quality = judge.quality([7, 7])
    assert (quality.precision, quality.recall) == (1.0, pytest.approx(1 / 3))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 1)), min_size=1, max_size=40))
def test_thresholds_reach_from_the_best_pair_to_all(pairs: list[tuple[int, int, float]]) -> None:
    scored = ScoredPairs.of(pairs)
    tried = thresholds(scored, SweepRules(steps=5))
    assert (tried[0], tried[-1]) == (min(scored.score), max(scored.score))
    assert tried == sorted(tried)
    both = clusters_at(scored, tried[0], 10), connected(10, zip(scored.left, scored.right, strict=True))
    assert len(set(both[0])) == len(set(both[1])) == len(set(zip(*both, strict=True)))


# --- Answers and adapters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alternatives",
    [
        Alternatives(),
        Alternatives(labels={0.5: [1, 1, 2]}),
        Alternatives(pairs=ScoredPairs.of([(0, 1, 0.5), (1, 2, 0.25)])),
        Alternatives(pairs=ScoredPairs.of([])),
    ],
)
def test_an_answer_survives_its_files(tmp_path: Path, alternatives: Alternatives) -> None:
    write_answer(Answer(labels=[4, 4, 5], alternatives=alternatives, seconds=2.5), tmp_path)
    answer = read_answer(tmp_path)
    assert (list(answer.labels), answer.seconds) == ([4, 4, 5], 2.5)
    assert answer.alternatives.labels == alternatives.labels
    assert (answer.alternatives.pairs is None) == (alternatives.pairs is None)
    if (pairs := alternatives.pairs) is not None and (read := answer.alternatives.pairs) is not None:
        assert [*zip(read.left, read.right, read.score, strict=True)] == [
            *zip(pairs.left, pairs.right, pairs.score, strict=True)
        ]


def test_hdbscan_finds_what_lies_together_and_leaves_noise_alone() -> None:
    angles = [0.0, 0.01, 1.0, 1.01, 1.02, 2.5]
    columns = {name: pa.nulls(len(angles), OFFERS.field(name).type) for name in OFFERS.names}
    columns["embedding"] = pa.array([[np.cos(angle), np.sin(angle)] for angle in angles], pa.list_(pa.float32()))
    # Larger values would reach the search that fails with this environment's numpy (see hdbscan.txt).
    adapter = HdbscanAdapter(HdbscanRules(epsilons=(0.001,)))
    labels = adapter.cluster(pa.table(columns, OFFERS))
    assert labels[0] == labels[1] != labels[2] == labels[3] == labels[4]
    assert labels[5] not in labels[:5]
    assert list(adapter.alternatives().labels[0.001]) == labels


def test_noise_is_no_cluster() -> None:
    assert alone_if_noise(np.array([-1, 0, -1, 0])) == [1, 0, 3, 0]


def test_every_peer_has_an_adapter_and_pins_that_are_complete() -> None:
    for peer in PEERS:
        assert (Path(comparison.__file__).parent / f"{peer.module.rpartition('.')[2]}.py").is_file()
        assert peer.requirements is not None
        pins = [line for line in peer.requirements.read_text().splitlines() if line and not line.startswith("#")]
        assert pins
        assert all("==" in pin for pin in pins), peer.name
        assert not {pin.partition("==")[0] for pin in pins} & {"torch", "triton"}, peer.name


# --- Failures are rows ----------------------------------------------------------------------------------------------


def rows_with(folder: Path, peer: Peer, tmp_path: Path, **bounds: float) -> list[Row]:
    return list(
        compare(
            [folder],
            [peer],
            cache=tmp_path / "cache",
            bounds=Bounds(**bounds),
            with_offerline=False,
            embedder=letter_counts,
        )
    )


def test_a_peer_is_judged_at_its_defaults_and_at_its_best(
    folder: Path, peer: Callable[[str], Peer], tmp_path: Path
) -> None:
    defaults, best = rows_with(folder, peer(ANSWERS), tmp_path)
    assert (defaults.setting, defaults.precision, defaults.recall) == ("defaults", 0.2, 1.0)
    assert (best.setting, best.precision, best.recall) == ("best: 0.80", 1.0, pytest.approx(2 / 3, abs=1e-4))
    assert defaults.seconds == best.seconds == 1.5
    assert defaults.peak_mb


def test_the_offers_of_a_peer_have_the_promised_columns(
    folder: Path, peer: Callable[[str], Peer], tmp_path: Path
) -> None:
    check = """
from benchmarks.peers.exchange import OFFERS
assert offers.schema.equals(OFFERS), offers.schema
assert offers.column("seller").to_pylist() == ["a"] * 3 + ["b"] * 3
assert offers.column("codes").to_pylist()[0] == ["DSCW150"]
"""
    assert all(row.failure is None for row in rows_with(folder, peer(check + ANSWERS), tmp_path))


def test_a_peer_that_breaks_off_is_a_row(folder: Path, peer: Callable[[str], Peer], tmp_path: Path) -> None:
    (row,) = rows_with(folder, peer("raise ValueError('no such column')"), tmp_path)
    assert (row.f1, row.failure) == (None, "failed: ValueError: no such column")


def test_a_peer_beyond_its_bounds_is_a_row(folder: Path, peer: Callable[[str], Peer], tmp_path: Path) -> None:
    (row,) = rows_with(folder, peer("import time; time.sleep(60)"), tmp_path, seconds=1)
    assert row.failure == "stopped: no answer after 1 s"
    (row,) = rows_with(folder, peer("import time; time.sleep(60)"), tmp_path, memory_mb=1)
    assert row.failure == "stopped: more than 1 MB"


def test_a_stopped_peer_leaves_nothing_running(tmp_path: Path) -> None:
    child = tmp_path / "child"
    sleeps = f"""
import pathlib, subprocess, sys, time
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
pathlib.Path({str(child)!r}).write_text(str(started.pid))
time.sleep(60)
"""
    with pytest.raises(PeerFailed, match="no answer"):
        run_bounded([sys.executable, "-c", sleeps], Bounds(seconds=3))
    assert resident_mb(int(child.read_text())) == 0


def test_a_peer_that_cannot_be_installed_is_a_row(
    folder: Path, peer: Callable[[str], Peer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Path:
        raise NotAvailable("no version of it")

    monkeypatch.setattr(comparison, "python_of", refuse)
    (row,) = rows_with(folder, peer(ANSWERS), tmp_path)
    assert row.failure == "not available: no version of it"


def test_what_the_installer_says_is_the_reason(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("not a requirement at all\n")
    broken = replace(PEERS[0], requirements=pins)
    with pytest.raises(NotAvailable, match=r".+"):
        python_of(broken, tmp_path / "peers")
    assert not (tmp_path / "peers" / broken.name / ".ready").exists()


def test_a_process_learns_nothing_from_the_last_one(tmp_path: Path) -> None:
    marker = "import pathlib, sys; home = pathlib.Path.home() / 'seen'; sys.exit(home.exists()); "
    for _ in range(2):
        run_bounded([sys.executable, "-c", marker], Bounds())
    with pytest.raises(PeerFailed, match="status 3"):
        run_bounded([sys.executable, "-c", "raise SystemExit(3)"], Bounds())


# --- The command ----------------------------------------------------------------------------------------------------


def test_the_table_fits_a_terminal_and_says_why_figures_are_missing() -> None:
    figures = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "seconds": 12.34, "peak_mb": 1234.0}
    rows = [
        Row(folder="amazon_google", matcher=OFFERLINE, **figures),
        Row(folder="amazon_google", matcher="goldenmatch", **figures),
        Row(folder="amazon_google", matcher="goldenmatch", setting="best: 0.55", **figures),
        Row(folder="pricerunner", matcher="pyjedai", failure="stopped: no answer after 600 s"),
    ]
    console = Console(width=80, record=True)
    console.print(peer_table(rows))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[2].split() == ["amazon_google", "offerline", "defaults", *["0.500", "0.250", "0.333", "12.3", "1,234"]]
    assert lines[4].split() == ["best:", "0.55", *["0.500", "0.250", "0.333", "12.3", "1,234"]]
    assert "stopped: no answer after 600 s" in " ".join(" ".join(lines).split())
    assert any("goldenmatch" in note for note in notes({"goldenmatch"}))
    assert not any("pyjedai" in note for note in notes({"goldenmatch"}))


def test_the_command_writes_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compared(folders: Sequence[Path], peers: Sequence[Peer], **options: object) -> Iterator[Row]:
        assert ([folder.name for folder in folders], [peer.name for peer in peers]) == (["data"], ["hdbscan"])
        assert (options["with_offerline"], options["hide_sellers"]) == (False, True)
        yield Row(folder="data", matcher="hdbscan", failure="stopped")

    monkeypatch.setattr("benchmarks.peers.__main__.compare", compared)
    (tmp_path / "README.md").touch()
    into = tmp_path / "rows.json"
    folders = [str(tmp_path / "data"), str(tmp_path / "README.md")]
    main([*folders, "--only", "hdbscan", "--hide-sellers", "--json", str(into)])
    assert json.loads(into.read_text())[0]["failure"] == "stopped"


def test_a_folder_without_truth_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "feeds.yaml").write_text(FEEDS)
    with pytest.raises(NotABenchmark, match=r"truth\.csv"):
        next(compare([tmp_path], [], cache=tmp_path / "cache"))
