"""The proxies that are compared: how each is found, configured and started."""

import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from .machine import cpu_list, version_of
from .process import NotStarted, Process, children_of
from .scenarios import Requests

TEMPLATES = Path(__file__).resolve().parent.parent / "peers"
API_KEY = "secret-key-1"


@dataclass
class Setup:
    """What a peer is asked to be."""

    directory: Path
    backend_port: int
    port: int
    admin_port: int
    cpus: tuple
    routes: int = 0
    """Path routes `/route-N/`; 0 is one route for everything."""
    is_keyed: bool = False
    is_bulk: bool = False
    chain: str = ""
    """The plugins of the gateway, by the name of their template; nothing for those of the scenario."""
    extra_route: str = ""
    """One more route, by which a reload is seen."""
    requests: Requests = Requests()
    """What will be sent, which says what the listeners and the backend have to speak."""
    tls_port: int = 0
    certificates: Path | None = None
    """Where `server.crt`, `server.key` and both in `server.pem` are."""

    @property
    def cores(self):
        return len(self.cpus)

    @property
    def load_port(self):
        """Where the requests go."""
        return self.tls_port if self.requests.is_tls else self.port

    @property
    def ports(self):
        return (self.port, self.tls_port) if self.requests.is_tls else (self.port,)

    @property
    def is_h2c(self):
        """The listener without TLS gets HTTP/2."""
        return self.requests.is_http2 and not self.requests.is_tls

    def prefixes(self):
        if self.routes == 0:
            return ["/"]
        prefixes = [f"/route-{number}/" for number in range(self.routes)]
        return prefixes + [self.extra_route] if self.extra_route else prefixes


@dataclass
class Running:
    """A peer at work."""

    peer: "Peer"
    process: Process
    setup: Setup
    has_workers: bool = False
    """The work is done by children; the process itself only watches them."""
    pids: list = field(default_factory=list)

    def __post_init__(self):
        self.pids = self.find_pids()

    def logged_lines(self):
        """Lines in the access log: a file of its own, or the process's output."""
        path = self.setup.directory / "access.log"
        with open(path if path.exists() else self.process.log_path, "rb") as log:
            return sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))

    def find_pids(self):
        if not self.has_workers:
            return [self.process.pid]
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            workers = children_of(self.process.pid)
            if len(workers) >= self.setup.cores:
                return workers
            time.sleep(0.02)
        raise NotStarted("the workers did not start")


def fill(template, setup, **texts):
    """A template with its `@NAME@` marks replaced."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    values = {
        "PORT": setup.port,
        "BACKEND_PORT": setup.backend_port,
        "DIRECTORY": setup.directory,
        "CORES": setup.cores,
        "TLS_PORT": setup.tls_port,
        "CERTIFICATES": setup.certificates,
        **texts,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


class Peer:
    """A kind of proxy."""

    name = ""
    can_key = True
    can_route = True
    can_reload = False

    def why_not(self, setup):
        """Why this peer cannot be run as asked, or nothing."""
        if setup.is_keyed and not self.can_key:
            return "has no plugins"
        if setup.routes and not self.can_route:
            return "has no routes"
        return self.missing()

    def missing(self):
        return None

    def version(self):
        return "built here"

    def write(self, setup):
        """Writes the configuration of `setup` into its directory."""

    def start(self, setup):
        raise NotImplementedError

    def launch(self, setup, command, environment=None, has_workers=False):
        log_path = setup.directory / f"{self.name.replace(':', '-')}.log"
        process = Process(command, setup.cpus, log_path, environment, setup.ports)
        try:
            return Running(self, process, setup, has_workers)
        except NotStarted:
            process.stop()
            raise

    def reload(self, running):
        raise NotImplementedError


class Program(Peer):
    """A peer whose binary may be missing."""

    def __init__(self, path):
        self.path = path

    def missing(self):
        return None if self.path and os.access(self.path, os.X_OK) else f"no program {self.path or self.name}"


class Floor(Program):
    """The bare relay on the raw ring."""

    name = "floor"
    can_key = False
    can_route = False

    def start(self, setup):
        addresses = ["--listen", f"127.0.0.1:{setup.port}", "--backend", f"127.0.0.1:{setup.backend_port}"]
        # What it needs to know of WebSocket is that nothing need be known of it.
        tunnel = ["--tunnel"] if setup.requests.protocol == "websocket" else []
        return self.launch(setup, [self.path, *addresses, *tunnel])


class Relay(Program):
    """The same relay on a reactor."""

    can_key = False
    can_route = False

    def __init__(self, path, reactor):
        super().__init__(path)
        self.reactor = reactor
        self.name = reactor

    def start(self, setup):
        addresses = ["--listen", f"127.0.0.1:{setup.port}", "--backend", f"127.0.0.1:{setup.backend_port}"]
        return self.launch(setup, [self.path, "--reactor", self.reactor, *addresses])


class Gateway(Program):
    """Ferrum Edge."""

    name = "gateway"
    can_reload = True

    def version(self):
        return version_of([self.path, "version"])

    def write(self, setup):
        name = f"chain-{setup.chain}" if setup.chain else "keyed" if setup.is_keyed else "plain"
        plugins = (TEMPLATES / f"gateway-{name}.yaml").read_text()
        routes = "\n".join(
            f"  - {{id: route-{number}, listen_path: {prefix}, backend_scheme: http, backend_host: 127.0.0.1, "
            f"backend_port: {setup.backend_port}, strip_listen_path: false}}"
            for number, prefix in enumerate(setup.prefixes())
        )
        document = fill("gateway.yaml", setup, ROUTES=routes, PLUGINS=plugins.rstrip())
        # A reload must never see half a document.
        path = setup.directory / "gateway.yaml"
        partial = path.with_suffix(".partial")
        partial.write_text(document, encoding="utf-8")
        partial.chmod(0o600)
        partial.replace(path)

    def start(self, setup):
        self.write(setup)
        environment = {
            "FERRUM_MODE": "file",
            "FERRUM_FILE_CONFIG_PATH": str(setup.directory / "gateway.yaml"),
            "FERRUM_PROXY_HTTP_PORT": str(setup.port),
            "FERRUM_PROXY_BIND_ADDRESS": "127.0.0.1",
            "FERRUM_ADMIN_HTTP_PORT": str(setup.admin_port),
            "FERRUM_ADMIN_BIND_ADDRESS": "127.0.0.1",
            "FERRUM_CORES": cpu_list(setup.cpus),
            "FERRUM_POOL_WARMUP_ENABLED": "false",
            "FERRUM_BACKEND_CAPABILITY_PROBE_ENABLED": "false",
            "FERRUM_POOL_MAX_IDLE_PER_HOST": "256",
            "FERRUM_LOG_LEVEL": "info" if setup.is_keyed else "error",
            "FERRUM_HTTP_HEADER_READ_TIMEOUT_SECONDS": "120",
            "FERRUM_MAX_REQUEST_BODY_SIZE_BYTES": "0",
            "FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES": "0",
            "FERRUM_MAX_GRPC_RECV_SIZE_BYTES": "0",
        }
        if setup.requests.is_tls:
            environment |= {
                "FERRUM_PROXY_HTTPS_PORT": str(setup.tls_port),
                "FERRUM_FRONTEND_TLS_CERT_PATH": str(setup.certificates / "server.crt"),
                "FERRUM_FRONTEND_TLS_KEY_PATH": str(setup.certificates / "server.key"),
            }
        return self.launch(setup, [self.path], environment)

    def reload(self, running):
        running.process.signal(signal.SIGHUP)


class Nginx(Program):
    """nginx, one worker per core."""

    name = "nginx"
    can_reload = True

    def __init__(self):
        super().__init__(shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin"))

    def version(self):
        return version_of([self.path, "-v"]).removeprefix("nginx version: ")

    def write(self, setup):
        user = "root" if os.geteuid() == 0 else "nobody"
        forward = "proxy_pass http://backend;"
        if setup.requests.is_grpc:
            forward = "grpc_pass grpc://backend;"
        elif setup.requests.protocol == "websocket":
            forward += ' proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
        routes = "\n".join(f"        location {prefix} {{ {forward} }}" for prefix in setup.prefixes())
        template = "nginx-keyed.conf" if setup.is_keyed else "nginx.conf"
        text = fill(
            template,
            setup,
            USER=user,
            ROUTES=routes,
            BULK=fill("nginx-bulk.conf", setup) if setup.is_bulk else "",
            REUSEPORT=" reuseport" if setup.cores > 1 else "",
            # Before 1.25 a listener without TLS speaks HTTP/2 or HTTP/1.1, not both.
            HTTP2=" http2" if setup.is_h2c else "",
            TLS=fill("nginx-tls.conf", setup, HTTP2=" http2" if setup.requests.is_http2 else "")
            if setup.requests.is_tls
            else "",
        )
        (setup.directory / "nginx.conf").write_text(text, encoding="utf-8")

    def start(self, setup):
        self.write(setup)
        command = [self.path, "-c", setup.directory / "nginx.conf", "-e", setup.directory / "nginx-error.log"]
        return self.launch(setup, command, has_workers=True)

    def reload(self, running):
        running.process.signal(signal.SIGHUP)


class Haproxy(Program):
    """haproxy, one thread per core."""

    name = "haproxy"

    def __init__(self):
        super().__init__(shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin"))

    def version(self):
        return version_of([self.path, "-v"]).split(" - ")[0]

    def start(self, setup):
        map_path = setup.directory / "routes.map"
        map_path.write_text("".join(f"{prefix} servers\n" for prefix in setup.prefixes()), encoding="utf-8")
        (setup.directory / "keys.map").write_text(f"{API_KEY} alice\n", encoding="utf-8")
        routes = f"    use_backend %[path,map_beg({map_path})]" if setup.routes else ""
        template = "haproxy-keyed.cfg" if setup.is_keyed else "haproxy.cfg"
        bulk = "    tune.bufsize 65536" if setup.is_bulk else ""
        path = setup.directory / "haproxy.cfg"
        tls = f"    bind 127.0.0.1:{setup.tls_port} backlog 4096 ssl crt {setup.certificates}/server.pem alpn http/1.1"
        text = fill(template, setup, ROUTES=routes, BULK=bulk, TLS=tls if setup.requests.is_tls else "")
        path.write_text(text, encoding="utf-8")
        return self.launch(setup, [self.path, "-db", "-f", path])


class Envoy(Program):
    """Envoy, one worker per core."""

    name = "envoy"

    def version(self):
        text = version_of([self.path, "--version"])
        return text.split("version:")[-1].strip().split("/")[1] if "version:" in text else text

    def start(self, setup):
        routes = "\n".join(
            f"                        - {{match: {{prefix: {prefix}}}, route: {{cluster: backend, timeout: 0s}}}}"
            for prefix in setup.prefixes()
        )
        options = fill("envoy-keyed-log.yaml", setup).rstrip() if setup.is_keyed else ""
        if setup.requests.protocol == "websocket":
            options = "                upgrade_configs: [{upgrade_type: websocket}]"
        texts = {
            "ROUTES": routes,
            "FILTERS": fill("envoy-keyed-filter.yaml", setup).rstrip() if setup.is_keyed else "",
            "OPTIONS": options,
        }
        # AUTO is by ALPN, or by the first bytes where there is none.
        codec = "AUTO" if setup.is_h2c else "HTTP1"
        listeners = fill("envoy-listener.yaml", setup, LISTENER_PORT=setup.port, CODEC=codec, TLS="", **texts)
        if setup.requests.is_tls:
            tls = fill("envoy-tls.yaml", setup)
            listeners += fill("envoy-listener.yaml", setup, LISTENER_PORT=setup.tls_port, CODEC="AUTO", TLS=tls, **texts)
        upstream = fill("envoy-grpc.yaml", setup) if setup.requests.is_grpc else ""
        path = setup.directory / "envoy.yaml"
        path.write_text(fill("envoy.yaml", setup, LISTENERS=listeners, UPSTREAM=upstream), encoding="utf-8")
        command = [self.path, "-c", path, "--concurrency", setup.cores, "-l", "error", "--use-dynamic-base-id"]
        return self.launch(setup, command)


class Caddy(Program):
    """Caddy, GOMAXPROCS of the cores."""

    name = "caddy"

    def version(self):
        return version_of([self.path, "version"]).split()[0]

    def start(self, setup):
        routes = ",\n".join(fill("caddy-route.json", setup, PREFIX=prefix).rstrip() for prefix in setup.prefixes())
        path = setup.directory / "caddy.json"
        path.write_text(fill("caddy-keyed.json" if setup.is_keyed else "caddy.json", setup, ROUTES=routes))
        environment = {
            "GOMAXPROCS": str(setup.cores),
            "XDG_DATA_HOME": str(setup.directory),
            "XDG_CONFIG_HOME": str(setup.directory),
        }
        return self.launch(setup, [self.path, "run", "--config", path], environment)


def all_peers(programs, gateway, venv):
    """Every peer by name, in the order they are shown."""
    peers = [
        Floor(programs / "floor_relay"),
        Gateway(gateway),
        Nginx(),
        Haproxy(),
        Envoy(next(venv.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)),
        Caddy(venv / "bin" / "caddy"),
        Relay(programs / "reactor_relay", "monoio"),
        Relay(programs / "reactor_relay", "tokio"),
        Relay(programs / "reactor_relay", "glommio"),
    ]
    return {peer.name: peer for peer in peers}
