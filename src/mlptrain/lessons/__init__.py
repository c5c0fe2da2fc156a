"""The lessons: small experiments on the chapters of a course, their tables, and what is shown of each."""
