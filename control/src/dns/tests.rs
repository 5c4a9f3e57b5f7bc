//! The resolver against a real name server.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::dns::{DnsTable, Resolution};
use engine::publish::Fanout;
use hickory_resolver::proto::rr::RecordType;

use super::test_server::{TestServer, a, aaaa, cname, srv};
use super::{Dns, DnsOptions, NameSpec};

struct Rig {
    server: TestServer,
    dns: Dns,
    fanout: Arc<Fanout<DnsTable>>,
}

fn address(text: &str) -> Resolution {
    Resolution::Address(text.parse().unwrap())
}

fn names(hosts: &[&str]) -> Vec<NameSpec> {
    hosts.iter().map(|host| NameSpec { host: (*host).to_owned(), ttl_override: None }).collect()
}

/// Quick rules: every name is asked for again a fifth of a second after its answer or failure.
fn quick() -> DnsOptions {
    DnsOptions {
        ttl_min: Duration::ZERO,
        ttl_override: Some(Duration::from_millis(200)),
        error_ttl: Duration::from_millis(200),
        query_timeout: Some(Duration::from_millis(100)),
        order: vec!["A".into()],
        ..DnsOptions::default()
    }
}

async fn rig(options: DnsOptions) -> Rig {
    rig_with(TestServer::start().await, options)
}

fn rig_with(server: TestServer, options: DnsOptions) -> Rig {
    let fanout = Arc::new(Fanout::new(1, Arc::new(DnsTable::default())));
    let servers = vec![server.address.to_string()];
    let dns = Dns::start(DnsOptions { servers, ..options }, fanout.clone()).unwrap();
    Rig { server, dns, fanout }
}

impl Rig {
    fn seen(&self, host: &str) -> Option<Resolution> {
        self.fanout.latest().unwrap().get(host).cloned()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "waited for {what}");
    }
}

#[tokio::test]
async fn warm_up_publishes_every_name_and_returns() {
    let rig = rig(DnsOptions::default()).await;
    rig.server.set("orders.test", 60, vec![a("10.0.0.1"), a("10.0.0.2")]);
    rig.dns.warm_up(names(&["Orders.test", "missing.test", "10.9.9.9", "[::1]"])).await;
    assert_eq!(rig.seen("orders.test"), Some(address("10.0.0.1")), "the first address");
    assert!(matches!(rig.seen("missing.test"), Some(Resolution::Failed(text)) if text.starts_with("missing.test: ")));
    assert_eq!(rig.seen("10.9.9.9"), Some(address("10.9.9.9")));
    assert_eq!(rig.seen("[::1]"), Some(address("::1")));
    assert_eq!(rig.dns.stats().cache_entries, 4);
    assert_eq!(rig.dns.stats().errors, 1);
}

#[tokio::test]
async fn an_answer_is_refreshed_and_the_table_changes_only_with_it() {
    let rig = rig(quick()).await;
    rig.server.set("a.test", 60, vec![a("10.0.0.1")]);
    rig.dns.warm_up(names(&["a.test"])).await;
    let first = rig.fanout.latest().unwrap();

    rig.until("two refreshes", |rig| rig.server.count("a.test") >= 3).await;
    assert!(Arc::ptr_eq(&first, &rig.fanout.latest().unwrap()), "same answer, same table");

    rig.server.set("a.test", 60, vec![a("10.0.0.2")]);
    rig.until("the new address", |rig| rig.seen("a.test") == Some(address("10.0.0.2"))).await;
}

#[tokio::test]
async fn a_missing_name_recovers_when_it_appears_and_a_lost_one_stays_in_use() {
    let rig = rig(quick()).await;
    rig.dns.warm_up(names(&["late.test"])).await;
    assert!(matches!(rig.seen("late.test"), Some(Resolution::Failed(_))));
    rig.server.set("late.test", 60, vec![a("10.0.0.1")]);
    rig.until("the name", |rig| rig.seen("late.test") == Some(address("10.0.0.1"))).await;

    rig.server.remove("late.test");
    let errors = rig.dns.stats().errors;
    rig.until("failed refreshes", |rig| rig.dns.stats().errors >= errors + 2).await;
    assert_eq!(rig.seen("late.test"), Some(address("10.0.0.1")));
}

#[tokio::test]
async fn a_stale_answer_is_served_while_the_servers_are_away_and_not_for_ever() {
    let rig = rig(DnsOptions { stale_ttl: Duration::from_millis(1500), ..quick() }).await;
    rig.server.set("a.test", 60, vec![a("10.0.0.1")]);
    rig.dns.warm_up(names(&["a.test"])).await;
    rig.server.set_away(true);
    rig.until("a stale answer", |rig| rig.dns.stats().stale_serves >= 1).await;
    assert_eq!(rig.seen("a.test"), Some(address("10.0.0.1")));
    assert_eq!(rig.dns.resolve("a.test").await, address("10.0.0.1"));
    rig.until("the end of the stale window", |rig| matches!(rig.seen("a.test"), Some(Resolution::Failed(_)))).await;
    rig.server.set_away(false);
    rig.until("recovery", |rig| rig.seen("a.test") == Some(address("10.0.0.1"))).await;
}

#[tokio::test]
async fn one_forbidden_address_fails_the_whole_lookup() {
    let forbidden: IpAddr = "10.0.0.66".parse().unwrap();
    let options = DnsOptions {
        address_policy: Arc::new(move |address| address != forbidden),
        overrides: [("over.test".to_owned(), "10.0.0.66".to_owned())].into(),
        ..DnsOptions::default()
    };
    let rig = rig(options).await;
    rig.server.set("mixed.test", 60, vec![a("10.0.0.1"), a("10.0.0.66")]);
    rig.server.set("clean.test", 60, vec![a("10.0.0.1")]);
    rig.dns.warm_up(names(&["mixed.test", "clean.test", "over.test", "10.0.0.66"])).await;
    for host in ["mixed.test", "over.test", "10.0.0.66"] {
        let Some(Resolution::Failed(text)) = rig.seen(host) else { panic!("{host} must fail") };
        assert!(text.contains("10.0.0.66 is forbidden"), "{text}");
    }
    assert_eq!(rig.seen("clean.test"), Some(address("10.0.0.1")));
    let asked = rig.server.count("free.test");
    rig.server.set("free.test", 60, vec![a("10.0.0.66")]);
    for _ in 0..2 {
        assert!(matches!(rig.dns.resolve("free.test").await, Resolution::Failed(_)));
    }
    let questions = rig.server.questions();
    let of_a = questions.iter().filter(|(name, kind, _)| name == "free.test" && *kind == RecordType::A).count();
    assert_eq!((asked, of_a), (0, 2), "a refusal is not cached");
}

#[tokio::test]
async fn service_records_are_tried_by_priority_then_weight() {
    let rig = rig(DnsOptions { order: vec!["SRV".into(), "A".into()], ..DnsOptions::default() }).await;
    rig.server.set(
        "svc.test",
        60,
        vec![srv(20, 0, "last.test."), srv(10, 1, "light.test."), srv(10, 9, "heavy.test."), srv(5, 0, "gone.test.")],
    );
    for (name, at) in [("last.test", "10.0.0.3"), ("light.test", "10.0.0.2"), ("heavy.test", "10.0.0.1")] {
        rig.server.set(name, 60, vec![a(at)]);
    }
    assert_eq!(rig.dns.resolve("svc.test").await, address("10.0.0.1"), "gone.test has no address");
    rig.server.set("none.test", 60, vec![srv(0, 0, ".")]);
    rig.server.set("none.test", 60, vec![a("10.0.0.9")]);
    assert_eq!(rig.dns.resolve("none.test").await, address("10.0.0.9"), "no service: the next kind in order");
}

#[tokio::test]
async fn with_cache_in_the_order_the_kind_that_answered_is_asked_first_next_time() {
    for (order, expected) in [(["CACHE", "SRV", "A"], 1), (["SRV", "A", "A"], 2)] {
        let options = DnsOptions { order: order.map(str::to_owned).to_vec(), ..quick() };
        let rig = rig(options).await;
        rig.server.set("a.test", 60, vec![a("10.0.0.1")]);
        rig.dns.warm_up(names(&["a.test"])).await;
        let kinds: Vec<_> = rig.server.questions().into_iter().map(|(_, kind, _)| kind).collect();
        assert_eq!(kinds, [RecordType::SRV, RecordType::A]);
        rig.until("a refresh", |rig| {
            rig.server.questions().iter().filter(|(_, kind, _)| *kind == RecordType::A).count() >= 2
        })
        .await;
        let of_srv = rig.server.questions().iter().filter(|(_, kind, _)| *kind == RecordType::SRV).count();
        assert_eq!(of_srv, expected, "{order:?}");
    }
}

#[tokio::test]
async fn an_alias_is_followed_and_a_host_of_ipv6_only_is_found_by_the_default_order() {
    let rig = rig(DnsOptions::default()).await;
    rig.server.set("alias.test", 60, vec![cname("real.test.")]);
    rig.server.set("real.test", 60, vec![a("10.0.0.1")]);
    rig.server.set("six.test", 60, vec![aaaa("2001:db8::1")]);
    assert_eq!(rig.dns.resolve("alias.test").await, address("10.0.0.1"));
    assert_eq!(rig.dns.resolve("six.test").await, address("2001:db8::1"));
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_over_tcp() {
    let rig = rig(DnsOptions { order: vec!["A".into()], ..DnsOptions::default() }).await;
    rig.server.set("big.test", 60, vec![a("10.0.0.1")]);
    rig.server.truncate_udp();
    assert_eq!(rig.dns.resolve("big.test").await, address("10.0.0.1"));
    let transports: Vec<_> = rig.server.questions().into_iter().map(|(.., is_tcp)| is_tcp).collect();
    assert_eq!(transports, [false, true]);
}

#[tokio::test]
async fn overrides_hosts_file_and_localhost_need_no_server() {
    let hosts = std::env::temp_dir().join(format!("ferrum-hosts-{}", number_of_test()));
    std::fs::write(&hosts, "10.1.1.1 filed.test other.test # comment\n").unwrap();
    for (order, localhost) in [(["A", "AAAA"], "127.0.0.1"), (["AAAA", "A"], "::1")] {
        let rig = rig(DnsOptions {
            overrides: [("Over.test".to_owned(), "10.2.2.2".to_owned()), ("bad.test".to_owned(), "x".to_owned())]
                .into(),
            hosts_file: Some(hosts.clone()),
            order: order.map(str::to_owned).to_vec(),
            ..DnsOptions::default()
        })
        .await;
        rig.dns.set_names(names(&["over.test", "FILED.test", "localhost"]));
        assert_eq!(rig.seen("over.test"), Some(address("10.2.2.2")), "in the first table");
        assert_eq!(rig.seen("filed.test"), Some(address("10.1.1.1")));
        assert_eq!(rig.seen("localhost"), Some(address(localhost)));
        assert!(rig.server.questions().is_empty());
    }
    std::fs::remove_file(hosts).unwrap();
}

fn number_of_test() -> u64 {
    rand::random()
}

#[tokio::test]
async fn a_reload_publishes_what_is_known_at_once_and_forgets_what_left() {
    let rig = rig(DnsOptions::default()).await;
    rig.server.set("old.test", 60, vec![a("10.0.0.1")]);
    rig.server.set("kept.test", 60, vec![a("10.0.0.2")]);
    rig.server.set("new.test", 60, vec![a("10.0.0.3")]);
    rig.dns.warm_up(names(&["old.test", "kept.test"])).await;
    rig.dns.set_names(names(&["kept.test", "new.test"]));
    assert_eq!(rig.seen("kept.test"), Some(address("10.0.0.2")));
    assert_eq!((rig.seen("old.test"), rig.seen("new.test")), (None, None));
    rig.until("the new name", |rig| rig.seen("new.test") == Some(address("10.0.0.3"))).await;
    assert_eq!(rig.server.count("kept.test"), 2, "SRV and A, once: it was not asked for again");
}

#[tokio::test]
async fn many_tasks_that_ask_for_one_name_share_one_lookup() {
    let rig = rig(DnsOptions { order: vec!["A".into()], ..DnsOptions::default() }).await;
    rig.server.set("a.test", 60, vec![a("10.0.0.1")]);
    let asked: Vec<_> = (0..50).map(|_| (rig.dns.clone(), "a.test")).collect();
    let tasks: Vec<_> =
        asked.into_iter().map(|(dns, host)| tokio::spawn(async move { dns.resolve(host).await })).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), address("10.0.0.1"));
    }
    assert_eq!(rig.dns.resolve("a.test").await, address("10.0.0.1"));
    assert_eq!(rig.server.count("a.test"), 1);
    let stats = rig.dns.stats();
    assert_eq!((stats.lookups_total, stats.cache_hits + stats.cache_misses), (51, 51));
    assert!(stats.cache_hits >= 1 && stats.hit_ratio > 0.0);
}

#[tokio::test]
async fn the_background_work_ends_with_the_last_handle() {
    let rig = rig(quick()).await;
    rig.server.set("a.test", 60, vec![a("10.0.0.1")]);
    rig.dns.warm_up(names(&["a.test"])).await;
    let Rig { server, dns, fanout } = rig;
    drop(dns);
    let waiting = async {
        while Arc::strong_count(&fanout) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), waiting).await.is_ok());
    drop(server);
}
