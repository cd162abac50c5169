{{ config(meta={'dagster': {'ref': {'name': 'dim_product'}}}) }}
select products.cluster_id, products.offers, count(offers.product_id) as current_offers
from {{ ref('dim_product') }} as products
left join {{ ref('fct_offer') }} as offers using (cluster_id)
group by products.cluster_id, products.offers
having products.offers <> count(offers.product_id)
