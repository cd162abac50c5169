-- What each offer cost, and from when to when; offers that have left the shop included.
select
    history.product_id,
    members.cluster_id,
    products.source,
    products.seller,
    history.price,
    history.currency,
    history.availability,
    history.valid_from,
    history.valid_to,
    history.batch_key
from {{ source('products', 'product_history') }} as history
inner join {{ source('products', 'catalogue') }} as products using (product_id)
left join {{ source('clusters', 'product_clusters') }} as members using (product_id)
