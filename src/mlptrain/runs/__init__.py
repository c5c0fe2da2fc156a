"""The files of a run: how they are written, read and protected against crashes."""
