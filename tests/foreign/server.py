"""A Linger that serves one component, and what comes from it over a plain socket."""

import re
import socket
import subprocess
import tempfile
import time

TIMEOUT = 5


class Server:
    """Serves a component, or what a configuration says in which `{NAME}` stands for the file of one."""

    def __init__(self, linger, components, source):
        self.folder = tempfile.TemporaryDirectory()
        file = f"{components}/{source}.wasm"
        if "\n" in source:
            file = f"{self.folder.name}/linger.toml"
            with open(file, "w", encoding="utf-8") as configuration:
                configuration.write(re.sub(r"\{([\w-]+)\}", rf"{components}/\1.wasm", source))
        self.log = open(f"{self.folder.name}/log", "w+", encoding="utf-8")
        command = [linger, "serve", file, "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=self.log)
        said = self.process.stdout.readline().strip()
        if not said.startswith("listening on "):
            self.log.seek(0)
            raise SystemExit(f"linger did not start: {self.log.read()}")
        self.url = said.removeprefix("listening on ")
        host, port = self.url.rsplit("/", 1)[1].rsplit(":", 1)
        self.address = (host, int(port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


class Cut(Exception):
    """The connection ended within an answer, or none came in time."""


class Connection:
    """A client of HTTP/1.1 that reads answers as they are framed."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=TIMEOUT)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # It has been answered before all was sent; what was said can be read.

    def _more(self, deadline):
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise Cut
        self.received += data

    def _until(self, mark, deadline):
        while mark not in self.received:
            self._more(deadline)
        taken, _, self.received = self.received.partition(mark)
        return taken

    def _exactly(self, count, deadline):
        while len(self.received) < count:
            self._more(deadline)
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def answer(self, bodiless=False, timeout=TIMEOUT):
        """The next final answer: its status, its head and its body."""
        deadline = time.monotonic() + timeout
        while True:
            head = self._until(b"\r\n\r\n", deadline)
            status = int(head.split(b" ", 2)[1])
            if status >= 200:
                break
        fields = head.lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)", fields)
        if bodiless or status in (204, 304):
            body = b""
        elif b"\r\ntransfer-encoding: chunked" in fields:
            body = self._chunks(deadline)
        elif length:
            body = self._exactly(int(length[1]), deadline)
        else:
            body = self._rest(deadline)
        return status, head, body

    def _chunks(self, deadline):
        body = b""
        while size := int(self._until(b"\r\n", deadline).split(b";")[0], 16):
            body += self._exactly(size, deadline)
            self._until(b"\r\n", deadline)
        while self._until(b"\r\n", deadline):
            pass
        return body

    def _rest(self, deadline):
        try:
            while True:
                self._more(deadline)
        except Cut:
            body, self.received = self.received, b""
            return body

    def is_closed(self, timeout=TIMEOUT):
        """Whether the server closes it, with nothing more to say."""
        try:
            self._more(time.monotonic() + timeout)
        except Cut:
            self.socket.settimeout(0.001)
            try:
                return self.socket.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True
        return False
