"""Tests of the rig's arithmetic: `python3 -m unittest discover perf/tests`."""

import argparse
import re
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import run
from rig.bars import all_bars
from rig.chart import svg
from rig.load import quantile
from rig.measure import _worst_second
from rig.peers import Envoy, Haproxy, Nginx, Setup
from rig.ratios import Figures
from rig.scenarios import Requests, all_scenarios
from rig.table import markdown


def leg(scenario, label, number, **figures):
    return {"scenario": scenario, "peer": label.split()[0], "label": label, "round": number, "figures": figures}


class Ratios(unittest.TestCase):
    def test_a_ratio_is_taken_within_a_round_before_the_median_is(self):
        legs = []
        # The machine is three times slower in the second round; the ratio does not notice.
        for number, slowness in enumerate((1, 3, 1)):
            legs.append(leg("plain", "gateway", number, cpu_us_per_request=8 * slowness, failed=0))
            legs.append(leg("plain", "nginx", number, cpu_us_per_request=10 * slowness, failed=0))
        found = Figures(legs).ratio("plain", "gateway", "nginx", "cpu_us_per_request")
        self.assertAlmostEqual(found.median, 0.8)
        self.assertAlmostEqual(found.low, 0.8)
        self.assertAlmostEqual(found.high, 0.8)

    def test_a_round_that_one_side_lacks_is_left_out(self):
        legs = [
            leg("plain", "gateway", 0, cpu_us_per_request=8),
            leg("plain", "gateway", 1, cpu_us_per_request=80),
            leg("plain", "nginx", 0, cpu_us_per_request=10),
        ]
        found = Figures(legs).ratio("plain", "gateway", "nginx", "cpu_us_per_request")
        self.assertEqual((found.median, found.rounds), (0.8, 1))


class Bars(unittest.TestCase):
    def verdicts(self, legs):
        return {bar.what: bar.verdict for bar in all_bars(Figures(legs), all_scenarios(), True)}

    def test_a_bar_is_met_at_its_bound_and_missed_above_it(self):
        for microseconds, verdict in ((88.0, "met"), (88.1, "missed")):
            legs = [
                leg("plain", "gateway", 0, cpu_us_per_request=microseconds),
                leg("plain", "nginx", 0, cpu_us_per_request=100.0),
            ]
            found = self.verdicts(legs)
            self.assertEqual(next(iter(found.values())), verdict)

    def test_what_was_not_run_is_not_called_met(self):
        self.assertEqual(set(self.verdicts([]).values()), {"not measured"})

    def test_one_failed_request_misses_the_reload_bar(self):
        found = self.verdicts([leg("reload", "gateway", 0, failed=1)])
        self.assertEqual(found["failed requests in a reload under load"], "missed")

    def test_full_and_resumed_handshakes_are_compared_each_with_its_own_kind(self):
        legs = [
            leg("handshakes", "gateway full", 0, cpu_us_per_request=200.0),
            leg("handshakes", "nginx full", 0, cpu_us_per_request=400.0),
            leg("handshakes", "gateway resumed", 0, cpu_us_per_request=200.0),
            leg("handshakes", "nginx resumed", 0, cpu_us_per_request=100.0),
        ]
        found = self.verdicts(legs)
        self.assertEqual(found["CPU per full TLS 1.3 handshake, against nginx"], "met")
        self.assertEqual(found["CPU per resumed TLS 1.3 handshake, against nginx"], "missed")

    def test_each_kind_of_idle_connection_has_its_own_bound(self):
        for kib, verdict in ((20, "met"), (21, "missed")):
            figures = {"idle_bytes_per_connection": kib * 1024, "idle_connections": 10_000}
            found = self.verdicts([leg("idle-tls", "gateway", 0, **figures)])
            self.assertEqual(found["resident memory per idle TLS connection"], verdict)
            self.assertEqual(found["resident memory per idle HTTP/2 connection"], "not measured")


class Table(unittest.TestCase):
    def test_a_leg_is_compared_with_the_same_form_of_the_reference(self):
        legs = [
            leg("h2-streams", f"{peer} {form}", 0, cpu_us_per_request=microseconds, failed=0)
            for peer, form, microseconds in (
                ("gateway", "64 x 1", 10.0),
                ("gateway", "2 x 100", 30.0),
                ("nginx", "64 x 1", 20.0),
                ("nginx", "2 x 100", 40.0),
            )
        ]
        machine = {"cpu": "a", "cpus": 2, "memory_gib": 1, "kernel": "6", "architecture": "a"}
        result = {"machine": machine, "date": "", "command": "", "rounds": 1, "versions": {}, "not_run": []}
        result |= {"sizes": {"seconds": 1, "warmup": 1, "rate_share": 1}, "layout": {"proxy": "0", "load": "1"}}
        text = markdown(result, Figures(legs), all_scenarios(), [])
        self.assertIn("| gateway 64 x 1 | 0.500 |", text)
        self.assertIn("| gateway 2 x 100 | 0.750 |", text)

    def test_a_scenario_names_what_it_counts(self):
        units = {scenario.name: scenario.unit for scenario in all_scenarios().values()}
        self.assertEqual((units["handshakes"], units["websocket"], units["plain"]), ("handshake", "message", "request"))


class Choice(unittest.TestCase):
    def chosen(self, only=None, skip=None, smoke=False):
        options = argparse.Namespace(only=only, skip=skip, smoke=smoke)
        return list(run.chosen_scenarios(options, all_scenarios()))

    def test_what_is_skipped_is_left_out_of_what_was_asked_for(self):
        self.assertEqual(self.chosen(only="tls,h2,h2-streams", skip="h2-streams"), ["h2", "tls"])
        with self.assertRaises(SystemExit):
            self.chosen(skip="h3")

    def test_a_smoke_run_has_all_scenarios(self):
        self.assertEqual(set(self.chosen(smoke=True)), set(all_scenarios()))


class Chains(unittest.TestCase):
    """Chains of plugins are compared on one gateway each."""

    def test_each_chain_is_a_leg_with_its_own_headers(self):
        legs = {leg.label: leg for leg in all_scenarios()["plugins"].legs({"gateway": None})}
        self.assertEqual(legs["gateway plain"].requests.headers, ())
        self.assertEqual(legs["gateway seven"].chain, "seven")
        self.assertTrue(legs["gateway jwt HS256"].requests.headers[0].startswith("Authorization: Bearer ey"))


class Configurations(unittest.TestCase):
    """What peers are given: the text they would be started with."""

    def written(self, peer, requests):
        with tempfile.TemporaryDirectory() as directory:
            setup = Setup(
                Path(directory), 1, 2, 3, (0,), requests=requests, tls_port=4, certificates=Path("/certificates")
            )
            peer.launch = lambda setup, command, *_, **__: None
            peer.start(setup)
            return next(Path(directory).glob(f"{peer.name}.*")).read_text(encoding="utf-8")

    def test_no_mark_is_left_in_any_configuration(self):
        for scenario in all_scenarios().values():
            for requests in [scenario.requests, *(form for _, form in scenario.forms)]:
                for peer in (Nginx(), Haproxy(), Envoy("envoy")):
                    self.assertEqual(re.findall(r"@[A-Z_0-9]+@", self.written(peer, requests)), [])

    def test_tls_opens_a_second_listener_and_leaves_the_first_as_it_is(self):
        text = self.written(Nginx(), Requests(is_tls=True, handshakes="full"))
        self.assertIn("listen 127.0.0.1:2 backlog=4096;", text)
        self.assertIn("listen 127.0.0.1:4 ssl backlog=4096;", text)
        self.assertIn("ssl_certificate /certificates/server.crt;", text)

    def test_grpc_is_http2_on_both_sides(self):
        requests = Requests(protocol="grpc")
        nginx = self.written(Nginx(), requests)
        self.assertIn("listen 127.0.0.1:2 backlog=4096 http2;", nginx)
        self.assertIn("grpc_pass grpc://backend;", nginx)
        envoy = self.written(Envoy("envoy"), requests)
        self.assertIn("codec_type: AUTO", envoy)
        self.assertIn("http2_protocol_options", envoy)


class Latency(unittest.TestCase):
    def test_a_quantile_is_a_value_that_occurred(self):
        self.assertEqual(quantile(range(1, 101), 0.99), 100)
        self.assertEqual(quantile([7], 0.5), 7)
        self.assertIsNone(quantile([], 0.5))

    def test_the_worst_second_of_a_swap_sees_a_stall_after_the_signal_and_none_before(self):
        calm = [(due, 100) for due in range(0, 8_000_000, 1000)]
        stalled = [(due, 5000 if 4_200_000 <= due < 4_300_000 else 100) for due, _ in calm]
        self.assertEqual(_worst_second(stalled, 4_000_000, 4_400_000), 5000)
        early = [(due, 5000 if due < 2_000_000 else 100) for due, _ in calm]
        self.assertEqual(_worst_second(early, 4_000_000, 4_400_000), 100)


class Picture(unittest.TestCase):
    def test_a_bar_far_above_nginx_is_cut_and_keeps_its_number(self):
        legs = [
            leg("plain", "nginx", 0, cpu_us_per_request=10.0, failed=0),
            leg("plain", "caddy", 0, cpu_us_per_request=1234.0, failed=0),
        ]
        result = {"machine": {"cpu": "a <cpu>", "cpus": 2, "kernel": "6"}, "date": "2026-01-01", "rounds": 1}
        text = svg(result, Figures(legs), all_scenarios())
        self.assertIn(">1234<", text)
        self.assertIn("a &lt;cpu&gt;", text)
        self.assertEqual(text.count("<path"), 1)


if __name__ == "__main__":
    unittest.main()
