"""A hub of ours, byte by byte: for what a genuine one will not do.

    hub = FakeHub()                      # listens on hub.port
    site = make("frond", remotes=[leaf_remote(hub.port)])
    link = hub.accept()                  # the site has dialled
    link.greet()                         # INFO; reads the CONNECT into link.connect
    link.take_in()                       # INFO with connect_info; reads the first LS+ lines
    link.send("LMSG a 2", "hi")
    link.expect("LS+ b")
"""
import json
import socket

from .ports import free_port
from .raw import Raw


class Link(Raw):
    def __init__(self, sock, timeout=5.0):
        self.timeout = timeout
        self.sock = sock
        self.buffer = b""
        self.info = None
        self.connect = None

    def info_line(self, **fields):
        info = {"server_id": "NFAKE", "server_name": "fake", "version": "2.15.2", "proto": 1,
                "headers": True, "max_payload": 1048576, "client_id": 7, "nonce": "VgGqaAwyJBdF-h8",
                "info_on_connect": True, "leafnode_urls": []}
        info.update(fields)
        info = {name: value for name, value in info.items() if value is not None}
        return "INFO " + json.dumps(info) + " "

    def greet(self, **fields):
        self.send(self.info_line(**fields))
        line = self.line()
        assert line.startswith("CONNECT "), line
        self.connect = json.loads(line[8:])
        return self

    def take_in(self, sync=True, **fields):
        """Says that the site is in; what it announces is read up to its PONG and returned."""
        self.send(self.info_line(connect_info=True, remote_account="$G", nonce=None, **fields))
        return self.announced() if sync else []

    def announced(self):
        """The lines that come before the answer to a PING."""
        self.send("PING")
        lines = []
        while (line := self.line()) != "PONG":
            if line == "PING":
                self.send("PONG")
            else:
                lines.append(line)
        return lines

    def leaf_message(self, timeout=None):
        """The next LMSG or HMSG as (words of its line, bytes after it); interest is passed over."""
        while True:
            line = self.line(timeout)
            if line == "PING":
                self.send("PONG")
            elif line.startswith(("LMSG ", "HMSG ")):
                words = line.split(" ")
                body = self.take(int(words[-1]) + 2, timeout)
                assert body[-2:] == b"\r\n", body[-2:]
                return words, body[:-2]


class FakeHub:
    def __init__(self, port=None, receive_buffer=None):
        self.port = port or free_port()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(16)
        self.links = []

    def accept(self, timeout=10):
        self.listener.settimeout(timeout)
        sock, _ = self.listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.links.append(Link(sock))
        return self.links[-1]

    def join(self, **fields):
        """accept, greet, take in."""
        link = self.accept()
        link.greet(**fields)
        link.take_in()
        return link

    def close(self):
        for link in self.links:
            link.close()
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
