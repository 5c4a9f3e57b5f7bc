//! The path sent to the backend (resources sheet §17.1).

/// Appends to `out` the path for the backend: `base` (the target's path, else the proxy's `backend_path`, else empty)
/// followed by what is left of `path` once the matched part is taken off.
///
/// Slashes are neither merged nor added, except for the one that makes the result start with `/`: bytes a client sent are
/// bytes the backend gets. `matched_len` counts from the start of `path`; a value past its end strips everything.
pub fn write_backend_path(out: &mut Vec<u8>, path: &[u8], matched_len: usize, strip: bool, base: &str) {
    let rest = if strip { path.get(matched_len..).unwrap_or_default() } else { path };
    out.reserve(base.len() + rest.len() + 1);
    // with both empty this slash is the whole path
    if !base.starts_with('/') && !rest.starts_with(b"/") {
        out.push(b'/');
    }
    out.extend_from_slice(base.as_bytes());
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::write_backend_path;
    use crate::router::{RouteSpec, RouteTable};

    fn forwarded(listen_path: Option<&str>, strip: bool, base: &str, request: &str) -> String {
        let spec = RouteSpec { hosts: vec!["shop.example.com".into()], path: listen_path.map(str::to_owned) };
        let table = RouteTable::build(&[spec]).unwrap();
        let found =
            table.find(Some("shop.example.com"), request.as_bytes()).expect("the table's own example must match");
        let mut out = b"kept".to_vec();
        write_backend_path(&mut out, request.as_bytes(), found.matched_len, strip, base);
        String::from_utf8(out).unwrap().strip_prefix("kept").unwrap().to_owned()
    }

    #[test]
    fn every_row_of_the_sheet_is_forwarded_as_written() {
        let rows: &[(Option<&str>, bool, &str, &str, &str)] = &[
            (Some("/api/v1"), true, "", "/api/v1/users/1", "/users/1"),
            (Some("/api/v1"), true, "", "/api/v1", "/"),
            (Some("/api/v1"), true, "", "/api/v1/", "/"),
            (Some("/api/v1"), false, "", "/api/v1/x", "/api/v1/x"),
            (Some("/api"), true, "/v2", "/api/v1/u", "/v2/v1/u"),
            (Some("/api"), true, "/v2", "/api", "/v2"),
            (Some("/api"), false, "/v2", "/api/x", "/v2/api/x"),
            (Some("/api/"), true, "", "/api/x", "/x"),
            (Some("/"), true, "", "/users", "/users"),
            (Some("/"), true, "/v2", "/users", "/v2users"),
            (Some("/api/"), true, "/v2", "/api/x", "/v2x"),
            (Some("/api/"), true, "/v2/", "/api/x", "/v2/x"),
            (Some("/api"), true, "/v2/", "/api/x", "/v2//x"),
            (Some("=/healthz"), true, "", "/healthz", "/"),
            (Some("=/healthz"), false, "", "/healthz", "/healthz"),
            (Some("~/users/[^/]+/orders"), true, "/internal", "/users/4/orders", "/internal"),
            (Some("~/users/[^/]+/orders(/.*)?"), true, "", "/users/4/orders/p", "/"),
            (None, true, "/b", "/x/y", "/b/x/y"),
        ];
        for &(listen_path, strip, base, request, expected) in rows {
            assert_eq!(
                forwarded(listen_path, strip, base, request),
                expected,
                "{listen_path:?} {strip} {base} {request}"
            );
        }
    }

    #[test]
    fn a_base_without_a_slash_gets_one_only_when_the_rest_has_none() {
        assert_eq!(forwarded(Some("/api/"), true, "v2", "/api/x"), "/v2x");
        assert_eq!(forwarded(Some("/api"), true, "v2", "/api/x"), "v2/x");
        assert_eq!(forwarded(Some("/api"), true, "v2", "/api"), "/v2");
    }

    #[test]
    fn dot_segments_and_escapes_are_forwarded_as_received() {
        assert_eq!(forwarded(Some("/a"), true, "", "/a/../b%2Fc//d"), "/../b%2Fc//d");
    }

    #[test]
    fn a_matched_length_past_the_end_strips_everything() {
        let mut out = Vec::new();
        write_backend_path(&mut out, b"/a", 9, true, "");
        assert_eq!(out, b"/");
    }
}
