"""The programs that profiles and traces go to, as real processes on loopback.

`programs` says which, in which version, and where they are kept; `building` makes them of Go modules; `processes` runs
one; the other files configure one program each and ask it what it has.
"""
