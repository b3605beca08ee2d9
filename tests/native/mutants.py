"""The core with faults built in, each switched on by OTELPROF_MUTATION: to see whether the tests notice.

Every fault is one named piece of the C, replaced; with none switched on the core is as it was.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.native.support import NATIVE, compiler

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 150.0
_FLAGS = ("-std=c11", "-O2", "-fPIC", "-pthread", "-fvisibility=hidden", "-w")
_SWITCH = """
char *getenv(const char *);
int strcmp(const char *, const char *);
static inline int op_mutated(const char *name)
{
    static const char *chosen;
    static int is_asked;
    if (!is_asked) {
        chosen = getenv("OTELPROF_MUTATION");
        is_asked = 1;
    }
    return chosen && strcmp(chosen, name) == 0;
}
"""


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `file`, `MUTATED` in `becomes` is whether it is switched on."""

    name: str
    file: str
    text: str
    becomes: str

    def applied_to(self, source: str) -> str:
        assert source.count(self.text) == 1, f"{self.name}: {self.file} has not one {self.text!r}"
        return source.replace(
            self.text, self.becomes.replace("MUTATED", f'op_mutated("{self.name}")')
        )


GUARDS = (
    Mutation(
        "no bracket of label changes",
        "walk.c",
        "(since->is_quiet && op_label_stood_still_tick(since->changes));",
        "MUTATED || (since->is_quiet && op_label_stood_still_tick(since->changes));",
    ),
    Mutation(
        "no deaths of contexts",
        "label.c",
        "&& op_generation_tick(seen->context) == seen->context_generation;",
        "&& (MUTATED || op_generation_tick(seen->context) == seen->context_generation);",
    ),
    Mutation(
        "no look at the trie afterwards",
        "label.c",
        "return vars == seen->vars && op_generation_tick(vars) == seen->vars_generation",
        "return (MUTATED || (vars == seen->vars && op_generation_tick(vars) == seen->vars_generation))",
    ),
    Mutation(
        "labels of afterwards",
        "walk.c",
        "return is_as_seen && is_unique && was_in_context(a);",
        "return (MUTATED || is_as_seen) && is_unique && was_in_context(a);",
    ),
    Mutation(
        "no verified prefix",
        "walk.c",
        "walker->frames[first - 1].is_proved)",
        "(walker->frames[first - 1].is_proved || MUTATED))",
    ),
    Mutation(
        "no burying of dead code",
        "codes.c",
        "if (row != NULL) {",
        "if (row != NULL && !MUTATED) {",
    ),
)

PROOFS = (
    Mutation(
        "copies alone",
        "walk.c",
        "walk->is_still = walk->clock_after_ns == clock_ns;",
        "walk->is_still = walk->clock_after_ns == clock_ns && !MUTATED;",
    ),
    Mutation(
        "clock alone",  # but for the self-test, which has no clock
        "walk.c",
        "walk->first = first_proved(a->walker, walk);",
        "walk->first = MUTATED && walk->clock_before_ns ? walk->count : first_proved(a->walker, walk);",
    ),
)

# By the part that the constructor must name.
LIES = {
    "the thread state": (
        Mutation("id", "compat.h", "out->id = ts->id;", "out->id = ts->id + MUTATED;"),
        Mutation(
            "native id",
            "compat.h",
            "out->native_id = (uint32_t)ts->native_thread_id;",
            "out->native_id = (uint32_t)(MUTATED ? ts->thread_id : ts->native_thread_id);",
        ),
        Mutation(
            "next",
            "objects.h",
            "memcpy(out, copy, sizeof *out);",
            "memcpy(out, copy, sizeof *out), out->next += 8 * MUTATED;",
        ),
    ),
    "the frame": (
        Mutation(
            "previous",
            "compat.h",
            "out->previous = (uintptr_t)frame->previous;",
            "out->previous = (uintptr_t)frame->previous + 8 * MUTATED;",
        ),
        Mutation(
            "owner",
            "compat.h",
            "out->owner = (uint8_t)frame->owner;",
            "out->owner = (uint8_t)(frame->owner + 3 * MUTATED);",
        ),
        Mutation(
            "name",
            "compat.h",
            "out->qualname = (uintptr_t)code->co_qualname;",
            "out->qualname = (uintptr_t)(MUTATED ? code->co_filename : code->co_qualname);",
        ),
        Mutation(
            "code size",
            "compat.h",
            "out->instruction_bytes = (uint32_t)units * 2u;",
            "out->instruction_bytes = MUTATED ? 0u : (uint32_t)units * 2u;",
        ),
    ),
    "the context": (
        Mutation(
            "context",
            "compat.h",
            "out->context = (uintptr_t)ts->context;",
            "out->context = (uintptr_t)(MUTATED ? (void *)ts->interp : (void *)ts->context);",
        ),
        Mutation(
            "hash",
            "objects.h",
            "const Py_hash_t hash = ((PyContextVar *)var)->var_hash;",
            "const Py_hash_t hash = ((PyContextVar *)var)->var_hash ^ (MUTATED ? 31 : 0);",
        ),
    ),
}


def all_mutations() -> list[Mutation]:
    return [*GUARDS, *PROOFS, *(lie for lies in LIES.values() for lie in lies)]


def mutate(folder: Path) -> list[Path]:
    """Copy the C into `folder` with every mutation in it."""
    texts = {path.name: path.read_text() for path in sorted(NATIVE.glob("*.[ch]"))}
    for mutation in all_mutations():
        texts[mutation.file] = mutation.applied_to(texts[mutation.file])
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "switch.h").write_text(_SWITCH)
    return [folder / name for name in texts if name.endswith(".c")]


def build(program: str, folder: Path) -> Path:
    sources = mutate(folder)
    flags = (*_FLAGS, "-include", str(folder / "switch.h"))
    include = f"-I{sysconfig.get_path('include')}"

    def compiled(source: Path) -> Path:
        target = source.with_suffix(".o")
        subprocess.run([program, *flags, include, "-c", source, "-o", target], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    library = folder / "_core.so"
    subprocess.run([program, "-shared", "-pthread", *objects, "-o", library], check=True)
    return library


def built_once(folders: pytest.TempPathFactory) -> Path:
    """The library with all mutations, built once in a session; skips the test where it cannot be."""
    library = folders.getbasetemp() / "mutants" / "_core.so"
    if library.is_file():
        return library
    shutil.rmtree(library.parent, ignore_errors=True)
    program = compiler()
    if program is None:
        pytest.skip("no C compiler: set CC, or install gcc")
    if not NATIVE.is_dir():
        pytest.skip("the sources of the core are not here")
    return build(program, folders.mktemp("mutants", numbered=False))


def run(
    library: Path, mutation: str, *command: str, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python COMMAND...`, in the tree, with the mutated core in the place of the real one."""
    env = os.environ | {
        "OTELPROF_TEST_CORE": str(library),
        "OTELPROF_MUTATION": mutation,
        "PYTHONPATH": str(ROOT),
        **(settings or {}),
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
