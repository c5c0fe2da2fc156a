"""A trained model at work: rows in, answers out, as lines of a stream or over HTTP."""
