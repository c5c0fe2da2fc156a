"""How does a trained model leave mlptrain, to be used by other programs and languages?

    model -> program (`program.py`, by the rules of `columns.py` and `mathematics.py`) -> graph (`graph.py`) -> a format

A graph of primitive operations is derived once from a model: raw cells in, predictions out. Each format is one file
that writes the graph down, and an entry in `formats.py`; the rows of `golden.py` prove that it says the same as
`mlptrain predict`.
"""
