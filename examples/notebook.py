"""Opens a destination and Highwater's own tables as data frames.

Usage: python notebook.py DATABASE
DATABASE is a DuckDB file, or the address of a PostgreSQL server: postgresql://user@host/database
"""

import sys

import pandas as pd

database = sys.argv[1] if len(sys.argv) > 1 else "highwater.duckdb"

if database.startswith("postgresql:"):
    import psycopg

    connection = psycopg.connect(database)

    def frame(sql: str) -> pd.DataFrame:
        cursor = connection.execute(sql)
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])

else:
    import duckdb

    # Several programs may read the file at a time, but none while a worker has it open.
    connection = duckdb.connect(database, read_only=True)

    def frame(sql: str) -> pd.DataFrame:
        return connection.sql(sql).df()


# The synced table.
users = frame('SELECT * FROM "user"')

# One row for each committed batch.
batches = frame("""
    SELECT committed_at, "table", workflow_id, pages, records, "rows", deleted
    FROM _highwater_batches ORDER BY committed_at
""")

# How long ago each table was written. A pass that finds nothing new commits too, so this is close to the lag.
lag = frame("""
    SELECT "table", max(committed_at) AS last_commit, now() - max(committed_at) AS age
    FROM _highwater_batches GROUP BY "table" ORDER BY "table"
""")

# Each column that was added or widened, with the value that needed it.
schema_changes = frame("""
    SELECT changed_at, "table", "column", from_type, to_type, example
    FROM _highwater_schema_changes ORDER BY changed_at, "column"
""")

# Which batch wrote a row last: the own tables join with yours.
by_batch = users.merge(
    frame("SELECT id AS _highwater_batch, committed_at FROM _highwater_batches"), on="_highwater_batch"
)

for name, value in {"users": users, "batches": batches, "lag": lag, "schema_changes": schema_changes}.items():
    print(f"{name}: {len(value)} rows")
    print(value.head(3).to_string(index=False, max_colwidth=20), end="\n\n")
print(by_batch.groupby("committed_at").size().to_string())
