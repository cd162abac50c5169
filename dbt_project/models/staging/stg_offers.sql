-- The offers a buyer can see today. A product that no clustering has seen yet has no cluster.
select
    products.product_id,
    members.cluster_id,
    products.source,
    products.listing_id,
    products.seller,
    products.title,
    products.brand,
    products.gtin,
    products.price,
    products.currency,
    products.condition,
    products.availability,
    products.url,
    products.quality,
    members.confidence,
    products.first_seen_at,
    products.updated_at
from {{ source('products', 'catalogue') }} as products
left join {{ source('clusters', 'product_clusters') }} as members using (product_id)
where products.delisted_at is null
