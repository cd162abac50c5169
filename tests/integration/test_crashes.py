"""Law 3: a crash is invisible. Workers and servers are killed everywhere, and in the end all is as after a calm run.

Belongs here: which points are tried, and the comparison. Not here: the worker and its points (see `crashing_worker`),
what is compared (see `crash_ground`), the feeds (see `small_deliveries`). Qdrant's engine dies with the worker; its
server cannot be run here, and its stand-in dies in `test_vector_index`.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
from crash_ground import Beginning, Contents, Ground, Servers, Workers
from crashing_worker import KINDS, NO_STEP, kind_of
from small_deliveries import first_day, second_day

from orchestration.settings import Endpoints
from resources.landing_zone import LandingBucket
from resources.object_store import ObjectStore

#: Server that is killed -> at which kind of point.
SERVERS = {"postgres": "commit", "s3": "object", "mlflow": "MLflow"}
#: To try every point takes hours: else it is one of some kinds, others each time.
EVERY_POINT = "OFFERLINE_EVERY_KILL_POINT" in os.environ
SEED = int(os.environ["OFFERLINE_KILL_SEED"])
#: Kinds of points and servers that are tried unless every point is.
TRIED_AT_ONCE = 2
CHOSEN = [*KINDS, *SERVERS] if EVERY_POINT else Random(SEED).sample([*KINDS, *SERVERS], TRIED_AT_ONCE)

pytestmark = [pytest.mark.stack, pytest.mark.laws, pytest.mark.timeout(0 if EVERY_POINT else 900)]


@dataclass(frozen=True, slots=True)
class Day:
    """A day on which feeds were delivered: what there was before, and what a calm run makes of it by which points."""

    name: str
    ground: Ground
    before: Beginning
    points: tuple[str, ...]
    calm: Contents

    @classmethod
    def spent(cls, name: str, ground: Ground, before: Beginning, workers: Workers) -> "Day":
        """The day as a calm run spends it."""
        ground.begin(before)
        ended = workers.work(ground)
        assert ended.code == 0, ended.complaint
        return cls(name, ground, before, tuple(ended.points), ground.contents(ended.left))

    def killed_at(self, point: str, workers: Workers) -> str:
        """Spend the day anew, kill the worker at the point, let the next one finish, and return what is wrong."""
        self.ground.begin(self.before)
        killed = workers.work(self.ground, point=point)
        if killed.code != -signal.SIGKILL:
            return f"the worker was not killed, it ended with {killed.code}: {killed.complaint}"
        return self.finished(workers)

    def finished(self, workers: Workers, *, but_for: str = "") -> str:
        """Let a worker do what is left and return what is wrong then, but for what cannot be right yet."""
        ended = workers.work(self.ground)
        if ended.code != 0:
            return f"the next worker failed: {ended.complaint}"
        return differences(self.calm, self.ground.contents(ended.left), but_for)


def differences(calm: Contents, found: Contents, but_for: str) -> str:
    """Return what was found to be otherwise than after a calm run, table by table."""
    told = []
    for name in sorted((calm.keys() | found.keys()) - {but_for}):
        wanted, held = Counter(calm.get(name, [])), Counter(found.get(name, []))
        if wanted != held or (name in calm) != (name in found):
            told.append(f"{name} lacks {list(wanted - held)[:3]} and has {list(held - wanted)[:3]}")
    return "\n".join(told)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with Workers(tmp_path_factory.mktemp("reports")) as workers:
        yield workers


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all grounds: what it keeps of models and of dbt is made once."""
    return tmp_path_factory.mktemp("crashes") / ".offerline"


@pytest.fixture(scope="module")
def days(
    stack: Endpoints,
    store: ObjectStore,
    new_bucket: Callable[[str], str],
    workers: Workers,
    home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Day, Day]]:
    """A first day that begins with nothing, and a second one that begins with what the first one left."""

    def landed(day: Callable[[Path], Iterable[Path]]) -> str:
        bucket = new_bucket("crash-landing")
        deliver(LandingBucket(store, bucket), day(tmp_path_factory.mktemp("feeds")))
        return bucket

    ground = Ground.on(stack, store, home).with_buckets(landing=landed(first_day), artifacts=new_bucket("crash"))
    ground.prepare()
    try:
        first = Day.spent("first day", ground, ground.keep("nothing"), workers)
        grown = ground.keep("grown")
        # What the first day's calm run wrote stays in its bucket, where the second day reads it.
        again = ground.with_buckets(landing=ground.at.landing_bucket, artifacts=new_bucket("crash"))
        ground = ground.with_buckets(landing=landed(second_day), artifacts=new_bucket("crash"))
        yield replace(first, ground=again), Day.spent("second day", ground, grown, workers)
    finally:
        ground.drop()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("servers") / ".offerline") as servers:
        yield servers


@pytest.fixture(scope="module")
def served_day(servers: Servers, workers: Workers, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Day:
    """A first day on servers of its own."""
    at = servers.start()
    store = ObjectStore(at.s3_endpoint, at.s3_access_key, at.s3_secret_key, at.s3_region)
    deliver(LandingBucket(store, at.landing_bucket), first_day(tmp_path_factory.mktemp("feeds")))
    ground = Ground.on(at, store, home)
    ground.prepare()
    nothing = ground.keep("nothing there")
    return Day.spent("served day", servers.track(ground), nothing, workers)


def deliver(zone: LandingBucket, feeds: Iterable[Path]) -> None:
    for path in feeds:
        zone.deliver(path, f"shops/{path.name}")


def test_the_days_have_everything_that_a_crash_could_spoil(days: tuple[Day, Day]) -> None:
    first, second = days
    for day in days:
        assert {kind_of(point) for point in day.points} == set(KINDS), day.name
        assert len(set(day.points)) == len(day.points)
        assert len(day.calm["state of the matching"]) == len(day.calm["Qdrant"][:1]) == 1
        assert any("'size': 2" in row for row in day.calm["catalog.clusters"])
    assert all(first.calm[name] != second.calm[name] for name in ("Qdrant", "artifacts", "state of the matching"))
    said = {name: " ".join(rows) for name, rows in second.calm.items()}
    for change in ("added", "changed", "delisted"):
        assert f"'change': '{change}'" in said["catalog.listing_history"]
    for kind in ("created", "grown", "shrunk"):
        assert f"'kind': '{kind}'" in said["catalog.cluster_events"]
    assert "'missing_field'" in said["catalog.batches"]


@pytest.mark.parametrize("kind", [kind for kind in CHOSEN if kind in KINDS])
def test_a_worker_may_be_killed_anywhere(kind: str, days: tuple[Day, Day], workers: Workers) -> None:
    """SIGKILL at a point; the next worker alone makes of it what a calm run makes."""
    points = [(day, point) for day in days for point in day.points if kind_of(point) == kind]
    tried = points if EVERY_POINT else Random(f"{SEED} {kind}").sample(points, 1)
    wrong = {}
    for day, point in tried:
        if found := day.killed_at(point, workers):
            wrong[f"{day.name}, {point}"] = found
        # All of them take hours: whoever waits (with -s) sees how far they are.
        print(f"{day.name}, {point}: {found or 'survived'}", flush=True)
    print(f"{kind}: {len(tried)} of {len(points)} points tried, {len(tried) - len(wrong)} survived")
    assert not wrong, "\n".join(
        [f"{len(wrong)} of {len(tried)} points were not survived (OFFERLINE_KILL_SEED={SEED} tries them again)"]
        + [f"{point}:\n{found}" for point, found in wrong.items()]
    )


@pytest.mark.parametrize("server", [server for server in CHOSEN if server in SERVERS])
def test_a_server_may_be_killed_in_the_midst_of_a_stage(
    server: str, served_day: Day, servers: Servers, workers: Workers
) -> None:
    """SIGKILL to a server at a point where it is needed; once it is there again, the next worker finishes."""
    points = [
        point for point in served_day.points if kind_of(point) == SERVERS[server] and not point.startswith(NO_STEP)
    ]
    point = Random(f"{SEED} {server}").choice(points)
    served_day.ground.begin(served_day.before)
    victim = servers.process(server)
    bereft = workers.work(served_day.ground, point=point, victim=victim)
    servers.start()
    assert servers.process(server) != victim, bereft.complaint
    # What MLflow could not take waits for the next record: see test_tracking_outbox.
    wrong = served_day.finished(workers, but_for="champions" if server == "mlflow" else "")
    assert not wrong, f"{point} (OFFERLINE_KILL_SEED={SEED} tries it again):\n{wrong}"
