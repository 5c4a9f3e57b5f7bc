//! The process and its host, as Linux tells in `/proc` and `/sys/fs/cgroup`. What cannot be read is left out.

use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::overload::DescriptorUse;

/// Ticks a second in `/proc/*/stat`: USER_HZ, which Linux fixes at 100 for programs whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// One sample.
#[derive(Clone, Debug, Default)]
pub(super) struct System {
    sampled_at_unix_ms: u64,
    process_percent: f64,
    system_percent: Option<f64>,
    cgroup_quota_percent: Option<f64>,
    cpu_count: usize,
    rss_bytes: u64,
    virtual_bytes: u64,
    host_percent: Option<f64>,
    cgroup_percent: Option<f64>,
    cgroup_limit_bytes: Option<u64>,
    descriptors: u64,
    descriptors_max: u64,
    pub(super) port_range: Option<(u64, u64)>,
}

/// Remembers what the rates are the difference from.
#[derive(Default)]
pub(super) struct SystemSampler {
    last: Option<Ticks>,
}

#[derive(Clone, Copy)]
struct Ticks {
    at: Instant,
    process: u64,
    host_busy: u64,
    host_all: u64,
}

impl SystemSampler {
    pub(super) fn sample(&mut self, now: Instant) -> System {
        let cpu_count = std::thread::available_parallelism().map_or(1, usize::from);
        let mut system = System {
            sampled_at_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            cpu_count,
            port_range: port_range(&read("/proc/sys/net/ipv4/ip_local_port_range")),
            ..System::default()
        };
        self.cpu(&mut system, now);
        memory(&mut system);
        system.descriptors = match DescriptorUse::now() {
            DescriptorUse::Open(count) => count,
            DescriptorUse::Exhausted | DescriptorUse::Unknown => 0,
        };
        system.descriptors_max = rlimit::Resource::NOFILE.get_soft().unwrap_or(0);
        system
    }

    fn cpu(&mut self, system: &mut System, now: Instant) {
        let Some(process) = process_ticks(&read("/proc/self/stat")) else { return };
        let (host_busy, host_all) = host_ticks(&read("/proc/stat")).unwrap_or_default();
        let ticks = Ticks { at: now, process, host_busy, host_all };
        let Some(before) = self.last.replace(ticks) else { return };
        let seconds = now.saturating_duration_since(before.at).as_secs_f64();
        if seconds > 0.0 {
            let used = process.saturating_sub(before.process) as f64 / TICKS_PER_SECOND;
            system.process_percent = round(used * 100.0 / seconds);
            let quota = quota_cpus(&cgroup("cpu.max"));
            system.cgroup_quota_percent = quota.map(|cpus| round(used * 100.0 / seconds / cpus));
        }
        let all = host_all.saturating_sub(before.host_all);
        if all > 0 {
            system.system_percent = Some(round(host_busy.saturating_sub(before.host_busy) as f64 * 100.0 / all as f64));
        }
    }
}

fn memory(system: &mut System) {
    let status = read("/proc/self/status");
    system.rss_bytes = kilobytes(&status, "VmRSS:").unwrap_or(0);
    system.virtual_bytes = kilobytes(&status, "VmSize:").unwrap_or(0);
    let host = read("/proc/meminfo");
    if let (Some(total), Some(free)) = (kilobytes(&host, "MemTotal:"), kilobytes(&host, "MemAvailable:"))
        && total > 0
    {
        system.host_percent = Some(round(total.saturating_sub(free) as f64 * 100.0 / total as f64));
    }
    system.cgroup_limit_bytes = cgroup("memory.max").trim().parse().ok();
    if let (Some(limit @ 1..), Ok(used)) = (system.cgroup_limit_bytes, cgroup("memory.current").trim().parse::<u64>()) {
        system.cgroup_percent = Some(round(used as f64 * 100.0 / limit as f64));
    }
}

impl System {
    /// The `system` block of `/metrics/runtime`.
    pub(super) fn to_json(&self, exhaustion_events: u64, active_outbound_estimate: u64) -> Value {
        let ratio = if self.descriptors_max == 0 { 0.0 } else { self.descriptors as f64 / self.descriptors_max as f64 };
        json!({
            "sampled_at_unix_ms": self.sampled_at_unix_ms,
            "platform": match std::env::consts::OS {
                known @ ("linux" | "macos" | "windows") => known,
                _ => "other",
            },
            "cpu": {
                "process_percent": self.process_percent,
                "system_percent": self.system_percent,
                "cgroup_quota_percent": self.cgroup_quota_percent,
                "cpu_count": self.cpu_count,
            },
            "memory": {
                "rss_bytes": self.rss_bytes,
                "virtual_bytes": self.virtual_bytes,
                "host_percent": self.host_percent,
                "cgroup_percent": self.cgroup_percent,
                "cgroup_limit_bytes": self.cgroup_limit_bytes,
                "jemalloc_allocated_bytes": null,
                "jemalloc_resident_bytes": null,
            },
            "file_descriptors": { "current": self.descriptors, "max": self.descriptors_max, "ratio": ratio },
            "ephemeral_ports": {
                "range_low": self.port_range.map(|(low, _)| low),
                "range_high": self.port_range.map(|(_, high)| high),
                "range_size": self.port_range.map(|(low, high)| (high + 1).saturating_sub(low)),
                "exhaustion_events": exhaustion_events,
                "active_outbound_estimate": active_outbound_estimate,
            },
        })
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A file of this process's own control group (version 2), or of the root that a container sees as its own.
fn cgroup(file: &str) -> String {
    let own = read("/proc/self/cgroup");
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().trim_end_matches('/');
    let text = read(&format!("/sys/fs/cgroup{path}/{file}"));
    if text.is_empty() { read(&format!("/sys/fs/cgroup/{file}")) } else { text }
}

/// User and system ticks. The program's name may hold anything, so fields are counted from its closing parenthesis.
fn process_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Busy and all ticks of all CPUs. Guest time is within user time already.
fn host_ticks(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    let all: u64 = fields.iter().sum();
    let idle = fields.get(3)? + fields.get(4).copied().unwrap_or(0);
    Some((all.saturating_sub(idle), all))
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// CPUs that `cpu.max` allows; `None` = all.
fn quota_cpus(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

fn port_range(text: &str) -> Option<(u64, u64)> {
    let (low, high) = text.trim().split_once(char::is_whitespace)?;
    Some((low.parse().ok()?, high.trim().parse().ok()?))
}

/// Two decimals.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_files_of_linux_are_read() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0";
        assert_eq!(process_ticks(stat), Some(42));
        assert_eq!(host_ticks("cpu  10 1 5 80 4 0 0 0 3 0\ncpu0 1"), Some((16, 100)));
        assert_eq!(kilobytes("VmRSS:\t   12 kB\n", "VmRSS:"), Some(12_288));
        assert_eq!(quota_cpus("150000 100000\n"), Some(1.5));
        assert_eq!(quota_cpus("max 100000\n"), None);
        assert_eq!(port_range("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!((process_ticks(""), host_ticks(""), port_range("")), (None, None, None));
    }

    #[test]
    fn a_process_that_works_uses_its_cpu() {
        let mut sampler = SystemSampler::default();
        let start = Instant::now();
        sampler.sample(start);
        while start.elapsed() < Duration::from_millis(80) {
            std::hint::spin_loop();
        }
        let sample = sampler.sample(Instant::now());
        assert!(sample.process_percent > 10.0, "{sample:?}");
        assert!(sample.rss_bytes > 0 && sample.virtual_bytes >= sample.rss_bytes && sample.descriptors > 0);
    }
}
