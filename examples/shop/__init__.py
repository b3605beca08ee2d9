"""A small web shop: something realistic to profile, and slow for a known reason."""
