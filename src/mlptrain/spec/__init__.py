"""What a user writes: one YAML file, checked whole before anything is read or computed."""
