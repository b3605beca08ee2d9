"""Where profiles go: one file for each kind of receiver. `otelprof.extensions` finds them by name."""

if __name__ != "otelprof.exporters":
    raise ImportError("'exporters' is the folder behind otelprof.exporters: import that")
