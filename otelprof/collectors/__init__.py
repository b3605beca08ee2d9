"""Collectors: one file for each kind of profile. `stack.py` takes CPU and wall time in one pass."""
