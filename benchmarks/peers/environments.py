"""An environment of its own for each peer, made when it is first needed.

Belongs here: `uv venv` and `uv pip install` of a peer's pins. Not here: the product's own lock, which no peer enters.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.roster import Peer

READY = ".ready"


class NotAvailable(RuntimeError):
    """A peer cannot be installed; the message is the installer's reason."""


def python_of(peer: Peer, home: Path) -> Path:
    """The interpreter of a peer's environment below `home`, which is made or renewed if its pins have changed.

    Raises:
        NotAvailable: the environment cannot be made.
    """
    if peer.requirements is None:
        return Path(sys.executable)
    environment = home / peer.name
    python, stamp = environment / "bin" / "python", environment / READY
    wanted = hashlib.sha256(peer.requirements.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return python
    # Without --no-deps, pyJedAI would bring torch with CUDA: the files are complete, so nothing is missed.
    for step in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(environment)],
        ["pip", "install", "--quiet", "--no-deps", "--python", str(python), "--requirement", str(peer.requirements)],
    ):
        _uv(step)
    stamp.write_text(wanted, encoding="ascii")
    return python


def _uv(arguments: list[str]) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise NotAvailable("uv is needed to make its environment, and was not found")
    done = subprocess.run([uv, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAvailable(last_line(done.stderr) or f"uv {arguments[0]} failed with status {done.returncode}")


def last_line(output: str) -> str:
    """What a program said last, which is where it says why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""
