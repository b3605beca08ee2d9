"""gunicorn reads this by itself. otelprof needs no hook in here, with or without `preload_app`: each worker has its own profiles."""

bind = "127.0.0.1:8000"
workers = 2
threads = 4
preload_app = True
