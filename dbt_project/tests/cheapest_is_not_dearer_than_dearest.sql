select cluster_id, currency, lowest_price, median_price, highest_price
from {{ ref('price_comparison') }}
where not lowest_price <= median_price or not median_price <= highest_price
