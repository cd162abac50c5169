select
    source,
    feed_path,
    batch_key,
    delivered_at,
    rows_read,
    rows_rejected,
    products_rejected
from {{ source('products', 'current_batches') }}
