//! The kernel and what it allows this process.

use super::{Finding, HostFiles};

/// The gateway's own advice about descriptors; below it the start-up log warns.
const OPEN_FILES_ADVISED: u64 = 65_536;
/// Less is not enough for the smallest documented tier.
const OPEN_FILES_MIN: u64 = 4096;

/// Major and minor number of the running kernel.
fn kernel_version(host: &HostFiles) -> Option<(u32, u32)> {
    let release = host.text("proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn version(host: &HostFiles) -> Finding {
    let Some((major, minor)) = kernel_version(host) else {
        return Finding::unknown("kernel: its version cannot be read");
    };
    let observed = format!("kernel: {major}.{minor}");
    // 5.6 brought what an io_uring reactor needs at least; 6.1 lets a core run its completions when it asks for them.
    match (major, minor) {
        (6.., 1..) | (7.., _) => Finding::ok(observed),
        (5, 6..) | (6, 0) => Finding::slow(
            observed,
            "its io_uring interrupts a core for completions; 6.1 and later do not",
            "upgrade the kernel to 6.1 or later",
        ),
        _ => Finding::slow(observed, "its io_uring is too old; cores use epoll", "upgrade the kernel to 6.1 or later"),
    }
}

pub(super) fn io_uring(host: &HostFiles, probe: fn() -> Result<(), String>) -> Finding {
    let Err(reason) = probe() else { return Finding::ok("io_uring: allowed") };
    let cost = "cores use epoll: more system calls per request";
    let sysctl = "sysctl -w kernel.io_uring_disabled=0";
    match host.number("proc/sys/kernel/io_uring_disabled") {
        Some(2) => Finding::slow("io_uring: switched off for everybody (kernel.io_uring_disabled=2)", cost, sysctl),
        Some(1) => Finding::slow(
            format!("io_uring: only for processes of kernel.io_uring_group (kernel.io_uring_disabled=1): {reason}"),
            cost,
            format!("{sysctl}, or add the gateway's group to kernel.io_uring_group"),
        ),
        _ => Finding::slow(
            format!("io_uring: refused: {reason}"),
            cost,
            "in a container, use a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register",
        ),
    }
}

pub(super) fn reuse_port(host: &HostFiles) -> Finding {
    let upgrade = "upgrade the kernel";
    match kernel_version(host) {
        None => Finding::unknown("SO_REUSEPORT: depends on the kernel, whose version cannot be read"),
        Some(version) if version < (3, 9) => {
            Finding::bad("SO_REUSEPORT: missing before 3.9", "every connection enters through one core", upgrade)
        }
        Some(version) if version < (4, 5) => Finding::slow(
            "SO_REUSEPORT: without programs before 4.5",
            "FERRUM_ACCEPT_STEERING=cpu and QUIC steering are not available",
            upgrade,
        ),
        Some(_) => Finding::ok("SO_REUSEPORT: with steering programs"),
    }
}

pub(super) fn open_files(host: &HostFiles) -> Finding {
    let limits = host.text("proc/self/limits").unwrap_or_default();
    let Some((soft, hard)) = limits.lines().find_map(open_files_of) else {
        return Finding::unknown("open files: the limit cannot be read");
    };
    let shown = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    let observed = format!("open files: soft {}, hard {}; the gateway raises soft to hard", shown(soft), shown(hard));
    let cost = format!("a proxied connection takes two descriptors: about {} connections", hard / 2);
    let remedy = "LimitNOFILE=1048576 in the systemd unit, or --ulimit nofile=1048576 for a container";
    match hard {
        OPEN_FILES_ADVISED.. => Finding::ok(observed),
        OPEN_FILES_MIN.. => Finding::slow(observed, cost, remedy),
        _ => Finding::bad(observed, cost, remedy),
    }
}

fn open_files_of(line: &str) -> Option<(u64, u64)> {
    let mut words = line.strip_prefix("Max open files")?.split_whitespace();
    let mut limit = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    Some((limit()?, limit()?))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Bad, Ok as Good, Slow, Unknown};
    use super::super::fake::FakeHost;
    use super::*;

    fn host(path: &str, text: &str) -> FakeHost {
        FakeHost::with(&[(path, text)])
    }

    #[test]
    fn a_kernel_is_judged_by_its_io_uring() {
        let judged = |release: &str| version(&host("proc/sys/kernel/osrelease", release).files()).verdict;
        for (release, verdict) in [
            ("6.1.0", Good),
            ("6.18.4-cloud", Good),
            ("7.0.1", Good),
            ("6.0.19", Slow),
            ("5.6.0", Slow),
            ("5.5.19", Slow),
            ("4.19.0-26-amd64", Slow),
            ("strange", Unknown),
        ] {
            assert_eq!(judged(release), verdict, "{release}");
        }
        let old = version(&host("proc/sys/kernel/osrelease", "5.5.0").files());
        assert!(old.cost.contains("epoll"));
        assert!(!version(&host("proc/sys/kernel/osrelease", "5.6.0").files()).cost.contains("epoll"));
    }

    #[test]
    fn io_uring_that_works_is_ok_whatever_the_sysctl_says() {
        for sysctl in ["0", "1", "2"] {
            assert_eq!(io_uring(&host("proc/sys/kernel/io_uring_disabled", sysctl).files(), || Ok(())).verdict, Good);
        }
    }

    #[test]
    fn io_uring_that_is_refused_names_who_refuses_it() {
        let refused = |sysctl: &str| {
            io_uring(&host("proc/sys/kernel/io_uring_disabled", sysctl).files(), || Err("EPERM".to_owned()))
        };
        assert!(refused("2").observed.contains("for everybody"));
        assert!(refused("1").observed.contains("io_uring_group"));
        assert!(refused("0").remedy.contains("seccomp"));
        assert!(refused("0").observed.contains("EPERM"));
        assert!(["0", "1", "2"].iter().all(|sysctl| refused(sysctl).verdict == Slow));
        assert_eq!(io_uring(&FakeHost::with(&[]).files(), || Err("ENOSYS".to_owned())).verdict, Slow);
    }

    #[test]
    fn reuse_port_came_with_3_9_and_its_programs_with_4_5() {
        let judged = |release: &str| reuse_port(&host("proc/sys/kernel/osrelease", release).files()).verdict;
        let expected =
            [("3.8.1", Bad), ("3.9.0", Slow), ("4.4.2", Slow), ("4.5.0", Good), ("6.1.0", Good), ("x", Unknown)];
        for (release, verdict) in expected {
            assert_eq!(judged(release), verdict, "{release}");
        }
    }

    #[test]
    fn descriptors_are_judged_by_the_hard_limit() {
        let judged = |soft: &str, hard: &str| -> Verdict {
            let text = format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax open files            {soft}       {hard}       files\n"
            );
            open_files(&host("proc/self/limits", &text).files()).verdict
        };
        assert_eq!(judged("1024", "65536"), Good);
        assert_eq!(judged("1024", "unlimited"), Good);
        assert_eq!(judged("1024", "65535"), Slow);
        assert_eq!(judged("1024", "4096"), Slow);
        assert_eq!(judged("1024", "4095"), Bad);
        assert_eq!(judged("1024", "many"), Unknown);
    }
}
