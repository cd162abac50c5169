DELETE FROM catalog.listing_history WHERE source = :source
