"""How parameters change: optimizers, schedules, penalties and clipping."""
