DELETE FROM catalog.product_history h USING catalog.products p WHERE p.product_id = h.product_id AND p.source = :source
