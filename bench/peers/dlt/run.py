"""dlt: its rest_api source into its duckdb destination. `run.py URL ROWS PAGE_SIZE DUCKDB_FILE [flags]`"""

import os
import shutil
import sys
import tempfile
from urllib.parse import urlsplit

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True  # None of it in the source tree; pip has compiled the rest.
from measure import Measure, arguments

COLUMNS = ["id", "name", "email", "address", "company", "job", "createdAt", "updatedAt"]
FLAGS = {
    "default": "dlt's own settings instead of the fastest that we found",
    "append": "append instead of an upsert by key",
    "arrow": "pages turned into Arrow tables before dlt sees them, so that it has nothing to normalise",
}


def settings():
    """The fastest on two cores; the environment wins, so that others can be tried."""
    fastest = {
        "EXTRACT__WORKERS": "1",
        "NORMALIZE__WORKERS": "2",
        "LOAD__WORKERS": "2",
        "DATA_WRITER__BUFFER_MAX_ITEMS": "20000",
        "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "50000",
        "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "200000",
        "EXTRACT__DATA_WRITER__DISABLE_COMPRESSION": "true",
        "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    }
    for name, value in fastest.items():
        os.environ.setdefault(name, value)


def main():
    options = arguments(FLAGS)
    measure = Measure()
    home = tempfile.mkdtemp(prefix="dlt-", dir=os.path.dirname(options.file))
    os.environ["DLT_DATA_DIR"] = home
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ.setdefault("RUNTIME__LOG_LEVEL", "ERROR")
    if not options.default:
        settings()

    import dlt
    from dlt.sources.rest_api import rest_api_source

    address = urlsplit(options.url)
    if options.append:
        disposition = "append"
    elif options.default:
        disposition = "merge"
    else:
        disposition = {"disposition": "merge", "strategy": "upsert"}
    resource = {
        "name": "records",
        "primary_key": "id",
        "write_disposition": disposition,
        "endpoint": {
            "path": address.path.lstrip("/"),
            "data_selector": "data",
            "paginator": {
                "type": "offset",
                "offset_param": "offset",
                "limit_param": "limit",
                "limit": options.page_size,
                "total_path": "total",
            },
        },
    }
    if not options.default:
        # Declared, so that dlt does not look each text over for a date.
        resource["columns"] = {n: {"name": n, "data_type": "text"} for n in COLUMNS}
    if options.arrow:
        resource["name"] = "pages"
    source = rest_api_source(
        {"client": {"base_url": f"{address.scheme}://{address.netloc}/"}, "resources": [resource]}
    )
    if not options.default:
        source.max_table_nesting = 0
    if options.arrow:
        import pyarrow

        schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])

        @dlt.transformer(
            data_from=source.resources["pages"],
            name="records",
            primary_key="id",
            write_disposition=disposition,
        )
        def records(page):
            yield pyarrow.Table.from_pylist(page, schema=schema)

        source.resources["pages"].selected = False
        source.resources["records"] = records
    pipeline = dlt.pipeline(
        pipeline_name="peer",
        pipelines_dir=os.path.join(home, "pipelines"),
        destination=dlt.destinations.duckdb(options.file),
        dataset_name="bench",
    )
    try:
        with measure.timed():
            how = {} if options.default else {"loader_file_format": "parquet"}
            pipeline.run(source, **how)
        measure.report(options.file, "bench.records")
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
