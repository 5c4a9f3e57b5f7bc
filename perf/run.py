#!/usr/bin/env python3
"""Runs the load rig: see README.md. `perf/run` prepares what this needs and calls it."""

import argparse
import contextlib
import datetime
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rig.bars import all_bars
from rig.chart import svg
from rig.load import Backend, Load
from rig.machine import Layout, Ports, cpu_list, describe
from rig.measure import Rig, Sizes
from rig.peers import all_peers
from rig.ratios import Figures
from rig.rounds import Session
from rig.scenarios import all_scenarios
from rig.table import markdown

ROOM = Path(__file__).resolve().parent
DEFAULT_PEERS = "floor,gateway,nginx,haproxy,envoy,caddy,monoio,tokio,glommio"
SMOKE_PEERS = "floor,gateway,nginx"
SMOKE_ROUTES = 200


def arguments():
    parser = argparse.ArgumentParser(prog="perf/run", description="Compare the gateway with its peers and the floor.")
    parser.add_argument("--only", help="scenarios, comma-separated (default: all)")
    parser.add_argument("--skip", help="scenarios to leave out, comma-separated")
    parser.add_argument("--peers", help=f"peers, comma-separated (default: {DEFAULT_PEERS})")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 5; smoke: 1)")
    parser.add_argument("--seconds", type=float, help="measured seconds per run (default: 3; smoke: 0.4)")
    parser.add_argument("--warmup", type=float, help="seconds of load before them (default: 1; smoke: 0.2)")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections (default: 64)")
    parser.add_argument("--idle", type=int, help="idle connections (default: 10000; smoke: 200)")
    parser.add_argument("--routes", type=int, help=f"routes (default: 10000; smoke: {SMOKE_ROUTES})")
    parser.add_argument("--gateway", type=lambda path: Path(path).resolve(), required=True, help="the gateway's binary")
    parser.add_argument("--programs", type=Path, required=True, help="directory of the rig's own programs")
    parser.add_argument("--venv", type=Path, default=ROOM / ".venv", help="where envoy and caddy are installed")
    parser.add_argument("--results", type=Path, default=ROOM / "results", help="where results go")
    parser.add_argument("--command", help=argparse.SUPPRESS)
    parser.add_argument("--smoke", action="store_true", help="a short functional pass; fails on a failed request")
    return parser.parse_args()


def sizes_of(options):
    if options.smoke:
        return Sizes(
            warmup=options.warmup or 0.2,
            seconds=options.seconds or 0.4,
            connections=min(options.connections, 16),
            idle=options.idle or 200,
            turns=1,
            rate_share=0.1,
            reload_before_seconds=1.0,
            reload_after_seconds=1.5,
        )
    return Sizes(
        warmup=options.warmup or 1.0,
        seconds=options.seconds or 3.0,
        connections=options.connections,
        idle=options.idle or 10_000,
        turns=6,
    )


def chosen_scenarios(options, known):
    """Those asked for, or all, without those that are to be skipped."""
    wanted = options.only.split(",") if options.only else list(known)
    skipped = chosen(options.skip.split(",") if options.skip else [], known, "scenario")
    return {name: found for name, found in chosen(wanted, known, "scenario").items() if name not in skipped}


def chosen(names, known, what):
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no {what} {', '.join(unknown)}; there are {', '.join(known)}")
    return {name: known[name] for name in known if name in names}


def run(options, scenarios, peers, rounds, sizes):
    """All scenarios; gives the session and the layout."""
    layout = Layout.of_this_machine()
    ports = Ports()
    with tempfile.TemporaryDirectory(prefix="rig-") as directory:
        subprocess.run([options.programs / "certificate", "--directory", directory], check=True)
        with contextlib.ExitStack() as stack:
            backends = {}
            for name, program in (("bytes", "backend"), ("echo", "echo_backend")):
                backends[name] = Backend(options.programs / program, ports.take(), layout.load, Path(directory))
                stack.callback(backends[name].stop)
            rig = Rig(Load(options.programs / "load", layout.load), backends, sizes, directory)
            session = Session(rig, peers, ports, layout)
            for scenario in scenarios.values():
                session.run(scenario, rounds)
    return session, layout


def report(options, session, layout, scenarios, known_scenarios, peers, rounds, sizes):
    """Prints the table and writes the results; gives the exit code."""
    measured = {leg["peer"] for leg in session.legs}
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": options.command or shlex.join(sys.argv),
        "machine": describe(),
        "layout": {"proxy": cpu_list(layout.proxy), "load": cpu_list(layout.load)},
        "rounds": rounds,
        "sizes": vars(sizes),
        "versions": {name: peer.version() for name, peer in peers.items() if name in measured},
        "not_run": session.not_run,
        "legs": session.legs,
    }
    figures = Figures(session.legs)
    # A smoke run is too short to say anything about a bar.
    bars = [] if options.smoke else all_bars(figures, known_scenarios, Layout.for_scaling(2).is_separate)
    result["bars"] = [bar.to_json() for bar in bars]
    text = markdown(result, figures, scenarios, bars)
    print(text)
    options.results.mkdir(parents=True, exist_ok=True)
    name = "smoke" if options.smoke else "latest"
    (options.results / f"{name}.md").write_text(text, encoding="utf-8")
    (options.results / f"{name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (options.results / f"{name}.svg").write_text(svg(result, figures, scenarios), encoding="utf-8")
    return smoke_verdict(session, figures) if options.smoke else 0


def smoke_verdict(session, figures):
    """The exit code: a failed request, a peer that is there and could not be run, or no run at all is a failure.

    One exception: nginx ends its old worker's idle connections in a reload, which a request may run into.
    """
    complaints = [
        f"{leg['scenario']}, {leg['label']}: {leg['figures']['failures']}"
        for leg in figures.failures()
        if (leg["scenario"], leg["peer"]) != ("reload", "nginx")
    ]
    complaints += [
        f"{entry['scenario']}, {entry['label']}: {entry['why']}"
        for entry in session.not_run
        if not entry["is_expected"]
    ]
    if not session.legs:
        complaints.append("nothing was run")
    for complaint in complaints:
        print(f"FAILED: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


def main():
    options = arguments()
    known_scenarios = all_scenarios(options.routes or (SMOKE_ROUTES if options.smoke else 10_000))
    scenarios = chosen_scenarios(options, known_scenarios)
    known_peers = all_peers(options.programs, options.gateway, options.venv)
    wanted = options.peers or (SMOKE_PEERS if options.smoke else DEFAULT_PEERS)
    peers = chosen(wanted.split(","), known_peers, "peer")
    rounds = options.rounds or (1 if options.smoke else 5)
    sizes = sizes_of(options)
    session, layout = run(options, scenarios, peers, rounds, sizes)
    return report(options, session, layout, scenarios, known_scenarios, peers, rounds, sizes)


if __name__ == "__main__":
    sys.exit(main())
