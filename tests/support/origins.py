"""Functions and whose code they are, for the command line and for the page."""

FILES = (
    ("shop.views.handle", "/srv/shop/views.py", "application"),
    ("shop.views.handle", "~/shop/views.py", "application"),
    ("shop.views.handle", "", "application"),
    ("__main__.<module>", "/srv/shop/bin/worker.py", "application"),
    ("__main__.f", "<string>", "application"),
    ("__main__.f", "C:\\shop\\app.py", "application"),
    ("lib.python.main", "/srv/lib/python/main.py", "application"),
    ("otelprofiles.main", "/srv/otelprofiles/main.py", "application"),
    ("db.Cursor.execute", "/srv/.venv/lib/python3.11/site-packages/db.py", "library"),
    ("apt.cache.open", "/usr/lib/python3/dist-packages/apt/cache.py", "library"),
    ("six.wraps", "C:\\Python312\\Lib\\site-packages\\six.py", "library"),
    ("__main__.<module>", "/srv/.venv/bin/gunicorn", "library"),
    ("otelprof.spans.Recorder.on_end", "/home/me/otelprof/otelprof/spans.py", "library"),
    ("threading.Condition.wait", "/usr/lib/python3.11/threading.py", "standard library"),
    ("json.dumps", "/opt/lib64/python3.13t/json/__init__.py", "standard library"),
    ("importlib._bootstrap._find_and_load", "<frozen importlib._bootstrap>", "standard library"),
    ("(stack not read)", "", "no code"),
    ("", "", "no code"),
)
