"""Processors: from a profile to another one, before anything leaves the process."""
