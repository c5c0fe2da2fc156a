"""How a file becomes arrays to train on: tables, columns, encoders and splits."""
