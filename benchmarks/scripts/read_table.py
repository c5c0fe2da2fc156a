"""Seconds to read a CSV, without the imports: `read_table polars PATH` or `read_table mlptrain PATH`."""

import json
import sys
import time

import numpy as np
import polars

from mlptrain.data.settings import Data
from mlptrain.dataset import Fit, examine, load_dataset

reader, path = sys.argv[1:]
start = time.perf_counter()
if reader == "polars":
    rows = len(polars.read_csv(path))
else:
    data = Data(path=path, target=("y",))
    rows = len(load_dataset(examine(data), Fit(data, None, np.float32, seed=0)).training)
print(json.dumps({"seconds": time.perf_counter() - start, "rows": rows}))
