"""Singer: tap-rest-api-msdk (Meltano's SDK) piped into target-duckdb. `run.py URL ROWS PAGE_SIZE DUCKDB_FILE [flags]`

Both run in processes of their own, as in `tap | target`, except that the clock starts when both are imported.
"""

import json
import os
import shutil
import sys
import tempfile
from urllib.parse import urlsplit

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True  # None of it in the source tree; pip has compiled the rest.
from measure import Measure, arguments

FLAGS = {
    "inferred": "the schema that the tap infers (all strings) and the default batch: what most would run; "
    "target-duckdb then takes the first row of each batch for a header and loses it",
}


def tap(config):
    from tap_rest_api_msdk.tap import TapRestApiMsdk

    def run():
        TapRestApiMsdk.cli(["--config", config], standalone_mode=False)

    return run


def target(config):
    import target_duckdb

    def run():
        sys.argv = ["target-duckdb", "--config", config]
        target_duckdb.main()

    return run


def spawn(prepare, config, stdin, stdout, log, others):
    """Forks a process that imports its half, says so, waits for the word to go and runs. Returns (pid, ready, go)."""
    ready, say_ready = os.pipe()
    wait_go, go = os.pipe()
    pid = os.fork()
    if pid:
        os.close(say_ready)
        os.close(wait_go)
        return pid, ready, go
    code = 1
    try:
        for descriptor in (*others, ready, go):
            os.close(descriptor)
        os.dup2(log, 2)
        os.dup2(stdin if stdin is not None else os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stdout if stdout is not None else log, 1)
        for descriptor in {stdin, stdout} - {None}:
            os.close(descriptor)
        # As a program that starts with a pipe has it: buffered in blocks.
        sys.stdout = open(1, "w", closefd=False)
        run = prepare(config)
        os.write(say_ready, b".")
        os.read(wait_go, 1)
        run()
        sys.stdout.flush()
        code = 0
    except SystemExit as end:
        sys.stdout.flush()
        code = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code if isinstance(code, int) else 1)


def main():
    options = arguments(FLAGS, ["batch"])
    home = tempfile.mkdtemp(prefix="singer-", dir=os.path.dirname(options.file))
    address = urlsplit(options.url)
    texts = ["id", "name", "email", "address", "company", "job"]
    schema = {
        "type": "object",
        "properties": {
            **{name: {"type": ["string", "null"]} for name in texts},
            # A column that is no text is what lets DuckDB see that the target's CSV has no header.
            **{
                name: {"type": ["string", "null"], "format": "date-time"}
                for name in ["createdAt", "updatedAt"]
            },
        },
    }
    stream = {"name": "records", "path": address.path, "primary_keys": ["id"], "records_path": "$.data[*]"}
    if not options.inferred:
        stream["schema"] = write(home, "schema.json", schema)
    tap_config = write(
        home,
        "tap.json",
        {
            "api_url": f"{address.scheme}://{address.netloc}",
            "streams": [stream],
            "pagination_request_style": "simple_offset_paginator",
            "pagination_response_style": "offset",
            "pagination_initial_offset": 0,
            "pagination_page_size": options.page_size,
            "offset_records_jsonpath": "$.data",
        },
    )
    batch = options.batch or (None if options.inferred else 100_000)
    target_config = write(
        home,
        "target.json",
        {
            "path": options.file,
            "default_target_schema": "bench",
            "temp_dir": home,
            **({"batch_size_rows": batch} if batch else {}),
        },
    )

    log_path = os.path.join(home, "log")
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    outlet, inlet = os.pipe()
    left = spawn(tap, tap_config, None, inlet, log, [outlet])
    right = spawn(target, target_config, outlet, None, log, [inlet, left[1], left[2]])
    os.close(inlet)
    os.close(outlet)
    measure = Measure()
    try:
        for _, ready, _ in (left, right):
            os.read(ready, 1)  # Nothing is read where it died; the exit code below says so.
        with measure.timed():
            for _, _, go in (left, right):
                os.write(go, b".")
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _, _ in (left, right)]
        if any(codes):
            with open(log_path) as file:
                sys.stderr.write(file.read()[-4000:])
            sys.exit(f"tap and target ended with {codes}")
        measure.report(options.file, "bench.records")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def write(home, name, value):
    path = os.path.join(home, name)
    with open(path, "w") as file:
        json.dump(value, file)
    return path


if __name__ == "__main__":
    main()
