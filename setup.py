"""Builds the C core, `otelprof._core`, where it can be built: everywhere else the package does without.

    OTELPROF_REQUIRE_CORE=1              no core is an error, not a sentence (CI, wheels)
    OTELPROF_WERROR=1                    warnings are errors, and so is a core that does not compile
                                         (make, CI); not by default: compilers to come will warn of more
    OTELPROF_SANITIZE=address,undefined  built for these sanitizers (make sanitize)

`otelprof/exporters` and `otelprof/instrumentation` are relative links to the folders at the top
(docs/decisions/0001). Git for Windows without symlink support checks them out as text files; such a
checkout is refused.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

_HERE = Path(__file__).parent
_NATIVE = _HERE / "otelprof" / "_native"
# What otelprof/_native/compat.h knows the structures of.
_OLDEST, _NEWEST = (3, 11), (3, 15)
_PLATFORM = "linux-x86_64"
# The second is one of CPython's internal headers, which a package of headers may lack.
_HEADERS = ("Python.h", "internal/pycore_frame.h")
_WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow")


class _CoreMissingError(BaseError):
    """The core cannot be built here; says what is missing."""


class _BuildCore(build_ext):
    """Compiles the core, or says in one sentence why there is none."""

    def build_extension(self, ext: Extension) -> None:
        # Flags are not among what setuptools compares, and no library of an earlier build may stay.
        self.force = True
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        try:
            self._check_tools()
            super().build_extension(ext)
        except _CoreMissingError as error:
            self._do_without(str(error), fatal=_is_set("OTELPROF_REQUIRE_CORE"))
        except (BaseError, CCompilerError):
            # The compiler has said why, in its own words, on stderr.
            fatal = _is_set("OTELPROF_REQUIRE_CORE") or _is_set("OTELPROF_WERROR")
            self._do_without(f"{self.compiler.compiler_so[0]} could not compile it", fatal=fatal)

    def _check_tools(self) -> None:
        if reason := _unsupported():
            raise _CoreMissingError(reason)
        if not _native("*.c"):
            raise _CoreMissingError("no sources (otelprof/_native/*.c) found")
        compiler = self.compiler.compiler_so[0]
        if shutil.which(compiler) is None:
            raise _CoreMissingError(f"no C compiler ({compiler}) found")
        for header in _HEADERS:
            if not any(Path(path, header).is_file() for path in self.compiler.include_dirs):
                where = sysconfig.get_path("include")
                raise _CoreMissingError(f"no CPython headers ({header}) found in {where}")

    def _do_without(self, reason: str, *, fatal: bool) -> None:
        if fatal:
            raise SystemExit(f"otelprof: cannot build the C core: {reason}")
        sys.stderr.write(
            f"otelprof: built without its C core: {reason}; the Python sampler will be used\n"
        )


def _unsupported() -> str | None:
    """Why the core is not for this interpreter or this machine; None if it is."""
    if sys.implementation.name != "cpython":
        return f"it is for CPython, not for {sys.implementation.name}"
    if not _OLDEST <= sys.version_info[:2] <= _NEWEST:
        versions = "{}.{} to {}.{}".format(*_OLDEST, *_NEWEST)
        return f"it is for CPython {versions}, not for {sysconfig.get_python_version()}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "it is not for free-threaded CPython"
    if sysconfig.get_platform() != _PLATFORM:
        return f"it is for {_PLATFORM}, not for {sysconfig.get_platform()}"
    return None


def _core() -> Extension:
    sanitizers = os.environ.get("OTELPROF_SANITIZE", "")
    compile_args = ["-std=c11", "-O1" if sanitizers else "-O2", "-g", "-fvisibility=hidden"]
    link_args: list[str] = []
    if sanitizers:
        link_args.append(f"-fsanitize={sanitizers}")
        compile_args += [*link_args, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    compile_args += _WARNINGS
    # As system headers, so that our warnings are about our code: CPython's own is not written for them.
    for path in sorted({sysconfig.get_path("include"), sysconfig.get_path("platinclude")}):
        compile_args += ["-isystem", path]
    if _is_set("OTELPROF_WERROR"):
        compile_args.append("-Werror")
    return Extension(
        "otelprof._core",
        sources=_native("*.c"),
        depends=[*_native("*.h"), "setup.py"],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        optional=True,
    )


def _native(pattern: str) -> list[str]:
    """Relative, as setuptools wants them; sorted, so that two builds are alike."""
    return sorted(path.relative_to(_HERE).as_posix() for path in _NATIVE.glob(pattern))


def _is_set(variable: str) -> bool:
    return os.environ.get(variable) == "1"


for _name in ("exporters", "instrumentation"):
    _package = _HERE / "otelprof" / _name / "__init__.py"
    if not _package.is_file():
        raise SystemExit(
            f"otelprof/{_name} is not a link to {_name}/: check the repository out with "
            "`git config core.symlinks true`, or build from the sdist",
        )

setup(ext_modules=[_core()], cmdclass={"build_ext": _BuildCore})
