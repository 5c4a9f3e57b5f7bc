"""A gateway in database mode, its databases, and the cable between them."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import socket
import sqlite3
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from .process import Process

SECRET = "a secret of the admin API, long enough"
READY_SECONDS_MAX = 120.0


def token():
    """What an admin shows (HS256, RFC 7515)."""
    now = int(time.time())
    claims = {"iss": "ferrum-edge", "sub": "rig", "role": "admin", "iat": now, "nbf": now, "exp": now + 3000, "jti": "1"}
    encode = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=")
    text = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (text + b"." + encode(hmac.new(SECRET.encode(), text, hashlib.sha256).digest())).decode()


class Sqlite:
    """A file of its own."""

    name = "SQLite"
    kind = "sqlite"

    def __init__(self, bench):
        self._path = bench.folder / f"{bench.fresh()}.db"
        self.url = f"sqlite://{self._path}?mode=rwc"

    def fill(self, statement, rows):
        with sqlite3.connect(self._path) as connection:
            connection.executemany(statement, rows)
        connection.close()

    def stop(self):
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()


class Postgres:
    """A database of its own on the server that was named."""

    name = "PostgreSQL"
    kind = "postgres"

    def __init__(self, bench):
        self._server, self._name = bench.given.postgres, bench.fresh()
        self._ask(self._server, f"CREATE DATABASE {self._name}")
        self.url = self._server.rsplit("/", 1)[0] + "/" + self._name

    @staticmethod
    def _ask(url, text):
        subprocess.run(["psql", url, "-q", "-v", "ON_ERROR_STOP=1"], input=text, text=True, check=True)

    def fill(self, statement, rows):
        quoted = lambda value: str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
        head, _ = statement.split("VALUES")
        lines = ["(" + ", ".join(map(quoted, row)) + ")" for row in rows]
        parts = [lines[at : at + 1000] for at in range(0, len(lines), 1000)]
        self._ask(self.url, "\n".join(f"{head} VALUES {', '.join(part)};" for part in parts))

    def stop(self):
        self._ask(self._server, f"DROP DATABASE {self._name} WITH (FORCE)")


class Cable:
    """A way to a server that can be cut and mended."""

    def __init__(self, host, port):
        self._far, self._open, self._is_cut = (host, port), [], False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut:
                near.close()
                continue
            far = socket.create_connection(self._far)
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self._is_cut = True
        while self._open:
            try:
                self._open.pop().shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def mend(self):
        self._is_cut = False


class Admin:
    """One keep-alive connection to the admin API."""

    def __init__(self, port):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}

    def ask(self, method, path, body=None):
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def must(self, method, path, body, status):
        got, text = self.ask(method, path, body)
        if got != status:
            raise RuntimeError(f"{method} {path}: {got} {text[:300]!r}")


class Gateway:
    """A gateway on a database, ready."""

    def __init__(self, bench, store, url=None, cores=None, poll_seconds=30):
        self.port, self.admin_port = bench.ports.take(), bench.ports.take()
        cpus = cores or bench.layout.proxy
        settings = {
            "FERRUM_MODE": "database",
            "FERRUM_DB_TYPE": store.kind,
            "FERRUM_DB_URL": url or store.url,
            "FERRUM_DB_POLL_INTERVAL": str(poll_seconds),
            "FERRUM_ADMIN_JWT_SECRET": SECRET,
            "FERRUM_PROXY_HTTP_PORT": str(self.port),
            "FERRUM_PROXY_HTTPS_PORT": "0",
            "FERRUM_ADMIN_HTTP_PORT": str(self.admin_port),
            "FERRUM_PROXY_BIND_ADDRESS": "127.0.0.1",
            "FERRUM_ADMIN_BIND_ADDRESS": "127.0.0.1",
            "FERRUM_CORES": ",".join(map(str, cpus)),
            "FERRUM_POOL_WARMUP_ENABLED": "false",
            "FERRUM_BACKEND_CAPABILITY_PROBE_ENABLED": "false",
            "FERRUM_LOG_LEVEL": "info",
        }
        self._log = bench.folder / f"{bench.fresh()}.log"
        started = time.monotonic()
        all_cpus = os.sched_getaffinity(0)
        self._process = Process([bench.given.gateway, "run"], all_cpus, self._log, settings, ports=(self.admin_port,))
        while self.health() != 200:
            if time.monotonic() - started > READY_SECONDS_MAX:
                raise RuntimeError(f"not ready: {self._process.last_line()}")
            time.sleep(0.005)
        self.start_seconds = time.monotonic() - started

    @property
    def pid(self):
        return self._process.pid

    def health(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def fields_of(self, message):
        """What was logged with each line of that message."""
        records = []
        for line in self._log.read_text(errors="replace").splitlines():
            try:
                fields = json.loads(line)["fields"]
            except (ValueError, KeyError):
                continue
            if fields.get("message") == message:
                records.append(fields)
        return records

    def admin(self):
        return Admin(self.admin_port)

    def stop(self):
        self._process.stop()


@dataclass
class Bench:
    """What every measure works with."""

    given: object
    layout: object
    ports: object
    folder: Path
    backend_port: int
    _count: int = 0

    def fresh(self):
        self._count += 1
        return f"perf_{os.getpid()}_{self._count}"

    def proxy(self, number):
        return {
            "id": f"p{number:06}",
            "listen_path": f"/p{number:06}",
            "backend_scheme": "http",
            "backend_host": "127.0.0.1",
            "backend_port": self.backend_port,
        }

    def filled(self, kind, count):
        """A database with so many plain proxies, in the schema of the gateway."""
        store = kind(self)
        settings = dict(os.environ, FERRUM_MODE="migrate", FERRUM_DB_TYPE=store.kind, FERRUM_DB_URL=store.url)
        subprocess.run([self.given.gateway, "run"], env=settings, check=True, stdout=subprocess.DEVNULL)
        stamp = "2026-01-01T00:00:00.000000000+00:00"
        columns = "id, listen_path, backend_scheme, backend_host, backend_port, created_at, updated_at"
        rows = (
            (row["id"], row["listen_path"], "http", row["backend_host"], row["backend_port"], stamp, stamp)
            for row in map(self.proxy, range(count))
        )
        store.fill(f"INSERT INTO proxies ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", list(rows))
        return store
