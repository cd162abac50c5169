-- A price is compared with the offer's price before it only where both are in one currency.
with intervals as (
    select
        *,
        lag(price) over earlier as price_before,
        lag(currency) over earlier as currency_before
    from {{ ref('stg_price_intervals') }}
    window earlier as (partition by product_id order by valid_from, valid_to nulls last)
),

compared as (
    select
        *,
        case when currency_before = currency then price_before end as previous_price
    from intervals
)

select
    product_id,
    cluster_id,
    source,
    seller,
    price,
    currency,
    availability,
    valid_from,
    valid_to,
    valid_to is null as is_current,
    previous_price,
    price - previous_price as change,
    round(100 * (price - previous_price) / nullif(previous_price, 0), 2) as change_percent,
    batch_key
from compared
