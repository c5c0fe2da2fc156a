"""A look at a table, an experiment, a run or a model, before and after training."""
