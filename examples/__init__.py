"""Programs that show otelprof at work."""
