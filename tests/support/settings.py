"""The environment variables that otelprof reads."""

VARIABLES = (
    "OTELPROF_ENABLED",
    "OTELPROF_COLLECT",
    "OTELPROF_RATE",
    "OTELPROF_SAMPLER",
    "OTELPROF_FLUSH",
    "OTELPROF_EXPORTER",
    "OTELPROF_SPAN_ID",
    "OTELPROF_FILE_DIR",
    "OTELPROF_OUTPUT",
    "OTEL_SDK_DISABLED",
    *(
        f"OTEL_EXPORTER_OTLP_{name}"
        for last in ("PROTOCOL", "ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE")
        for name in (last, f"PROFILES_{last}")
    ),
)
HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
