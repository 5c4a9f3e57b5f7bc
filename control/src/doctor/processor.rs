//! CPUs and memory.

use super::{Finding, HostFiles};

const CPUS: &str = "sys/devices/system/cpu";
/// With fewer CPUs none can be spared for the rest of the system.
const CPUS_WORTH_ISOLATING: usize = 4;

pub(super) fn governor(host: &HostFiles) -> Finding {
    let governors: Vec<(String, String)> = host
        .names(CPUS)
        .into_iter()
        .filter_map(|cpu| Some((host.text(&format!("{CPUS}/{cpu}/cpufreq/scaling_governor"))?, cpu)))
        .map(|(governor, cpu)| (cpu, governor))
        .collect();
    if governors.is_empty() {
        return Finding::unknown("CPU frequency: no governor visible (usual in a virtual machine)");
    }
    match governors.iter().find(|(_, governor)| governor != "performance") {
        None => Finding::ok("CPU frequency: performance"),
        Some((cpu, governor)) => Finding::slow(
            format!("CPU frequency: {governor} on {cpu}"),
            "a core that wakes up runs slowly first; it shows in the tail of latencies",
            "cpupower frequency-set -g performance",
        ),
    }
}

pub(super) fn isolation(host: &HostFiles) -> Finding {
    let isolated = host.text(&format!("{CPUS}/isolated")).unwrap_or_default();
    let cpus = host.online_cpus();
    if !isolated.is_empty() {
        return Finding::ok(format!("isolated CPUs: {isolated} (use them with --cores {isolated})"));
    }
    if cpus < CPUS_WORTH_ISOLATING {
        return Finding::ok(format!("isolated CPUs: none, and none to spare out of {cpus}"));
    }
    let span = format!("2-{}", cpus - 1);
    Finding::slow(
        "isolated CPUs: none",
        "other processes run on the gateway's cores; it shows in the tail of latencies",
        format!("boot with isolcpus={span} nohz_full={span}, then run with --cores {span} --control-cores 0-1"),
    )
}

pub(super) fn numa(host: &HostFiles) -> Finding {
    const NODES: &str = "sys/devices/system/node";
    let Some(nodes) = host.list(&format!("{NODES}/online")) else {
        return Finding::unknown("NUMA: nodes are not visible");
    };
    if nodes.len() < 2 {
        return Finding::ok("NUMA: one node");
    }
    let cpus_of = |node: &usize| host.text(&format!("{NODES}/node{node}/cpulist")).unwrap_or_else(|| "?".to_owned());
    let shown: Vec<String> = nodes.iter().map(|node| format!("node {node} has CPUs {}", cpus_of(node))).collect();
    Finding::slow(
        format!("NUMA: {} nodes: {}", nodes.len(), shown.join("; ")),
        "a core on another node than the network card reaches its memory more slowly",
        "run with --cores set to the CPUs in /sys/class/net/<card>/device/local_cpulist",
    )
}

pub(super) fn huge_pages(host: &HostFiles) -> Finding {
    const ENABLED: &str = "sys/kernel/mm/transparent_hugepage/enabled";
    let text = host.text(ENABLED).unwrap_or_default();
    let Some((_, rest)) = text.split_once('[') else {
        return Finding::unknown("transparent huge pages: not visible");
    };
    match rest.split(']').next().unwrap_or_default() {
        "always" => Finding::slow(
            "transparent huge pages: always",
            "small buffers take whole huge pages, and the kernel pauses cores to make them",
            format!("echo madvise > /{ENABLED}"),
        ),
        choice => Finding::ok(format!("transparent huge pages: {choice}")),
    }
}

pub(super) fn swap(host: &HostFiles) -> Finding {
    let Some(table) = host.text("proc/swaps") else { return Finding::unknown("swap: not visible") };
    let areas: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if areas.is_empty() {
        return Finding::ok("swap: none");
    }
    Finding::slow(
        format!("swap: {}", areas.join(", ")),
        "a core that touches a swapped page waits for the disk, with all its connections",
        "swapoff -a, or MemorySwapMax=0 in the systemd unit",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Ok as Good, Slow, Unknown};
    use super::super::fake::FakeHost;
    use super::*;

    #[test]
    fn every_cpu_must_have_the_performance_governor() {
        let judged = |second: &str| {
            governor(
                &FakeHost::with(&[
                    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
                    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", second),
                    ("sys/devices/system/cpu/online", "0-1"),
                ])
                .files(),
            )
        };
        assert_eq!(judged("performance\n").verdict, Good);
        let slow = judged("powersave\n");
        assert_eq!((slow.verdict, slow.observed.as_str()), (Slow, "CPU frequency: powersave on cpu1"));
        assert_eq!(governor(&FakeHost::with(&[]).files()).verdict, Unknown);
    }

    #[test]
    fn isolation_is_missed_only_where_cpus_can_be_spared() {
        let judged = |isolated: &str, online: &str| {
            isolation(
                &FakeHost::with(&[
                    ("sys/devices/system/cpu/isolated", isolated),
                    ("sys/devices/system/cpu/online", online),
                ])
                .files(),
            )
        };
        assert_eq!(judged("2-15\n", "0-15").verdict, Good);
        assert!(judged("2-15\n", "0-15").observed.contains("--cores 2-15"));
        assert_eq!(judged("\n", "0-2").verdict, Good);
        let slow = judged("\n", "0-3");
        assert_eq!(slow.verdict, Slow);
        assert!(slow.remedy.contains("isolcpus=2-3"));
    }

    #[test]
    fn several_numa_nodes_are_listed_with_their_cpus() {
        let one = FakeHost::with(&[("sys/devices/system/node/online", "0\n")]);
        assert_eq!(numa(&one.files()).verdict, Good);
        let two = FakeHost::with(&[
            ("sys/devices/system/node/online", "0-1\n"),
            ("sys/devices/system/node/node0/cpulist", "0-7\n"),
            ("sys/devices/system/node/node1/cpulist", "8-15\n"),
        ]);
        let finding = numa(&two.files());
        assert_eq!(finding.verdict, Slow);
        assert!(finding.observed.contains("node 0 has CPUs 0-7; node 1 has CPUs 8-15"), "{}", finding.observed);
        assert_eq!(numa(&FakeHost::with(&[]).files()).verdict, Unknown);
    }

    #[test]
    fn huge_pages_are_slow_only_when_always_on() {
        let judged = |text: &str| {
            huge_pages(&FakeHost::with(&[("sys/kernel/mm/transparent_hugepage/enabled", text)]).files()).verdict
        };
        assert_eq!(judged("[always] madvise never\n"), Slow);
        assert_eq!(judged("always [madvise] never\n"), Good);
        assert_eq!(judged("always madvise [never]\n"), Good);
        assert_eq!(judged(""), Unknown);
    }

    #[test]
    fn swap_is_slow_when_there_is_any() {
        let judged = |text: &str| swap(&FakeHost::with(&[("proc/swaps", text)]).files());
        assert_eq!(judged("Filename Type Size Used Priority\n").verdict, Good);
        let slow = judged("Filename Type Size Used Priority\n/dev/dm-1 partition 100 0 -2\n");
        assert_eq!((slow.verdict, slow.observed.as_str()), (Slow, "swap: /dev/dm-1"));
        assert_eq!(swap(&FakeHost::with(&[]).files()).verdict, Unknown);
    }
}
