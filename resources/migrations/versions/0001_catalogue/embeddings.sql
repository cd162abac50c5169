-- Vectors by text, and the index that is searched.
--
-- Searched by cosine: rounding to half precision leaves the lengths a few ten-thousandths away from one, and Qdrant
-- orders by cosine too. It costs no more than the inner product: pgvector normalises once, when a vector enters the
-- index, and compares by inner product from then on. A brand is compared without regard to case, in any script.

CREATE TABLE catalog.embeddings (
    text_hash     text NOT NULL,
    model_version text NOT NULL,
    vector        halfvec(384) NOT NULL,
    embedded_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (text_hash, model_version)
);

COMMENT ON TABLE catalog.embeddings IS
    'Every text that was ever embedded, so that none is embedded twice.';
COMMENT ON COLUMN catalog.embeddings.text_hash IS 'Hash of the text that was embedded.';
COMMENT ON COLUMN catalog.embeddings.model_version IS 'Name and version of the model that embedded it.';
COMMENT ON COLUMN catalog.embeddings.vector IS 'Unit vector of 384 half-precision components.';
COMMENT ON COLUMN catalog.embeddings.embedded_at IS 'When it was stored.';

CREATE TABLE catalog.product_vectors (
    product_id  text PRIMARY KEY,
    fingerprint text NOT NULL,
    source      text NOT NULL,
    title       text NOT NULL,
    brand       text,
    price       numeric(18, 4),
    currency    text,
    vector      halfvec(384) NOT NULL
);
CREATE INDEX product_vectors_nearest ON catalog.product_vectors
    USING hnsw (vector halfvec_cosine_ops) WITH (m = 16, ef_construction = 64);
CREATE INDEX product_vectors_brand ON catalog.product_vectors (casefold(brand COLLATE pg_unicode_fast));

COMMENT ON TABLE catalog.product_vectors IS
    'The vector of every current product, with what a search filters by.';
COMMENT ON COLUMN catalog.product_vectors.product_id IS 'The product.';
COMMENT ON COLUMN catalog.product_vectors.fingerprint IS 'What this row was made from: text, model and the filtered fields.';
COMMENT ON COLUMN catalog.product_vectors.source IS 'Shop, marketplace or feed provider.';
COMMENT ON COLUMN catalog.product_vectors.title IS 'Title of the product.';
COMMENT ON COLUMN catalog.product_vectors.brand IS 'Brand of the product.';
COMMENT ON COLUMN catalog.product_vectors.price IS 'Price in `currency`.';
COMMENT ON COLUMN catalog.product_vectors.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN catalog.product_vectors.vector IS 'Unit vector of 384 half-precision components.';
