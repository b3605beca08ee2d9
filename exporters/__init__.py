"""Where profiles go: one file for each kind of receiver. Found by name through entry points."""

if __name__ != "otelprof.exporters":
    raise ImportError("'exporters' is the folder behind otelprof.exporters: import that")
