-- What the catalogue is made of now: the newest snapshot of every feed, and every delta.
with applied as (
    select
        *,
        row_number() over (partition by source, feed_path order by delivered_at desc, batch_key desc) as age
    from {{ source('products', 'batches') }}
    where state = 'applied'
)

select
    source,
    feed_path,
    batch_key,
    delivered_at,
    rows_read,
    rows_rejected,
    products_rejected
from applied
where mode = 'delta' or age = 1
