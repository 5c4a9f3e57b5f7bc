//! File descriptors: how many are open, how many may be, and raising that at start (settings sheet §11, §16.4).

use std::fs;
use std::io;

use rlimit::Resource;

/// Below this many descriptors a gateway runs short before it runs out of anything else.
const DESCRIPTORS_RECOMMENDED: u64 = 65_536;

/// Open descriptors of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptorUse {
    Open(u64),
    /// The list exists but cannot be read, most likely because no descriptor is left to read it with.
    Exhausted,
    /// This platform does not tell.
    Unknown,
}

impl DescriptorUse {
    pub fn now() -> Self {
        const LIST: &str = "/proc/self/fd";
        // Since Linux 6.2 the size of the directory is the count, at the cost of one stat.
        match fs::metadata(LIST).map(|list| list.len()) {
            Ok(0) => {}
            Ok(count) => return Self::Open(count),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::Unknown,
            Err(_) => return Self::Exhausted,
        }
        match fs::read_dir(LIST) {
            // The list names the descriptor it is read through as well.
            Ok(entries) => Self::Open((entries.count() as u64).saturating_sub(1)),
            Err(_) => Self::Exhausted,
        }
    }
}

/// The soft limit of descriptors, 0 when it is unknown or there is none.
pub(super) fn soft_limit() -> u64 {
    match Resource::NOFILE.get_soft() {
        Ok(rlimit::INFINITY) | Err(_) => 0,
        Ok(soft) => soft,
    }
}

/// The soft limit before and after [`raise_nofile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    pub before: u64,
    pub after: u64,
}

/// Raises the soft limit to the hard one. A failure leaves it as it is. Says in the log what came of it.
pub fn raise_nofile() -> DescriptorLimit {
    let (before, hard) = Resource::NOFILE.get().unwrap_or((0, 0));
    let raised = before < hard && Resource::NOFILE.set(hard, hard).is_ok();
    let limit = DescriptorLimit { before, after: if raised { hard } else { before } };
    if raised {
        tracing::info!(before, after = hard, "Raised the soft FD limit to the hard limit");
    }
    if limit.after < DESCRIPTORS_RECOMMENDED {
        tracing::warn!(
            soft = limit.after,
            hard,
            recommended = DESCRIPTORS_RECOMMENDED,
            "The soft FD limit is {} (hard limit {hard}); raise it to at least {DESCRIPTORS_RECOMMENDED} with ulimit -n or LimitNOFILE=",
            limit.after,
        );
    }
    limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_descriptors_are_counted() {
        let DescriptorUse::Open(before) = DescriptorUse::now() else { panic!("Linux tells") };
        let held: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let DescriptorUse::Open(after) = DescriptorUse::now() else { panic!("Linux tells") };
        // Other tests open and close some meanwhile.
        assert!(after >= before + 100, "{before} -> {after} with {} more", held.len());
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit_once() {
        let (_, hard) = Resource::NOFILE.get().unwrap();
        assert_eq!(raise_nofile().after, hard);
        assert_eq!(raise_nofile(), DescriptorLimit { before: hard, after: hard });
    }
}
