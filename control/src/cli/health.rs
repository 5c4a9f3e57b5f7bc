//! `ferrum-edge health`: one request to the admin API, for health checks of containers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use engine::tls::{BackendTlsInputs, ClientOptions, Policy, client_offers, public_roots, server_name};
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// More than any health answer; an endless one is cut here.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const HTTP_PORT_KEY: &str = "FERRUM_ADMIN_HTTP_PORT";
const HTTPS_PORT_KEY: &str = "FERRUM_ADMIN_HTTPS_PORT";

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(super) struct HealthArgs {
    /// Admin port [default: FERRUM_ADMIN_HTTP_PORT or 9000; with TLS FERRUM_ADMIN_HTTPS_PORT or 9443]
    #[arg(short, long)]
    pub(super) port: Option<u16>,
    /// Host name or IP address
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// Use HTTPS
    #[arg(long)]
    pub(super) tls: bool,
    /// Accept any certificate
    #[arg(long)]
    pub(super) tls_no_verify: bool,
}

/// Where to ask.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    port: u16,
    uses_tls: bool,
}

impl Endpoint {
    /// A gateway without a plaintext admin port is asked over TLS by itself.
    fn choose(args: &HealthArgs, env: &BTreeMap<String, String>) -> Self {
        let port_of = |key: &str| env.get(key).and_then(|text| text.parse::<u16>().ok());
        let has_no_plaintext = args.port.is_none() && port_of(HTTP_PORT_KEY) == Some(0);
        let uses_tls = args.tls || has_no_plaintext;
        let default =
            if uses_tls { port_of(HTTPS_PORT_KEY).unwrap_or(9443) } else { port_of(HTTP_PORT_KEY).unwrap_or(9000) };
        Self { port: args.port.unwrap_or(default), uses_tls }
    }
}

/// `Ok` if the gateway says it is healthy, else the reason.
pub(super) fn check(args: &HealthArgs, env: &BTreeMap<String, String>) -> Result<(), String> {
    let endpoint = Endpoint::choose(args, env);
    let answer = ask(args, &endpoint)?;
    if answer.contains("200 OK") {
        return Ok(());
    }
    let status = answer.lines().next().unwrap_or_default().trim_end();
    Err(format!("Unhealthy: {}", if status.is_empty() { "(empty response)" } else { status }))
}

fn ask(args: &HealthArgs, endpoint: &Endpoint) -> Result<String, String> {
    let (host, port) = (args.host.as_str(), endpoint.port);
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let cannot = |error: std::io::Error| format!("Cannot connect to {host}:{port}: {error}");
    let address = (bare, port).to_socket_addrs().map_err(cannot)?.next();
    let address = address.ok_or_else(|| format!("Cannot connect to {host}:{port}: no address found"))?;
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(cannot)?;

    let request = format!("GET /health HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    let broken = |error: std::io::Error| format!("No answer from {host}:{port}: {error}");
    let limits = stream.try_clone().map_err(broken)?;
    let exchanged = if endpoint.uses_tls {
        exchange(&mut secured(stream, host, args.tls_no_verify)?, &limits, &request)
    } else {
        exchange(&mut { stream }, &limits, &request)
    };
    exchanged.map_err(broken)
}

/// Trusts the public roots, or anybody.
fn secured(
    stream: TcpStream,
    host: &str,
    trusts_anybody: bool,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let inputs = BackendTlsInputs {
        ca_path: None,
        client_paths: None,
        verifies: !trusts_anybody,
        sni: None,
        san_allow_list: Vec::new(),
    };
    let (policy, roots) = (Policy::default(), public_roots());
    let options =
        ClientOptions { policy: &policy, roots, identity: None, revoked: &[], sessions_max: 1, inputs: &inputs };
    let config = client_offers(&options)?.http1;
    let connection = ClientConnection::new(config, server_name(&inputs, host)?).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(connection, stream))
}

/// `limits` is the socket below, whose times they are.
fn exchange(stream: &mut (impl Read + Write), limits: &TcpStream, request: &str) -> std::io::Result<String> {
    limits.set_write_timeout(Some(READ_TIMEOUT))?;
    // A handshake reads before it has written all.
    limits.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    read_answer(stream, limits)
}

/// Reads to the end, to the time limit, or to the size limit; what arrived until then is judged.
fn read_answer(stream: &mut impl Read, limits: &TcpStream) -> std::io::Result<String> {
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while answer.len() < ANSWER_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        limits.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn args(port: Option<u16>, tls: bool) -> HealthArgs {
        HealthArgs { port, host: "127.0.0.1".to_owned(), tls, tls_no_verify: false }
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Answers one request with `answer` and gives the verdict and the request.
    fn asked(host: &str, answer: &'static str) -> (Result<(), String>, String) {
        let bare = host.trim_matches(['[', ']']);
        let listener = TcpListener::bind((bare, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let verdict = check(&HealthArgs { host: host.to_owned(), ..args(Some(port), false) }, &env(&[]));
        (verdict, server.join().unwrap().replace(&port.to_string(), "PORT"))
    }

    #[test]
    fn a_gateway_that_answers_200_is_healthy() {
        let (verdict, request) = asked("127.0.0.1", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        assert_eq!(verdict, Ok(()));
        assert_eq!(request, "GET /health HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn any_other_status_is_quoted() {
        let (verdict, _) = asked("127.0.0.1", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(verdict.unwrap_err(), "Unhealthy: HTTP/1.1 503 Service Unavailable");
        assert_eq!(asked("127.0.0.1", "").0.unwrap_err(), "Unhealthy: (empty response)");
    }

    #[test]
    fn an_ipv6_address_may_stand_in_brackets() {
        if TcpListener::bind("[::1]:0").is_ok() {
            assert_eq!(asked("[::1]", "HTTP/1.1 200 OK\r\n\r\n").0, Ok(()));
            assert_eq!(asked("::1", "HTTP/1.1 200 OK\r\n\r\n").0, Ok(()));
        }
    }

    #[test]
    fn a_closed_port_is_named_with_the_reason() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = check(&args(Some(port), false), &env(&[])).unwrap_err();
        assert!(text.starts_with(&format!("Cannot connect to 127.0.0.1:{port}: Connection refused")), "{text}");
    }

    #[test]
    fn the_port_comes_from_the_flag_then_the_environment_then_the_default() {
        let choose = |port, tls, pairs: &[(&str, &str)]| Endpoint::choose(&args(port, tls), &env(pairs));
        let plain = |port| Endpoint { port, uses_tls: false };
        let tls = |port| Endpoint { port, uses_tls: true };
        assert_eq!(choose(None, false, &[]), plain(9000));
        assert_eq!(choose(None, true, &[]), tls(9443));
        assert_eq!(choose(None, false, &[(HTTP_PORT_KEY, "9100")]), plain(9100));
        assert_eq!(choose(None, false, &[(HTTP_PORT_KEY, "many")]), plain(9000));
        assert_eq!(choose(None, true, &[(HTTPS_PORT_KEY, "9143")]), tls(9143));
        assert_eq!(choose(Some(1), true, &[(HTTPS_PORT_KEY, "9143")]), tls(1));
        assert_eq!(choose(None, false, &[(HTTP_PORT_KEY, "0")]), tls(9443));
        assert_eq!(choose(Some(1), false, &[(HTTP_PORT_KEY, "0")]), plain(1));
    }
}
