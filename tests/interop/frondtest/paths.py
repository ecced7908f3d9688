"""Where the binaries are: ours from FROND_BIN (build/frond), the peers from the cache."""
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PEERS = Path(os.environ.get("FROND_PEERS") or ROOT / ".peers")
FROND_BIN = Path(os.environ.get("FROND_BIN") or ROOT / "build" / "frond").absolute()
NATS_SERVER_BIN = PEERS / "bin" / "nats-server"
NATS_BIN = PEERS / "bin" / "nats"
