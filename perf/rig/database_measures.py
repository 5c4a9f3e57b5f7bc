"""The measures of database mode. Each gives rows: what, measured, bar."""

import http.client
import multiprocessing
import statistics
import time
import urllib.parse

from .database import Cable, Gateway
from .load import Load
from .process import resident_bytes
from .scenarios import Requests

TRIES = 30
WRITERS = 8
WRITE_SECONDS = 5.0
CHANGE_ROUNDS = 3
RELOADED = "Configuration reloaded successfully"


def milliseconds(values):
    return f"median {statistics.median(values) * 1000:.1f} ms, longest {max(values) * 1000:.1f} ms"


def status_of(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


def first_request(bench, kind):
    """From a POST that is sent to a request that is proxied, in the process that took the POST."""
    store = kind(bench)
    gateway = Gateway(bench, store)
    taken = []
    try:
        admin = gateway.admin()
        for number in range(TRIES):
            row = bench.proxy(number)
            started = time.monotonic()
            admin.must("POST", "/proxies", row, 201)
            while status_of(gateway.port, row["listen_path"]) == 404:
                if time.monotonic() - started > 60:
                    raise RuntimeError("the new proxy is not served")
            taken.append(time.monotonic() - started)
    finally:
        gateway.stop()
        store.stop()
    yield "POST /proxies to the first proxied request, same process", milliseconds(taken), "<= 100 ms"


def writes(bench, kind):
    """New upstreams, by some admins at a time: processes, so that it is not Python that is measured."""
    store = kind(bench)
    gateway = Gateway(bench, store)
    processes = multiprocessing.get_context("fork")
    counts, deadline = processes.Array("q", WRITERS), time.monotonic() + WRITE_SECONDS

    def write(writer):
        admin = gateway.admin()
        while time.monotonic() < deadline:
            row = {"id": f"u{writer}-{counts[writer]}", "targets": [{"host": "127.0.0.1", "port": 1}]}
            admin.must("POST", "/upstreams", row, 201)
            counts[writer] += 1

    try:
        writers = [processes.Process(target=write, args=(writer,)) for writer in range(WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        if any(writer.exitcode for writer in writers):
            raise RuntimeError("a writer failed")
    finally:
        gateway.stop()
        store.stop()
    bar = {"sqlite": 1000, "postgres": 500}[kind.kind]
    yield f"POST /upstreams, {WRITERS} admins", f"{sum(counts) / WRITE_SECONDS:.0f} writes/s", f">= {bar} writes/s"


def many(bench, kind):
    """A start with many proxies, and what they take."""
    count = bench.given.proxies
    empty, store = kind(bench), bench.filled(kind, count)
    cpus = sorted(bench.layout.proxy + bench.layout.load)[:2]
    resident = {}
    try:
        for name, of, cores in (("none", empty, cpus[:1]), ("one", store, cpus[:1]), ("two", store, cpus)):
            gateway = Gateway(bench, of, cores=cores)
            resident[name] = resident_bytes([gateway.pid])
            if name == "none":
                base = gateway.start_seconds
            elif name == "one":
                seconds = gateway.start_seconds
            gateway.stop()
        empty_two = Gateway(bench, empty, cores=cpus)
        resident["none, two"] = resident_bytes([empty_two.pid])
        empty_two.stop()
    finally:
        store.stop()
        empty.stop()
    limit = {"sqlite": 5, "postgres": 8}[kind.kind]
    yield f"start with {count} proxies (empty: {base:.1f} s)", f"{seconds:.1f} s", f"<= {limit} s"
    each = (resident["one"] - resident["none"]) / count
    yield "resident memory per plain proxy", f"{each:.0f} B", "<= 2048 B"
    more = (resident["two"] - resident["none, two"]) / count - each
    yield "and for each further core", f"{more:.0f} B", "<= 64 B"


def change(bench, kind):
    """One of many proxies is changed again and again while others are asked for."""
    store = bench.filled(kind, bench.given.proxies)
    gateway = Gateway(bench, store, poll_seconds=600)
    load = Load(bench.given.programs / "load", bench.layout.load)
    requests = Requests(path="/p000001/bytes/64")
    latencies = {"still": [], "changing": []}
    try:
        admin = gateway.admin()
        for name in tuple(latencies) * CHANGE_ROUNDS:
            seconds = 5.0
            run = load.start(gateway.port, requests, connections=8, warmup=1.0, seconds=seconds, rate=2000)
            deadline = time.monotonic() + 1.0 + seconds
            number = 0
            while name == "changing" and time.monotonic() < deadline:
                row = bench.proxy(bench.given.proxies // 2)
                admin.must("PUT", f"/proxies/{row['id']}", dict(row, backend_path=f"/{number}"), 200)
                number += 1
                time.sleep(0.5)
            latencies[name].append(run.finish()["latency_us"]["p99"])
        reloads = gateway.fields_of(RELOADED)
    finally:
        gateway.stop()
        store.stop()
    steps = (
        ("read_ms", "reading what changed", ""),
        ("compile_ms", "compiling", "with publishing <= 20 ms"),
        ("publish_ms", "publishing", ""),
    )
    for field, what, bar in steps:
        values = [reload[field] / 1000 for reload in reloads]
        yield f"one of {bench.given.proxies} proxies changed: {what}", milliseconds(values), bar
    still, changing = (f"{statistics.median(values):.0f} us" for values in latencies.values())
    yield f"p99 of requests meanwhile, median of {CHANGE_ROUNDS}", f"{changing} (without: {still})", "unchanged"


def outage(bench, kind):
    """No database for a while, under traffic. A file cannot be cut off, so this is about servers."""
    if kind.kind == "sqlite":
        return
    store = bench.filled(kind, 10)
    place = urllib.parse.urlsplit(store.url)
    cable = Cable(place.hostname, place.port)
    url = store.url.replace(f":{place.port}/", f":{cable.port}/")
    gateway = Gateway(bench, store, url=url, poll_seconds=1)
    load = Load(bench.given.programs / "load", bench.layout.load)
    length = bench.given.outage
    try:
        requests = Requests(path="/p000001/bytes/64")
        run = load.start(gateway.port, requests, connections=8, warmup=0.5, seconds=length + 10, rate=1000)
        time.sleep(2)
        cable.cut()
        time.sleep(length / 2)
        status, _ = gateway.admin().ask("POST", "/upstreams", {"id": "late", "targets": [{"host": "h", "port": 1}]})
        time.sleep(length / 2)
        cable.mend()
        mended = time.monotonic()
        while gateway.admin().ask("POST", "/upstreams", {"id": "late", "targets": [{"host": "h", "port": 1}]})[0] != 201:
            if time.monotonic() - mended > 30:
                raise RuntimeError("writes are not taken again")
            time.sleep(0.05)
        back = time.monotonic() - mended
        found = run.finish()
    finally:
        gateway.stop()
        store.stop()
    yield f"failed of {found['requests']} requests, {length:.0f} s without a database", f"{found['failed']}", "0"
    yield "a write meanwhile answers", f"{status}", "503"
    yield "writes are taken again after", f"{back:.1f} s", "by itself"


MEASURES = {
    "first-request": first_request,
    "writes": writes,
    "many": many,
    "change": change,
    "outage": outage,
}
