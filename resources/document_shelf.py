"""Reports for people, kept in the object store and opened by a link.

Belongs here: publishing a page. Not here: writing one.
"""

from dataclasses import dataclass
from datetime import timedelta

from resources.object_store import ObjectStore

#: Longest time an S3 signature may live.
LINK_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DocumentShelf:
    """Puts HTML pages under one prefix of the artifacts bucket; satisfies `assets.quality_gate.DocumentShelf`.

    Args:
        store: The object store as this process reaches it.
        shown: The same store as a person's browser reaches it: a signed link is only good for the host it was signed
            for.
        bucket: The artifacts bucket.
    """

    store: ObjectStore
    shown: ObjectStore
    bucket: str

    def publish(self, path: str, page: bytes) -> str:
        """Store an HTML page and return a link that opens it in a browser for seven days."""
        self.store.put_bytes(self.bucket, path, page, content_type="text/html; charset=utf-8")
        return self.shown.presigned_url(self.bucket, path, expires=LINK_LIFETIME)
