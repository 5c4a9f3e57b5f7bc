//! The route table against a search through the list of routes, and host normalisation on any bytes.
#![no_main]

use std::collections::HashSet;

use arbitrary::Arbitrary;
use engine::router::{HostBuffer, RouteSpec, RouteTable, normalize_host};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    routes: Vec<Route>,
    lookups: Vec<(Option<Word>, Word)>,
    raw_host: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
struct Route {
    hosts: Vec<(bool, Word)>,
    path: Option<(Form, Word)>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Form {
    Prefix,
    Exact,
    Regex,
    Raw,
}

/// Text over few pieces, so that routes and requests meet often; or any text.
#[derive(Arbitrary, Debug)]
enum Word {
    Pieces(Vec<u8>),
    Text(String),
}

const NAMES: &[&str] = &["a", "b", ".", "c", "*.", "-"];
const PATHS: &[&str] = &["/", "a", "b", "/a", "/b", "é", "/sixteen-bytes-12", "seventeen-bytes-1", "?", "*"];
const PATTERNS: &[&str] = &[
    "/", "a", "b", "/a", ".", "[ab]", "?", "*", "+", "|", "(", ")", "(?i)", "(?x) ", "{0,1}", "{0}", "\\", "^", "$",
    "é", "(?P<n>", "[^/]+", "\\.", "\\b", "#",
];

impl Word {
    fn spell(&self, pieces: &[&str]) -> String {
        match self {
            Word::Pieces(picks) => picks.iter().take(8).map(|pick| pieces[usize::from(*pick) % pieces.len()]).collect(),
            Word::Text(text) => text.chars().take(40).collect(),
        }
    }
}

fn spec(route: &Route) -> RouteSpec {
    let host = |(is_wildcard, name): &(bool, Word)| {
        let name = name.spell(NAMES);
        if *is_wildcard { format!("*.{name}") } else { name }
    };
    let path = route.path.as_ref().map(|(form, word)| match form {
        Form::Prefix => format!("/{}", word.spell(PATHS)),
        Form::Exact => format!("=/{}", word.spell(PATHS)),
        Form::Regex => format!("~{}", word.spell(PATTERNS)),
        Form::Raw => word.spell(PATHS),
    });
    RouteSpec { hosts: route.hosts.iter().take(3).map(host).collect(), path }
}

/// The tiers a route stands in: its host entries as written, or the one of all hosts.
fn tiers(route: &RouteSpec) -> Vec<Option<&str>> {
    if route.hosts.is_empty() { vec![None] } else { route.hosts.iter().map(|host| Some(host.as_str())).collect() }
}

fn pattern(path: &str) -> Option<String> {
    let pattern = path.strip_prefix('~')?;
    let start = if pattern.starts_with('^') { "" } else { "^" };
    let end = if pattern.ends_with('$') { "" } else { "$" };
    Some(format!("{start}{pattern}{end}"))
}

/// Whether a table can be made of these routes.
fn is_servable(routes: &[RouteSpec]) -> bool {
    let mut taken = HashSet::new();
    routes.iter().all(|route| {
        let is_sound = match route.path.as_deref() {
            None => !route.hosts.is_empty(),
            Some("~") => false,
            Some(path) => match pattern(path) {
                Some(pattern) => regex::bytes::Regex::new(&pattern).is_ok(),
                None => path.starts_with('/') || path.starts_with("=/"),
            },
        };
        let is_regex = route.path.as_deref().is_some_and(|path| path.starts_with('~'));
        let own: HashSet<_> = tiers(route).into_iter().map(|tier| (tier, route.path.as_deref())).collect();
        is_sound && (is_regex || own.into_iter().all(|place| taken.insert(place)))
    })
}

/// A request's route by looking at every route, in the order of the traffic sheet §4.2.
fn reference(routes: &[RouteSpec], host: Option<&str>, path: &[u8]) -> Option<(u32, usize)> {
    let wildcard = |entry: &str, host: &str| {
        entry.strip_prefix("*.").is_some_and(|suffix| {
            host.strip_suffix(suffix)
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty() && !label.contains('.'))
        })
    };
    let exact: Box<dyn Fn(&RouteSpec) -> bool> = Box::new(move |route| {
        host.is_some_and(|host| route.hosts.iter().any(|entry| !entry.starts_with("*.") && entry == host))
    });
    let by_wildcard: Box<dyn Fn(&RouteSpec) -> bool> =
        Box::new(move |route| host.is_some_and(|host| route.hosts.iter().any(|entry| wildcard(entry, host))));
    let all: Box<dyn Fn(&RouteSpec) -> bool> = Box::new(|route| route.hosts.is_empty());
    [exact, by_wildcard, all].into_iter().find_map(|in_tier| {
        let tier: Vec<(usize, &RouteSpec)> = routes.iter().enumerate().filter(|(_, route)| in_tier(route)).collect();
        find_in(&tier, path).map(|(route, length)| (route as u32, length))
    })
}

fn find_in(tier: &[(usize, &RouteSpec)], path: &[u8]) -> Option<(usize, usize)> {
    let paths = || tier.iter().filter_map(|(id, route)| Some((*id, route.path.as_deref()?)));
    let exact = paths().find(|(_, entry)| entry.strip_prefix('=').is_some_and(|entry| entry.as_bytes() == path));
    if let Some((id, _)) = exact {
        return Some((id, path.len()));
    }
    let is_prefix = |entry: &str| {
        path.strip_prefix(entry.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || entry.ends_with('/'))
    };
    let prefix =
        paths().filter(|(_, entry)| entry.starts_with('/') && is_prefix(entry)).max_by_key(|(_, entry)| entry.len());
    if let Some((id, entry)) = prefix {
        return Some((id, entry.len()));
    }
    let regex = paths().find_map(|(id, entry)| {
        let regex = regex::bytes::Regex::new(&pattern(entry)?).ok()?;
        Some((id, regex.find(path)?.end()))
    });
    regex.or_else(|| tier.iter().find(|(_, route)| route.path.is_none()).map(|(id, _)| (*id, 0)))
}

fn check_table(input: &Input) {
    let routes: Vec<RouteSpec> = input.routes.iter().take(12).map(spec).collect();
    let table = match RouteTable::build(&routes) {
        Ok(table) => table,
        Err(errors) => {
            assert!(!errors.is_empty() && !is_servable(&routes), "refused without need: {errors:?} {routes:?}");
            return;
        }
    };
    assert!(is_servable(&routes), "accepted: {routes:?}");
    let copy = table.clone();
    for (host, path) in input.lookups.iter().take(16) {
        let host = host.as_ref().map(|host| host.spell(NAMES));
        let path = path.spell(PATHS);
        for path in [path.as_bytes(), format!("/{path}").as_bytes()] {
            let found = table.find(host.as_deref(), path);
            let plain = found.map(|found| (found.route, found.matched_len));
            assert_eq!(plain, reference(&routes, host.as_deref(), path), "{host:?} {path:?} in {routes:?}");
            assert_eq!(copy.find(host.as_deref(), path).map(|found| (found.route, found.matched_len)), plain);
            if let Some(found) = found {
                assert!(found.matched_len <= path.len());
                found.for_each_parameter(path, |_, value| assert!(value.len() <= path.len()));
                let mut target = Vec::new();
                engine::router::write_backend_path(&mut target, path, found.matched_len, true, "");
                assert!(target.starts_with(b"/"), "a backend path without a slash: {target:?} of {path:?}");
            }
        }
    }
}

fn check_host(raw: &[u8]) {
    let (mut buffer, mut second) = (HostBuffer::new(), HostBuffer::new());
    let upper = normalize_host(&raw.to_ascii_uppercase(), &mut second).map(str::to_owned);
    let Ok(host) = normalize_host(raw, &mut buffer) else {
        assert!(upper.is_err());
        return;
    };
    assert_eq!(upper.as_deref(), Ok(host));
    assert!(!host.is_empty() && host.len() <= 256 && host.is_ascii());
    assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase() || byte <= b' ' || b"@/?#\\\"<>".contains(&byte)));
    assert!(host.starts_with('[') || !host.contains([':', '[', ']']), "a port is left: {host}");
    // One trailing dot is taken off, so a name with two is not at rest yet.
    if !host.ends_with('.') {
        assert_eq!(normalize_host(host.as_bytes(), &mut second), Ok(host));
        let with_port = format!("{host}.:80");
        let dotted = if host.starts_with('[') { with_port.replace("].", "]") } else { with_port };
        if host.len() < 256 {
            assert_eq!(normalize_host(dotted.as_bytes(), &mut second), Ok(host));
        }
    }
}

fuzz_target!(|input: Input| {
    check_table(&input);
    check_host(&input.raw_host);
});
