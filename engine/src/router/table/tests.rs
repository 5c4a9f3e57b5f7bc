use proptest::prelude::*;

use super::*;
use crate::router::{HostBuffer, normalize_host};

fn spec(hosts: &[&str], path: &str) -> RouteSpec {
    let path = (!path.is_empty()).then(|| path.to_owned());
    RouteSpec { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), path }
}

fn table(specs: &[RouteSpec]) -> RouteTable {
    RouteTable::build(specs).unwrap()
}

fn sheet_routes() -> Vec<RouteSpec> {
    vec![
        spec(&["api.example.com"], "/api/v1"),
        spec(&["*.example.com"], "/api"),
        spec(&[], "/"),
        spec(&[], "~/users/(?P<user_id>[^/]+)/orders"),
        spec(&["only.example.com"], ""),
        spec(&[], "=/healthz"),
    ]
}

fn route(table: &RouteTable, host: &str, path: &str) -> Option<char> {
    let mut buffer = HostBuffer::new();
    let host = match host {
        "" => None,
        host => Some(normalize_host(host.as_bytes(), &mut buffer).unwrap()),
    };
    // matching never sees the query: the caller cuts it off
    let path = path.split('?').next().unwrap();
    table.find(host, path.as_bytes()).map(|found| char::from(b'A' + found.route as u8))
}

#[test]
fn the_sheets_routing_table_holds() {
    let rows = [
        ("api.example.com", "/api/v1/users", 'A'),
        ("API.Example.com.:8080", "/api/v1", 'A'),
        ("api.example.com", "/api/health", 'B'),
        ("api.example.com", "/api/v10", 'B'),
        ("other.example.com", "/api/x", 'B'),
        ("example.com", "/api/x", 'C'),
        ("a.b.example.com", "/api/x", 'C'),
        ("only.example.com", "/api/x", 'E'),
        ("other.org", "/users/4/orders", 'C'),
        ("other.org", "/healthz", 'F'),
        ("other.org", "/healthz/", 'C'),
        ("other.org", "/healthz?x=1", 'F'),
        ("", "/x", 'C'),
        ("[2001:db8::1]:80", "/x", 'C'),
    ];
    let table = table(&sheet_routes());
    for (host, path, expected) in rows {
        assert_eq!(route(&table, host, path), Some(expected), "{host} {path}");
    }
}

#[test]
fn without_the_catch_all_prefix_the_regex_is_reached() {
    let mut specs = sheet_routes();
    specs[2].path = Some("=/unused".into());
    let table = table(&specs);
    assert_eq!(route(&table, "other.org", "/users/4/orders"), Some('D'));
    for path in ["/users/4/orders/p", "/users/4/orders/", "/anything", "*", ""] {
        assert_eq!(route(&table, "other.org", path), None, "{path}");
    }
    let found = table.find(Some("other.org"), b"/users/4/orders").unwrap();
    let mut parameters = Vec::new();
    found.for_each_parameter(b"/users/4/orders", |name, value| parameters.push((name.to_owned(), value.to_vec())));
    assert_eq!(parameters, [("user_id".to_owned(), b"4".to_vec())]);
    assert_eq!(found.matched_len, 15);
}

#[test]
fn every_tier_tries_exact_then_prefix_then_regex_then_host_only() {
    for hosts in [&["a.x.com"][..], &["*.x.com"]] {
        let all = [spec(hosts, ""), spec(hosts, "~/p.*"), spec(hosts, "/p"), spec(hosts, "=/p"), spec(&[], "=/p")];
        let table = table(&all);
        assert_eq!(route(&table, "a.x.com", "/p"), Some('D'));
        assert_eq!(route(&table, "a.x.com", "/p/q"), Some('C'));
        assert_eq!(route(&table, "a.x.com", "/pq"), Some('B'));
        assert_eq!(route(&table, "a.x.com", "/q"), Some('A'));
        assert_eq!(route(&table, "a.x.com", "*"), Some('A'), "OPTIONS * reaches a host-only route");
        assert_eq!(route(&table, "b.org", "/p"), Some('E'));
    }
}

#[test]
fn an_exact_hosts_regex_beats_a_wildcard_hosts_exact_path() {
    let table = table(&[spec(&["*.x.com"], "=/p"), spec(&["a.x.com"], "~/p+"), spec(&[], "/")]);
    assert_eq!(route(&table, "a.x.com", "/p"), Some('B'));
    assert_eq!(route(&table, "b.x.com", "/p"), Some('A'));
    assert_eq!(route(&table, "a.x.com", "/q"), Some('C'), "a tier without a match falls through");
}

#[test]
fn the_earlier_of_two_matching_regexes_wins() {
    let table = table(&[spec(&[], "~/v[0-9]+"), spec(&[], "~/v1"), spec(&[], "~/w1"), spec(&[], "~/w[0-9]")]);
    assert_eq!(route(&table, "x", "/v1"), Some('A'));
    assert_eq!(route(&table, "x", "/w1"), Some('C'));
    assert_eq!(route(&table, "x", "/w2"), Some('D'));
}

#[test]
fn a_wildcard_needs_one_whole_label() {
    let table = table(&[spec(&["*.com"], "/")]);
    assert_eq!(route(&table, "x.com", "/"), Some('A'));
    for host in ["com", "a.b.com", "xcom"] {
        assert_eq!(route(&table, host, "/"), None, "{host}");
    }
    assert!(table.find(Some(".com"), b"/").is_none());
}

#[test]
fn a_route_stands_under_each_of_its_hosts() {
    let table = table(&[spec(&["a.com", "*.b.com", "a.com"], "~/r(?<n>.)"), spec(&["a.com", "*.b.com"], "")]);
    for host in ["a.com", "x.b.com"] {
        assert_eq!(route(&table, host, "/r1"), Some('A'));
        assert_eq!(route(&table, host, "/"), Some('B'));
    }
}

#[test]
fn a_table_without_routes_finds_nothing() {
    let table = table(&[]);
    assert!(table.find(Some("a"), b"/").is_none());
    assert!(table.find(None, b"/").is_none());
}

#[test]
fn routes_that_cannot_be_served_are_all_named() {
    let errors = RouteTable::build(&[
        spec(&[], "/a"),
        spec(&[], "/a"),
        spec(&[], "~["),
        spec(&[], "~"),
        spec(&[], "a"),
        spec(&[], "=a"),
        spec(&[], ""),
        spec(&["x"], ""),
        spec(&["y", "x"], ""),
        spec(&["x"], "=/e"),
        spec(&["x"], "=/e"),
    ])
    .unwrap_err();
    let starts = [
        "routes[1]: the path is already taken by routes[0]",
        "routes[2]: path '~['",
        "routes[3]",
        "routes[4]",
        "routes[5]",
    ];
    let more = [
        "routes[6]: a route needs a host or a path",
        "routes[8]: the path is already taken by routes[7]",
        "routes[10]",
    ];
    assert_eq!(errors.len(), 8, "{errors:#?}");
    for (error, start) in errors.iter().zip(starts.iter().chain(&more)) {
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn a_hundred_thousand_routes_fit_in_the_promised_memory() {
    let specs: Vec<_> = (0..100_000_usize)
        .map(|id| spec(&[&format!("host-{}.example.com", id % 1000)], &format!("/service-{}/v{}", id / 1000, id % 7)))
        .collect();
    let table = table(&specs);
    assert!(table.heap_bytes() < 300 * specs.len(), "{} bytes per route", table.heap_bytes() / specs.len());
    assert!(table.find(Some("host-7.example.com"), b"/service-3/v2/x").is_none());
    assert_eq!(table.find(Some("host-7.example.com"), b"/service-3/v4/x").map(|found| found.route), Some(3007));
}

/// Longest prefix by the words of the sheet, one route after the other.
fn naive(specs: &[RouteSpec], host: &str, path: &str) -> Option<(usize, usize)> {
    let in_tier = |matches: &dyn Fn(&RouteSpec) -> bool, host_only: bool| {
        let tier: Vec<_> = specs.iter().enumerate().filter(|(_, spec)| matches(spec)).collect();
        let exact = tier.iter().find(|(_, spec)| spec.path.as_deref().and_then(|p| p.strip_prefix('=')) == Some(path));
        if let Some((id, _)) = exact {
            return Some((*id, path.len()));
        }
        let prefixes = tier.iter().filter_map(|(id, spec)| Some((*id, spec.path.as_deref()?)));
        let fits = |prefix: &str| {
            let boundary =
                || prefix.ends_with('/') || path.len() == prefix.len() || path[prefix.len()..].starts_with('/');
            prefix.starts_with('/') && path.starts_with(prefix) && boundary()
        };
        let longest = prefixes.filter(|(_, prefix)| fits(prefix)).max_by_key(|(_, prefix)| prefix.len());
        if let Some((id, prefix)) = longest {
            return Some((id, prefix.len()));
        }
        tier.iter().find(|(_, spec)| host_only && spec.path.is_none()).map(|(id, _)| (*id, 0))
    };
    let wildcard = host.split_once('.').map(|(_, suffix)| format!("*.{suffix}"));
    in_tier(&|spec| spec.hosts.iter().any(|entry| entry == host), true)
        .or_else(|| in_tier(&|spec| spec.hosts.iter().any(|entry| Some(entry) == wildcard.as_ref()), true))
        .or_else(|| in_tier(&|spec| spec.hosts.is_empty(), false))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_table_agrees_with_a_search_route_by_route(
        wanted in proptest::collection::vec(
            (proptest::sample::select(vec!["", "a.x", "b.x", "*.x"]), proptest::option::of("=?(/[ab]{0,2}){1,4}")), 0..24),
        host in proptest::sample::select(vec!["a.x", "b.x", "c.x", "x", "a.b.x"]),
        path in "(/[abc]{0,2}){0,5}|[*a]/?",
    ) {
        let mut specs: Vec<RouteSpec> = Vec::new();
        for (host, path) in wanted {
            let hosts: Vec<String> = (!host.is_empty()).then(|| host.to_owned()).into_iter().collect();
            let wanted = RouteSpec { hosts, path };
            if (!wanted.hosts.is_empty() || wanted.path.is_some()) && !specs.contains(&wanted) {
                specs.push(wanted);
            }
        }
        let table = RouteTable::build(&specs).unwrap();
        let found = table.find(Some(host), path.as_bytes()).map(|found| (found.route as usize, found.matched_len));
        prop_assert_eq!(found, naive(&specs, host, &path), "{:?} {} {}", specs, host, path);
    }
}

/// A few routes that can stand beside one another.
fn some_routes() -> impl Strategy<Value = Vec<RouteSpec>> {
    let hosts = proptest::sample::select(vec!["", "a.x", "b.x", "*.x", "a.x b.x"]);
    let path = proptest::option::of(proptest::sample::select(vec![
        "/",
        "/a",
        "/a/",
        "=/a",
        "/a/b",
        "~/a.*",
        "~/b",
        "~/(a|b)/c",
    ]));
    proptest::collection::vec((hosts, path), 0..16).prop_map(|wanted| {
        let mut specs: Vec<RouteSpec> = Vec::new();
        for (hosts, path) in wanted {
            let wanted = spec(&hosts.split_whitespace().collect::<Vec<_>>(), path.unwrap_or_default());
            let is_taken = |other: &RouteSpec| {
                let is_common =
                    other.hosts == wanted.hosts || other.hosts.iter().any(|host| wanted.hosts.contains(host));
                other.path == wanted.path && is_common
            };
            if (!wanted.hosts.is_empty() || wanted.path.is_some()) && !specs.iter().any(is_taken) {
                specs.push(wanted);
            }
        }
        specs
    })
}

fn numbered(specs: &[RouteSpec], is_one: impl Fn(&RouteSpec) -> bool) -> Vec<(u32, RouteSpec)> {
    (0..).zip(specs).filter(|(_, spec)| is_one(spec)).map(|(id, spec)| (id, spec.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_updated_table_is_as_one_that_is_built_anew(steps in proptest::collection::vec(some_routes(), 2..5)) {
        let mut before = steps[0].clone();
        let mut running = RouteTable::build(&before).unwrap();
        for after in &steps[1..] {
            // Routes of both keep their order among themselves.
            let mut kept: Vec<RouteSpec> = before.iter().filter(|spec| after.contains(spec)).cloned().collect();
            kept.extend(after.iter().filter(|spec| !before.contains(spec)).cloned());
            let after = kept;
            let numbers: Vec<u32> = before
                .iter()
                .map(|spec| after.iter().position(|other| other == spec).map_or(u32::MAX, |place| place as u32))
                .collect();
            let (removed, added) = (numbered(&before, |spec| !after.contains(spec)), numbered(&after, |spec| !before.contains(spec)));
            let update = RouteUpdate { numbers: &numbers, removed: &removed, added: &added };
            running = running.updated(&update).unwrap().unwrap();
            let anew = RouteTable::build(&after).unwrap();
            for host in [None, Some("a.x"), Some("b.x"), Some("c.x"), Some("x")] {
                for path in ["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/b/c", "/c", "*"] {
                    let found = |table: &RouteTable| {
                        table.find(host, path.as_bytes()).map(|found| (found.route, found.matched_len, found.regex.is_some()))
                    };
                    prop_assert_eq!(found(&running), found(&anew), "{:?} {} {:?} {:?}", host, path, before, after);
                }
            }
            before = after;
        }
    }
}

#[test]
fn a_route_that_cannot_be_added_refuses_the_update_and_leaves_the_table_as_it_was() {
    let running = table(&[spec(&[], "/a"), spec(&["x"], "/a")]);
    let added = [(2, spec(&["x"], "/a"))];
    let update = RouteUpdate { numbers: &[0, 1], removed: &[], added: &added };
    let errors = running.updated(&update).unwrap().unwrap_err();
    assert_eq!(errors, ["routes[2]: the path is already taken by routes[1] on a common host"]);
    assert_eq!(route(&running, "x", "/a"), Some('B'));
}

#[test]
fn a_table_that_much_has_been_taken_out_of_is_to_be_built_anew() {
    let mut running = table(&[spec(&[], "/0")]);
    let mut updates = 0;
    loop {
        let (removed, added) =
            ([(0, spec(&[], &format!("/{updates}")))], [(0, spec(&[], &format!("/{}", updates + 1)))]);
        match running.updated(&RouteUpdate { numbers: &[0], removed: &removed, added: &added }) {
            Some(updated) => running = updated.unwrap(),
            None => break,
        }
        updates += 1;
        assert_eq!(route(&running, "", &format!("/{updates}")), Some('A'));
        assert_eq!(route(&running, "", &format!("/{}", updates - 1)), None);
    }
    assert_eq!(updates, LEFT_BEHIND_MAX);
}
