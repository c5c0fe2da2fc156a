"""How fast is mlptrain beside its peers, at the same work? `python -m benchmarks` measures and writes RESULTS.md."""
