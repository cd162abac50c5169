-- The clusters that live, each with its best values and the words for them.
select
    clusters.cluster_id,
    clusters.size,
    clusters.weakest_link,
    records.title,
    records.brand,
    records.gtin,
    records.mpn,
    records.category,
    records.colour,
    records.description,
    records.image_url,
    records.measures,
    records.offers,
    records.sellers,
    records.currency,
    records.price_min,
    records.price_median,
    records.price_max,
    records.disagreements,
    summaries.headline,
    summaries.summary,
    summaries.author as summary_author,
    clusters.created_at,
    records.updated_at
from {{ source('clusters', 'clusters') }} as clusters
inner join {{ source('summaries', 'golden_records') }} as records using (cluster_id)
left join {{ source('summaries', 'cluster_summaries') }} as summaries using (cluster_id)
where clusters.dissolved_at is null
