{{ config(meta={'dagster': {'ref': {'name': 'price_history'}}}) }}
select offers.product_id, offers.price, history.price as price_in_history
from {{ ref('fct_offer') }} as offers
left join {{ ref('price_history') }} as history on history.product_id = offers.product_id and history.is_current
where history.product_id is null
    or (offers.price, offers.currency) is distinct from (history.price, history.currency)
