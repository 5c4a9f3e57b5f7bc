//! The network stack's settings, and where the network cards interrupt.

use super::{Finding, HostFiles};

/// Ports of the advised range 1024-65535, less a margin for ranges that start a little higher.
const LOCAL_PORTS_ADVISED: u64 = 60_000;
/// Fewer run out within a second at modest rates.
const LOCAL_PORTS_MIN: u64 = 1024;
/// A CPU takes part in a card's work if it handles at least this share of its interrupts.
const TAKES_PART_PERCENT: u64 = 5;
/// With fewer interrupts since boot their spread says nothing.
const INTERRUPTS_MIN: u64 = 1000;

pub(super) fn listen_queue(host: &HostFiles, backlog: u32) -> Finding {
    let Some(limit) = host.number("proc/sys/net/core/somaxconn") else {
        return Finding::unknown("net.core.somaxconn: cannot be read");
    };
    let observed = format!("net.core.somaxconn: {limit}, FERRUM_TCP_LISTEN_BACKLOG: {backlog}");
    if limit >= u64::from(backlog) {
        return Finding::ok(observed);
    }
    Finding::slow(
        observed,
        format!("the kernel cuts the listen queue to {limit}; bursts of connections are dropped and retried after 1 s"),
        format!("sysctl -w net.core.somaxconn={backlog}"),
    )
}

pub(super) fn local_ports(host: &HostFiles) -> Finding {
    let range = host.text("proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ports: Vec<u64> = range.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [first, last] = ports[..] else {
        return Finding::unknown("net.ipv4.ip_local_port_range: cannot be read");
    };
    let count = (last + 1).saturating_sub(first);
    let observed = format!("net.ipv4.ip_local_port_range: {first}-{last}");
    let cost = format!("at most {count} connections to one backend address at a time");
    let remedy = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"";
    match count {
        LOCAL_PORTS_ADVISED.. => Finding::ok(observed),
        LOCAL_PORTS_MIN.. => Finding::slow(observed, cost, remedy),
        _ => Finding::bad(observed, cost, remedy),
    }
}

pub(super) fn time_wait_reuse(host: &HostFiles) -> Finding {
    match host.number("proc/sys/net/ipv4/tcp_tw_reuse") {
        None => Finding::unknown("net.ipv4.tcp_tw_reuse: cannot be read"),
        Some(1) => Finding::ok("net.ipv4.tcp_tw_reuse: 1"),
        Some(other) => Finding::slow(
            format!("net.ipv4.tcp_tw_reuse: {other}"),
            "a closed backend connection keeps its port for 60 s",
            "sysctl -w net.ipv4.tcp_tw_reuse=1",
        ),
    }
}

pub(super) fn fast_open(host: &HostFiles) -> Finding {
    const CLIENT_AND_SERVER: u64 = 3;
    match host.number("proc/sys/net/ipv4/tcp_fastopen") {
        None => Finding::unknown("net.ipv4.tcp_fastopen: cannot be read"),
        Some(bits) if bits & CLIENT_AND_SERVER == CLIENT_AND_SERVER => {
            Finding::ok(format!("net.ipv4.tcp_fastopen: {bits}"))
        }
        Some(bits) => Finding::slow(
            format!("net.ipv4.tcp_fastopen: {bits}"),
            "FERRUM_TCP_FASTOPEN_ENABLED=auto stays off: a new connection pays one more round trip",
            "sysctl -w net.ipv4.tcp_fastopen=3",
        ),
    }
}

/// One finding per network card that has interrupts of its own.
pub(super) fn interrupts(host: &HostFiles) -> Vec<Finding> {
    let table = host.text("proc/interrupts").unwrap_or_default();
    let cpus = host.online_cpus();
    let cards: Vec<Finding> = host
        .names("sys/class/net")
        .iter()
        .filter_map(|card| {
            let numbers = interrupt_numbers(host, card);
            (!numbers.is_empty()).then(|| spread(card, &counts_by_cpu(&table, &numbers), cpus))
        })
        .collect();
    if cards.is_empty() { vec![Finding::unknown("interrupts: no network card shows its own")] } else { cards }
}

/// A card's interrupt numbers: below the device itself, or, for virtio, below the PCI device that carries it.
fn interrupt_numbers(host: &HostFiles, card: &str) -> Vec<String> {
    let own = host.names(&format!("sys/class/net/{card}/device/msi_irqs"));
    if own.is_empty() { host.names(&format!("sys/class/net/{card}/device/../msi_irqs")) } else { own }
}

/// Interrupts handled by each CPU, summed over the given numbers.
fn counts_by_cpu(table: &str, numbers: &[String]) -> Vec<u64> {
    let columns = table.lines().next().map_or(0, |head| head.split_whitespace().count());
    let mut sums = vec![0; columns];
    for line in table.lines().skip(1) {
        let Some((number, rest)) = line.split_once(':') else { continue };
        if numbers.iter().any(|wanted| wanted == number.trim()) {
            for (sum, count) in sums.iter_mut().zip(rest.split_whitespace()) {
                *sum += count.parse::<u64>().unwrap_or(0);
            }
        }
    }
    sums
}

fn spread(card: &str, counts: &[u64], cpus: usize) -> Finding {
    let total: u64 = counts.iter().sum();
    if total < INTERRUPTS_MIN {
        return Finding::unknown(format!("interrupts of {card}: too few to judge ({total})"));
    }
    let busy = counts.iter().filter(|count| **count * 100 >= total * TAKES_PART_PERCENT).count();
    let observed = format!("interrupts of {card}: handled by {busy} of {cpus} CPUs");
    if busy * 2 >= cpus {
        return Finding::ok(observed);
    }
    Finding::slow(
        observed,
        "the CPUs that receive packets are busy before the others",
        format!(
            "ethtool -L {card} combined {cpus} and a running irqbalance; for one queue: echo {} > /sys/class/net/{card}/queues/rx-0/rps_cpus",
            cpu_mask(cpus)
        ),
    )
}

/// The kernel's bitmap of the first `cpus` CPUs: groups of 32 bits, the highest group first.
fn cpu_mask(cpus: usize) -> String {
    let full_groups = cpus / 32;
    let rest = cpus % 32;
    let head = (rest > 0).then(|| format!("{:x}", (1_u64 << rest) - 1));
    head.into_iter().chain(std::iter::repeat_n("ffffffff".to_owned(), full_groups)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Bad, Ok as Good, Slow, Unknown};
    use super::super::fake::FakeHost;
    use super::*;

    #[test]
    fn the_listen_queue_must_hold_the_backlog() {
        let judged =
            |limit: &str| listen_queue(&FakeHost::with(&[("proc/sys/net/core/somaxconn", limit)]).files(), 2048);
        assert_eq!(judged("2048").verdict, Good);
        assert_eq!(judged("2047").verdict, Slow);
        assert_eq!(judged("2047").remedy, "sysctl -w net.core.somaxconn=2048");
        assert_eq!(judged("?").verdict, Unknown);
    }

    #[test]
    fn local_ports_limit_connections_to_one_backend() {
        let judged =
            |range: &str| local_ports(&FakeHost::with(&[("proc/sys/net/ipv4/ip_local_port_range", range)]).files());
        assert_eq!(judged("1024\t65535").verdict, Good);
        assert_eq!(judged("5536\t65535").verdict, Good);
        assert_eq!(judged("5537\t65535").verdict, Slow);
        assert_eq!(judged("32768\t60999").verdict, Slow);
        assert!(judged("32768\t60999").cost.contains("28232"));
        assert_eq!(judged("64512\t65535").verdict, Slow);
        assert_eq!(judged("64513\t65535").verdict, Bad);
        assert_eq!(judged("9000").verdict, Unknown);
    }

    #[test]
    fn time_wait_ports_are_reused_only_with_1() {
        let judged = |value: &str| {
            time_wait_reuse(&FakeHost::with(&[("proc/sys/net/ipv4/tcp_tw_reuse", value)]).files()).verdict
        };
        assert_eq!([judged("1"), judged("0"), judged("2"), judged("")], [Good, Slow, Slow, Unknown]);
    }

    #[test]
    fn fast_open_needs_both_directions() {
        let judged =
            |value: &str| fast_open(&FakeHost::with(&[("proc/sys/net/ipv4/tcp_fastopen", value)]).files()).verdict;
        assert_eq!(
            [judged("3"), judged("1027"), judged("1"), judged("2"), judged("0")],
            [Good, Good, Slow, Slow, Slow]
        );
        assert_eq!(judged("x"), Unknown);
    }

    const TABLE: &str = "           CPU0       CPU1       CPU2       CPU3\n\
         \x2041:       9000         10          0          0 PCI-MSIX 1-edge eth0-rx\n\
         \x2042:          0       9000          0          0 PCI-MSIX 2-edge eth0-tx\n\
         \x2050:       9000          0          0          0 PCI-MSIX 1-edge eth1\n\
         LOC:       1          1          1          1  Local timer interrupts\n";

    fn host(files: &[(&str, &str)]) -> FakeHost {
        let mut all = vec![("proc/interrupts", TABLE), ("sys/devices/system/cpu/online", "0-3")];
        all.extend(files);
        FakeHost::with(&all)
    }

    #[test]
    fn a_card_that_interrupts_half_of_the_cpus_is_ok_and_one_that_interrupts_one_is_slow() {
        let findings = interrupts(
            &host(&[
                ("sys/class/net/eth0/device/msi_irqs/41", "msix"),
                ("sys/class/net/eth0/device/msi_irqs/42", "msix"),
                ("sys/class/net/eth1/device/msi_irqs/50", "msix"),
                ("sys/class/net/lo/mtu", "65536"),
            ])
            .files(),
        );
        assert_eq!(findings.len(), 2);
        assert_eq!((findings[0].verdict, findings[1].verdict), (Good, Slow));
        assert_eq!(findings[0].observed, "interrupts of eth0: handled by 2 of 4 CPUs");
        assert!(findings[1].remedy.contains("ethtool -L eth1 combined 4"));
        assert!(findings[1].remedy.contains("echo f > /sys/class/net/eth1"));
    }

    #[test]
    fn a_virtio_card_has_its_interrupts_one_level_up() {
        let findings = interrupts(
            &host(&[("sys/class/net/eth0/device/driver_override", ""), ("sys/class/net/eth0/msi_irqs/50", "msix")])
                .files(),
        );
        assert_eq!(findings[0].verdict, Slow);
    }

    #[test]
    fn few_interrupts_or_no_card_cannot_be_judged() {
        assert_eq!(interrupts(&host(&[]).files())[0].verdict, Unknown);
        let quiet = interrupts(&host(&[("sys/class/net/eth2/device/msi_irqs/77", "msix")]).files());
        assert_eq!(quiet[0].verdict, Unknown);
    }

    #[test]
    fn a_cpu_mask_is_grouped_by_32() {
        assert_eq!([cpu_mask(1), cpu_mask(4), cpu_mask(32)], ["1", "f", "ffffffff"]);
        assert_eq!(cpu_mask(36), "f,ffffffff");
    }
}
