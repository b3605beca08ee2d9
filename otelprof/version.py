"""The version of this distribution, in one place."""

__version__ = "0.1.0"

# OTLP asks exporters to name themselves, and distributions to put their own name in front.
USER_AGENT = f"otelprof/{__version__} OTel-OTLP-Exporter-Python"
