"""Paths, the machine, the disk under the stores."""
import ctypes
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEERS = pathlib.Path(os.environ.get("FROND_PEERS") or ROOT / ".peers")
BUILD = pathlib.Path(os.environ.get("BENCH_BUILD") or ROOT / "build")
FROND = pathlib.Path(os.environ.get("FROND_BIN") or BUILD / "frond")
NATS_SERVER = pathlib.Path(os.environ.get("NATS_SERVER_BIN") or PEERS / "bin/nats-server")
NATS = PEERS / "bin/nats"
LOAD, BARE, LINK = (BUILD / "tests/bench" / name for name in ("load", "bare", "link"))
NO_DISK_US = 20  # a flush that costs less goes nowhere

sys.path.append(str(ROOT / "tests/interop/frondtest"))  # its ports and certificates, without the clients


class Failed(Exception):
    """A case that could not be measured; the run goes on with the next."""


def need_binaries():
    """What is measured is what stands in the tree: it is built first, unless somebody names other binaries."""
    if not os.environ.get("BENCH_BUILD") and not os.environ.get("FROND_BIN"):
        subprocess.run([ROOT / "scripts/build", "release"], check=True, stdout=subprocess.DEVNULL)
    missing = [str(b) for b in (FROND, NATS_SERVER, LOAD, BARE, LINK) if not os.access(b, os.X_OK)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}. Run scripts/build and scripts/peers first.")


def mount_of(path):
    best = ("", "?", "?")
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if (str(path) + "/").startswith(where.rstrip("/") + "/") and len(where) >= len(best[0]):
            best = (where, kind, options)
    return best


def bare(base, *args):
    """What the disk can do without a server. Without args, or with a number of rounds: a flush and an LMDB commit in us,
    {"fdatasync_p50", "lmdb_p50", "lmdb_p99"}; "stream", bytes, piece: {"stream_bytes_s"}, each piece flushed."""
    run = subprocess.run([BARE, str(base), *map(str, args)], capture_output=True, text=True)
    if run.returncode:
        raise Failed(f"bare: {run.stderr}")
    return json.loads(run.stdout)


def disk(base, quick=False):
    """The file system under the stores and its bare costs. Leaves when it is none; a quick run only complains of a
    flush that is too cheap, for its figures are no claim."""
    where, kind, options = mount_of(base.resolve())
    if kind in ("tmpfs", "ramfs"):
        sys.exit(f"{base} lies on {kind}: a flush there proves nothing. Give --dir on a real file system.")
    costs = bare(base, 200 if quick else 1000)
    if costs["fdatasync_p50"] < NO_DISK_US:
        text = f"fdatasync in {base} takes {costs['fdatasync_p50']:.0f} us: this is no disk. Give --dir elsewhere."
        if not quick:
            sys.exit(text)
        print(text)
    return {"mount": where, "file_system": kind, "options": options, **costs}


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    kib = int(pathlib.Path("/proc/meminfo").read_text().split()[1])
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_gb": round(kib / 1048576),
            "kernel": platform.release()}


def versions():
    def of(binary, *args):
        return subprocess.run([binary, *args], capture_output=True, text=True).stdout.strip()

    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {"nats-server": of(NATS_SERVER, "-v").rpartition("v")[2], "frond": of(FROND, "-v").split()[1],
            "commit": commit.stdout.strip()}


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def flush_all():
    """Every round starts with no dirty pages of the one before."""
    os.sync()


def forget_pages(directory):
    """Put the page cache's copy of a stopped server's files out of memory."""
    os.sync()
    for path in pathlib.Path(directory).rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def die_with_parent():
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
