//! The task that measures, decides, publishes and logs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::overload::{Overload, PROBABILITY_ONE};
use tokio::task::JoinHandle;
use tokio::time::{self, MissedTickBehavior};

use super::decision::{self, Decision, Sample};
use super::descriptors::DescriptorUse;
use super::snapshot::{Actions, Level, NodeWaypointDrops, Pressure, Share, Snapshot, StreamListeners};
use super::{Gauges, OverloadOptions};

/// How many checks may pass before the descriptor limit, which an administrator can change from outside (prlimit), is
/// read again.
const LIMIT_READ_EVERY: u32 = 60;

/// Measures and decides. [`Monitor::start`] does so at the interval; the admin API reads [`Monitor::snapshot`].
pub struct Monitor {
    options: OverloadOptions,
    gauges: Arc<dyn Gauges>,
    verdict: Arc<Overload>,
    last: Mutex<Last>,
}

/// What the last check found.
#[derive(Default)]
struct Last {
    sample: Sample,
    decision: Decision,
    /// The soft limit as last read; 0 = unknown.
    descriptors_max: u64,
    checks: u32,
    port_exhaustions: u64,
    has_warned_of_descriptors: bool,
}

/// The running monitor; ends when it is dropped.
pub struct MonitorTask(JoinHandle<()>);

impl Drop for MonitorTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One transition record; a macro because a record's level is fixed where it is written.
macro_rules! record {
    ($severity:ident, $monitor:expr, $sample:expr, $level:expr, $action:expr, $text:expr) => {
        tracing::$severity!(
            level = $level,
            action = $action,
            fd_current = $sample.descriptors,
            fd_max = $sample.descriptors_max,
            fd_percent = percent($sample.descriptors, $sample.descriptors_max),
            connections_current = $sample.connections,
            connections_max = $monitor.options.connections_max,
            connections_percent = percent($sample.connections, $monitor.options.connections_max),
            requests_current = $sample.requests,
            requests_max = $monitor.options.requests_max,
            requests_percent = percent($sample.requests, $monitor.options.requests_max),
            loop_latency_us = $sample.loop_delay_us,
            "{}",
            $text
        )
    };
}

impl Monitor {
    pub fn new(options: OverloadOptions, gauges: Arc<dyn Gauges>, verdict: Arc<Overload>) -> Arc<Self> {
        let descriptors_max = gauges.descriptors_max();
        let sample = Sample { descriptors_max, ..Sample::default() };
        let last = Mutex::new(Last { sample, descriptors_max, ..Last::default() });
        Arc::new(Self { options, gauges, verdict, last })
    }

    /// Checks at every interval, for the first time one interval from now. Needs a tokio runtime.
    pub fn start(self: &Arc<Self>) -> MonitorTask {
        let monitor = self.clone();
        MonitorTask(tokio::spawn(async move {
            let interval = monitor.options.check_interval;
            let mut ticks = time::interval_at(time::Instant::now() + interval, interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                monitor.check();
            }
        }))
    }

    /// One check: measures, publishes the verdict, logs what changed.
    pub fn check(&self) {
        let mut last = self.last();
        let sample = self.measure(&mut last);
        let decision = decision::decide(&self.options, &sample);
        self.verdict.publish(
            decision.disable_keepalive,
            decision.reject_new_connections,
            decision.reject_new_requests,
            decision.close_probability,
        );
        self.log_changes(last.decision, decision, &sample);
        self.log_port_exhaustion(&mut last);
        last.sample = sample;
        last.decision = decision;
    }

    fn measure(&self, last: &mut Last) -> Sample {
        last.checks = last.checks.wrapping_add(1);
        if last.checks.is_multiple_of(LIMIT_READ_EVERY) {
            last.descriptors_max = self.gauges.descriptors_max();
        }
        let descriptors_max = last.descriptors_max;
        let (descriptors, descriptors_max) = match self.gauges.descriptors() {
            DescriptorUse::Open(count) => (count, descriptors_max),
            // An unknown limit must not make exhaustion look like nothing in use.
            DescriptorUse::Exhausted => (descriptors_max.max(1), descriptors_max.max(1)),
            DescriptorUse::Unknown => {
                if !std::mem::replace(&mut last.has_warned_of_descriptors, true) {
                    tracing::warn!(
                        "This platform does not tell how many file descriptors are open; they are not watched"
                    );
                }
                (0, descriptors_max)
            }
        };
        Sample {
            descriptors,
            descriptors_max,
            connections: self.gauges.connections(),
            requests: self.gauges.requests(),
            loop_delay_us: self.gauges.loop_delay_us(),
        }
    }

    fn log_changes(&self, before: Decision, now: Decision, sample: &Sample) {
        if before.reject_new_connections != now.reject_new_connections {
            if now.reject_new_connections {
                self.warn(sample, "critical", "reject_connections", "Overload CRITICAL: refusing new connections");
            } else {
                self.recovered(sample, now, "accept_connections", "Overload recovered: accepting new connections");
            }
        }
        if before.reject_new_requests != now.reject_new_requests {
            if now.reject_new_requests {
                self.warn(sample, "critical", "reject_requests", "Overload CRITICAL: refusing new requests");
            } else {
                self.recovered(sample, now, "accept_requests", "Overload recovered: accepting new requests");
            }
        }
        if before.disable_keepalive != now.disable_keepalive {
            if now.disable_keepalive {
                self.warn(
                    sample,
                    "pressure",
                    "disable_keepalive",
                    "Overload pressure: responses close their connection",
                );
            } else {
                self.recovered(
                    sample,
                    now,
                    "enable_keepalive",
                    "Overload recovered: no more pressure, keep-alive is back",
                );
            }
        }
        if (self.options.loop_warn_us..self.options.loop_critical_us).contains(&sample.loop_delay_us) {
            tracing::warn!(
                loop_latency_us = sample.loop_delay_us,
                warn_us = self.options.loop_warn_us,
                critical_us = self.options.loop_critical_us,
                "Overload watch: an event loop runs late"
            );
        }
    }

    fn warn(&self, sample: &Sample, level: &str, action: &str, text: &str) {
        record!(warn, self, sample, level, action, text);
    }

    fn recovered(&self, sample: &Sample, now: Decision, action: &str, text: &str) {
        let level = match actions(now, false).level() {
            Level::Normal => "normal",
            Level::Pressure => "pressure",
            Level::Critical => "critical",
        };
        record!(info, self, sample, level, action, text);
    }

    /// One record an interval, since exhaustion comes by the thousand.
    fn log_port_exhaustion(&self, last: &mut Last) {
        let total = self.gauges.port_exhaustions();
        let events = total.saturating_sub(last.port_exhaustions);
        if events > 0 {
            tracing::error!(
                events,
                total,
                "PORT EXHAUSTION: {events} outbound connections found no local port; widen net.ipv4.ip_local_port_range or reuse backend connections"
            );
        }
        last.port_exhaustions = total;
    }

    /// Live counters, and the pressure of the last check.
    pub fn snapshot(&self) -> Snapshot {
        let (sample, decision) = {
            let last = self.last();
            (last.sample, last.decision)
        };
        let draining = self.verdict.is_draining();
        let actions = actions(decision, draining);
        let dtls_demux_sessions = self.gauges.dtls_listeners();
        Snapshot {
            level: actions.level(),
            draining,
            active_connections: self.gauges.connections(),
            active_requests: self.gauges.requests(),
            red_drop_probability_pct: f64::from(decision.close_probability) * 100.0 / f64::from(PROBABILITY_ONE),
            port_exhaustion_events: self.gauges.port_exhaustions(),
            node_waypoint_drops: NodeWaypointDrops::default(),
            pressure: Pressure {
                file_descriptors: Share::of(sample.descriptors, sample.descriptors_max),
                connections: Share::of(sample.connections, self.options.connections_max),
                requests: Share::of(sample.requests, self.options.requests_max),
                event_loop_latency_us: sample.loop_delay_us,
            },
            actions,
            stream_listeners: StreamListeners {
                dtls_demux_sessions_total: dtls_demux_sessions.iter().map(|listener| listener.sessions).sum(),
                dtls_demux_sessions,
            },
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        // The figures of a check that panicked are stale, not wrong.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draining refuses requests; it is no overload, so it is in what is shown and not in what is logged.
fn actions(decision: Decision, draining: bool) -> Actions {
    Actions {
        disable_keepalive: decision.disable_keepalive,
        reject_new_connections: decision.reject_new_connections,
        reject_new_requests: decision.reject_new_requests || draining,
    }
}

/// With one decimal.
fn percent(current: u64, max: u64) -> f64 {
    (decision::ratio(current, max) * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overload::DtlsListener;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    #[derive(Default)]
    struct Dials {
        descriptors: AtomicU64,
        /// 1 = exhausted, 2 = unknown, 3 = no limit.
        failure: AtomicU64,
        connections: AtomicU64,
        requests: AtomicU64,
        delay: AtomicU64,
        ports: AtomicU64,
        limit_reads: AtomicUsize,
    }

    impl Gauges for Dials {
        fn descriptors(&self) -> DescriptorUse {
            match self.failure.load(Relaxed) {
                1 => DescriptorUse::Exhausted,
                2 => DescriptorUse::Unknown,
                _ => DescriptorUse::Open(self.descriptors.load(Relaxed)),
            }
        }
        fn descriptors_max(&self) -> u64 {
            self.limit_reads.fetch_add(1, Relaxed);
            if self.failure.load(Relaxed) == 3 { 0 } else { 1000 }
        }
        fn connections(&self) -> u64 {
            self.connections.load(Relaxed)
        }
        fn requests(&self) -> u64 {
            self.requests.load(Relaxed)
        }
        fn loop_delay_us(&self) -> u64 {
            self.delay.load(Relaxed)
        }
        fn port_exhaustions(&self) -> u64 {
            self.ports.load(Relaxed)
        }
        fn dtls_listeners(&self) -> Vec<DtlsListener> {
            vec![DtlsListener { listener_key: "iot".into(), listen_port: 5684, sessions: 2 }]
        }
    }

    fn monitor() -> (Arc<Monitor>, Arc<Dials>, Arc<Overload>) {
        let (dials, verdict) = (Arc::new(Dials::default()), Arc::new(Overload::default()));
        let options = OverloadOptions {
            check_interval: Duration::from_millis(1),
            connections_max: 100,
            requests_max: 100,
            ..OverloadOptions::default()
        };
        (Monitor::new(options, dials.clone(), verdict.clone()), dials, verdict)
    }

    /// The messages, fields and levels of what `act` logs.
    fn logged(act: impl FnOnce()) -> Vec<(tracing::Level, String)> {
        use tracing::field::{Field, Visit};
        use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
        #[derive(Clone, Default)]
        struct Ear(Arc<Mutex<Vec<(tracing::Level, String)>>>);
        impl<S: tracing::Subscriber> Layer<S> for Ear {
            fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
                let mut text = Text(String::new());
                event.record(&mut text);
                self.0.lock().unwrap().push((*event.metadata().level(), text.0));
            }
        }
        let ear = Ear::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(ear.clone()), act);
        ear.0.lock().unwrap().clone()
    }

    #[test]
    fn the_snapshot_is_the_document_of_the_sheet() {
        let (monitor, dials, _) = monitor();
        dials.connections.store(12, Relaxed);
        let before_the_first_check = serde_json::to_value(monitor.snapshot()).unwrap();
        assert_eq!(before_the_first_check["active_connections"], 12);
        assert_eq!(
            before_the_first_check["pressure"]["connections"],
            serde_json::json!({"current":0,"max":100,"ratio":0.0})
        );
        assert_eq!(before_the_first_check["pressure"]["file_descriptors"]["max"], 1000);

        dials.descriptors.store(80, Relaxed);
        dials.requests.store(3, Relaxed);
        dials.delay.store(40, Relaxed);
        monitor.check();
        assert_eq!(
            serde_json::to_string(&monitor.snapshot()).unwrap(),
            concat!(
                r#"{"level":"normal","draining":false,"active_connections":12,"active_requests":3,"#,
                r#""red_drop_probability_pct":0.0,"port_exhaustion_events":0,"node_waypoint_drops":{"#,
                r#""cookie_unavailable":0,"unknown_cookie":0,"missing_pod_uid":0,"missing_workload_hash":0,"#,
                r#""unknown_pod":0,"hash_mismatch":0},"pressure":{"#,
                r#""file_descriptors":{"current":80,"max":1000,"ratio":0.08},"#,
                r#""connections":{"current":12,"max":100,"ratio":0.12},"#,
                r#""requests":{"current":3,"max":100,"ratio":0.03},"event_loop_latency_us":40},"#,
                r#""actions":{"disable_keepalive":false,"reject_new_connections":false,"reject_new_requests":false},"#,
                r#""stream_listeners":{"dtls_demux_sessions_total":2,"dtls_demux_sessions":"#,
                r#"[{"listener_key":"iot","listen_port":5684,"sessions":2}]}}"#
            )
        );
    }

    #[test]
    fn entering_is_a_warning_leaving_is_an_info_and_staying_is_silent() {
        let (monitor, dials, verdict) = monitor();
        dials.connections.store(90, Relaxed);
        let entering = logged(|| monitor.check());
        assert_eq!(entering.len(), 1);
        assert_eq!(entering[0].0, tracing::Level::WARN);
        for part in ["Overload pressure", "disable_keepalive", "connections_current=90", "connections_percent=90.0"] {
            assert!(entering[0].1.contains(part), "{part} in {}", entering[0].1);
        }
        assert!(verdict.disables_keepalive() && verdict.close_probability() == 512);
        assert!(logged(|| monitor.check()).is_empty());

        dials.connections.store(95, Relaxed);
        let worse = logged(|| monitor.check());
        assert!(
            worse.len() == 1 && worse[0].1.contains("Overload CRITICAL") && worse[0].1.contains("reject_connections")
        );
        assert!(verdict.rejects_connections());

        dials.connections.store(0, Relaxed);
        let leaving = logged(|| monitor.check());
        assert_eq!(leaving.len(), 2);
        assert!(leaving.iter().all(|(level, text)| *level == tracing::Level::INFO && text.contains("recovered")));
        assert!(leaving[1].1.contains("level=\"normal\""), "{}", leaving[1].1);
        assert!(!verdict.disables_keepalive() && !verdict.rejects_connections() && verdict.close_probability() == 0);
    }

    #[test]
    fn requests_at_their_limit_are_refused_and_named() {
        let (monitor, dials, verdict) = monitor();
        dials.requests.store(95, Relaxed);
        let texts: String = logged(|| monitor.check()).into_iter().map(|(_, text)| text).collect();
        assert!(texts.contains("reject_requests") && texts.contains("disable_keepalive"));
        assert!(verdict.rejects_requests() && !verdict.rejects_connections());
        assert_eq!(monitor.snapshot().red_drop_probability_pct, 100.0);
    }

    #[test]
    fn a_late_loop_warns_every_interval_until_it_is_critical() {
        let (monitor, dials, verdict) = monitor();
        dials.delay.store(9_999, Relaxed);
        assert!(logged(|| monitor.check()).is_empty());
        dials.delay.store(10_000, Relaxed);
        for _ in 0..2 {
            assert_eq!(logged(|| monitor.check()).len(), 1);
        }
        dials.delay.store(500_000, Relaxed);
        assert!(logged(|| monitor.check())[0].1.contains("Overload CRITICAL"));
        assert!(verdict.rejects_connections());
    }

    #[test]
    fn descriptors_that_cannot_be_listed_count_as_used_up() {
        let (monitor, dials, verdict) = monitor();
        dials.failure.store(1, Relaxed);
        monitor.check();
        assert!(verdict.rejects_connections());
        assert_eq!(monitor.snapshot().pressure.file_descriptors.ratio, 1.0);
        dials.failure.store(2, Relaxed);
        let unknown = logged(|| (0..3).for_each(|_| monitor.check()));
        assert_eq!(unknown.iter().filter(|(_, text)| text.contains("does not tell")).count(), 1);
        assert!(!verdict.rejects_connections());
    }

    #[test]
    fn exhaustion_without_a_known_limit_ends_with_it() {
        let dials = Arc::new(Dials { failure: AtomicU64::new(3), ..Dials::default() });
        let monitor = Monitor::new(OverloadOptions::default(), dials.clone(), Arc::default());
        dials.descriptors.store(80, Relaxed);
        dials.failure.store(1, Relaxed);
        monitor.check();
        assert_eq!(monitor.snapshot().level, Level::Critical);
        dials.failure.store(0, Relaxed);
        monitor.check();
        assert_eq!(monitor.snapshot().level, Level::Normal);
    }

    #[test]
    fn the_descriptor_limit_is_read_again_every_60_checks() {
        let (monitor, dials, _) = monitor();
        (0..59).for_each(|_| monitor.check());
        assert_eq!(dials.limit_reads.load(Relaxed), 1);
        monitor.check();
        assert_eq!(dials.limit_reads.load(Relaxed), 2);
    }

    #[test]
    fn port_exhaustion_is_an_error_and_never_reset() {
        let (monitor, dials, _) = monitor();
        dials.ports.store(3, Relaxed);
        let records = logged(|| monitor.check());
        assert!(records[0].0 == tracing::Level::ERROR && records[0].1.contains("PORT EXHAUSTION"));
        assert!(logged(|| monitor.check()).is_empty());
        assert_eq!(monitor.snapshot().port_exhaustion_events, 3);
    }

    #[test]
    fn draining_is_shown_as_critical_and_logged_as_nothing() {
        let (monitor, _, verdict) = monitor();
        verdict.start_draining();
        assert!(logged(|| monitor.check()).is_empty());
        let snapshot = monitor.snapshot();
        assert!(snapshot.draining && snapshot.actions.reject_new_requests);
        assert_eq!(snapshot.level, Level::Critical);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_check_comes_one_interval_after_start() {
        let (monitor, dials, verdict) = monitor();
        dials.connections.store(100, Relaxed);
        let _task = monitor.start();
        tokio::task::yield_now().await;
        assert!(!verdict.rejects_connections());
        tokio::time::advance(Duration::from_millis(2)).await;
        while !verdict.rejects_connections() {
            tokio::task::yield_now().await;
        }
    }
}
