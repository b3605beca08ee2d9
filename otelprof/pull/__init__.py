"""Pull mode: the process serves its profiles over HTTP, under the names that Go's have (docs/pull.md).

listener.py   the socket that listens
server.py     the thread that accepts
crew.py       the threads that answer, each one connection at a time
exchange.py   one connection: a request, an answer
request.py    what was asked, read strictly       access.py   whether it may be
endpoints.py  what there is below /debug/pprof/: a window of a kind of profile; threads_now.py   the threads
answers.py    bytes of answers, and the one error
"""
