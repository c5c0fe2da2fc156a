"""How a file becomes arrays to train on: tables, columns, transforms, splits and batches."""
