"""Runs one sync with the original script's own functions.

Reads {"connector", "configuration", "state"} from standard input. Writes {"upserts", "state", "error"}: what was
upserted, in order; the state of the last checkpoint, as its platform would keep it; and what ended the run, if
anything did.
"""

import importlib.util
import json
import sys

task = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("connector", task["connector"])
original = importlib.util.module_from_spec(spec)
spec.loader.exec_module(original)

upserts = []
state = task["state"]
error = None
try:
    for operation, *details in original.connector.update(task["configuration"], json.loads(json.dumps(state))):
        if operation == "upsert":
            upserts.append(details[1])
        else:
            state = details[0]
except Exception as thrown:
    error = f"{type(thrown).__name__}: {thrown}"
json.dump({"upserts": upserts, "state": state, "error": error}, sys.stdout)
