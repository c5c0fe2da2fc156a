"""Digits with scikit-learn."""

import json
import pickle
import sys
import warnings
from pathlib import Path

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmarks.scripts.files import digits

x, labels, test_x, test_labels = digits()
model = MLPClassifier((64, 32), batch_size=32, alpha=0.0, max_iter=30, n_iter_no_change=30, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs are what is asked for
    model.fit(x, labels)
print(json.dumps({"accuracy": model.score(test_x, test_labels)}))
Path(sys.argv[1]).write_bytes(pickle.dumps(model))
