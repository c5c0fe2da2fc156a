"""What came of a run, as charts and in plain words."""
