-- Compared are offers with a price that can be bought, within one cluster and currency.
with offers as (
    select
        *,
        price is not null and currency is not null and cluster_id is not null
            and availability <> 'out_of_stock' as is_comparable
    from {{ ref('stg_offers') }}
),

lowest as (
    select cluster_id, currency, min(price) as price
    from offers
    where is_comparable
    group by cluster_id, currency
)

select
    offers.product_id,
    offers.cluster_id,
    offers.source,
    offers.listing_id,
    offers.seller,
    offers.title,
    offers.price,
    offers.currency,
    offers.condition,
    offers.availability,
    offers.url,
    offers.is_comparable,
    offers.is_comparable and offers.price = lowest.price as is_cheapest,
    offers.first_seen_at,
    offers.updated_at
from offers
left join lowest using (cluster_id, currency)
