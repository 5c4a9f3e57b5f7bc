"""The order of things: every round runs every peer once, each round beginning with another one."""

import contextlib
import sys
import tempfile
from pathlib import Path

from .machine import Layout
from .measure import measure
from .peers import Setup
from .process import NotStarted


class Session:
    """A number of rounds over a number of scenarios."""

    def __init__(self, rig, peers, ports, layout):
        self._rig = rig
        self._peers = peers
        self._ports = ports
        self._layout = layout
        self.legs = []
        """One entry per leg and round: scenario, peer, label, round, figures."""
        self.not_run = []
        """One entry per scenario and leg that was not run, and why."""

    def run(self, scenario, rounds):
        legs = scenario.legs(self._peers)
        for number in range(rounds):
            shift = number % max(1, len(legs))
            turn = [leg for leg in legs[shift:] + legs[:shift] if not self._is_given_up(scenario, leg)]
            # Peers that answer the same requests are measured side by side; what changes a peer, one after the other.
            groups = [turn] if scenario.kind == "load" else [[leg] for leg in turn]
            for group in groups:
                self._run_group(scenario, group, number)

    def _is_given_up(self, scenario, leg):
        return any(entry["scenario"] == scenario.name and entry["label"] == leg.label for entry in self.not_run)

    def _run_group(self, scenario, legs, number):
        with contextlib.ExitStack() as stack:
            started = [(leg, running) for leg in legs if (running := self._start(scenario, leg, stack))]
            if not started:
                return
            found = measure(self._rig, scenario, [running for _, running in started])
            for (leg, running), figures in zip(started, found):
                running.process.stop()
                if isinstance(figures, Exception):
                    last_line = running.process.last_line()
                    self._give_up(scenario, leg, f"{figures} (its last line: {last_line})")
                elif scenario.is_keyed and running.logged_lines() < figures["answered"]:
                    logged = running.logged_lines()
                    self._give_up(scenario, leg, f"{logged} access log lines for {figures['answered']} requests")
                else:
                    self._keep(scenario, leg, number, figures)

    def _start(self, scenario, leg, stack):
        """A peer that answers, ended with the stack; nothing if it cannot be run, which is noted."""
        peer = self._peers[leg.peer]
        layout = Layout.for_scaling(2 if leg.is_two_cores else 1) if scenario.kind == "cores" else self._layout
        requests = leg.requests or scenario.requests
        setup = Setup(
            directory=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rig-"))),
            backend_port=self._rig.backends[requests.backend].port,
            requests=requests,
            certificates=self._rig.certificates,
            tls_port=self._ports.take(),
            port=self._ports.take(),
            admin_port=self._ports.take(),
            cpus=layout.proxy,
            routes=leg.routes,
            is_keyed=scenario.is_keyed,
            is_bulk=scenario.is_bulk,
            chain=leg.chain,
        )
        why = peer.why_not(setup)
        if why:
            self._give_up(scenario, leg, why, is_expected=True)
            return None
        try:
            running = peer.start(setup)
        except (NotStarted, OSError) as error:
            self._give_up(scenario, leg, str(error))
            return None
        stack.callback(running.process.stop)
        self._rig.pin(layout.load)
        return running

    def _keep(self, scenario, leg, number, figures):
        self.legs.append(
            {"scenario": scenario.name, "peer": leg.peer, "label": leg.label, "round": number, "figures": figures}
        )
        _say(f"{scenario.name:11} round {number + 1} {leg.label:24} {_summary(figures, scenario.unit)}")

    def _give_up(self, scenario, leg, why, is_expected=False):
        """Leaves a leg out from here on; expected is that a program is missing or has no such feature."""
        entry = {"scenario": scenario.name, "peer": leg.peer, "label": leg.label, "why": why}
        self.not_run.append(entry | {"is_expected": is_expected})
        _say(f"{scenario.name:11} {leg.label:32} not run: {why}")


def _summary(figures, unit):
    shown = (
        ("cpu_us_per_request", f"{{:.2f}} CPU us/{unit}"),
        ("requests_per_second", f"{{:.0f}} {unit}s/s"),
        ("pause_p99_us", "p99 of the pause {:.0f} us"),
        ("rate_p99_us", "p99 {:.0f} us"),
        ("idle_bytes_per_connection", "{:.0f} B/idle connection"),
        ("reload_p99_swap_us", "p99 of the swap {:.0f} us"),
        ("foreign_cpu_share", "others {:.0%} of the CPU"),
    )
    parts = [text.format(figures[name]) for name, text in shown if figures.get(name) is not None]
    if figures["failed"]:
        parts.append(f"FAILED {figures['failed']} {figures['failures']}")
    return ", ".join(parts)


def _say(line):
    print(line, file=sys.stderr, flush=True)
