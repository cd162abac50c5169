-- Where several offers share the lowest or the highest price, the product id that sorts first speaks for them.
with comparable as (
    select * from {{ ref('fct_offer') }} where is_comparable
),

ranges as (
    select
        cluster_id,
        currency,
        count(*)::integer as offers,
        count(distinct seller)::integer as sellers,
        min(price) as lowest_price,
        percentile_cont(0.5) within group (order by price)::numeric(18, 4) as median_price,
        max(price) as highest_price
    from comparable
    group by cluster_id, currency
),

cheapest as (
    select distinct on (cluster_id, currency) cluster_id, currency, product_id, source, seller, url
    from comparable
    order by cluster_id, currency, price, product_id
),

dearest as (
    select distinct on (cluster_id, currency) cluster_id, currency, product_id, source, seller
    from comparable
    order by cluster_id, currency, price desc, product_id
)

select
    ranges.cluster_id,
    ranges.currency,
    ranges.offers,
    ranges.sellers,
    ranges.lowest_price,
    ranges.median_price,
    ranges.highest_price,
    ranges.highest_price - ranges.lowest_price as spread,
    round(100 * (ranges.highest_price - ranges.lowest_price) / nullif(ranges.lowest_price, 0), 2) as spread_percent,
    cheapest.product_id as cheapest_product_id,
    cheapest.source as cheapest_source,
    cheapest.seller as cheapest_seller,
    cheapest.url as cheapest_url,
    dearest.product_id as dearest_product_id,
    dearest.source as dearest_source,
    dearest.seller as dearest_seller
from ranges
inner join cheapest using (cluster_id, currency)
inner join dearest using (cluster_id, currency)
