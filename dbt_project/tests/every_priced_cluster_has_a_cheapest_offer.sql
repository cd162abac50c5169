select cluster_id, currency
from {{ ref('fct_offer') }}
where is_comparable
group by cluster_id, currency
having not bool_or(is_cheapest)
