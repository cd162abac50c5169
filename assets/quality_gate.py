"""Quality checks at the boundary between two stages, by Great Expectations.

Belongs here: deriving expectations from a contract, running them, telling Dagster. Not here: a stage's own laws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg
import pyarrow as pa
import pyarrow.types as pat

from assets.agreement import NAMED, Agreement
from assets.contract import Column, TableContract
from assets.presentation import asset_key, markdown_table

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations import Expectation

#: Further expectations of one stage, made when the check runs: Great Expectations is slow to import.
MoreExpectations = Callable[[], "Sequence[Expectation]"]


class DocumentShelf(Protocol):
    """Where a check puts its report so that a person can open it."""

    def publish(self, path: str, page: bytes) -> str:
        """Store an HTML page and return a link that a browser opens."""
        ...


#: Text that begins and ends as a JSON object does.
_JSON_OBJECT = r"^\{[\s\S]*\}\Z"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a gate: one row per expectation that failed, and the report as an HTML page."""

    expectations: int
    failures: tuple[tuple[str, str, int], ...]
    report: bytes

    @property
    def passed(self) -> bool:
        """Whether every expectation was met."""
        return not self.failures


def validate(table: pa.Table, contract: TableContract, more: MoreExpectations | None = None) -> Verdict:
    """Run the contract's expectations and `more` on `table`.

    Cost is linear in rows; vectors are only checked for nulls. The report holds counts and no values, because
    listing text is hostile and a report is a web page.
    """
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    with TemporaryDirectory(prefix="offerline-data-docs-") as folder:
        context.add_data_docs_site(
            "page",
            {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": folder},
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            },
        )
        source = context.data_sources.add_pandas("catalogue")
        batch = source.add_dataframe_asset(contract.name).add_batch_definition_whole_dataframe("rows")
        suite = context.suites.add(gx.ExpectationSuite(name=contract.name))
        for expectation in [*expectations(contract), *(more() if more else ())]:
            suite.add_expectation(expectation)
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=contract.name, data=batch, suite=suite)
        )
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name=contract.name,
                validation_definitions=[definition],
                actions=[UpdateDataDocsAction(name="page", site_names=["page"])],
                result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
            )
        )
        outcome = checkpoint.run(batch_parameters={"dataframe": _as_pandas(table)})
        report = next(Path(folder, "validations").rglob("*.html")).read_bytes()
    (result,) = outcome.run_results.values()
    failures = tuple(_failure(checked) for checked in result.results if not checked.success)
    return Verdict(expectations=len(result.results), failures=failures, report=report)


def expectations(contract: TableContract) -> "list[Expectation]":
    """Derive the expectations of a contract: columns in order, nulls, key, vocabulary, range and pattern."""
    import great_expectations.expectations as gxe

    key = list(contract.key)
    derived: list[Any] = [gxe.ExpectTableColumnsToMatchOrderedList(column_list=list(contract.names))]
    derived.append(
        gxe.ExpectColumnValuesToBeUnique(column=key[0])
        if len(key) == 1
        else gxe.ExpectCompoundColumnsToBeUnique(column_list=key)
    )
    for column in contract:
        derived.extend(_column_expectations(column))
    return derived


def _column_expectations(column: Column) -> "list[Expectation]":
    import great_expectations.expectations as gxe

    derived: list[Any] = []
    if not column.nullable:
        derived.append(gxe.ExpectColumnValuesToNotBeNull(column=column.name))
    if column.values is not None:
        derived.append(gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.values)))
    if column.minimum is not None or column.maximum is not None:
        derived.append(
            gxe.ExpectColumnValuesToBeBetween(column=column.name, min_value=column.minimum, max_value=column.maximum)
        )
    if column.json:
        derived.append(gxe.ExpectColumnValuesToBeJsonParseable(column=column.name))
        derived.append(gxe.ExpectColumnValuesToMatchRegex(column=column.name, regex=_JSON_OBJECT))
    if column.pattern is not None:
        # `$` would also match before a line break at the end.
        whole = column.pattern.removesuffix("$") + r"\Z"
        derived.append(gxe.ExpectColumnValuesToMatchRegex(column=column.name, regex=whole))
    return derived


def _as_pandas(table: pa.Table) -> "pd.DataFrame":
    """Convert without the weight of nested values, and with decimals as numbers that compare."""
    arrays = [
        column.is_valid().combine_chunks().cast(pa.int8())
        if pat.is_nested(column.type)
        else column.cast(pa.float64())
        if pat.is_decimal(column.type)
        else column
        for column in table.columns
    ]
    light = pa.table(arrays, names=table.column_names)
    frame: pd.DataFrame = light.to_pandas()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pat.is_nested(column.type):
            frame[name] = frame[name].where(frame[name] == 1)
    return frame


def _failure(checked: Any) -> tuple[str, str, int]:
    config = checked.expectation_config
    subject = config.kwargs.get("column") or ", ".join(config.kwargs.get("column_list", ()))
    raised = _exceptions(checked.exception_info or {})
    detail = f" (could not be evaluated: {'; '.join(raised)})" if raised else ""
    return (
        config.type.removeprefix("expect_") + detail,
        subject,
        int(checked.result.get("unexpected_count", 0)),
    )


def _exceptions(info: Mapping[str, Any]) -> list[str]:
    """Return what was raised, whether the result tells of one exception or of one per metric."""
    each = [info] if "raised_exception" in info else [entry for entry in info.values() if isinstance(entry, Mapping)]
    return sorted({str(entry.get("exception_message")) for entry in each if entry.get("raised_exception")})


def agreement_result(agreement: Agreement) -> dg.AssetCheckResult:
    """Tell Dagster whether a store agrees, and which listings differ."""
    recall = {} if agreement.recall is None else {"nearest listings found": agreement.recall}
    return dg.AssetCheckResult(
        passed=agreement.agrees,
        severity=dg.AssetCheckSeverity.ERROR,
        description=agreement.description,
        metadata={
            "listings": agreement.holds,
            **recall,
            **{kind: list(listings[:NAMED]) for kind, listings in agreement.differing.items()},
        },
    )


def contract_check(
    contract: TableContract,
    *,
    partitions_def: dg.PartitionsDefinition | None = None,
    more: MoreExpectations | None = None,
) -> dg.AssetChecksDefinition:
    """Return the blocking check that an asset keeps its contract; the next stage does not start on a broken table."""
    key = asset_key(contract)

    @dg.asset_check(
        asset=key,
        name="contract",
        blocking=True,
        partitions_def=partitions_def,
        description=(
            f"Every column of `{contract.name}` keeps its contract: order, type, nulls, key, vocabulary, range and "
            "pattern. Blocking: the next stage does not start on a broken table."
        ),
        compute_kind="greatexpectations",
    )
    def contract_kept(
        context: dg.AssetCheckExecutionContext, table: pa.Table, documents: dg.ResourceParam[DocumentShelf]
    ) -> dg.AssetCheckResult:
        verdict = validate(table, contract, more)
        link = documents.publish(f"data_docs/{key.to_user_string()}/{context.run.run_id}.html", verdict.report)
        metadata: dict[str, Any] = {
            "data docs": dg.MetadataValue.url(link),
            "expectations": verdict.expectations,
            "rows": table.num_rows,
        }
        if verdict.failures:
            metadata["failures"] = markdown_table(("expectation", "column", "rows"), verdict.failures)
        return dg.AssetCheckResult(
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description="; ".join(
                f"{name} failed on {subject}: {rows} rows" for name, subject, rows in verdict.failures
            )
            or f"All {verdict.expectations} expectations hold for {table.num_rows} rows.",
            metadata=metadata,
        )

    return contract_kept
