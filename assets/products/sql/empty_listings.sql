DELETE FROM catalog.listings WHERE source = :source
