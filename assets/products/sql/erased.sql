-- Asked under the lock of the source: an erasure that comes later empties the catalogue after this batch.
SELECT listing_digest FROM catalog.erasures WHERE source = :source
