"""What is measured: each scenario says which peers run, with which requests, and what is read off."""

from dataclasses import dataclass

PROXIES = ("floor", "gateway", "nginx", "haproxy", "envoy", "caddy")
RELAYS = ("floor", "monoio", "tokio", "glommio", "nginx")
ROUTES = 10_000
KEY_HEADER = "X-API-Key: secret-key-1"


@dataclass(frozen=True)
class Requests:
    """What the load generator sends."""

    path: str = "/bytes/64"
    paths: int = 1
    headers: tuple = ()


@dataclass(frozen=True)
class Leg:
    """One peer in one form within a scenario."""

    peer: str
    label: str
    routes: int = 0
    is_two_cores: bool = False


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
        Scenario("idle", "idle keep-alive connections", "idle", PROXIES),
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
