"""Runs a command and tells, as JSON, its `seconds`, its peak `mebibytes`, its `output` and its `errors`.

A small process of its own (`python -S launch.py COMMAND ...`): the peak that the system reports of a child is never
below the size of the process that started it.
"""

import json
import resource
import subprocess
import sys
import time

if __name__ == "__main__":
    start = time.perf_counter()
    done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    figures = {"seconds": seconds, "mebibytes": peak, "output": done.stdout, "errors": done.stderr}
    print(json.dumps({**figures, "code": done.returncode}))
