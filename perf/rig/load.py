"""The load generator and the backend: started, and their findings read."""

import array
import json
import os
import subprocess

from .machine import cpu_list, take_short_turns
from .process import Process

SECONDS_BEYOND_THE_RUN = 30


class Backend:
    """A backend, one of its kind for the whole session."""

    def __init__(self, program, port, cpus, directory):
        self.port = port
        self._process = Process(
            [program, "--listen", f"127.0.0.1:{port}"],
            cpus,
            directory / f"{program.name}.log",
            ports=(port,),
            has_short_turns=True,
        )

    @property
    def pid(self):
        return self._process.pid

    def pin(self, cpus):
        os.sched_setaffinity(self.pid, cpus)

    def stop(self):
        self._process.stop()


class Load:
    """The load generator's command line."""

    def __init__(self, program, cpus):
        self._program = program
        self._cpus = cpus

    def pin(self, cpus):
        self._cpus = cpus

    def _command(self, target_port, requests, extra):
        command = ["taskset", "-c", cpu_list(self._cpus), str(self._program)]
        command += ["--target", f"127.0.0.1:{target_port}", "--path", requests.path, "--paths", str(requests.paths)]
        if not requests.is_plain_http1:
            command += ["--protocol", requests.protocol, "--streams", str(requests.streams)]
        if requests.is_tls:
            command.append("--tls")
        if requests.handshakes:
            command += ["--handshakes", requests.handshakes]
        for header in requests.headers:
            command += ["-H", header]
        return command + [str(part) for part in extra]

    def start(self, target_port, requests, *, connections, warmup, seconds, rate=None, watch=(), samples=None):
        """Starts a run; `finish` gives its findings."""
        extra = ["--connections", requests.connections or connections, "--warmup", warmup, "--duration", seconds]
        if rate:
            extra += ["--rate", rate]
        if watch:
            extra += ["--watch", ",".join(str(pid) for pid in watch)]
        if samples:
            extra += ["--samples", samples]
        command = self._command(target_port, requests, extra)
        return LoadRun(command, warmup + seconds + SECONDS_BEYOND_THE_RUN)

    def run(self, *arguments, **options):
        return self.start(*arguments, **options).finish()

    def hold_idle(self, target_port, requests, connections, seconds_max):
        return IdleConnections(
            self._command(target_port, requests, ["--idle", connections, "--hold", seconds_max])
        )


class LoadRun:
    """A run of the load generator that is under way."""

    def __init__(self, command, seconds_max):
        self._seconds_max = seconds_max
        self._child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=take_short_turns
        )

    def finish(self):
        try:
            output, errors = self._child.communicate(timeout=self._seconds_max)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()
            raise RuntimeError("the load generator did not end in time") from None
        if self._child.returncode != 0:
            raise RuntimeError(f"the load generator failed: {errors.strip()[-300:]}")
        return json.loads(output)


class IdleConnections:
    """Keep-alive connections that have had one answer each and are held."""

    def __init__(self, command):
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator failed: {self._child.communicate()[1].strip()[-300:]}")
        self.opened = json.loads(line)

    def release(self):
        """Lets go; says how many were still open at that moment."""
        output, _ = self._child.communicate(timeout=SECONDS_BEYOND_THE_RUN)
        return json.loads(output)


def read_samples(path):
    """Every sample of a run as (microseconds due, microseconds taken)."""
    values = array.array("I")
    values.frombytes(path.read_bytes())
    return list(zip(values[0::2], values[1::2]))


def quantile(values, share):
    """The smallest value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


