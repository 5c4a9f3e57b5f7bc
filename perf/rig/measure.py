"""One leg: a peer is started, measured as its scenario says, and ended. Gives a flat set of figures."""

import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    warmup: float
    seconds: float
    connections: int
    idle: int
    rate_share: float = 1.0
    """The fixed rates are multiplied by this."""
    reload_before_seconds: float = 4.0
    reload_after_seconds: float = 4.0


class Rig:
    """What legs need: the load generator, the backend, the sizes and a place for files."""

    def __init__(self, load, backend, sizes, directory):
        self.load = load
        self.backend = backend
        self.sizes = sizes
        self.directory = Path(directory)

    def pin(self, cpus):
        """Moves backend and load generator."""
        self.backend.pin(cpus)
        self.load.pin(cpus)


def measure(rig, scenario, running):
    """The figures of a leg whose peer runs."""
    if scenario.is_keyed and _status(running.setup.port, "/bytes/64") != 401:
        raise RuntimeError("a request without a key was not refused with 401")
    return {"load": _load, "cores": _cores, "idle": _idle, "reload": _reload}[scenario.kind](rig, scenario, running)


def _closed_loop(rig, scenario, running):
    watch = CpuWatch(running.setup.cpus)
    own_before = process_cpu_seconds(running.pids)
    began = time.monotonic()
    found = rig.load.run(
        running.setup.port,
        scenario.requests,
        connections=rig.sizes.connections,
        warmup=rig.sizes.warmup,
        seconds=rig.sizes.seconds,
        watch=[*running.pids, rig.backend.pid],
    )
    length = time.monotonic() - began
    foreign_seconds = watch.busy_seconds() - (process_cpu_seconds(running.pids) - own_before)
    cpu_ns = sum(found["cpu_ns"][str(pid)] for pid in running.pids)
    requests = max(1, found["requests"])
    return {
        "cpu_us_per_request": cpu_ns / 1000 / requests,
        "cpu_s_per_gib": cpu_ns / 1e9 / max(1, found["received_bytes"]) * 2**30,
        "requests_per_second": found["requests_per_second"],
        "proxy_cpu_share": cpu_ns / 1e9 / found["seconds"],
        "load_cpu_us_per_request": found["own_cpu_ns"] / 1000 / requests,
        "backend_cpu_us_per_request": found["cpu_ns"][str(rig.backend.pid)] / 1000 / requests,
        "closed_p50_us": found["latency_us"]["p50"],
        "closed_p99_us": found["latency_us"]["p99"],
        "foreign_cpu_share": max(0.0, foreign_seconds / length) if scenario.kind != "cores" else None,
        "stolen_cpu_share": watch.stolen_seconds() / length,
        "answered": found["requests"],
        "failed": found["failed"],
        "failures": found["failures"],
    }


def _load(rig, scenario, running):
    figures = _closed_loop(rig, scenario, running)
    figures["rss_mib"] = resident_bytes(running.pids) / 2**20
    if scenario.rate:
        found = rig.load.run(
            running.setup.port,
            scenario.requests,
            connections=rig.sizes.connections,
            warmup=rig.sizes.warmup,
            seconds=rig.sizes.seconds,
            rate=max(1, int(scenario.rate * rig.sizes.rate_share)),
            watch=running.pids,
        )
        latency = found["latency_us"]
        cpu_ns = sum(found["cpu_ns"].values())
        figures.update(
            rate_cpu_us_per_request=cpu_ns / 1000 / max(1, found["requests"]),
            rate_requests_per_second=found["requests_per_second"],
            rate_p50_us=latency["p50"],
            rate_p99_us=latency["p99"],
            rate_p999_us=latency["p99.9"],
            rate_unsent=found["unsent"],
        )
        figures["answered"] += found["requests"]
        _add_failures(figures, found)
    return figures


def _cores(rig, scenario, running):
    before = thread_cpu_ns(running.pids)
    figures = _closed_loop(rig, scenario, running)
    after = thread_cpu_ns(running.pids)
    busiest = sorted((after[thread] - before.get(thread, 0) for thread in after), reverse=True)
    busiest = busiest[: running.setup.cores]
    figures["busiest_thread_share"] = busiest[0] / max(1, sum(busiest))
    figures["requests_per_cpu_second"] = 1e6 / figures["cpu_us_per_request"]
    return figures


def _idle(rig, scenario, running):
    # Everything a first request makes a process allocate is there before the first reading.
    warm = rig.load.run(
        running.setup.port, Requests(), connections=rig.sizes.connections, warmup=0, seconds=rig.sizes.warmup
    )
    time.sleep(SETTLE_SECONDS)
    before = resident_bytes(running.pids)
    held = rig.load.hold_idle(running.setup.port, Requests(), rig.sizes.idle, seconds_max=60)
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


def _add_failures(figures, found):
    figures["failed"] += found["failed"]
    for kind, count in found["failures"].items():
        figures["failures"][kind] = figures["failures"].get(kind, 0) + count
