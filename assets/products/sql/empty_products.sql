DELETE FROM catalog.products WHERE source = :source
