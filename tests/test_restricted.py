"""A process with as few rights as Kubernetes' Pod Security Standard *restricted* leaves, and docs/kubernetes.md."""

import platform
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from otelprof.scalar_settings import parse_size_bytes
from tests.support import core
from tests.support.demo import ROOT
from tests.support.pipelines import files_in
from tests.support.programs import INSTRUMENT, OTELPROF, Finished, read_all, run, target

PAGE = ROOT / "docs" / "kubernetes.md"
SYSCALLS = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="numbers of system calls"
)
# Kubernetes documentation, "Pod Security Standards", "Restricted".
VOLUME_TYPES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory that all may write to, as an `emptyDir` is."""
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    return volume


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A directory that nobody may write to who has no capabilities."""
    directory = tmp_path / "read-only"
    directory.mkdir()
    directory.chmod(0o555)
    return directory


def restricted(*command: str | Path, cwd: Path, **variables: str) -> Finished:
    """Run a program with few rights, where it can write nothing but where `variables` say."""
    nowhere = {"TMPDIR": "/nonexistent", "XDG_STATE_HOME": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, target("restricted.py"), *command]
    return run(program, cwd, nowhere | variables)


def served(cwd: Path, **variables: str) -> Finished:
    nobody = "http://127.0.0.1:9"  # the port `discard`: a connection is refused
    return restricted(
        *(INSTRUMENT, sys.executable, target("traced.py"), "3"),
        cwd=cwd,
        OTEL_SERVICE_NAME="shop",
        OTEL_EXPORTER_OTLP_ENDPOINT=nobody,
        **variables,
    )


@SYSCALLS
def test_such_a_process_has_no_capabilities_and_a_filter(read_only: Path) -> None:
    said = restricted("cat", "/proc/self/status", cwd=read_only).out
    assert re.findall(r"Cap(?:Prm|Eff|Amb):\t(\w+)", said) == ["0" * 16] * 3
    assert re.findall(r"(?:NoNewPrivs|Seccomp):\t(\d)", said) == ["1", "2"]
    assert restricted("touch", "file", cwd=read_only).code != 0


@SYSCALLS
def test_the_core_needs_none_of_it(read_only: Path) -> None:
    core.required()
    said = restricted(OTELPROF, "doctor", cwd=read_only).out
    assert re.search(r"^sampler +core\nbackend +memfd$", said, re.MULTILINE), said


@SYSCALLS
def test_a_service_is_profiled_and_what_nobody_takes_waits_in_the_volume(
    read_only: Path, volume: Path
) -> None:
    core.required()
    finished = served(
        read_only,
        OTELPROF_EXPORTER="file,otlp",
        OTELPROF_FILE_DIR=str(volume / "profiles"),
        OTELPROF_STATE_DIR=str(volume / "otelprof"),
    )
    assert finished.code == 0, finished.err
    left = read_all(volume / "profiles")
    profiles = [profile for each in left for profile in each.profiles]
    assert {profile.producer.sampler for profile in profiles} == {"core"}
    ran = {span["span_id"] for span in finished.facts["spans"]}
    linked = {link.span_id.hex() for profile in profiles for link in profile.tables.links[1:]}
    assert linked
    assert linked <= ran
    assert files_in(volume / "otelprof")
    assert any("wait on the disk for the next process" in line for line in finished.said)
    assert "is not used" not in finished.err


@SYSCALLS
def test_without_a_volume_one_line_says_that_it_waits_in_memory(read_only: Path) -> None:
    finished = served(read_only, OTELPROF_EXPORTER="otlp")
    assert finished.code == 0, finished.err
    assert finished.err.count("what cannot be delivered waits in memory") == 1


@SYSCALLS
def test_the_volume_itself_is_not_trusted(read_only: Path, volume: Path) -> None:
    finished = served(read_only, OTELPROF_EXPORTER="otlp", OTELPROF_STATE_DIR=str(volume))
    assert finished.code == 0, finished.err
    assert f"{volume} is writable by others (mode 0777)" in finished.err
    assert not files_in(volume)


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    """The pod of the page's deployment."""
    yaml = pytest.importorskip("yaml")
    if not PAGE.exists():
        pytest.skip("there is no checkout around")
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    deployment: dict[str, Any] = yaml.safe_load(block)
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    spec, template = deployment["spec"], deployment["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    found: dict[str, Any] = template["spec"]
    return found


def test_the_manifest_keeps_to_the_standard(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert not {"hostPID", "hostIPC", "hostNetwork"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"]["type"] in {"RuntimeDefault", "Localhost"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(volume.keys() - {"name"} <= VOLUME_TYPES for volume in pod["volumes"])


def test_the_manifest_puts_the_spool_into_a_volume_that_holds_it(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    values = {each["name"]: each.get("value", "") for each in container["env"]}
    state = Path(values["OTELPROF_STATE_DIR"])
    (mount,) = [m for m in container["volumeMounts"] if Path(m["mountPath"]) == state.parent]
    (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    size = parse_size_bytes(volume["emptyDir"]["sizeLimit"].replace("Mi", "MiB"))
    assert parse_size_bytes(values["OTELPROF_SPOOL_MAX"]) < size


def test_the_manifest_names_variables_that_are_there_and_come_before(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    settings = (ROOT / "docs" / "configuration.md").read_text()
    known = set[str]()
    for each in container["env"]:
        name = each["name"]
        assert not name.startswith("OTELPROF_") or f"`{name}`" in settings
        assert set(re.findall(r"\$\((\w+)\)", each.get("value", ""))) <= known
        known.add(name)
    assert {"POD_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"} <= known
