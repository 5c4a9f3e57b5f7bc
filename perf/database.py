#!/usr/bin/env python3
"""Measures database mode: see README.md. `perf/database` prepares what this needs and calls it."""

import argparse
import tempfile
from pathlib import Path

from rig.database import Bench, Postgres, Sqlite
from rig.database_measures import MEASURES
from rig.load import Backend
from rig.machine import Layout, Ports, describe


def arguments():
    parser = argparse.ArgumentParser(prog="perf/database", description="Measure what database mode costs.")
    parser.add_argument("--gateway", type=Path, required=True)
    parser.add_argument("--programs", type=Path, required=True, help="folder of the rig's programs")
    parser.add_argument("--postgres", help="URL of a PostgreSQL server whose databases may be made and dropped")
    parser.add_argument("--proxies", type=int, default=100_000, help="rows of the large databases (default: 100000)")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds without a database (default: 60)")
    parser.add_argument("--only", help=f"measures, comma-separated (default: {','.join(MEASURES)})")
    return parser.parse_args()


def main():
    given = arguments()
    wanted = given.only.split(",") if given.only else list(MEASURES)
    unknown = set(wanted) - set(MEASURES)
    if unknown:
        raise SystemExit(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    ports, layout = Ports(), Layout.of_this_machine()
    machine = describe()
    print(f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}; {given.proxies} proxies where many are meant\n")
    print("| what | database | measured | bar |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="ferrum-perf-") as folder:
        folder = Path(folder)
        backend = Backend(given.programs / "backend", ports.take(), layout.load, folder)
        bench = Bench(given, layout, ports, folder, backend.port)
        kinds = [Sqlite] + ([Postgres] if given.postgres else [])
        try:
            for kind in kinds:
                for name in wanted:
                    for what, measured, bar in MEASURES[name](bench, kind):
                        print(f"| {what} | {kind.name} | {measured} | {bar} |", flush=True)
        finally:
            backend.stop()
    if not given.postgres:
        print("\nPostgreSQL: not run, no --postgres URL")


if __name__ == "__main__":
    main()
