"""The state of the last matching, as one object of the artifacts bucket.

Belongs here: reading and writing it. Not here: what it holds (`assets.clusters.keeping`).
"""

from dataclasses import dataclass

from resources.object_store import ObjectNotFound, ObjectStore

#: Where it lies. There is one, replaced as a whole: an object store never shows half an object.
KEY = "state/matching.zip"


@dataclass(frozen=True, slots=True)
class ObjectStateShelf:
    """Keeps the state in the object store; satisfies `assets.clusters.ports.StateShelf`.

    Args:
        store: The object store.
        bucket: The artifacts bucket.
    """

    store: ObjectStore
    bucket: str

    def load(self) -> bytes | None:
        """Return what was kept last; None where nothing is."""
        try:
            return self.store.get_bytes(self.bucket, KEY)
        except ObjectNotFound:
            return None

    def keep(self, state: bytes) -> None:
        """Keep a state in place of the last one."""
        self.store.put_bytes(self.bucket, KEY, state, content_type="application/zip")
