"""The request of Grafana Pyroscope's push API: a pprof profile, and the labels of the series that it belongs to."""

from collections.abc import Mapping
from uuid import UUID

from otelprof.formats import push_pb2 as pb
from otelprof.formats.text import encodable


def encode(labels: Mapping[str, str], pprof: bytes, profile_id: bytes) -> bytes:
    """One `PushRequest` with one profile.

    Args:
        labels: of the series; `__name__` and `service_name` are among them.
        pprof: gzip or not.
        profile_id: 16 bytes, or none.
    """
    request = pb.PushRequest()
    series = request.series.add()
    for name, value in sorted(labels.items()):
        series.labels.add(name=encodable(name), value=encodable(value))
    series.samples.add(raw_profile=pprof, ID=str(UUID(bytes=profile_id)) if profile_id else "")
    return request.SerializeToString(deterministic=True)
