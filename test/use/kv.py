"""kv.py - what the tests of kv-server share: TAP, a server to start and end, a client without
manners.

The server is the program named by SERVER, by default ./kv-server.
"""
import contextlib
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback

SERVER = os.environ.get("SERVER", "./kv-server")


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    @contextlib.contextmanager
    def test(self, what):
        """One line of TAP: ok, unless the block raises."""
        self.count += 1
        try:
            yield
        except Exception:  # pylint: disable=broad-except
            self.failed += 1
            print("# " + traceback.format_exc().rstrip().replace("\n", "\n# "))
            print(f"not ok {self.count} - {what}", flush=True)
        else:
            print(f"ok {self.count} - {what}", flush=True)

    def end(self):
        print(f"1..{self.count}")
        sys.exit(self.failed > 0)


def is_equal(got, want):
    if got != want:
        raise AssertionError(f"{got!r:.300} is not {want!r:.300}")


def is_true(fact, what):
    if not fact:
        raise AssertionError(what)


class Server:
    """A running kv-server. limits: of resources, such as {resource.RLIMIT_FSIZE: 1000000}."""

    def __init__(self, *flags, limits=None, port=0, patience=20):
        def limit():
            for name, value in (limits or {}).items():
                resource.setrlimit(name, (value, value))

        self.log = open(f"log.{os.getpid()}.{time.monotonic_ns()}", "w+b")
        self.process = subprocess.Popen(
            [SERVER, "--port", str(port), *map(str, flags)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=limit)
        self.pid = self.process.pid
        self.port = self._wait_for_port(patience)

    def _wait_for_port(self, patience):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = re.search(r"^listening on 127\.0\.0\.1:(\d+)$", self.said(), re.M)
            if found:
                return int(found.group(1))
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        self.kill()
        raise AssertionError(f"the server does not say that it listens: {self.said()}")

    def said(self):
        return os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=10):
        """The exit status; negative for a signal."""
        return self.process.wait(seconds)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def is_alive(self):
        return self.process.poll() is None

    def files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self):
        """Bytes of memory that are not a file's."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return sum(int(line.split()[1]) * 1024 for line in status
                       if line.startswith(("RssAnon:", "RssShmem:")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.log.close()
        os.unlink(self.log.name)


class Error(str):
    """An answer that begins with a minus."""


class Raw:
    """A client that sends any bytes."""

    def __init__(self, port, seconds=20):
        self.socket = socket.create_connection(("127.0.0.1", port), seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def answer(self):
        """One answer; EOFError when the server closed the connection."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Error(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = self.file.read(int(rest) + 2)
            if len(data) != int(rest) + 2:
                raise EOFError
            is_equal(data[-2:], b"\r\n")
            return data[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        raise AssertionError(f"not an answer: {line!r:.200}")

    def ask(self, *words):
        self.send(command(*words))
        return self.answer()

    def is_closed(self, seconds=10):
        """Whether the server closes the connection, whatever it says before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not select.select([self.socket], [], [], 0.1)[0]:
                continue
            try:
                if not self.socket.recv(1 << 16):
                    return True
            except ConnectionError:
                return True
        return False

    def reset(self):
        """Ends the connection without a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.file.close()
        self.socket.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def command(*words):
    """A request in RESP."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def serves(port):
    """Raises unless a new client gets an answer."""
    with Raw(port) as client:
        is_equal(client.ask("PING"), "PONG")


__all__ = ["Tap", "Server", "Raw", "Error", "command", "serves", "is_equal", "is_true", "signal",
           "resource"]
