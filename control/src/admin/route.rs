//! The table of paths: what a method and a path mean, who may, and whether it writes (admin sheet §33).

use hyper::Method;

use super::auth::Role;
use super::resources::ResourceKind;
use crate::store::Kind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// What there is to ask.
    Description,
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
    Audit,
    Specs,
    Spec(String),
    /// The one that owns this proxy.
    SpecOf(String),
    WriteSpec(SpecWrite),
    /// A part of the product that is not active here; the text says which.
    Inactive(&'static str),
    /// Refused by the write gate wherever there is no database.
    Write(Write),
}

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Create(Kind),
    Replace(Kind, String),
    Delete(Kind, String),
    /// Of a consumer, all of one type.
    SetCredentials(String, String),
    AppendCredential(String, String),
    DeleteCredentials(String, String),
    /// One of a type, by its place, which may be anything that stood in the path.
    DeleteCredential(String, String, String),
    Batch,
    Restore,
}

/// What is done to API specs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SpecWrite {
    Create,
    Replace(String),
    Delete(String),
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
            ["openapi.yaml"] => route(Role::Viewer, Action::Description),
            ["metrics", "runtime"] => route(Role::Viewer, Action::RuntimeMetrics),
            ["admin", "metrics"] => route(Role::Viewer, Action::GatewayMetrics),
            ["plugins"] => route(Role::Viewer, Action::Plugins),
            ["namespaces"] => route(Role::Viewer, Action::Namespaces),
            ["cluster"] => route(Role::Viewer, Action::Cluster),
            ["backend-capabilities"] => route(Role::Viewer, Action::Capabilities),
            ["backup"] => route(Role::Admin, Action::Backup),
            ["audit"] => route(Role::Admin, Action::Audit),
            ["api-specs"] => route(Role::Viewer, Action::Specs),
            ["api-specs", id] => route(Role::Viewer, Action::Spec((*id).to_owned())),
            ["api-specs", "by-proxy", id] => route(Role::Viewer, Action::SpecOf((*id).to_owned())),
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
    if let Some(write) = spec_write(method, segments) {
        return route(Role::Admin, Action::WriteSpec(write));
    }
    let (need, write) = write(method, segments)?;
    route(need, Action::Write(write))
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

fn spec_write(method: &Method, segments: &[&str]) -> Option<SpecWrite> {
    match segments {
        ["api-specs"] if *method == Method::POST => Some(SpecWrite::Create),
        ["api-specs", id] if *method == Method::PUT => Some(SpecWrite::Replace((*id).to_owned())),
        ["api-specs", id] if *method == Method::DELETE => Some(SpecWrite::Delete((*id).to_owned())),
        _ => None,
    }
}

fn write(method: &Method, segments: &[&str]) -> Option<(Role, Write)> {
    let [post, put, delete] = [Method::POST, Method::PUT, Method::DELETE].map(|each| *method == each);
    if let ["consumers", id, "credentials", rest @ ..] = segments {
        let owned = |text: &str| text.to_owned();
        let write = match rest {
            [kind] if put => Write::SetCredentials(owned(id), owned(kind)),
            [kind] if post => Write::AppendCredential(owned(id), owned(kind)),
            [kind] if delete => Write::DeleteCredentials(owned(id), owned(kind)),
            [kind, index] if delete => Write::DeleteCredential(owned(id), owned(kind), owned(index)),
            _ => return None,
        };
        return Some((Role::Admin, write));
    }
    match segments {
        ["batch"] if post => Some((Role::Admin, Write::Batch)),
        ["restore"] if post => Some((Role::Admin, Write::Restore)),
        _ => {
            let (kind, id) = resource(segments)?;
            let need = if kind == ResourceKind::Consumer { Role::Admin } else { Role::Operator };
            let write = match id {
                None if post => Write::Create(kind.stored()),
                Some(id) if put => Write::Replace(kind.stored(), id.to_owned()),
                Some(id) if delete => Write::Delete(kind.stored(), id.to_owned()),
                _ => return None,
            };
            Some((need, write))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(method: &str, path: &str) -> Option<Route> {
        find(&method.parse().unwrap(), &segments(path))
    }

    /// The role that a write needs; nothing when it is none.
    fn write_role(method: &str, path: &str) -> Option<Role> {
        let route = at(method, path)?;
        matches!(route.action, Action::Write(_) | Action::WriteSpec(_)).then_some(route.need)
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
            assert_eq!(write_role("POST", path), Some(Role::Operator));
            assert_eq!(write_role("PUT", &format!("{path}/x")), Some(Role::Operator));
            assert_eq!(write_role("DELETE", &format!("{path}/x")), Some(Role::Operator));
        }
        for (method, path) in [
            ("POST", "/consumers"),
            ("DELETE", "/consumers/x"),
            ("PUT", "/consumers/x/credentials/jwt"),
            ("DELETE", "/consumers/x/credentials/jwt/0"),
            ("POST", "/batch"),
            ("POST", "/restore"),
            ("POST", "/api-specs"),
            ("PUT", "/api-specs/x"),
            ("DELETE", "/api-specs/x"),
        ] {
            assert_eq!(write_role(method, path), Some(Role::Admin), "{method} {path}");
        }
        let one = Write::DeleteCredential("x".into(), "jwt".into(), "0".into());
        assert_eq!(at("DELETE", "/consumers/x/credentials/jwt/0").unwrap().action, Action::Write(one));
        let put = Write::Replace(Kind::PluginConfig, "x".into());
        assert_eq!(at("PUT", "/plugins/config/x").unwrap().action, Action::Write(put));
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
            ("PUT", "/consumers/x/credentials/jwt/0"),
            ("DELETE", "/consumers/x/credentials"),
            ("POST", "/metrics/runtime"),
            ("POST", "/api-specs/x"),
            ("PUT", "/api-specs"),
            ("DELETE", "/api-specs/by-proxy/x"),
            ("GET", "/api-specs/x/y"),
        ] {
            assert_eq!(at(method, path), None, "{method} {path}");
        }
    }
}
