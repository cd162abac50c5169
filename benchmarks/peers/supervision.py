"""Running a peer in a process of its own, within bounds of time and memory.

Belongs here: starting, watching and ending that process and what it starts. Not here: what it computes.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers.environments import last_line

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 1 << 20


class PeerFailed(RuntimeError):
    """A peer broke off or was stopped; the message says why, and fits into a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a peer may use for one folder.

    Attributes:
        seconds: Wall time from its start to its answer, imports and the second run for its best setting included.
        memory_mb: Resident memory of its processes together, in MiB.
        interval: Seconds between two looks at it.
    """

    seconds: float = 600
    memory_mb: float = 8192
    interval: float = 0.1


def run_bounded(command: Sequence[str], bounds: Bounds) -> float:
    """Run a command to its end and return the most resident memory its processes held together, in MiB.

    Raises:
        PeerFailed: it failed, or went beyond its bounds and was stopped.
    """
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as scratch:
        errors = Path(scratch) / "errors"
        environment = os.environ | {
            # What a peer keeps for its next run (goldenmatch learns, Ray makes tokens) would change that run.
            "HOME": scratch,
            "TMPDIR": scratch,
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "TQDM_DISABLE": "1",
        }
        with errors.open("wb") as sink:
            # A session of its own, so that it can be stopped with all it has started.
            process = subprocess.Popen(
                command, stdout=sink, stderr=sink, env=environment, cwd=scratch, start_new_session=True
            )
            try:
                peak = _watch(process, bounds)
            finally:
                _end(process)
        if process.returncode:
            said = last_line(errors.read_text(encoding="utf-8", errors="replace"))
            raise PeerFailed(f"failed: {said or f'status {process.returncode}'}")
        return peak


def _watch(process: "subprocess.Popen[bytes]", bounds: Bounds) -> float:
    started, peak = time.monotonic(), 0.0
    while process.poll() is None:
        peak = max(peak, resident_mb(process.pid))
        if peak > bounds.memory_mb:
            raise PeerFailed(f"stopped: more than {bounds.memory_mb:,.0f} MB")
        if time.monotonic() - started > bounds.seconds:
            raise PeerFailed(f"stopped: no answer after {bounds.seconds:,.0f} s")
        time.sleep(bounds.interval)
    return peak


def resident_mb(pid: int) -> float:
    """Resident memory of a process and all its descendants, in MiB; 0 once it is gone."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return float(total / MEBIBYTE)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    # A killed process is gone only some moments later; until then it would take from the next peer's memory.
    psutil.wait_procs(family, timeout=10)
