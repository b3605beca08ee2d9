"""The errors that otelprof raises, drawn once.

    OtelprofError            everything below, for callers who do not care which
    ├── ConfigError          a value given by the caller cannot be used; raised by `start()` at the latest
    ├── FormatError          bytes are not what their format says; raised by decoders
    └── ExporterError        an exporter cannot be built: unknown name, missing dependency

After `start()` nothing of this reaches the application: our threads catch, count and log.
"""


class OtelprofError(Exception):
    """Base of every error that otelprof raises on purpose."""


class ConfigError(OtelprofError, ValueError):
    """A configuration value that cannot be used. The message names the part and the value.

    Attributes:
        setting: the field of `Config` that it is about, where another value of it would help; else empty.
    """

    def __init__(self, message: str, *, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


class FormatError(OtelprofError, ValueError):
    """Bytes that do not follow their format. The message names the format and the first violation."""


class ExporterError(OtelprofError):
    """An exporter that cannot be built. The message names it and what is missing."""
