//! What a run has shown.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Latencies above this are recorded as this.
const LATENCY_NS_MAX: u64 = 120_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

pub(crate) struct Outcome {
    /// Successful requests whose answer came within the measured time.
    pub(crate) requests: u64,
    pub(crate) received_bytes: u64,
    pub(crate) elapsed_ns: u64,
    /// Failures over the whole run, warm-up included, by kind.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Requests that were due in the measured time and never found a free connection.
    pub(crate) unsent: u64,
    /// Connections the server closed between requests.
    pub(crate) closed_idle: u64,
    /// CPU time of the watched processes over the measured time.
    pub(crate) cpu_ns: BTreeMap<i32, u64>,
    pub(crate) own_cpu_ns: u64,
    latencies_ns: Histogram<u64>,
    samples_us: Option<Vec<(u32, u32)>>,
}

impl Outcome {
    pub(crate) fn new(keep_samples: bool) -> Self {
        Self {
            requests: 0,
            received_bytes: 0,
            elapsed_ns: 0,
            failures: BTreeMap::new(),
            unsent: 0,
            closed_idle: 0,
            cpu_ns: BTreeMap::new(),
            own_cpu_ns: 0,
            latencies_ns: Histogram::new_with_bounds(1, LATENCY_NS_MAX, SIGNIFICANT_DIGITS)
                .expect("the bounds are constant and valid"),
            samples_us: keep_samples.then(Vec::new),
        }
    }

    /// Records the latency of a request that was due `due_ns` into the measured time.
    pub(crate) fn record(&mut self, due_ns: u64, taken_ns: u64) {
        self.latencies_ns.saturating_record(taken_ns);
        if let Some(samples) = &mut self.samples_us {
            samples.push(((due_ns / 1000) as u32, (taken_ns / 1000) as u32));
        }
    }

    #[cold]
    pub(crate) fn fail(&mut self, kind: impl Into<String>) {
        *self.failures.entry(kind.into()).or_default() += 1;
    }

    pub(crate) fn write_samples(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for (due, taken) in self.samples_us.iter().flatten() {
            file.write_all(&due.to_le_bytes())?;
            file.write_all(&taken.to_le_bytes())?;
        }
        file.flush()
    }

    pub(crate) fn to_json(&self) -> Value {
        let seconds = self.elapsed_ns as f64 / 1e9;
        let quantile = |quantile: f64| self.latencies_ns.value_at_quantile(quantile) as f64 / 1000.0;
        json!({
            "requests": self.requests,
            "seconds": seconds,
            "requests_per_second": self.requests as f64 / seconds,
            "received_bytes": self.received_bytes,
            "failed": self.failures.values().sum::<u64>(),
            "failures": self.failures,
            "unsent": self.unsent,
            "closed_idle": self.closed_idle,
            "latency_us": {
                "mean": self.latencies_ns.mean() / 1000.0,
                "p50": quantile(0.5),
                "p90": quantile(0.9),
                "p99": quantile(0.99),
                "p99.9": quantile(0.999),
                "max": self.latencies_ns.max() as f64 / 1000.0,
            },
            "cpu_ns": self.cpu_ns.iter().map(|(pid, ns)| (pid.to_string(), *ns)).collect::<BTreeMap<_, _>>(),
            "own_cpu_ns": self.own_cpu_ns,
        })
    }
}
