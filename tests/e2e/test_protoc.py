"""`protoc --decode`, with the descriptors that OpenTelemetry publishes, reads every field of what we send."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from opentelemetry.proto.collector.profiles.v1development import profiles_service_pb2 as official

from otelprof.formats import otlp
from otelprof.model import Profile
from tests.support.odd_profiles import odd
from tests.support.profiles import cpu_and_wall
from tests.support.random_profiles import random_profile

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("grpc_tools") is None, reason="protoc comes with grpcio-tools"
)

REQUEST = official.ExportProfilesServiceRequest


@pytest.fixture
def descriptors(tmp_path: Path) -> Path:
    """The official .proto files, compiled, each after those that it imports."""
    files = FileDescriptorSet()
    known: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name not in known:
            known.add(file.name)
            for needed in file.dependencies:
                add(needed)
            file.CopyToProto(files.file.add())

    add(official.DESCRIPTOR)
    path = tmp_path / "official.binpb"
    path.write_bytes(files.SerializeToString())
    return path


def decoded(blob: bytes, descriptors: Path) -> str:
    """What protoc prints."""
    options = [f"--descriptor_set_in={descriptors}", f"--decode={REQUEST.DESCRIPTOR.full_name}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", *options, official.DESCRIPTOR.name]
    finished = subprocess.run(command, input=blob, capture_output=True, check=True, timeout=60)
    return finished.stdout.decode()


def canonical(request: official.ExportProfilesServiceRequest) -> bytes:
    return request.SerializeToString(deterministic=True)


@pytest.mark.parametrize("full", [False, True], ids=["sent", "kept"])
@pytest.mark.parametrize(
    "profiles", [cpu_and_wall(), [odd()], [random_profile(500)]], ids=["usual", "odd", "large"]
)
def test_every_field_has_a_name(descriptors: Path, profiles: list[Profile], full: bool) -> None:
    blob = otlp.encode(profiles, full=full)
    text = decoded(blob, descriptors)
    assert not re.search(r"^\s*\d+\s*[:{]", text, re.MULTILINE)  # a number in the place of a name
    # As bytes: one that is not a number is not even equal to itself.
    assert canonical(text_format.Parse(text, REQUEST())) == canonical(REQUEST.FromString(blob))
    assert '"cpython"' in text


def test_a_field_that_is_not_official_would_be_seen(descriptors: Path) -> None:
    unknown = b"\xfa\x7f\x01x"  # field 2047, one byte of text
    assert '2047: "x"' in decoded(otlp.encode(cpu_and_wall()) + unknown, descriptors)
