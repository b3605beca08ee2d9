"""Profiles as bytes and back. Every format is a pure module: `encode` and, where it can be read, `decode`."""
