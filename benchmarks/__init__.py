"""Measurements. Nothing here asserts; `make bench` prints what was measured, on what."""
