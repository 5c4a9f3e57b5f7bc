"""What a scenario measures of peers that run. Gives a flat set of figures for each."""

import statistics
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

from .load import quantile, read_samples
from .machine import CpuWatch
from .process import NotStarted, process_cpu_seconds, resident_bytes, thread_cpu_ns
from .scenarios import Requests

SETTLE_SECONDS = 0.3
RELOAD_SECONDS_MAX = 30.0
SWAP_WINDOW_US = 1_000_000
SWAP_STEP_US = 50_000
CLOCK_SKEW_US = 200_000
SWAPPED = "/swapped/"
GREETING_SECONDS = 0.2
PAUSE_RATE = 1000
# A request that is due while others wait must find a connection: with one, a wait would grow from request to request.
PAUSE_CONNECTIONS = 16
# The handshakes begin that long before the pause is looked for, and end that long after.
PAUSE_MARGIN_SECONDS = 0.2


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    warmup: float
    seconds: float
    connections: int
    idle: int
    turns: int
    """In how many turns a load is given; each has its share of warm-up and measured time."""
    rate_share: float = 1.0
    """The fixed rates are multiplied by this."""
    reload_before_seconds: float = 4.0
    reload_after_seconds: float = 4.0


class Rig:
    """What legs need: the load generator, the backends by name, the sizes, and a place for files, certificates too."""

    def __init__(self, load, backends, sizes, directory):
        self.load = load
        self.backends = backends
        self.sizes = sizes
        self.directory = Path(directory)

    @property
    def certificates(self):
        return self.directory

    def pin(self, cpus):
        """Moves backends and load generator."""
        for backend in self.backends.values():
            backend.pin(cpus)
        self.load.pin(cpus)


def measure(rig, scenario, peers):
    """The figures of each of these running peers, or why there are none. Several only where the scenario is a load."""
    if scenario.kind == "load":
        return _loads(rig, scenario, peers)
    alone = {"cores": _cores, "idle": _idle, "reload": _reload}[scenario.kind]
    return [_or_why(lambda: alone(rig, scenario, running)) for running in peers]


def _or_why(take):
    try:
        return take()
    except (NotStarted, OSError, RuntimeError) as error:
        return error


def _loads(rig, scenario, peers):
    """Short turns, one peer after the other, so that a slow moment of the machine meets all of them."""
    legs = [_Turns(rig, scenario, running) for running in peers]
    order = list(legs)
    kinds = (_Turns.closed, _Turns.at_rate, _Turns.with_pause)
    for take in (_Turns.greet, *(kind for kind in kinds for _ in range(rig.sizes.turns))):
        for leg in order:
            leg.go_on(take)
        order.append(order.pop(0))
    return [leg.result() for leg in legs]


class _Turns:
    """One peer's turns, and what they come to."""

    def __init__(self, rig, scenario, running):
        self.running = running
        self._rig = rig
        self._scenario = scenario
        self._closed = []
        self._at_rate = []
        self._latencies = []
        self._pauses = []
        self._unmeasured = []
        """Runs of which only the failures count."""
        self._rss_mib = None
        self._failure = None

    def go_on(self, take):
        if self._failure is None:
            self._failure = _or_why(lambda: take(self))

    def greet(self):
        if self._scenario.is_keyed and _status(self.running.setup.port, "/bytes/64") != 401:
            raise RuntimeError("a request without a key was not refused with 401")
        setup = self.running.setup
        if setup.requests.is_plain_http1:
            return
        found = self._rig.load.run(
            setup.load_port, replace(setup.requests, connections=1), connections=1, warmup=0, seconds=GREETING_SECONDS
        )
        _must_have_answered(found)
        self._unmeasured.append(found)

    def closed(self):
        self._closed.append(_closed_turn(self._rig, self.running, self._rig.sizes.turns))
        self._rss_mib = resident_bytes(self.running.pids) / 2**20

    def at_rate(self):
        if not self._scenario.rate:
            return
        sizes = self._rig.sizes
        setup = self.running.setup
        samples = self._rig.directory / f"{setup.port}.samples"
        found = self._rig.load.run(
            setup.load_port,
            setup.requests,
            connections=sizes.connections,
            warmup=sizes.warmup / sizes.turns,
            seconds=sizes.seconds / sizes.turns,
            rate=max(1, int(self._scenario.rate * sizes.rate_share)),
            watch=self.running.pids,
            samples=samples,
        )
        self._at_rate.append(found)
        self._latencies += [taken for _, taken in read_samples(samples)]
        samples.unlink()

    def with_pause(self):
        """How long requests on other connections, without TLS, wait while full handshakes are made."""
        setup = self.running.setup
        if setup.requests.handshakes != "full":
            return
        sizes = self._rig.sizes
        samples = self._rig.directory / f"{setup.port}.samples"
        warmup, seconds = sizes.warmup / sizes.turns, sizes.seconds / sizes.turns
        handshakes = self._rig.load.start(
            setup.load_port,
            setup.requests,
            connections=sizes.connections,
            warmup=warmup,
            seconds=seconds + 2 * PAUSE_MARGIN_SECONDS,
        )
        beat = self._rig.load.run(
            setup.port,
            Requests(),
            connections=PAUSE_CONNECTIONS,
            warmup=warmup + PAUSE_MARGIN_SECONDS,
            seconds=seconds,
            rate=PAUSE_RATE,
            samples=samples,
        )
        self._unmeasured += [handshakes.finish(), beat]
        self._pauses += [taken for _, taken in read_samples(samples)]
        samples.unlink()

    def result(self):
        if self._failure is not None:
            return self._failure
        figures = _closed_figures(self._scenario, self._closed)
        figures["rss_mib"] = self._rss_mib
        if self._at_rate:
            requests = sum(found["requests"] for found in self._at_rate)
            cpu_ns = sum(sum(found["cpu_ns"].values()) for found in self._at_rate)
            figures.update(
                rate_cpu_us_per_request=cpu_ns / 1000 / max(1, requests),
                rate_requests_per_second=requests / sum(found["seconds"] for found in self._at_rate),
                rate_p50_us=quantile(self._latencies, 0.5),
                rate_p99_us=quantile(self._latencies, 0.99),
                rate_p999_us=quantile(self._latencies, 0.999),
                rate_unsent=sum(found["unsent"] for found in self._at_rate),
            )
            figures["answered"] += requests
        if self._pauses:
            figures.update(pause_p99_us=quantile(self._pauses, 0.99), pause_max_us=max(self._pauses))
        for found in self._at_rate + self._unmeasured:
            _add_failures(figures, found)
        return figures


def _closed_turn(rig, running, turns):
    """One closed loop, and what the machine did meanwhile."""
    setup = running.setup
    backend = rig.backends[setup.requests.backend]
    watch = CpuWatch(setup.cpus)
    own_before = process_cpu_seconds(running.pids)
    began = time.monotonic()
    found = rig.load.run(
        setup.load_port,
        setup.requests,
        connections=rig.sizes.connections,
        warmup=rig.sizes.warmup / turns,
        seconds=rig.sizes.seconds / turns,
        watch=[*running.pids, backend.pid],
    )
    found["length"] = time.monotonic() - began
    found["foreign_seconds"] = watch.busy_seconds() - (process_cpu_seconds(running.pids) - own_before)
    found["stolen_seconds"] = watch.stolen_seconds()
    found["backend_cpu_ns"] = found["cpu_ns"].pop(str(backend.pid))
    return found


def _closed_figures(scenario, turns):
    def total(name):
        return sum(found[name] for found in turns)

    cpu_ns = sum(sum(found["cpu_ns"].values()) for found in turns)
    requests = max(1, total("requests"))
    figures = {
        "cpu_us_per_request": cpu_ns / 1000 / requests,
        "cpu_s_per_gib": cpu_ns / 1e9 / max(1, total("received_bytes")) * 2**30,
        "requests_per_second": total("requests") / total("seconds"),
        "proxy_cpu_share": cpu_ns / 1e9 / total("seconds"),
        "load_cpu_us_per_request": total("own_cpu_ns") / 1000 / requests,
        "backend_cpu_us_per_request": total("backend_cpu_ns") / 1000 / requests,
        "closed_p50_us": statistics.median(found["latency_us"]["p50"] for found in turns),
        "closed_p99_us": statistics.median(found["latency_us"]["p99"] for found in turns),
        "foreign_cpu_share": max(0.0, total("foreign_seconds") / total("length")) if scenario.kind != "cores" else None,
        "stolen_cpu_share": total("stolen_seconds") / total("length"),
        "answered": total("requests"),
        "failed": 0,
        "failures": {},
    }
    for found in turns:
        _add_failures(figures, found)
    return figures


def _cores(rig, scenario, running):
    before = thread_cpu_ns(running.pids)
    figures = _closed_figures(scenario, [_closed_turn(rig, running, 1)])
    after = thread_cpu_ns(running.pids)
    busiest = sorted((after[thread] - before.get(thread, 0) for thread in after), reverse=True)
    busiest = busiest[: running.setup.cores]
    figures["busiest_thread_share"] = busiest[0] / max(1, sum(busiest))
    figures["requests_per_cpu_second"] = 1e6 / figures["cpu_us_per_request"]
    return figures


def _idle(rig, _scenario, running):
    setup = running.setup
    # Everything a first request makes a process allocate is there before the first reading.
    warm = rig.load.run(
        setup.load_port, setup.requests, connections=rig.sizes.connections, warmup=0, seconds=rig.sizes.warmup
    )
    _must_have_answered(warm)
    time.sleep(SETTLE_SECONDS)
    before = resident_bytes(running.pids)
    held = rig.load.hold_idle(setup.load_port, setup.requests, rig.sizes.idle, seconds_max=60)
    time.sleep(SETTLE_SECONDS)
    after = resident_bytes(running.pids)
    released = held.release()
    failed = warm["failed"] + held.opened["failed"] + held.opened["open"] - released["open"]
    return {
        "idle_connections": held.opened["open"],
        "idle_bytes_per_connection": (after - before) / max(1, held.opened["open"]),
        "idle_rss_before_mib": before / 2**20,
        "idle_rss_after_mib": after / 2**20,
        "failed": failed,
        "failures": warm["failures"] | ({"idle connections lost or refused": failed} if failed else {}),
    }


def _reload(rig, scenario, running):
    sizes = rig.sizes
    samples_path = rig.directory / f"{running.setup.port}.samples"
    seconds = sizes.reload_before_seconds + sizes.reload_after_seconds
    run = rig.load.start(
        running.setup.port,
        scenario.requests,
        connections=sizes.connections,
        warmup=sizes.warmup,
        seconds=seconds,
        rate=max(1, int(scenario.rate * sizes.rate_share)),
        samples=samples_path,
    )
    started = time.monotonic()
    running.setup.extra_route = SWAPPED
    running.peer.write(running.setup)
    _sleep_until(started + sizes.warmup + sizes.reload_before_seconds)
    signalled = time.monotonic()
    running.peer.reload(running)
    swapped = _wait_for_swap(running.setup.port)
    found = run.finish()
    signalled_us = (signalled - started - sizes.warmup) * 1e6
    swapped_us = (swapped - started - sizes.warmup) * 1e6
    samples = read_samples(samples_path)
    samples_path.unlink()
    before = [taken for due, taken in samples if due < signalled_us - CLOCK_SKEW_US]
    figures = {
        "reload_p99_before_us": quantile(before, 0.99),
        "reload_p99_swap_us": _worst_second(samples, signalled_us, swapped_us),
        "reload_swap_ms": (swapped - signalled) * 1000,
        "requests_per_second": found["requests_per_second"],
        "failed": found["failed"],
        "failures": found["failures"],
    }
    return figures


def _worst_second(samples, signalled_us, swapped_us):
    """The highest p99 of any second that begins while the new document is read and swapped in."""
    last = max(due for due, _ in samples)
    # The load generator's clock starts a little later than this program believes.
    begin = max(0.0, signalled_us - CLOCK_SKEW_US)
    worst = None
    while begin <= swapped_us:
        end = begin + SWAP_WINDOW_US
        window = [taken for due, taken in samples if begin <= due < end]
        found = quantile(window, 0.99)
        worst = found if worst is None or (found is not None and found > worst) else worst
        begin += SWAP_STEP_US
        if begin >= last:
            break
    return worst


def _wait_for_swap(port):
    """The moment at which the route that only the new document has is answered."""
    deadline = time.monotonic() + RELOAD_SECONDS_MAX
    while time.monotonic() < deadline:
        if _status(port, f"{SWAPPED}bytes/64") == 200:
            return time.monotonic()
        time.sleep(0.02)
    raise NotStarted(f"the new document was not in force after {RELOAD_SECONDS_MAX:.0f} s")


def _status(port, path):
    """The status of one request, or nothing if it got none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, OSError):
        return None


def _sleep_until(moment):
    threading.Event().wait(max(0.0, moment - time.monotonic()))


def _must_have_answered(found):
    """A peer that answers nothing does not speak what it was asked in, and counts as not run."""
    if not found["requests"]:
        raise RuntimeError(max(found["failures"], key=found["failures"].get, default="no answer"))


def _add_failures(figures, found):
    figures["failed"] += found["failed"]
    for kind, count in found["failures"].items():
        figures["failures"][kind] = figures["failures"].get(kind, 0) + count
