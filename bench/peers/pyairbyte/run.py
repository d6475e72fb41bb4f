"""PyAirbyte: a declarative manifest, run in this process, into its DuckDB cache. `run.py URL ROWS PAGE_SIZE DUCKDB_FILE [flags]`"""

import os
import shutil
import sys
import tempfile
from urllib.parse import urlsplit

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True  # None of it in the source tree; pip has compiled the rest.
from measure import Measure, arguments

FLAGS = {"append": "append instead of an upsert by key"}
COLUMNS = ["id", "name", "email", "address", "company", "job", "createdAt", "updatedAt"]


def manifest(url, page_size):
    address = urlsplit(url)
    parameter = {"type": "RequestOption", "inject_into": "request_parameter"}
    return {
        "version": "6.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["records"]},
        "streams": [
            {
                "type": "DeclarativeStream",
                "name": "records",
                "primary_key": ["id"],
                "schema_loader": {
                    "type": "InlineSchemaLoader",
                    "schema": {
                        "type": "object",
                        "properties": {name: {"type": ["string", "null"]} for name in COLUMNS},
                    },
                },
                "retriever": {
                    "type": "SimpleRetriever",
                    "requester": {
                        "type": "HttpRequester",
                        "url_base": f"{address.scheme}://{address.netloc}",
                        "path": address.path,
                        "http_method": "GET",
                    },
                    "record_selector": {
                        "type": "RecordSelector",
                        "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
                    },
                    "paginator": {
                        "type": "DefaultPaginator",
                        "page_token_option": {**parameter, "field_name": "offset"},
                        "page_size_option": {**parameter, "field_name": "limit"},
                        "pagination_strategy": {
                            "type": "OffsetIncrement",
                            "page_size": page_size,
                            "inject_on_first_request": True,
                        },
                    },
                },
            }
        ],
        "spec": {
            "type": "Spec",
            "connection_specification": {
                "type": "object",
                "properties": {},
                "additionalProperties": True,
            },
        },
    }


def main():
    options = arguments(FLAGS)
    measure = Measure()
    home = tempfile.mkdtemp(prefix="pyairbyte-", dir=os.path.dirname(options.file))
    os.environ.update(
        {
            "AIRBYTE_OFFLINE_MODE": "1",  # No connector registry, no telemetry.
            "DO_NOT_TRACK": "1",
            "AIRBYTE_PROJECT_DIR": home,
            "AIRBYTE_CACHE_ROOT": os.path.join(home, "cache"),
            "AIRBYTE_LOGGING_ROOT": os.path.join(home, "logs"),
            "AIRBYTE_TEMP_DIR": home,
            "NO_LIVE_PROGRESS": "1",
        }
    )
    try:
        import airbyte

        source = airbyte.get_source(
            "source-bench",
            config={},
            source_manifest=manifest(options.url, options.page_size),
            streams=["records"],
        )
        cache = airbyte.caches.DuckDBCache(
            db_path=options.file, schema_name="bench", cache_dir=os.path.join(home, "cache")
        )
        with measure.timed():
            source.read(cache=cache, write_strategy="append" if options.append else "merge")
        cache.get_sql_engine().dispose()
        measure.report(options.file, "bench.records")
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
