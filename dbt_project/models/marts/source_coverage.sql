-- A view, because it speaks of deliveries: one that changes no offer is news here and nowhere else.
{{ config(materialized='view') }}
-- Shares are of the source's current offers; a source without any has none.
with cluster_sellers as (
    select cluster_id, count(distinct seller) as sellers
    from {{ ref('stg_offers') }}
    where cluster_id is not null
    group by cluster_id
),

listings as (
    select source, count(*)::integer as listings
    from {{ source('products', 'listings') }}
    where delisted_at is null
    group by source
),

offers as (
    select
        offers.source,
        count(*)::integer as offers,
        avg((offers.brand is not null)::integer) as brand_share,
        avg((offers.gtin is not null)::integer) as gtin_share,
        avg((offers.price is not null)::integer) as price_share,
        avg((coalesce(cluster_sellers.sellers, 0) > 1)::integer) as matched_share,
        avg(offers.quality)::numeric as mean_quality
    from {{ ref('stg_offers') }} as offers
    left join cluster_sellers using (cluster_id)
    group by offers.source
),

deliveries as (
    select
        source,
        count(distinct feed_path)::integer as feeds,
        sum(rows_read)::bigint as rows_read,
        sum(rows_rejected + products_rejected)::bigint as rows_rejected,
        max(delivered_at) as last_delivered_at
    from {{ ref('stg_current_batches') }}
    group by source
)

select
    source,
    coalesce(deliveries.feeds, 0) as feeds,
    coalesce(listings.listings, 0) as listings,
    coalesce(offers.offers, 0) as offers,
    coalesce(deliveries.rows_read, 0) as rows_read,
    coalesce(deliveries.rows_rejected, 0) as rows_rejected,
    round(deliveries.rows_rejected::numeric / nullif(deliveries.rows_read, 0), 4) as rejected_share,
    round(offers.brand_share, 4) as brand_share,
    round(offers.gtin_share, 4) as gtin_share,
    round(offers.price_share, 4) as price_share,
    round(offers.matched_share, 4) as matched_share,
    round(offers.mean_quality, 4) as mean_quality,
    deliveries.last_delivered_at
from deliveries
full outer join listings using (source)
full outer join offers using (source)
