"""What a run leaves on disk, and how it survives what may happen to it."""
