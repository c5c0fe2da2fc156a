"""Runs several commands in one process, given as JSON on stdin, and prints what each left behind as JSON."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from cli import run_cli
from mlptrain.spec import presets

if __name__ == "__main__":
    presets.DEFAULT = presets.Plain()
    print(json.dumps([asdict(run_cli(*command, folder=Path.cwd())) for command in json.load(sys.stdin)]))
