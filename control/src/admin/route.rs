//! The table of paths: what a method and a path mean, who may, and whether it writes (admin sheet §33).

use hyper::Method;

use super::auth::Role;
use super::resources::ResourceKind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    RuntimeMetrics,
    GatewayMetrics,
    List(ResourceKind),
    Get(ResourceKind, String),
    Plugins,
    Namespaces,
    Cluster,
    Backup,
    Capabilities,
    /// Writes nothing that is the user's: no write gate.
    RefreshCapabilities,
    /// Answered from the database only; the text is what is said without one.
    NeedsDatabase(&'static str),
    /// A part of the product that is not active here; the text says which.
    Inactive(&'static str),
    /// A write: refused by the write gate wherever there is no database.
    Write,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) need: Role,
    pub(super) action: Action,
}

/// The parts of a path. Leading slashes are trimmed; a trailing one adds an empty part, which matches nothing.
pub(super) fn segments(path: &str) -> Vec<&str> {
    path.trim_start_matches('/').split('/').collect()
}

/// `None` for an unknown path and for an unknown method on a known one: both are "Not Found".
pub(super) fn find(method: &Method, segments: &[&str]) -> Option<Route> {
    let route = |need, action| Some(Route { need, action });
    if *method == Method::GET {
        return match segments {
            ["metrics", "runtime"] => route(Role::Viewer, Action::RuntimeMetrics),
            ["admin", "metrics"] => route(Role::Viewer, Action::GatewayMetrics),
            ["plugins"] => route(Role::Viewer, Action::Plugins),
            ["namespaces"] => route(Role::Viewer, Action::Namespaces),
            ["cluster"] => route(Role::Viewer, Action::Cluster),
            ["backend-capabilities"] => route(Role::Viewer, Action::Capabilities),
            ["backup"] => route(Role::Admin, Action::Backup),
            ["audit"] => route(Role::Admin, Action::NeedsDatabase("No database")),
            ["api-specs"] | ["api-specs", _] | ["api-specs", "by-proxy", _] => {
                route(Role::Viewer, Action::NeedsDatabase("No database configured"))
            }
            ["mesh", "egress-scope"] => route(Role::Viewer, Action::Inactive("No active mesh egress scope")),
            ["mesh", "service-graph"] => route(Role::Viewer, Action::Inactive("No active mesh service graph")),
            ["mesh", "federation"] => route(Role::Viewer, Action::Inactive("No active mesh federation")),
            ["mesh", "runtime-overlay"] => route(Role::Viewer, Action::Inactive("No active mesh runtime overlay")),
            ["node-waypoint", "identities"] => {
                route(Role::Viewer, Action::Inactive("node-waypoint topology not enabled"))
            }
            ["service-waypoint", "services"] => {
                route(Role::Viewer, Action::Inactive("service-waypoint topology not enabled"))
            }
            _ => match resource(segments)? {
                (kind, None) => route(Role::Viewer, Action::List(kind)),
                (kind, Some(id)) => route(Role::Viewer, Action::Get(kind, id.to_owned())),
            },
        };
    }
    if *method == Method::POST && *segments == ["backend-capabilities", "refresh"] {
        return route(Role::Operator, Action::RefreshCapabilities);
    }
    Some(Route { need: write_role(method, segments)?, action: Action::Write })
}

/// Which kind of resource a path names, and which one of it.
fn resource<'a>(segments: &[&'a str]) -> Option<(ResourceKind, Option<&'a str>)> {
    let (kind, rest) = match segments {
        ["plugins", "config", rest @ ..] => (ResourceKind::PluginConfig, rest),
        ["proxies", rest @ ..] => (ResourceKind::Proxy, rest),
        ["upstreams", rest @ ..] => (ResourceKind::Upstream, rest),
        ["consumers", rest @ ..] => (ResourceKind::Consumer, rest),
        _ => return None,
    };
    match rest {
        [] => Some((kind, None)),
        [id] if !id.is_empty() => Some((kind, Some(id))),
        _ => None,
    }
}

fn write_role(method: &Method, segments: &[&str]) -> Option<Role> {
    let is = |each: Method| *method == each;
    match segments {
        ["batch" | "restore"] if is(Method::POST) => Some(Role::Admin),
        ["api-specs"] if is(Method::POST) => Some(Role::Admin),
        ["api-specs", _] if is(Method::PUT) || is(Method::DELETE) => Some(Role::Admin),
        ["consumers", _, "credentials", _] if is(Method::PUT) || is(Method::POST) || is(Method::DELETE) => {
            Some(Role::Admin)
        }
        ["consumers", _, "credentials", _, _] if is(Method::DELETE) => Some(Role::Admin),
        _ => {
            let (kind, id) = resource(segments)?;
            let is_known = match id {
                None => is(Method::POST),
                Some(_) => is(Method::PUT) || is(Method::DELETE),
            };
            let need = if kind == ResourceKind::Consumer { Role::Admin } else { Role::Operator };
            is_known.then_some(need)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(method: &str, path: &str) -> Option<Route> {
        find(&method.parse().unwrap(), &segments(path))
    }

    fn write(need: Role) -> Option<Route> {
        Some(Route { need, action: Action::Write })
    }

    #[test]
    fn paths_match_byte_by_byte() {
        let list = Some(Route { need: Role::Viewer, action: Action::List(ResourceKind::Proxy) });
        assert_eq!(at("GET", "/proxies"), list);
        assert_eq!(at("GET", "//proxies"), list, "leading slashes are trimmed");
        for path in ["/proxies/", "/Proxies", "/proxies/a/b", "/", "", "/prox%69es", "/live", "/ready"] {
            assert_eq!(at("GET", path), None, "{path}");
        }
        let get = Action::Get(ResourceKind::PluginConfig, "a%20b".to_owned());
        assert_eq!(at("GET", "/plugins/config/a%20b").unwrap().action, get, "no percent-decoding");
        assert_eq!(at("GET", "/plugins").unwrap().action, Action::Plugins);
        assert_eq!(at("GET", "/plugins/config").unwrap().action, Action::List(ResourceKind::PluginConfig));
    }

    #[test]
    fn writes_need_the_role_of_their_kind() {
        for path in ["/proxies", "/upstreams", "/plugins/config"] {
            assert_eq!(at("POST", path), write(Role::Operator));
            assert_eq!(at("PUT", &format!("{path}/x")), write(Role::Operator));
            assert_eq!(at("DELETE", &format!("{path}/x")), write(Role::Operator));
        }
        for (method, path) in [
            ("POST", "/consumers"),
            ("DELETE", "/consumers/x"),
            ("PUT", "/consumers/x/credentials/jwt"),
            ("DELETE", "/consumers/x/credentials/jwt/0"),
            ("POST", "/batch"),
            ("POST", "/restore"),
            ("POST", "/api-specs"),
        ] {
            assert_eq!(at(method, path), write(Role::Admin), "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_method_is_an_unknown_path() {
        for (method, path) in [
            ("PUT", "/proxies"),
            ("POST", "/proxies/x"),
            ("PATCH", "/proxies/x"),
            ("POST", "/backend-capabilities"),
            ("GET", "/backend-capabilities/refresh"),
            ("POST", "/plugins"),
            ("HEAD", "/proxies"),
            ("GET", "/batch"),
            ("POST", "/metrics/runtime"),
        ] {
            assert_eq!(at(method, path), None, "{method} {path}");
        }
    }
}
