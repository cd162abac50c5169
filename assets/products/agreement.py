"""Whether PostgreSQL holds the products as the last run over the whole catalogue took them.

Belongs here: telling what batches changed since from what nobody should have changed, and undoing the latter. Not here:
applying batches (see `applying`), connections.
"""

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from assets.agreement import Agreement
from assets.catalogue import Catalogue, select, upsert_columns
from assets.catalogue import sql as read_sql
from assets.planning import Plan, plan
from assets.products.schema import CURRENT_PRODUCTS

sql = partial(read_sql, "assets.products")

#: Name of the store in reports.
PRODUCTS = "PostgreSQL products"
#: A batch that changes anything of a product changes one of these (see `find_product_changes.sql`).
VERSION = ("product_digest", "text_hash", "quality", "issues")
ROWS_AT_ONCE = 10_000


def read_current(catalogue: Catalogue) -> pa.Table:
    """Return the products that are current in PostgreSQL at this moment, as `CURRENT_PRODUCTS`."""
    return catalogue.read(
        select(CURRENT_PRODUCTS, "catalog.products", where="delisted_at IS NULL"), CURRENT_PRODUCTS.arrow
    )


def compare_products(products: pa.Table, current: pa.Table) -> tuple[Agreement, Plan]:
    """Compare the products of the last run with those of now.

    Args:
        products: `CURRENT_PRODUCTS` as the last run over the whole catalogue took them.
        current: The same as PostgreSQL has them now.

    Returns:
        Whether every product that no batch has changed since is what it was; and what batches have changed: listings
        that came, changed and left. That is no fault: the next run over the catalogue takes it up.
    """
    then, now = _digests(products), _digests(current)
    versions = [{listing: version for listing, (version, _) in digests.items()} for digests in (now, then)]
    due = plan(*versions)
    unchanged = (then.keys() & now.keys()) - set(due.to_change)
    altered = tuple(sorted(listing for listing in unchanged if then[listing] != now[listing]))
    return Agreement(store=PRODUCTS, holds=len(now), difference=Plan(to_change=altered)), due


def restore_products(catalogue: Catalogue, products: pa.Table, altered: tuple[str, ...]) -> None:
    """Write altered products back as the last run took them, unless a batch has changed them meanwhile."""
    rows = products.filter(pc.is_in(products.column("product_id"), value_set=pa.array(altered, pa.string())))
    with catalogue.transaction() as transaction:
        transaction.stage("unaltered_products", rows, schema=CURRENT_PRODUCTS.arrow)
        transaction.execute(sql("restore_products").format(**upsert_columns(CURRENT_PRODUCTS, "u")))


def _digests(products: pa.Table) -> dict[str, tuple[str, str]]:
    """Return each product's version, and a digest of all that is stored of it."""
    return {
        row["product_id"]: (
            repr([row[name] for name in VERSION]),
            xxhash.xxh3_128_hexdigest(repr(list(row.values())).encode()),
        )
        for batch in products.select(CURRENT_PRODUCTS.names).to_batches(max_chunksize=ROWS_AT_ONCE)
        for row in batch.to_pylist()
    }
