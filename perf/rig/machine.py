"""The machine: its description, its CPUs, free ports, and how much of a CPU others have used."""

import ctypes
import os
import platform
import socket
import struct
import subprocess
from dataclasses import dataclass

PORT_FIRST = 21000
PORT_LAST = 31000


class Ports:
    """Hands out ports below the ephemeral range, each one once, so that no two peers share connections' remains."""

    def __init__(self):
        self._next = PORT_FIRST + os.getpid() % 5000

    def take(self):
        for _ in range(PORT_LAST - PORT_FIRST):
            port = self._next
            self._next = PORT_FIRST if port >= PORT_LAST else port + 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
        raise RuntimeError(f"no free port in {PORT_FIRST}-{PORT_LAST}")


@dataclass(frozen=True)
class Layout:
    """Which CPUs the proxy has, and which the load generator and the backend share."""

    proxy: tuple
    load: tuple

    @staticmethod
    def of_this_machine():
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise SystemExit("the rig needs two CPUs: one for the proxy, one for the load generator and the backend")
        return Layout(proxy=(cpus[0],), load=(cpus[1],))

    @staticmethod
    def for_scaling(cores):
        """One proxy core or two. Load and backend have two other CPUs where there are four, else the proxy's own."""
        cpus = sorted(os.sched_getaffinity(0))
        proxy = tuple(cpus[:cores])
        return Layout(proxy=proxy, load=tuple(cpus[2:4]) if len(cpus) >= 4 else proxy)

    @property
    def is_separate(self):
        return not set(self.proxy) & set(self.load)


SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
TURN_NS = 100_000


def take_short_turns():
    """Asks the scheduler to give this thread, and what it starts, turns of 0.1 ms instead of 3 ms.

    Backend and load generator share a CPU: with long turns a latency would mostly tell how long one waited for the other.
    Kernels before 6.12 do not know this.
    """
    number = SCHED_SETATTR.get(platform.machine())
    if number is None:
        return
    # size, policy, flags, nice, priority, runtime, deadline, period: sched_setattr(2)
    attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, TURN_NS, 0, 0)
    ctypes.CDLL(None, use_errno=True).syscall(number, 0, attributes, 0)


def cpu_list(cpus):
    return ",".join(str(cpu) for cpu in cpus)


class CpuWatch:
    """How much of a CPU was used by processes other than the measured one, between two readings."""

    def __init__(self, cpus):
        self._cpus = cpus
        self._before = self._read()

    def _read(self):
        """Busy and stolen seconds of the CPUs since boot."""
        busy = stolen = 0
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                name, *fields = line.split()
                if name in {f"cpu{cpu}" for cpu in self._cpus}:
                    user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) for field in fields[:8])
                    busy += user + nice + system + irq + softirq
                    stolen += steal
        ticks = os.sysconf("SC_CLK_TCK")
        return busy / ticks, stolen / ticks

    def busy_seconds(self):
        busy, _ = self._read()
        return busy - self._before[0]

    def stolen_seconds(self):
        _, stolen = self._read()
        return stolen - self._before[1]


def version_of(command):
    """The first line a program prints about its version."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown ({error})"
    text = (done.stdout + done.stderr).strip()
    return text.splitlines()[0].strip() if text else "unknown"


def describe():
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as file:
        memory_kib = int(file.readline().split()[1])
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_kib / 1024 / 1024, 1),
        "kernel": platform.release(),
        "architecture": platform.machine(),
    }
