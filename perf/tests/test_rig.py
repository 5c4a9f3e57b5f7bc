"""Tests of the rig's arithmetic: `python3 -m unittest discover perf/tests`."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rig.bars import all_bars
from rig.chart import svg
from rig.load import quantile
from rig.measure import _worst_second
from rig.ratios import Figures
from rig.scenarios import all_scenarios


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
