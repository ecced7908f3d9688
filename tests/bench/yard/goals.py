"""What each row must reach.

A figure's name is a path into the row's result: "ratio.rate" is Frond's median over nats-server's,
"frond.ready_ms" Frond's own median.
"""
LEAST, MOST = ">=", "<="

GOALS = {
    "core 16 B": [("ratio.rate", LEAST, 5)],
    "core 128 B": [("ratio.rate", LEAST, 3.5), ("ratio.cpu_us", MOST, 0.25)],
    "core 1 KiB": [("ratio.rate", LEAST, 1.8)],
    "core 16 KiB": [("ratio.rate", LEAST, 1.2)],
    "fan-out 4, 128 B": [("ratio.rate", LEAST, 2)],
    "fan-out 16, 128 B": [("ratio.rate", LEAST, 2)],
    "fan-out 4, 1 KiB": [("ratio.rate", LEAST, 2)],
    "fan-out 16, 1 KiB": [("ratio.rate", LEAST, 2)],
    "fan-out 4, 16 KiB": [("ratio.rate", LEAST, 1)],
    "fan-out 16, 16 KiB": [("ratio.rate", LEAST, 1)],
    "request/reply": [("ratio.p50_us", MOST, 0.6), ("ratio.p99_us", MOST, 0.6)],
    "request/reply under load": [("ratio.p50_us", MOST, 0.6), ("ratio.p99_us", MOST, 0.3)],
    "request/reply under load, back to back": [("ratio.p50_us", MOST, 0.6), ("ratio.p99_us", MOST, 0.3)],
    "TLS 128 B": [("ratio.rate", LEAST, 1.5)],
    "TLS 1 KiB": [("ratio.rate", LEAST, 1.2)],
    "async w1000 128 B": [("ratio.rate", LEAST, 2.5), ("ratio.cpu_us", MOST, 1 / 6)],
    "async w4000 128 B": [("ratio.rate", LEAST, 4.5), ("ratio.cpu_us", MOST, 1 / 6)],
    "async w4000 1 KiB": [("ratio.rate", LEAST, 2)],
    "async w400 16 KiB": [("ratio.rate", LEAST, 1)],
    "async w8 1 MiB": [("ratio.rate", LEAST, 1)],
    "async w1000, theirs always": [("ratio.rate", LEAST, 80)],
    "async 1M subjects": [("ratio.rate", LEAST, 6)],
    "1 sync publisher, theirs always": [("ratio.rate", LEAST, 1), ("frond.over_bare_us", MOST, 60)],
    "16 sync publishers, theirs always": [("ratio.rate", LEAST, 4)],
    "100 sync publishers, theirs always": [("ratio.rate", LEAST, 10)],
    "push": [("ratio.rate", LEAST, 5)],
    "pull 500": [("ratio.rate", LEAST, 4.5)],
    "pull 1000 + ack": [("ratio.rate", LEAST, 12)],
    "KV put, 100k keys": [("ratio.rate", LEAST, 3)],
    "work queue, random acks": [("ratio.rate", LEAST, 5)],
    "restart, 5M messages": [("frond.ready_ms", MOST, 15), ("frond.ready_cold_ms", MOST, 15)],
    "restart, 1M subjects": [("frond.ready_ms", MOST, 50), ("frond.ready_cold_ms", MOST, 50)],
    "restart, 2M ids, 100 consumers": [("frond.ready_ms", MOST, 50), ("frond.ready_cold_ms", MOST, 50)],
    "memory of a linked site": [("frond.idle_mb", MOST, 1.5), ("frond.after_1m_mb", MOST, 6),
                                ("frond.connections_mb", MOST, 6)],
    "bytes written, batches >= 1000": [("frond.written_per_stored", MOST, 1.8)],
    "file of a full stream": [("frond.file_per_message", MOST, 1.4)],
    "backlog drain, 100 Mbit/s 20 ms": [("frond.capacity", LEAST, 0.95), ("ratio.cpu_us", MOST, 1 / 8)],
    "growth: stored messages": [("frond.publish_times", MOST, 1.25), ("frond.pull_times", MOST, 1.25)],
    "growth: streams": [("frond.publish_times", MOST, 1.25)],
    "growth: consumers": [("frond.publish_times", MOST, 1.25)],
    "growth: subjects": [("frond.publish_times", MOST, 1.25), ("frond.pull_times", MOST, 1.25)],
    **{name: [("frond.turn_cpu_ms", MOST, 20), ("frond.p99_times", MOST, 3)] for name in
       ("jobs: 5M purged", "jobs: 1M subjects listed", "jobs: 1M expire at once", "jobs: 10M counted, deleted")},
}


def find(result, path):
    for part in path.split("."):
        if not isinstance(result, dict) or part not in result:
            return None
        result = result[part]
    return result["median"] if isinstance(result, dict) else result


def judge(name, result):
    """[{figure, sign, want, is, hit}] of a row; what could not be measured is a miss."""
    out = []
    for figure, sign, want in GOALS.get(name, []):
        value = find(result, figure)
        hit = value is not None and (value >= want if sign == LEAST else value <= want)
        out.append({"figure": figure, "sign": sign, "want": want, "is": value, "hit": hit})
    return out
