"""Processes: started on their CPUs, waited for, looked at, ended."""

import os
import signal
import socket
import subprocess
import time

from .machine import take_short_turns

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 5.0


class NotStarted(Exception):
    """A process that could not be brought to answer; the text says why."""


class Process:
    """A program pinned to CPUs, with its output in a file."""

    def __init__(self, command, cpus, log_path, environment=None, ports=(), has_short_turns=False):
        self.log_path = log_path

        def begin():
            os.sched_setaffinity(0, cpus)
            if has_short_turns:
                take_short_turns()

        variables = dict(os.environ, **(environment or {}))
        with open(log_path, "wb") as log:
            self._child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                preexec_fn=begin,
            )
        try:
            for port in ports:
                self._wait_for_port(port)
        except NotStarted:
            self.stop()
            raise

    @property
    def pid(self):
        return self._child.pid

    @property
    def is_running(self):
        return self._child.poll() is None

    def _wait_for_port(self, port):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                raise NotStarted(f"exited with {self._child.returncode}: {self.last_line()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise NotStarted(f"port {port} did not open in {START_SECONDS_MAX:.0f} s: {self.last_line()}")

    def last_line(self):
        with open(self.log_path, "rb") as log:
            lines = log.read()[-4000:].decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no output"

    def signal(self, number):
        self._child.send_signal(number)

    def stop(self):
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child.wait()


def children_of(parent):
    """The pids of a process's children."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                # The command name is in parentheses and may hold spaces.
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(entry))
    return found


def resident_bytes(pids):
    """The sum of the processes' resident set sizes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
    return total


def thread_cpu_ns(pids):
    """CPU time of every thread of the processes, in nanoseconds, by (pid, tid)."""
    times = {}
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                    times[pid, int(thread)] = int(file.read().split()[0])
            except OSError:
                continue
    return times


def process_cpu_seconds(pids):
    """CPU time of the processes since they started, exited threads included."""
    # The clock id of another process: see clock_getcpuclockid(3); 2 is CPUCLOCK_SCHED.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)
