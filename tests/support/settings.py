"""The environment variables that otelprof reads."""

TLS_FILES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
VARIABLES = (
    "OTELPROF_ENABLED",
    "OTELPROF_COLLECT",
    "OTELPROF_RATE",
    "OTELPROF_SAMPLER",
    "OTELPROF_FLUSH",
    "OTELPROF_PROCESSORS",
    "OTELPROF_FILTER_INCLUDE",
    "OTELPROF_FILTER_EXCLUDE",
    "OTELPROF_ENRICH_RESOURCE",
    "OTELPROF_ENRICH_LABELS",
    "OTELPROF_REDACT_PATTERNS",
    "OTELPROF_EXPORTER",
    "OTELPROF_SPAN_ID",
    "OTELPROF_FILE_DIR",
    "OTELPROF_OUTPUT",
    *(
        f"OTELPROF_PYROSCOPE_{name}"
        for name in (
            *("ENDPOINT", "USER", "PASSWORD", "TOKEN", "TENANT", "HEADERS", "TIMEOUT"),
            *("LABELS", "SAMPLE_LABELS"),
            *TLS_FILES,
        )
    ),
    *(f"OTELPROF_HTTP_{name}" for name in ("ENDPOINT", "HEADERS", "TIMEOUT", *TLS_FILES)),
    *(f"OTELPROF_FILE_{name}" for name in ("NAME", "MAX_COUNT", "MAX_SIZE", "MAX_AGE")),
    *(f"OTELPROF_LOCAL_{name}" for name in ("DIRECTORY", "MAX_SIZE", "MAX_AGE")),
    *(f"OTELPROF_PULL{name}" for name in ("", "_TOKEN", "_INSECURE")),
    "OTELPROF_STATE_DIR",
    "OTELPROF_SPOOL",
    "OTELPROF_SPOOL_MAX",
    "OTELPROF_SPOOL_AGE",
    "OTELPROF_RETRY_BACKOFF",
    "OTEL_SDK_DISABLED",
    *(
        f"OTEL_EXPORTER_OTLP_{name}"
        for last in (
            *("PROTOCOL", "ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE"),
            *TLS_FILES,
        )
        for name in (last, f"PROFILES_{last}")
    ),
)
HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
