//! `ferrum-edge doctor`: what on this host slows a gateway down, what it costs, and the command that mends it.
//!
//! Everything is read below a root directory, so that a test can lay out any host. Nothing is changed.

mod kernel;
mod network;
mod processor;

use std::path::{Path, PathBuf};

/// How a reading is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// It works, and costs something.
    Slow,
    /// It limits what a gateway can do at all.
    Bad,
    /// This host does not show it.
    Unknown,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Bad => "bad",
            Self::Unknown => "?",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// What was looked at, and what it is.
    pub observed: String,
    /// What it costs; empty when it costs nothing.
    pub cost: String,
    /// The command that mends it; empty when there is nothing to mend.
    pub remedy: String,
}

impl Finding {
    fn ok(observed: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, observed: observed.into(), cost: String::new(), remedy: String::new() }
    }

    fn unknown(observed: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unknown, ..Self::ok(observed) }
    }

    fn slow(observed: impl Into<String>, cost: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Slow, observed: observed.into(), cost: cost.into(), remedy: remedy.into() }
    }

    fn bad(observed: impl Into<String>, cost: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, ..Self::slow(observed, cost, remedy) }
    }
}

/// The files of a host.
pub(crate) struct HostFiles {
    root: PathBuf,
}

impl HostFiles {
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The trimmed text of a file; `None` if it cannot be read.
    fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The names in a directory, sorted; none if it cannot be read.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// A CPU or node list such as `0-3,8`.
    fn list(&self, path: &str) -> Option<Vec<usize>> {
        parse_list(&self.text(path)?)
    }

    /// CPUs that are switched on; one if the host does not say.
    fn online_cpus(&self) -> usize {
        self.list("sys/devices/system/cpu/online").map_or(1, |cpus| cpus.len().max(1))
    }
}

fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        numbers.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(numbers)
}

/// Looks at the host below `root`. `listen_backlog` is what the gateway would ask for; `probe_io_uring` tries to set up
/// a ring and says why it could not.
pub fn examine(root: &Path, listen_backlog: u32, probe_io_uring: fn() -> Result<(), String>) -> Vec<Finding> {
    let host = HostFiles { root: root.to_owned() };
    let mut findings = vec![
        kernel::version(&host),
        kernel::io_uring(&host, probe_io_uring),
        kernel::reuse_port(&host),
        kernel::open_files(&host),
        network::listen_queue(&host, listen_backlog),
        network::local_ports(&host),
        network::time_wait_reuse(&host),
        network::fast_open(&host),
    ];
    findings.extend(network::interrupts(&host));
    findings.extend([
        processor::governor(&host),
        processor::isolation(&host),
        processor::numa(&host),
        processor::huge_pages(&host),
        processor::swap(&host),
    ]);
    findings
}

/// The findings as text: a line each, and below it the command that mends it.
pub fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let cost = if finding.cost.is_empty() { String::new() } else { format!(" ({})", finding.cost) };
        text.push_str(&format!("{:<4} {}{cost}\n", finding.verdict.word(), finding.observed));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("     mend: {}\n", finding.remedy));
        }
    }
    text
}

/// How many findings are bad.
pub fn bad_count(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count()
}

#[cfg(test)]
pub(crate) mod fake {
    use super::HostFiles;

    /// A host made of the files a test names.
    pub(crate) struct FakeHost {
        pub(crate) dir: tempfile::TempDir,
    }

    impl FakeHost {
        pub(crate) fn with(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = dir.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self { dir }
        }

        pub(crate) fn files(&self) -> HostFiles {
            HostFiles { root: self.dir.path().to_owned() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeHost;
    use super::*;

    #[test]
    fn a_report_has_a_line_per_finding_and_the_command_below_it() {
        let findings =
            [Finding::ok("swap: none"), Finding::slow("x: 1", "costs y", "sysctl -w x=2"), Finding::bad("z", "w", "v")];
        assert_eq!(
            report(&findings),
            "ok   swap: none\nslow x: 1 (costs y)\n     mend: sysctl -w x=2\nbad  z (w)\n     mend: v\n"
        );
        assert_eq!(bad_count(&findings), 1);
    }

    #[test]
    fn a_host_that_shows_nothing_is_unknown_and_not_bad() {
        let host = FakeHost::with(&[]);
        let findings = examine(host.dir.path(), 2048, || Ok(()));
        assert!(
            findings.iter().all(|finding| matches!(finding.verdict, Verdict::Ok | Verdict::Unknown)),
            "{findings:#?}"
        );
        assert!(findings.len() >= 14);
    }

    #[test]
    fn whatever_is_not_ok_names_its_cost_and_its_remedy() {
        let host = FakeHost::with(&[
            ("proc/sys/kernel/osrelease", "4.19.0"),
            ("proc/sys/kernel/io_uring_disabled", "2"),
            ("proc/self/limits", "Max open files            1024                 1024                 files\n"),
            ("proc/sys/net/core/somaxconn", "128"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999"),
            ("proc/sys/net/ipv4/tcp_tw_reuse", "0"),
            ("proc/sys/net/ipv4/tcp_fastopen", "0"),
            ("proc/swaps", "Filename\n/swap file 1 0 -2\n"),
        ]);
        let findings = examine(host.dir.path(), 2048, || Err("EPERM".to_owned()));
        let unwell: Vec<_> =
            findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Slow | Verdict::Bad)).collect();
        assert!(unwell.len() >= 7, "{unwell:#?}");
        assert!(unwell.iter().all(|finding| !finding.cost.is_empty() && !finding.remedy.is_empty()));
    }
}
