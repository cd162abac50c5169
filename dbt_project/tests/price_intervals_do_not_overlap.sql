select product_id, valid_from, valid_to, next_from
from (
    select
        product_id,
        valid_from,
        valid_to,
        lead(valid_from) over (partition by product_id order by valid_from, valid_to nulls last) as next_from
    from {{ ref('price_history') }}
) as intervals
where valid_to < valid_from or (next_from is not null and (valid_to is null or valid_to > next_from))
