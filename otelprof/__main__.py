"""`python -m otelprof` is the program `otelprof`."""

from otelprof.cli import main

main()
