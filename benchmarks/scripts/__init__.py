"""What a user writes without mlptrain: from a file to a saved model, `python -m benchmarks.scripts.NAME`."""
