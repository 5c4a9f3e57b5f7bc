"""The bars the gateway is held to, each with its measured value."""

from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True)
class Bar:
    """One promise: a figure, its bound, and what was measured."""

    what: str
    bound: str
    measured: str
    verdict: str
    """`met`, `missed`, `not measured`, or `shown`."""

    def to_json(self):
        return {"what": self.what, "bound": self.bound, "measured": self.measured, "verdict": self.verdict}


def all_bars(figures, scenarios, layout_is_separate):
    """Every bar; those whose scenario was not run say so."""
    routes = scenarios["routes"].routes
    return [
        _at_most(
            "CPU per request, plain, 64 connections, one core, against nginx (aim 0.80)",
            0.88,
            figures.ratio("plain", "gateway", "nginx", "cpu_us_per_request"),
        ),
        _at_most(
            "CPU per request, plain, against the floor relay",
            1.20,
            figures.ratio("plain", "gateway", "floor", "cpu_us_per_request"),
        ),
        _at_most(
            "CPU per request, API key + metrics + access log, against nginx",
            0.90,
            figures.ratio("keyed", "gateway", "nginx", "cpu_us_per_request"),
        ),
        _at_most(
            "CPU per GiB, 1 MiB responses, against nginx",
            1.0,
            figures.ratio("1m", "gateway", "nginx", "cpu_s_per_gib"),
        ),
        _at_most(
            f"CPU per request, {routes} routes against 1",
            1.05,
            figures.ratio("routes", f"gateway {routes} routes", "gateway 1 route", "cpu_us_per_request"),
        ),
        _at_most(
            f"p99 at {scenarios['plain'].rate} requests/s, against nginx",
            1.0,
            figures.ratio("plain", "gateway", "nginx", "rate_p99_us"),
        ),
        _at_most(
            "CPU per request, HTTP/2 to HTTP/1.1, 8 x 16 streams, against nginx",
            0.70,
            figures.ratio("h2", "gateway", "nginx", "cpu_us_per_request"),
        ),
        _at_most(
            "CPU per request, HTTP/2 to HTTP/1.1, 8 x 16 streams, against Envoy",
            0.35,
            figures.ratio("h2", "gateway", "envoy", "cpu_us_per_request"),
        ),
        _at_most(
            "CPU per request, TLS 1.3 keep-alive, against nginx",
            0.90,
            figures.ratio("tls", "gateway", "nginx", "cpu_us_per_request"),
        ),
        *(
            _at_most(
                f"CPU per {kind} TLS 1.3 handshake, against nginx",
                1.0,
                figures.ratio("handshakes", f"gateway {kind}", f"nginx {kind}", "cpu_us_per_request"),
            )
            for kind in ("full", "resumed")
        ),
        _at_most(
            "CPU per unary gRPC call, 8 x 16 streams, against Envoy",
            0.35,
            figures.ratio("grpc", "gateway", "envoy", "cpu_us_per_request"),
        ),
        _at_most(
            "CPU per WebSocket message, against nginx",
            0.90,
            figures.ratio("websocket", "gateway", "nginx", "cpu_us_per_request"),
        ),
        *(
            _at_most(
                f"CPU per request, {what}, against the plain proxy",
                bound,
                figures.ratio("plugins", f"gateway {label}", "gateway plain", "cpu_us_per_request"),
            )
            for what, label, bound in (
                ("seven plugins", "seven", 1.15),
                ("jwt_auth HS256", "jwt HS256", 1.10),
                ("a chain that is empty for the protocol", "empty chain", 1.01),
            )
        ),
        _documented(figures),
        _idle(figures, "idle", "keep-alive", 4),
        _idle(figures, "idle-tls", "TLS", 20),
        _idle(figures, "idle-h2", "HTTP/2", 40),
        _no_failures(figures),
        _reload_latency(figures),
        _two_cores(figures, layout_is_separate),
    ]


def _at_most(what, bound, found):
    if found is None:
        return Bar(what, f"<= {bound:.2f} x", "", "not measured")
    measured = f"{found.median:.3f} x ({found.low:.3f}–{found.high:.3f})"
    return Bar(what, f"<= {bound:.2f} x", measured, "met" if found.median <= bound else "missed")


def _documented(figures):
    """The price of the documented plugin API, in absolute terms: its part does not grow with the rest of a request."""
    what, bound = "CPU of the example plugin, documented API, above the plain proxy", "<= 1.50 us"
    alone = figures.by_round("plugins", "gateway plain", "cpu_us_per_request")
    with_it = figures.by_round("plugins", "gateway documented", "cpu_us_per_request")
    more = sorted(with_it[number] - alone[number] for number in with_it if number in alone)
    if not more:
        return Bar(what, bound, "", "not measured")
    middle = more[len(more) // 2] if len(more) % 2 else sum(more[len(more) // 2 - 1 :][:2]) / 2
    return Bar(what, bound, f"{middle:.2f} us ({more[0]:.2f}–{more[-1]:.2f})", "met" if middle <= 1.5 else "missed")


def _idle(figures, scenario, kind, kib_max):
    found = figures.value(scenario, "gateway", "idle_bytes_per_connection")
    what, bound = f"resident memory per idle {kind} connection", f"<= {kib_max} KiB"
    if found is None:
        return Bar(what, bound, "", "not measured")
    held = figures.value(scenario, "gateway", "idle_connections")
    measured = f"{found.median / KIB:.2f} KiB ({found.low / KIB:.2f}–{found.high / KIB:.2f}, {held.median:.0f} held)"
    return Bar(what, bound, measured, "met" if found.median <= kib_max * KIB else "missed")


def _no_failures(figures):
    what, bound = "failed requests in a reload under load", "0"
    if figures.value("reload", "gateway", "failed") is None:
        return Bar(what, bound, "", "not measured")
    failed = figures.failed("reload", "gateway")
    return Bar(what, bound, str(failed), "met" if failed == 0 else "missed")


def _reload_latency(figures):
    before = figures.by_round("reload", "gateway", "reload_p99_before_us")
    during = figures.by_round("reload", "gateway", "reload_p99_swap_us")
    what, bound = "p99 of the worst second of a swap, against before", "<= 2.00 x"
    ratios = sorted(during[number] / before[number] for number in during if before.get(number))
    if not ratios:
        return Bar(what, bound, "", "not measured")
    middle = ratios[len(ratios) // 2] if len(ratios) % 2 else sum(ratios[len(ratios) // 2 - 1 :][:2]) / 2
    measured = f"{middle:.2f} x ({ratios[0]:.2f}–{ratios[-1]:.2f})"
    return Bar(what, bound, measured, "met" if middle <= 2.0 else "missed")


def _two_cores(figures, layout_is_separate):
    what, bound = "two cores against one", ">= 1.80 x"
    found = figures.ratio("cores", "gateway 2 cores", "gateway 1 core", "requests_per_second")
    if found is None:
        return Bar(what, bound, "", "not measured")
    measured = f"{found.median:.2f} x ({found.low:.2f}–{found.high:.2f})"
    if layout_is_separate:
        return Bar(what, bound, measured, "met" if found.median >= 1.8 else "missed")
    # No CPU is left for load generator and backend: they grow from one core to two with the proxy.
    one = figures.value("cores", "gateway 1 core", "requests_per_cpu_second").median
    two = figures.value("cores", "gateway 2 cores", "requests_per_cpu_second").median
    measured = f"{measured} with load and backend on the same cores; {one:.0f} requests per CPU second, then {two:.0f}"
    return Bar(what, bound, measured, "shown per core")
