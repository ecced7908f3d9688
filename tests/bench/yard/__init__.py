"""The yard: where Frond is measured beside the genuine nats-server. scripts/bench is its gate.

    case.py      what a case is, the alternating rounds, medians
    goals.py     what must be reached, as data
    server.py    one server process: its configuration, CPU, memory, bytes written; a client for its API
    world.py     paths, the machine, the disk, the bare cost of a flush
    messages.py  the rows about messages: core, requests, TLS, publishes, consumers
    restart.py   SIGKILL with much stored, and how soon all is back
    memory.py    resident memory
    written.py   bytes written per stored byte, bytes of file per message
    drain.py     a backlog to a hub over a thin link
    growth.py    the cost of one message while one thing grows
    jobs.py      the loop's longest turns while it has much to do, by scripts/turns
    stock.py     the same with the stock tool, `nats bench`
    report.py    the table on the terminal, the JSON, the page docs/performance.md
    plot.py      the picture
    profile.py   scripts/profile: one row under perf

A case is a function of the kind of server that returns the figures of one round. Everything else, which side goes
first, how often, medians, ratios, goals, is the same for all.
"""
