"""What is measured: each scenario says which peers run, with which requests, and what is read off."""

from dataclasses import dataclass, replace

PROXIES = ("floor", "gateway", "nginx", "haproxy", "envoy", "caddy")
TLS_PROXIES = ("gateway", "nginx", "haproxy", "envoy")
HTTP2_PROXIES = ("gateway", "nginx", "envoy")
RELAYS = ("floor", "monoio", "tokio", "glommio", "nginx")
ROUTES = 10_000
KEY_HEADER = "X-API-Key: secret-key-1"
# Both expire in 2100. The first is signed with the secret, the second by the key of which the public half stands in perf/peers.
HS256_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJyaWciLCJleHAiOjQxMDI0NDQ4MDB9.XZbwRMWWKAsdx794iBnrKR"
    "8r5dAYi4i2C2FSW7JAxXk"
)
RS256_TOKEN = (
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJpZyJ9.eyJpc3MiOiJodHRwczovL3JpZy50ZXN0Iiwic3ViIjoicml"
    "nIiwiZXhwIjo0MTAyNDQ0ODAwfQ.m6cowfeeOt14mojVwtNI7mq08VZk8671EjQ2tVwf0-1RKnIj3V1OLWe_WE1hWqldLbK47Kdn"
    "tE66GywTSnh2XkPShdp07-u3a7majMClNBccK4RPsFpBFkZP-GqOtvqEh3tBIi3kStemoWd2tZumPsRGoBNaqKmw4heH1oFhqopy"
    "xCioi9el2zey9SIo7NhUiC5A8bnIJpggqku5AtqBwMmV0keuANwpLes-aZZylKPi8CjzShFiFUOSphZNPzwDRsKoIQSuThTVxZCi"
    "XhMSmA2Nkc2Z2dJwsShpl44w-rdW6IVt5nWU5Z0HAbGGYtCoFu4eFwAIphhxFhQAJMZq5g"
)


@dataclass(frozen=True)
class Requests:
    """What the load generator sends."""

    path: str = "/bytes/64"
    paths: int = 1
    headers: tuple = ()
    protocol: str = "http1"
    """`http1`, `http2`, `grpc`, `grpc-stream` or `websocket`, as the load generator names them."""
    is_tls: bool = False
    connections: int = 0
    """0: as many as the session has."""
    streams: int = 1
    """Requests at a time on each connection."""
    handshakes: str = ""
    """`full` or `resumed`: a new TLS connection for every request. With full ones the pause they cause is measured."""

    @property
    def is_plain_http1(self):
        return self.protocol == "http1" and not self.is_tls

    @property
    def is_http2(self):
        return self.protocol in {"http2", "grpc", "grpc-stream"}

    @property
    def is_grpc(self):
        return self.protocol in {"grpc", "grpc-stream"}

    @property
    def backend(self):
        """The backend that answers: `bytes` or `echo`."""
        return "echo" if self.is_grpc or self.protocol == "websocket" else "bytes"


HTTP2 = Requests(protocol="http2", connections=8, streams=16)
# Few enough that a request on another connection waits for the proxy's turn, not for a queue of our own making.
HANDSHAKES_AT_A_TIME = 16


@dataclass(frozen=True)
class Leg:
    """One peer in one form within a scenario."""

    peer: str
    label: str
    routes: int = 0
    is_two_cores: bool = False
    requests: Requests | None = None
    """If they are not the scenario's."""
    chain: str = ""
    """The plugins, by the name of their template."""


@dataclass(frozen=True)
class Scenario:
    """One row of the result."""

    name: str
    title: str
    kind: str
    """`load` (closed loop, then a fixed rate), `idle`, `reload` or `cores`."""
    peers: tuple
    requests: Requests = Requests()
    routes: int = 0
    is_keyed: bool = False
    is_bulk: bool = False
    rate: int = 0
    """Requests a second of the fixed-rate part; 0 leaves it out."""
    unit: str = "request"
    """What is counted."""
    forms: tuple = ()
    """Label and requests of each form every peer is run in; without any, one form with the scenario's requests."""
    chains: tuple = ()
    """Label, template and headers of each chain of plugins every peer is run with."""
    references: tuple = ("nginx", "floor")
    """The peers that others are compared with."""

    def legs(self, peers):
        """The runs of one round."""
        chosen = [name for name in self.peers if name in peers]
        if self.kind == "cores":
            return [
                Leg(name, f"{name} {cores} core{'s' if cores > 1 else ''}", is_two_cores=cores > 1)
                for name in chosen
                for cores in (1, 2)
            ]
        if self.name == "routes":
            # The same requests against one route and against all of them.
            return [
                Leg(name, f"{name} {label}", routes)
                for name in chosen
                for label, routes in (("1 route", 0), (f"{self.routes} routes", self.routes))
            ]
        if self.chains:
            return [
                Leg(name, f"{name} {label}", requests=replace(self.requests, headers=headers), chain=chain)
                for name in chosen
                for label, chain, headers in self.chains
            ]
        if self.forms:
            return [Leg(name, f"{name} {label}", requests=form) for name in chosen for label, form in self.forms]
        return [Leg(name, name, self.routes) for name in chosen]


def all_scenarios(routes=ROUTES):
    """Every scenario by name, in the order they are shown."""
    scenarios = [
        Scenario("plain", "64 B, one route", "load", PROXIES, rate=20_000),
        Scenario("1k", "1 KiB, one route", "load", PROXIES, Requests("/bytes/1024"), rate=20_000),
        Scenario("1m", "1 MiB, one route", "load", PROXIES, Requests("/bytes/1048576"), is_bulk=True),
        Scenario(
            "keyed",
            "64 B, API key + metrics + access log",
            "load",
            PROXIES,
            Requests(headers=(KEY_HEADER,)),
            is_keyed=True,
            rate=20_000,
        ),
        Scenario(
            "routes", f"64 B, {routes} routes", "load", PROXIES, Requests("/route-{}/bytes/64", routes), routes=routes
        ),
        Scenario(
            "h2",
            "64 B, HTTP/2 without TLS to HTTP/1.1, 8 x 16 streams",
            "load",
            HTTP2_PROXIES,
            HTTP2,
            references=("nginx", "envoy"),
        ),
        Scenario(
            "h2-streams",
            "64 B, HTTP/2, other counts of streams, TLS",
            "load",
            HTTP2_PROXIES,
            forms=(
                ("64 x 1", replace(HTTP2, connections=64, streams=1)),
                ("2 x 100", replace(HTTP2, connections=2, streams=100)),
                ("8 x 16 TLS", replace(HTTP2, is_tls=True)),
            ),
            references=("nginx", "envoy"),
        ),
        Scenario("tls", "64 B, TLS 1.3", "load", TLS_PROXIES, Requests(is_tls=True)),
        Scenario(
            "handshakes",
            "TLS 1.3 handshakes, ECDSA P-256",
            "load",
            HTTP2_PROXIES,
            unit="handshake",
            forms=tuple(
                (kind, Requests(is_tls=True, connections=HANDSHAKES_AT_A_TIME, handshakes=kind))
                for kind in ("full", "resumed")
            ),
        ),
        Scenario(
            "grpc",
            "unary gRPC, 64 B, 8 x 16 streams",
            "load",
            HTTP2_PROXIES,
            Requests("/rig.Echo/Unary", protocol="grpc", connections=8, streams=16),
            references=("envoy", "nginx"),
        ),
        Scenario(
            "grpc-stream",
            "gRPC, 1 KiB messages from the server, 8 calls",
            "load",
            HTTP2_PROXIES,
            Requests("/rig.Echo/Stream", protocol="grpc-stream", connections=8),
            unit="message",
            references=("envoy", "nginx"),
        ),
        Scenario(
            "websocket",
            "echo of 64 B",
            "load",
            ("floor", *HTTP2_PROXIES),
            Requests("/echo", protocol="websocket"),
            unit="message",
        ),
        Scenario(
            "plugins",
            "64 B, chains of plugins",
            "load",
            ("gateway",),
            chains=(
                ("plain", "", ()),
                ("empty chain", "empty", ()),
                ("seven", "seven", (KEY_HEADER, "Origin: https://rig.test")),
                ("jwt HS256", "jwt", (f"Authorization: Bearer {HS256_TOKEN}",)),
                ("jwks RS256", "jwks", (f"Authorization: Bearer {RS256_TOKEN}",)),
                ("documented", "documented", ()),
            ),
            references=("gateway plain",),
        ),
        Scenario("idle", "idle keep-alive connections", "idle", PROXIES),
        Scenario("idle-tls", "idle TLS connections", "idle", TLS_PROXIES, Requests(is_tls=True)),
        Scenario("idle-h2", "idle HTTP/2 connections", "idle", HTTP2_PROXIES, Requests(protocol="http2")),
        Scenario(
            "reload",
            f"reload of {routes} routes under load",
            "reload",
            ("gateway", "nginx"),
            Requests("/route-{}/bytes/64", routes),
            routes=routes,
            rate=10_000,
        ),
        Scenario("cores", "64 B, one core and two", "cores", ("gateway", "nginx")),
        Scenario("bakeoff", "64 B, bare relays", "load", RELAYS),
    ]
    return {scenario.name: scenario for scenario in scenarios}
