"""The compose files keep to the Compose Specification, and start what is there, pinned, for this machine only."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.e2e.backends.programs import COLLECTOR

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FILES = sorted(EXAMPLES.glob("*/compose.yaml"))
TESTED = (ROOT / "docs" / "backends.md").read_text()
CHECK = Path(sys.executable).with_name("check-jsonschema")
# What would give a container more than it needs.
DEMANDING = {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "security_opt"}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)


def services(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    return found


def test_there_is_one_for_each_receiver_that_has_an_example() -> None:
    assert [path.parent.name for path in FILES] == ["collector", "jaeger", "pyroscope"]


@each_file
def test_it_keeps_to_the_specification(path: Path) -> None:
    command: list[str | Path] = [CHECK, "--builtin-schema", "vendor.compose-spec", path]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@each_file
def test_images_have_versions_and_no_container_asks_for_more_than_it_needs(path: Path) -> None:
    for name, service in services(path).items():
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", service["image"]), name
        assert not DEMANDING & service.keys(), name
        assert set(service.get("depends_on", [])) <= services(path).keys()


@each_file
def test_only_this_machine_reaches_it(path: Path) -> None:
    published = [port for service in services(path).values() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in published)
    assert len(set(published)) == len(published)


@each_file
def test_what_is_mounted_is_there_and_stays_as_it_is(path: Path) -> None:
    for service in services(path).values():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            assert (path.parent / source).resolve().exists(), source
            assert mode == ["ro"] or target == "/out", volume


@each_file
def test_a_program_is_given_a_configuration_that_is_mounted(path: Path) -> None:
    for service in services(path).values():
        targets = {volume.split(":")[1] for volume in service.get("volumes", [])}
        given = [word.partition("=")[2] for word in service.get("command", []) if "config" in word]
        assert set(given) <= targets


def test_versions_are_those_that_were_tested() -> None:
    images = {service["image"] for path in FILES for service in services(path).values()}
    versions = dict(image.split(":") for image in images)
    collector = versions["otel/opentelemetry-collector-contrib"]
    assert f"v{collector}" == COLLECTOR.version
    assert f"Collector {collector}" in TESTED
    assert f"Jaeger {versions['jaegertracing/jaeger']}" in TESTED
    # Those that did not run here are named as such.
    for name in ("grafana/pyroscope", "grafana/tempo", "grafana/grafana"):
        assert f"`{name}:{versions[name]}`" in TESTED


def test_what_one_container_asks_of_another_is_there() -> None:
    known = services(EXAMPLES / "pyroscope" / "compose.yaml")
    environment = known["collector"]["environment"]
    assert urlsplit(str(environment["PROFILES_TO"])).hostname in known
    assert environment["TRACES_TO"].partition(":")[0] in known
    used = (EXAMPLES / "pyroscope" / "collector.yaml").read_text()
    assert all(f"${{env:{name}:-" in used for name in environment)
    provisioned = EXAMPLES / "grafana" / "provisioning" / "datasources" / "otelprof.yaml"
    sources = yaml.safe_load(provisioned.read_text())["datasources"]
    hosts = {source["type"]: urlsplit(str(source["url"])).hostname for source in sources}
    assert {hosts["grafana-pyroscope-datasource"], hosts["tempo"]} <= known.keys()


@pytest.mark.parametrize("name", ["collector", "jaeger"])
def test_variables_of_a_container_are_known_to_its_configuration(name: str) -> None:
    (service,) = services(EXAMPLES / name / "compose.yaml").values()
    configuration = next((EXAMPLES / name).glob("*[!e].yaml")).read_text()
    assert all(f"${{env:{variable}:-" in configuration for variable in service["environment"])
