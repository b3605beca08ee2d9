"""The package from its sdist: with its core where it can be built, and what is said where it cannot."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

_TREE = Path(__file__).parent.parent
_PARTS = (
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "exporters",
    "instrumentation",
    "otelprof",
    "pyproject.toml",
    "setup.py",
)
_TIMEOUT_S = 120.0
# Compiles in no time, and only with CPython's internal headers; gcc warns of what is in it with -Wall.
_TINY = """\
#define Py_BUILD_CORE 1
#include <Python.h>
#include "internal/pycore_frame.h"
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "otelprof._core", .m_size = -1};
PyMODINIT_FUNC PyInit__core(void)
{
    return PyModule_Create(&definition);
}
"""
_WARNED_OF = "static int unused(void) { return 0; }\n"

pytestmark = [
    pytest.mark.skipif(not (_TREE / "setup.py").exists(), reason="tests of a checkout"),
    pytest.mark.skipif(
        sysconfig.get_platform() != "linux-x86_64", reason="the core is for linux-x86_64"
    ),
]


@dataclass(frozen=True)
class _Outcome:
    """What pip left behind."""

    status: int
    output: str
    package: Path

    @property
    def core(self) -> list[Path]:
        return sorted(self.package.glob("_core*.so"))

    @property
    def sentences(self) -> list[str]:
        lines = map(str.strip, self.output.splitlines())
        return [line for line in lines if line.startswith("otelprof: ")]


def _without_core(reason: str) -> str:
    return f"otelprof: built without its C core: {reason}; the Python sampler will be used"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a copy, as nobody has built in it before."""
    directory = tmp_path_factory.mktemp("sdist")
    for part in _PARTS:
        if (_TREE / part).is_dir():
            ignore = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(_TREE / part, directory / part, symlinks=True, ignore=ignore)
        else:
            shutil.copy(_TREE / part, directory / part)
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", str(directory)]
    subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
    (archive,) = (directory / "dist").glob("*.tar.gz")
    return archive


@pytest.fixture
def tiny(sdist: Path, tmp_path: Path) -> Path:
    """The sdist's tree, its core replaced by a module that compiles in no time."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "tiny", filter="data")
    (tree,) = (tmp_path / "tiny").iterdir()
    shutil.rmtree(tree / "otelprof" / "_native")
    (tree / "otelprof" / "_native").mkdir()
    (tree / "otelprof" / "_native" / "module.c").write_text(_TINY)
    return tree


def _install(
    source: Path, target: Path, *, python: str = sys.executable, **variables: str
) -> _Outcome:
    command = [python, "-m", "pip", "install", "-v", "--no-build-isolation", "--no-deps"]
    command += ["--no-cache-dir", "--no-compile", "--target", str(target), str(source)]
    finished = subprocess.run(
        command,
        env=_environ(variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    return _Outcome(finished.returncode, finished.stdout, target / "otelprof")


def _environ(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "CC" and not k.startswith("OTELPROF_")}
    return {**kept, **variables}


def _import_of(module: str, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import {module}; print({module}.__file__)"],
        cwd=target,
        env=_environ({"PYTHONPATH": str(target)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )


def _python_without_headers(directory: Path) -> tuple[str, dict[str, str]]:
    """This interpreter as a distribution without its -dev package has it: no include directory."""
    prefix = directory / "prefix"
    (prefix / "bin").mkdir(parents=True)
    for entry in Path(sys.base_prefix).iterdir():
        if entry.name not in {"bin", "include"}:
            (prefix / entry.name).symlink_to(entry)
    # A copy: a link would be followed to where the headers are.
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    python = shutil.copy(base, prefix / "bin" / base.name)
    # The include directory is also among what was noted when the interpreter was built.
    variables = _sysconfig_with(directory, INCLUDEPY="/nowhere", CONFINCLUDEPY="/nowhere")
    return str(python), variables


def _sysconfig_with(directory: Path, **values: object) -> dict[str, str]:
    """Environment of an interpreter that believes it was built with these values."""
    (directory / "otelprof_sysconfigdata.py").write_text(
        "from importlib import import_module\n"
        f"_real = import_module({_sysconfigdata_name()!r}).build_time_vars\n"
        f"build_time_vars = {{**_real, **{values!r}}}\n"
    )
    path = os.pathsep.join(
        [str(directory), *{sysconfig.get_path(n) for n in ("purelib", "platlib")}]
    )
    return {"PYTHONPATH": path, "_PYTHON_SYSCONFIGDATA_NAME": "otelprof_sysconfigdata"}


def _sysconfigdata_name() -> str:
    multiarch = getattr(sys.implementation, "_multiarch", "")
    return f"_sysconfigdata_{sys.abiflags}_{sys.platform}_{multiarch}"


def test_the_sdist_holds_every_source_of_the_core(sdist: Path) -> None:
    sources = {path.name for path in (_TREE / "otelprof" / "_native").glob("*.[ch]")}
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert sources
    assert {f"otelprof/_native/{source}" for source in sources} <= names
    assert "otelprof/_core.pyi" in names


def test_the_core_is_installed_without_its_sources(sdist: Path, tmp_path: Path) -> None:
    outcome = _install(sdist, tmp_path, OTELPROF_REQUIRE_CORE="1")
    assert outcome.status == 0, outcome.output
    assert [path.name for path in outcome.core] == [
        f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    ]
    assert (outcome.package / "_core.pyi").exists()
    assert (outcome.package / "report" / "page" / "main.js").exists()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in {".c", ".h"}]
    assert _import_of("otelprof._core", tmp_path).stdout.strip() == str(outcome.core[0])


def test_without_a_compiler_the_package_installs_and_says_so_once(
    sdist: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    outcome = _install(sdist, tmp_path / "target", PATH=str(tmp_path / "empty"), CC="cc")
    assert outcome.status == 0, outcome.output
    assert outcome.sentences == [_without_core("no C compiler (cc) found")]
    assert not outcome.core
    assert _import_of("otelprof.profiler", tmp_path / "target").returncode == 0
    assert "ModuleNotFoundError" in _import_of("otelprof._core", tmp_path / "target").stderr


def test_without_headers_the_package_installs_and_says_so_once(sdist: Path, tmp_path: Path) -> None:
    python, variables = _python_without_headers(tmp_path)
    outcome = _install(sdist, tmp_path / "target", python=python, **variables)
    assert outcome.status == 0, outcome.output
    include = Path(sysconfig.get_path("include")).relative_to(sys.base_prefix)
    missing = tmp_path / "prefix" / include
    assert outcome.sentences == [_without_core(f"no CPython headers (Python.h) found in {missing}")]
    assert not outcome.core


def test_with_a_compiler_that_fails_the_package_installs_and_says_so_once(
    sdist: Path, tmp_path: Path
) -> None:
    outcome = _install(sdist, tmp_path, CC="false")
    assert outcome.status == 0, outcome.output
    assert outcome.sentences == [_without_core("false could not compile it")]
    assert not outcome.core


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"CC": "no-such-cc"}, "no C compiler (no-such-cc) found"),
        ({"CC": "false"}, "false could not compile it"),
        (
            {"_PYTHON_HOST_PLATFORM": "linux-aarch64"},
            "it is for linux-x86_64, not for linux-aarch64",
        ),
    ],
)
def test_where_the_core_is_required_its_absence_is_an_error(
    tiny: Path, tmp_path: Path, variables: dict[str, str], reason: str
) -> None:
    outcome = _install(tiny, tmp_path / "target", OTELPROF_REQUIRE_CORE="1", **variables)
    assert outcome.status != 0
    assert f"otelprof: cannot build the C core: {reason}" in outcome.sentences


def test_elsewhere_the_package_installs_without_a_word_of_a_compiler(
    tiny: Path, tmp_path: Path
) -> None:
    outcome = _install(
        tiny, tmp_path / "target", _PYTHON_HOST_PLATFORM="linux-aarch64", CC="no-such-cc"
    )
    assert outcome.status == 0, outcome.output
    assert outcome.sentences == [_without_core("it is for linux-x86_64, not for linux-aarch64")]


def test_a_free_threaded_interpreter_has_no_core(tiny: Path, tmp_path: Path) -> None:
    # Not by pip, which would not take the wheel of what only believes to be free-threaded.
    finished = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path / "lib")],
        cwd=tiny,
        env=_environ(_sysconfig_with(tmp_path, Py_GIL_DISABLED=1)),
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_S,
    )
    assert finished.stderr.strip() == _without_core("it is not for free-threaded CPython")
    assert not list((tmp_path / "lib").rglob("*.so"))


def test_a_warning_fails_our_build_and_not_a_users(tiny: Path, tmp_path: Path) -> None:
    with (tiny / "otelprof" / "_native" / "module.c").open("a") as source:
        source.write(_WARNED_OF)
    theirs = _install(tiny, tmp_path / "theirs")
    assert theirs.status == 0, theirs.output
    assert theirs.core
    assert "unused" in theirs.output
    ours = _install(tiny, tmp_path / "ours", OTELPROF_WERROR="1")
    assert ours.status != 0
    assert ours.sentences[0].endswith(" could not compile it")


def test_a_sanitized_core_asks_for_the_sanitizers_and_a_later_one_does_not(
    tiny: Path, tmp_path: Path
) -> None:
    sanitized = _install(tiny, tmp_path / "sanitized", OTELPROF_SANITIZE="address,undefined")
    plain = _install(tiny, tmp_path / "plain")
    assert [b"__asan_init" in o.core[0].read_bytes() for o in (sanitized, plain)] == [True, False]
