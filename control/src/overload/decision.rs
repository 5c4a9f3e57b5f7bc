//! From one sample to what the cores must do (settings sheet §11). No clock, no state.

use engine::overload::PROBABILITY_ONE;

use super::OverloadOptions;

/// Where a ratio starts to matter and where it means refusal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    pub pressure: f64,
    pub critical: f64,
}

impl Thresholds {
    /// How far the ratio has come from pressure (0) to critical (1).
    fn share(self, ratio: f64) -> f64 {
        if ratio < self.pressure {
            0.0
        } else if ratio >= self.critical {
            1.0
        } else {
            (ratio - self.pressure) / (self.critical - self.pressure)
        }
    }
}

/// What was measured at one check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) descriptors: u64,
    /// 0 when unknown.
    pub(super) descriptors_max: u64,
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) loop_delay_us: u64,
}

/// `current / max`, and 0 without a limit.
pub(super) fn ratio(current: u64, max: u64) -> f64 {
    if max == 0 { 0.0 } else { current as f64 / max as f64 }
}

/// What the cores must do, draining apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub disable_keepalive: bool,
    pub reject_new_connections: bool,
    pub reject_new_requests: bool,
    /// In steps of 1/1024.
    pub close_probability: u32,
}

pub(super) fn decide(options: &OverloadOptions, sample: &Sample) -> Decision {
    let descriptors = ratio(sample.descriptors, sample.descriptors_max);
    let connections = ratio(sample.connections, options.connections_max);
    let requests = ratio(sample.requests, options.requests_max);
    // A threshold of 0 is reached by a ratio of 0; without a limit of requests it must not act all the same.
    let counts_requests = options.requests_max > 0;
    let share = options.descriptors.share(descriptors).max(options.connections.share(connections));
    let share = if counts_requests { share.max(options.requests.share(requests)) } else { share };

    Decision {
        disable_keepalive: descriptors >= options.descriptors.pressure
            || connections >= options.connections.pressure
            || (counts_requests && requests >= options.requests.pressure),
        reject_new_connections: descriptors >= options.descriptors.critical
            || connections >= options.connections.critical
            || sample.loop_delay_us >= options.loop_critical_us,
        reject_new_requests: counts_requests && requests >= options.requests.critical,
        close_probability: (share * f64::from(PROBABILITY_ONE)) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> OverloadOptions {
        OverloadOptions { connections_max: 1000, requests_max: 1000, ..OverloadOptions::default() }
    }

    fn sample() -> Sample {
        Sample { descriptors_max: 1000, ..Sample::default() }
    }

    #[test]
    fn each_threshold_acts_at_its_value_and_not_below() {
        let options = options();
        let decided = |sample: Sample| decide(&options, &sample);

        assert_eq!(
            decided(Sample { descriptors: 799, connections: 849, requests: 849, ..sample() }),
            Decision::default()
        );
        for reached in [
            Sample { descriptors: 800, ..sample() },
            Sample { connections: 850, ..sample() },
            Sample { requests: 850, ..sample() },
        ] {
            let pressure = Decision { disable_keepalive: true, ..Decision::default() };
            assert_eq!(decided(reached), pressure, "{reached:?}");
        }

        assert!(!decided(Sample { descriptors: 949, connections: 949, ..sample() }).reject_new_connections);
        assert!(decided(Sample { descriptors: 950, ..sample() }).reject_new_connections);
        assert!(decided(Sample { connections: 950, ..sample() }).reject_new_connections);
        assert!(!decided(Sample { requests: 949, ..sample() }).reject_new_requests);
        let refused = decided(Sample { requests: 950, ..sample() });
        assert!(refused.reject_new_requests && !refused.reject_new_connections);
    }

    #[test]
    fn one_starved_loop_refuses_connections() {
        let decided = |loop_delay_us| decide(&options(), &Sample { loop_delay_us, ..sample() });
        assert_eq!(decided(499_999), Decision::default());
        assert!(decided(500_000).reject_new_connections && !decided(500_000).disable_keepalive);
    }

    #[test]
    fn a_limit_that_does_not_exist_is_never_reached() {
        let options = OverloadOptions { connections_max: 0, requests_max: 0, ..options() };
        let busy = Sample { connections: u64::MAX, requests: u64::MAX, ..Sample::default() };
        assert_eq!(decide(&options, &busy), Decision::default());
    }

    #[test]
    fn the_probability_grows_in_whole_steps_and_the_largest_counts() {
        let probability = |descriptors, connections| {
            decide(&options(), &Sample { descriptors, connections, ..sample() }).close_probability
        };
        assert_eq!(probability(800, 0), 0);
        assert_eq!(probability(875, 0), 512);
        assert_eq!(probability(801, 0), 6, "0.00667 of the way is 6.8 steps, truncated");
        assert_eq!(probability(875, 949), 1013);
        assert_eq!(probability(950, 0), 1024);
    }
}
