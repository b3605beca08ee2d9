"""`make backends`: the programs that are quick to build; with `--all` the others too."""

import argparse

from tests.e2e.backends import building, programs


def main() -> None:
    parser = argparse.ArgumentParser(prog="backends", description=__doc__)
    parser.add_argument("--all", action="store_true", help="Jaeger and Parca as well: 20 minutes")
    build_all = parser.parse_args().all
    building.build(each for each in programs.ALL if build_all or each.is_quick)


if __name__ == "__main__":
    main()
