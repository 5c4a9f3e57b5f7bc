//! CPU lists, and which CPUs the cores of the engine are pinned to.

use std::collections::BTreeSet;

use super::Settings;
use super::value::{Value, expected, items};

/// The kernel's own upper bound on CPU numbers (`NR_CPUS` of the largest configurations).
const CPU_NUMBER_MAX: usize = 8191;

/// CPU numbers, ascending and without duplicates. Empty: none were named.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd)]
pub struct CpuList(Vec<usize>);

impl CpuList {
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// `2-15`, `0,2,4-7`: the kernel's list format.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut cpus = BTreeSet::new();
        for item in items(text) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last) = (cpu_number(first)?, cpu_number(last)?);
            if first > last {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(Self(cpus.into_iter().collect()))
    }
}

fn cpu_number(text: &str) -> Option<usize> {
    let text = text.trim();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?.filter(|cpu| *cpu <= CPU_NUMBER_MAX)
}

impl Value for CpuList {
    fn tag() -> String {
        "CPU list".to_owned()
    }

    fn parse(key: &str, raw: &str, _: &mut Vec<String>) -> Result<Self, String> {
        Self::from_text(raw)
            .ok_or_else(|| expected(key, raw, &format!("a CPU list such as 2-15 or 0,2,4-7 (0 to {CPU_NUMBER_MAX})")))
    }

    fn show(&self) -> String {
        if self.0.is_empty() { "unset".to_owned() } else { ranges(&self.0) }
    }
}

/// Ascending CPU numbers in the kernel's list format.
pub(crate) fn ranges(cpus: &[usize]) -> String {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => spans.push((cpu, cpu)),
        }
    }
    let text = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    spans.iter().map(text).collect::<Vec<_>>().join(",")
}

impl Settings {
    /// The CPUs that cores are pinned to, one core each.
    ///
    /// `FERRUM_CORES` names them, and a thread must be `settable` onto each. Else they are out of the `inherited` ones,
    /// those the process was started on: `FERRUM_WORKER_THREADS`, else a `FERRUM_ACCEPT_THREADS` above 0, says how many
    /// of the first ones to take; else all. More threads than CPUs gives one core per CPU.
    ///
    /// The two differ where the kernel keeps CPUs free of what nobody put there (`isolcpus=`): a process does not
    /// inherit them, and may use them.
    pub fn core_set(
        &self,
        inherited: &[usize],
        settable: impl Fn(&[usize]) -> Vec<usize>,
    ) -> Result<Vec<usize>, String> {
        let named = self.engine.cores.as_slice();
        if !named.is_empty() {
            return within("FERRUM_CORES", named, settable);
        }
        let accept_threads = Some(self.runtime.accept_threads).filter(|threads| *threads > 0);
        let count = self.runtime.worker_threads.or(accept_threads).unwrap_or(inherited.len());
        Ok(inherited.iter().copied().take(count).collect())
    }

    /// The CPUs that control threads are pinned to; empty leaves them to the scheduler.
    pub fn control_core_set(&self, settable: impl Fn(&[usize]) -> Vec<usize>) -> Result<Vec<usize>, String> {
        within("FERRUM_CONTROL_CORES", self.engine.control_cores.as_slice(), settable)
    }
}

/// The named CPUs, if `settable` leaves out none of them; it is given CPUs and answers with those a thread may be set
/// onto. Only a refusal asks about CPUs that nobody named.
fn within(key: &str, named: &[usize], settable: impl Fn(&[usize]) -> Vec<usize>) -> Result<Vec<usize>, String> {
    let allowed = settable(named);
    let absent: Vec<usize> = named.iter().copied().filter(|cpu| !allowed.contains(cpu)).collect();
    if absent.is_empty() {
        return Ok(named.to_vec());
    }
    let every_cpu: Vec<usize> = (0..=CPU_NUMBER_MAX).collect();
    Err(format!(
        "Invalid {key} value '{}'. This process may not run on CPU {}; allowed: {}",
        ranges(named),
        ranges(&absent),
        ranges(&settable(&every_cpu))
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{parse_file_mode, refuse_file_mode};
    use super::*;

    fn list(text: &str) -> Vec<usize> {
        CpuList::from_text(text).unwrap().0
    }

    /// A host that lets threads be set onto these CPUs only.
    fn host(settable: &'static [usize]) -> impl Fn(&[usize]) -> Vec<usize> {
        move |cpus: &[usize]| cpus.iter().copied().filter(|cpu| settable.contains(cpu)).collect()
    }

    /// A host without a CPU to set a thread onto: what is not named does not depend on it.
    fn no_cpu(_: &[usize]) -> Vec<usize> {
        Vec::new()
    }

    #[test]
    fn a_cpu_list_has_numbers_and_ranges() {
        assert_eq!(list("0,2,4-7"), [0, 2, 4, 5, 6, 7]);
        assert_eq!(list(" 3 - 3 , 1"), [1, 3]);
        assert_eq!(list("2-4,3-5"), [2, 3, 4, 5]);
        assert_eq!(list("8191"), [8191]);
        assert!(list("").is_empty());
    }

    #[test]
    fn a_bad_cpu_list_is_refused() {
        for bad in ["a", "4-2", "1-", "-1", "1-2-3", "+1", "8192", "0-4294967295", "1.5"] {
            assert!(CpuList::from_text(bad).is_none(), "{bad}");
        }
        assert_eq!(
            refuse_file_mode(&[("FERRUM_CORES", "4-2")]),
            "Invalid FERRUM_CORES value '4-2'. Expected a CPU list such as 2-15 or 0,2,4-7 (0 to 8191)"
        );
    }

    #[test]
    fn named_cores_win_over_thread_counts() {
        let settings = parse_file_mode(&[("FERRUM_CORES", "1,3"), ("FERRUM_WORKER_THREADS", "4")]);
        assert_eq!(settings.core_set(&[0, 1, 2, 3], host(&[0, 1, 2, 3])).unwrap(), [1, 3]);
    }

    #[test]
    fn worker_threads_win_over_accept_threads_and_both_are_capped_by_the_cpus() {
        let both = parse_file_mode(&[("FERRUM_WORKER_THREADS", "2"), ("FERRUM_ACCEPT_THREADS", "3")]);
        assert_eq!(both.core_set(&[4, 5, 6, 7], no_cpu).unwrap(), [4, 5]);
        let accept = parse_file_mode(&[("FERRUM_ACCEPT_THREADS", "3")]);
        assert_eq!(accept.core_set(&[4, 5, 6, 7], no_cpu).unwrap(), [4, 5, 6]);
        assert_eq!(accept.core_set(&[4, 5], no_cpu).unwrap(), [4, 5]);
    }

    #[test]
    fn without_any_setting_every_allowed_cpu_gets_a_core() {
        let plain = parse_file_mode(&[("FERRUM_ACCEPT_THREADS", "0"), ("FERRUM_CORES", "")]);
        assert_eq!(plain.core_set(&[0, 1, 5], no_cpu).unwrap(), [0, 1, 5]);
        assert!(plain.control_core_set(no_cpu).unwrap().is_empty());
    }

    #[test]
    fn a_cpu_the_process_may_not_use_is_named() {
        let settings = parse_file_mode(&[("FERRUM_CORES", "2-5"), ("FERRUM_CONTROL_CORES", "9")]);
        assert_eq!(
            settings.core_set(&[0, 1, 2, 3], host(&[0, 1, 2, 3])).unwrap_err(),
            "Invalid FERRUM_CORES value '2-5'. This process may not run on CPU 4-5; allowed: 0-3"
        );
        assert_eq!(
            settings.control_core_set(host(&[0, 1])).unwrap_err(),
            "Invalid FERRUM_CONTROL_CORES value '9'. This process may not run on CPU 9; allowed: 0-1"
        );
        assert_eq!(settings.control_core_set(host(&[0, 9])).unwrap(), [9]);
    }

    #[test]
    fn isolated_cpus_are_used_when_they_are_named_and_only_then() {
        let inherited = [0, 1];
        let named = parse_file_mode(&[("FERRUM_CORES", "2-3"), ("FERRUM_CONTROL_CORES", "3")]);
        assert_eq!(named.core_set(&inherited, host(&[0, 1, 2, 3])).unwrap(), [2, 3]);
        assert_eq!(named.control_core_set(host(&[0, 1, 2, 3])).unwrap(), [3]);
        let plain = parse_file_mode(&[]);
        assert_eq!(plain.core_set(&inherited, host(&[0, 1, 2, 3])).unwrap(), [0, 1]);
    }
}
