"""The links that Jaeger's page puts beside a span's attributes, made as it makes them.

Source: jaegertracing/jaeger-ui, packages/jaeger-ui/src/model/link-patterns.ts: a pattern applies to an attribute by its
key; each `#{name}` is looked up among the span's attributes, then its resource's, and is encoded as JavaScript's
`encodeURIComponent` does; one that is nowhere drops the link. The page knows the type `attributes` from 2.15 on and
`tags` in all versions, and what it gets of a resource is without `service.name`.
"""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.e2e.backends.jaeger import JaegerSpan

_UNRESERVED = "!'()*"  # what encodeURIComponent leaves, beside letters, digits and -_.~


def links_of(span: JaegerSpan, ui_config: Path) -> dict[str, str]:
    """The URLs beside a span's attributes, by the text of the link."""
    patterns: list[dict[str, Any]] = json.loads(ui_config.read_text())["linkPatterns"]
    found: dict[str, str] = {}
    for pattern in patterns:
        assert pattern["type"] == "tags", pattern
        values = {**span.resource, **span.attributes}
        if "service.name" not in span.attributes:
            values.pop("service.name", None)
        names = set(re.findall(r"#\{([^}]*)\}", pattern["url"]))
        if pattern["key"] in span.attributes and names <= values.keys():
            found[pattern["text"]] = re.sub(
                r"#\{([^}]*)\}",
                lambda match, values=values: quote(values[match[1]], safe=_UNRESERVED),  # type: ignore[misc] # re cannot say what it calls
                pattern["url"],
            )
    return found
