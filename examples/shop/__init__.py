"""A small web shop: FastAPI, SQLite in threads, a supplier over HTTP. Realistic to profile, and slow for a known reason.

    otelprof run -m examples.shop --port 8080
    otelprof show --by span latest

    OTELPROF_EXPORTER=file opentelemetry-instrument python -m examples.shop --port 8080
    otelprof show --by span otelprof-profiles

    python -m examples.shop.client http://127.0.0.1:8080  # meanwhile: its customers

``SHOP_SLOW=/checkout:lock`` and the like make it slow elsewhere: see `slowness`. ``make demo`` does all of that.
"""
