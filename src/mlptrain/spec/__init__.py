"""The experiment file: one YAML file, checked completely before anything is read or computed."""
