"""What the leader of a run tells the driver while it runs: lines that rank 0 prints, and files of the run.

Spark has no way for that: what a Python task gives, accumulators too, comes when it ends. So the driver listens on a
port of its own (``spark.bobbin.port``, by default any), under the address that executors reach it by already. What is
sent is JSON and bytes, never code; a token, which only tasks of the job are given, comes first.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import queue
import secrets
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from pyspark import SparkContext

from .errors import BobbinError

# Bytes of JSON, then bytes of files.
_HEADER = struct.Struct(">IQ")
_CONNECT_SECONDS = 10
_LARGEST_HELLO, _LARGEST_JSON = 1 << 10, 16 << 20


@dataclass(frozen=True)
class Port:
    """Where the driver listens."""

    host: str
    number: int
    token: str


@dataclass(frozen=True)
class Message:
    """Lines that were printed, and files of the run that are new; ``names`` are all that it has."""

    attempt: int
    lines: list[str] = field(default_factory=list)
    names: list[str] | None = None
    files: dict[str, bytes] = field(default_factory=dict)


class Listener:
    """The driver's end: messages, in the order in which they came."""

    def __init__(self, context: SparkContext) -> None:
        settings = context.getConf()
        self._messages: queue.Queue[Message] = queue.Queue()
        self._token = secrets.token_hex(16)
        bind = settings.get("spark.driver.bindAddress") or settings.get("spark.driver.host")
        try:
            self._server = _Server((bind or "", int(settings.get("spark.bobbin.port", "0"))), _Handler)
        except (OSError, ValueError) as error:
            raise BobbinError(f"spark.bobbin.port: the driver cannot listen on {bind}: {error}") from None
        self._server.listener = self
        self.port = Port(settings.get("spark.driver.host") or "", self._server.server_address[1], self._token)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def is_known(self, token: str) -> bool:
        """Whether it is a task of this job that speaks."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    def put(self, message: Message) -> None:
        """Takes a message from the network."""
        self._messages.put(message)

    def take(self, seconds: float) -> Iterator[Message]:
        """The messages there are, waiting at most so long for the first."""
        with contextlib.suppress(queue.Empty):
            yield self._messages.get(timeout=seconds)
            while True:
                yield self._messages.get_nowait()

    def close(self) -> None:
        """Listens no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    listener: Listener


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError, EOFError, KeyError):
            hello, _ = _receive(self.rfile, _LARGEST_HELLO, 0)
            if not self.server.listener.is_known(str(hello["token"])):
                return
            while True:
                head, content = _receive(self.rfile, _LARGEST_JSON)
                files, place = {}, 0
                for name, length in head["files"]:
                    files[name] = content[place : place + length]
                    place += length
                self.server.listener.put(Message(hello["attempt"], head["lines"], head["names"], files))
                self.wfile.write(b"\1")


def require_driver(port: Port | None) -> None:
    """Fails unless the driver can be reached."""
    assert port is not None
    try:
        socket.create_connection((port.host, port.number), _CONNECT_SECONDS).close()
    except OSError as error:
        raise BobbinError(
            f"{port.host}:{port.number}: cannot reach the driver, which writes the run: {error}: expected a port that "
            "executors reach (spark.bobbin.port)"
        ) from None


class Speaker:
    """The leader's end. Where it does not reach the driver it says nothing: what it would have said comes at the end."""

    def __init__(self, port: Port | None, attempt: int) -> None:
        self._socket: socket.socket | None = None
        if port is None:
            return
        with contextlib.suppress(OSError):
            self._socket = socket.create_connection((port.host, port.number), _CONNECT_SECONDS)
            self._socket.settimeout(60)
            self._send({"token": port.token, "attempt": attempt}, b"")

    def say(self, message: Message) -> None:
        """Sends a message, and waits until the driver has it."""
        if self._socket is None:
            return
        sizes = [(name, len(content)) for name, content in message.files.items()]
        head = {"lines": message.lines, "names": message.names, "files": sizes}
        try:
            self._send(head, b"".join(message.files.values()))
            if self._socket.recv(1) != b"\1":
                raise OSError("the driver listens no more")
        except OSError:
            self._socket = None

    def _send(self, head: dict[str, object], content: bytes) -> None:
        assert self._socket is not None
        text = json.dumps(head).encode()
        self._socket.sendall(_HEADER.pack(len(text), len(content)) + text)
        self._socket.sendall(content)


def _receive(file: BinaryIO, most: int, most_content: int | None = None) -> tuple[dict[str, Any], bytes]:
    length, content = _HEADER.unpack(_exactly(file, _HEADER.size))
    if length > most or (most_content is not None and content > most_content):
        raise ValueError("too long")
    return json.loads(_exactly(file, length)), _exactly(file, content)


def _exactly(file: BinaryIO, length: int) -> bytes:
    found = file.read(length)
    if len(found) < length:
        raise EOFError
    return found
