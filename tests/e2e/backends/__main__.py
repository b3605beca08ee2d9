"""`make backends`: the programs that are quick to build; with `--all` the others too. `--path` builds nothing."""

import argparse
import sys

from tests.e2e.backends import building, programs


def main() -> None:
    parser = argparse.ArgumentParser(prog="backends", description=__doc__)
    parser.add_argument("--all", action="store_true", help="Jaeger and Parca as well: 20 minutes")
    by_name = {program.name: program for program in programs.ALL}
    parser.add_argument("--path", choices=by_name, help="print where this one is")
    arguments = parser.parse_args()
    if arguments.path is None:
        building.build(each for each in programs.ALL if arguments.all or each.is_quick)
        return
    program = by_name[arguments.path]
    if not program.path.exists():
        raise SystemExit(f"backends: {program.path} is not there: run `{program.command}`")
    sys.stdout.write(f"{program.path}\n")


if __name__ == "__main__":
    main()
