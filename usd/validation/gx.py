"""Great Expectations, run so that its memory does not grow with the number of expectations."""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

REPORTED = 1000  # failing samples of an expectation that a report has
RESULT_FORMAT = {
    "result_format": "SUMMARY",
    "unexpected_index_column_names": ["key"],
    "partial_unexpected_count": REPORTED,
    "return_unexpected_index_query": False,
}


def great_expectations() -> Any:
    """The library, imported late because that takes seconds, without telemetry and chatter."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return great_expectations


def pandas_batches(context: Any) -> Any:
    """A source of batches, one for all expectations: for each that is added the library writes its settings as YAML."""
    source = context.data_sources.add_pandas("samples")
    return source.add_dataframe_asset("table").add_batch_definition_whole_dataframe("all")


def checked(batches: Any, expectation: Any, table: pd.DataFrame) -> Any:
    """The result of one expectation; of failing samples it has the first REPORTED."""
    own = {getattr(expectation, name, None) for name in ("column", "column_A", "column_B")}
    columns = [name for name in table.columns if name in own | {"key", "split"}]
    labels = [name for name in columns if isinstance(table[name].dtype, pd.CategoricalDtype)]
    frame = table[columns].astype(dict.fromkeys(labels, str))  # the library compares categories of one set only
    return batches.get_batch({"dataframe": frame}).validate(expectation, result_format=RESULT_FORMAT)


def write_docs(context: Any, results: list[Any], docs: Path) -> None:
    """Data Docs of the results, as a run of the whole suite would have written them."""
    from great_expectations.core import ExpectationSuiteValidationResult, RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )
    from great_expectations.validator.validator import calc_validation_statistics

    counted = calc_validation_statistics(results)
    run = RunIdentifier(run_time=datetime.now(UTC))
    whole = ExpectationSuiteValidationResult(
        results=results,
        success=counted.success,
        suite_name="samples",
        statistics=counted._asdict(),
        meta={"run_id": run, "validation_time": run.run_time},
    )
    identifier = ValidationResultIdentifier(ExpectationSuiteIdentifier("samples"), run, "samples-table")
    context.validation_results_store.store_validation_results(whole, identifier)
    backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    site = {"class_name": "SiteBuilder", "site_index_builder": index, "store_backend": backend}
    context.add_data_docs_site("docs", site)
    context.build_data_docs(["docs"])
