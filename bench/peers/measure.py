"""What every peer's run.py shares: its arguments, the clock, the memory of the whole process tree, the count read back.

A run prints one last line of JSON: `rows` and `keys` (all, and distinct by key, as a SELECT finds them afterwards),
`seconds` (the sync proper), `wholeSeconds` (since the interpreter started), `cpuSeconds` and `peakRssMb`.
"""

import argparse
import json
import os
import resource
import sys
import threading
import time
from contextlib import contextmanager


def arguments(flags, settings=()):
    """URL ROWS PAGE_SIZE DUCKDB_FILE, the peer's own flags and its settings that take a number."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url", help="of the collection, read with ?offset=&limit=")
    parser.add_argument("rows", type=int)
    parser.add_argument("page_size", type=int)
    parser.add_argument("file", help="the DuckDB file to write, which does not exist yet")
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    for name in settings:
        parser.add_argument(f"--{name}", type=int)
    parsed = parser.parse_args()
    parsed.file = os.path.abspath(parsed.file)
    return parsed


class Measure:
    """Samples the resident memory of this process and its descendants, together, ten times a second."""

    def __init__(self):
        self.peak = 0
        self.seconds = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    @contextmanager
    def timed(self):
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started

    def report(self, file, table, key="id"):
        """Reads the rows back and prints the line. `table` is written as in SQL."""
        self._stop.set()
        self._thread.join()
        whole = _age(os.getpid())
        cpu = _cpu()
        import duckdb

        with duckdb.connect(file, read_only=True) as connection:
            query = f'SELECT count(*), count(DISTINCT "{key}") FROM {table}'
            rows, keys = connection.execute(query).fetchone()
        line = {
            "rows": rows,
            "keys": keys,
            "seconds": round(self.seconds, 3),
            "wholeSeconds": round(whole, 3),
            "cpuSeconds": round(cpu, 3),
            "peakRssMb": round(max(self.peak, _high_water(os.getpid())) / 2**20, 1),
        }
        sys.stdout.flush()
        print(json.dumps(line), flush=True)

    def _sample(self):
        while not self._stop.wait(0.1):
            self.peak = max(self.peak, sum(_resident(pid) for pid in _tree(os.getpid())))


def _tree(pid):
    pids = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                for child in file.read().split():
                    pids += _tree(int(child))
    except OSError:
        pass  # It ended while we looked.
    return pids


def _resident(pid):
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _high_water(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def _cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _age(pid):
    with open(f"/proc/{pid}/stat") as file:
        started = int(file.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    with open("/proc/uptime") as file:
        return float(file.read().split()[0]) - started
