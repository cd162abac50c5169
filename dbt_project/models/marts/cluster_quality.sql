-- What about a cluster deserves a second look. Thresholds are variables of the project.
with members as (
    select
        cluster_id,
        count(*)::integer as offers,
        count(distinct seller)::integer as sellers,
        count(distinct source)::integer as sources,
        count(distinct gtin)::integer as gtins,
        count(distinct lower(brand))::integer as brands,
        count(distinct condition) filter (where condition <> 'unknown')::integer as conditions,
        avg(confidence) as mean_confidence
    from {{ ref('stg_offers') }}
    where cluster_id is not null
    group by cluster_id
),

spreads as (
    select cluster_id, max(spread_percent) as spread_percent
    from {{ ref('price_comparison') }}
    group by cluster_id
),

measured as (
    select
        clusters.cluster_id,
        clusters.title,
        members.offers,
        members.sellers,
        members.sources,
        clusters.weakest_link,
        members.mean_confidence,
        spreads.spread_percent,
        array_remove(array[
            case when clusters.weakest_link < {{ var('weak_link') }} then 'weak_link' end,
            case when spreads.spread_percent > {{ var('wide_spread_percent') }} then 'wide_price_spread' end,
            case when members.offers > members.sellers then 'seller_repeated' end,
            case when members.gtins > 1 then 'gtins_differ' end,
            case when members.brands > 1 then 'brands_differ' end,
            case when members.conditions > 1 then 'conditions_differ' end
        ]::text[], null) as flags
    from {{ ref('stg_clusters') }} as clusters
    inner join members using (cluster_id)
    left join spreads using (cluster_id)
)

select
    cluster_id,
    title,
    offers,
    sellers,
    sources,
    weakest_link,
    mean_confidence,
    spread_percent,
    flags,
    cardinality(flags) > 0 as is_suspect
from measured
