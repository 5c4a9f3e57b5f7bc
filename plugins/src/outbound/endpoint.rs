//! URLs that configs name.

use reqwest::Url;

/// An absolute `http` or `https` URL with a host, or what is wrong with it, to be put behind the key's name.
///
/// # Errors
/// It is none.
pub fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a valid URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("must use http or https scheme, got '{other}'")),
    }
}

/// What is called: a name, or an address without brackets.
pub fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned())
}

/// A URL as it may be logged: credentials and the query may hold secrets.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_absolute_url_of_http() {
        for good in ["http://h", "https://h:1/p?q", "HTTP://10.0.0.1/", "https://[::1]:8443/a"] {
            http_url(good).unwrap();
        }
        assert_eq!(http_url("ftp://h/").unwrap_err(), "must use http or https scheme, got 'ftp'");
        assert_eq!(http_url("localhost:80").unwrap_err(), "must use http or https scheme, got 'localhost'");
        for bad in ["", "/path", "http://", "http://h:99999/", "h"] {
            assert!(http_url(bad).unwrap_err().starts_with("is not a valid URL: "), "{bad}");
        }
    }

    #[test]
    fn the_host_is_a_name_or_an_address_however_it_was_written() {
        let host = |url: &str| host(&http_url(url).unwrap()).unwrap();
        assert_eq!(host("https://Logs.test:8443/"), "logs.test");
        for url in ["http://10.0.0.1/", "http://10.1/", "http://0x0a000001:80/", "http://10.0.0.1./"] {
            assert_eq!(host(url), "10.0.0.1", "{url}");
        }
        assert_eq!(host("http://[0:0::1]:8080/"), "::1");
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let shown = |url: &str| shown(&http_url(url).unwrap());
        assert_eq!(shown("https://user:pass@logs.test:8443/in/1?token=t#f"), "https://logs.test:8443/in/1");
        assert_eq!(shown("http://[::1]/"), "http://[::1]/");
    }
}
