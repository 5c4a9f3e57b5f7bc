use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use rcgen::generate_simple_self_signed;
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::testing::log::Log;
use crate::testing::peer::{Act, Peer};

/// Knows one name, which is this host.
struct OneName;

impl Names for OneName {
    fn resolve(&self, host: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        Box::pin(async move {
            match host.as_str() {
                "sink.test" => Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
                _ => Err(format!("{host} is not known here")),
            }
        })
    }
}

fn client(retries: u32) -> HttpClient {
    let options = Options { http_retries_max: retries, http_retry_delay_ms: 20, ..Options::default() };
    HttpClient::new(&options, Arc::new(OneName)).unwrap()
}

const LABEL: Label<'static> = Label { plugin: "some_plugin", url: None };

/// On this thread, whose log lines the test collects.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The status or the error, and how often was tried.
fn call(client: &HttpClient, method: Method, url: &str) -> (reqwest::Result<u16>, Vec<Duration>) {
    let mut tries = Vec::new();
    let request = client.client().request(method, url);
    let result = run(client.execute(request, LABEL, |took| tries.push(took)));
    (result.map(|response| response.status().as_u16()), tries)
}

/// Hangs up on so many requests and then answers.
fn peer_that_hangs_up(times: usize) -> Peer {
    Peer::new(move |earlier, _| if earlier < times { Act::Hang } else { Act::Answer(200, Vec::new()) })
}

#[test]
fn safe_calls_are_repeated_as_often_as_the_setting_says_and_each_time_is_told() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let (log, peer) = (Log::new(), peer_that_hangs_up(2));
        let (result, tries) = call(&client(2), method.clone(), &peer.url("/k?a=1"));
        assert_eq!((result.unwrap(), tries.len(), peer.seen().len()), (200, 3, 3), "{method}");
        let warnings = log.warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("plugin HTTP call failed and is repeated: "), "{warnings:?}");
        let fields = &log.lines()[0]["fields"];
        assert_eq!((&fields["plugin"], &fields["url"]), (&json!("some_plugin"), &json!(peer.url("/k?a=1"))));
    }
    let peer = peer_that_hangs_up(2);
    let (result, tries) = call(&client(1), Method::GET, &peer.url("/"));
    assert!(result.is_err());
    assert_eq!((tries.len(), peer.seen().len()), (2, 2));
}

#[test]
fn there_is_a_pause_between_two_tries_which_is_not_counted_as_the_call_s_time() {
    let (client, peer) = (client(2), peer_that_hangs_up(2));
    let started = Instant::now();
    let (result, tries) = call(&client, Method::GET, &peer.url("/"));
    let took = started.elapsed();
    assert!(result.is_ok());
    assert!(took >= Duration::from_millis(40), "{took:?}");
    assert!(tries.iter().sum::<Duration>() + Duration::from_millis(40) <= took, "{tries:?} of {took:?}");
}

#[test]
fn what_is_not_safe_is_never_repeated() {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let (log, peer) = (Log::new(), peer_that_hangs_up(1));
        let (result, tries) = call(&client(5), method.clone(), &peer.url("/"));
        assert!(result.is_err(), "{method}");
        assert_eq!((tries.len(), peer.seen().len()), (1, 1), "{method}");
        assert!(log.warnings().is_empty());
    }
}

#[test]
fn a_body_that_cannot_be_sent_twice_is_sent_once() {
    let (client, peer) = (client(3), peer_that_hangs_up(1));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<_, io::Error>("a piece")]));
    let request = client.client().get(peer.url("/")).body(body);
    let mut tries = 0;
    assert!(run(client.execute(request, LABEL, |_| tries += 1)).is_err());
    assert_eq!(tries, 1);
}

#[test]
fn an_answer_is_never_a_reason_to_repeat() {
    for status in [429, 500, 503] {
        let peer = Peer::new(move |_, _| Act::Answer(status, Vec::new()));
        let (result, tries) = call(&client(3), Method::GET, &peer.url("/"));
        assert_eq!((result.unwrap(), tries.len(), peer.seen().len()), (status, 1, 1));
    }
}

#[test]
fn a_port_nobody_listens_on_a_name_nobody_knows_and_silence_are_reasons() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let (result, tries) = call(&client(2), Method::GET, &format!("http://127.0.0.1:{port}/"));
    assert!(cause(&result.unwrap_err()).contains("refused"));
    assert_eq!(tries.len(), 3);
    let (result, tries) = call(&client(2), Method::GET, "http://nobody.test/");
    assert!(cause(&result.unwrap_err()).contains("not known here"));
    assert_eq!(tries.len(), 3);
    let (client, peer) = (client(1), Peer::new(|_, _| Act::Ignore));
    let request = client.client().get(peer.url("/")).timeout(Duration::from_millis(60));
    let mut tries = Vec::new();
    assert!(run(client.execute(request, LABEL, |took| tries.push(took))).unwrap_err().is_timeout());
    assert_eq!(tries.len(), 2);
    assert!(tries.iter().all(|took| *took >= Duration::from_millis(60)), "a call's own limit holds: {tries:?}");
}

/// Shows a certificate nobody vouches for, and counts who comes.
fn untrusted_peer() -> (u16, Arc<AtomicUsize>) {
    let own = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key.into()).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, acceptor) = (count.clone(), TlsAcceptor::from(Arc::new(config)));
    std::thread::spawn(move || {
        run(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = acceptor.accept(stream).await;
            }
        });
    });
    (port, count)
}

#[test]
fn a_certificate_that_is_not_trusted_is_not_asked_for_again() {
    let (log, (port, count)) = (Log::new(), untrusted_peer());
    let (result, tries) = call(&client(3), Method::GET, &format!("https://127.0.0.1:{port}/"));
    let error = result.unwrap_err();
    assert!(is_about_tls(&error), "{error:?}");
    assert_eq!((tries.len(), count.load(Ordering::SeqCst)), (1, 1));
    assert!(log.warnings().is_empty());
}

#[test]
fn a_call_that_takes_longer_than_the_threshold_is_named_in_a_warning() {
    let options = Options { http_slow_threshold_ms: 100, ..Options::default() };
    let client = HttpClient::new(&options, Arc::new(OneName)).unwrap();
    let peer = Peer::new(|_, request| match request.path() {
        "/slow?key=hidden" => Act::After(Duration::from_millis(130), 500),
        _ => Act::Answer(200, Vec::new()),
    });
    let log = Log::new();
    assert!(call(&client, Method::POST, &peer.url("/fast")).0.is_ok());
    assert!(log.lines().is_empty());
    let label = Label { plugin: "http_logging", url: Some("http://sink/slow") };
    let request = client.client().post(peer.url("/slow?key=hidden"));
    assert!(run(client.execute(request, label, |_| ())).is_ok());
    let lines = log.lines();
    assert_eq!((lines.len(), &lines[0]["level"]), (1, &json!("WARN")));
    let fields = &lines[0]["fields"];
    assert_eq!(fields["message"], "Slow plugin HTTP call");
    assert_eq!((&fields["plugin"], &fields["url"]), (&json!("http_logging"), &json!("http://sink/slow")));
    assert_eq!(fields["threshold_ms"], 100);
    assert!(fields["elapsed_ms"].as_u64().unwrap() >= 130, "{fields}");
}

#[test]
fn a_failed_call_may_be_slow_too() {
    let options = Options { http_slow_threshold_ms: 50, ..Options::default() };
    let (client, peer) = (HttpClient::new(&options, Arc::new(OneName)).unwrap(), Peer::new(|_, _| Act::Ignore));
    let log = Log::new();
    let request = client.client().post(peer.url("/")).timeout(Duration::from_millis(80));
    assert!(run(client.execute(request, LABEL, |_| ())).is_err());
    assert_eq!(log.warnings(), ["Slow plugin HTTP call"]);
}

#[test]
fn names_are_resolved_by_the_gateway() {
    let peer = peer_that_hangs_up(0);
    let (result, _) = call(&client(0), Method::GET, &format!("http://sink.test:{}/", peer.port()));
    assert_eq!(result.unwrap(), 200);
    assert_eq!(peer.seen()[0].header("host"), Some(&*format!("sink.test:{}", peer.port())));
}

#[test]
fn redirects_are_followed_unless_the_answer_itself_counts() {
    let peer = Peer::new(|_, request| match request.path() {
        "/old" => Act::AnswerWith(302, "Location: /new\r\n".to_owned(), Vec::new()),
        _ => Act::Answer(200, Vec::new()),
    });
    let client = client(0);
    assert_eq!(call(&client, Method::GET, &peer.url("/old")).0.unwrap(), 200);
    let request = client.direct().post(peer.url("/old"));
    assert_eq!(run(client.execute(request, LABEL, |_| ())).unwrap().status(), 302);
}

#[test]
fn connections_are_kept_if_the_settings_say_so() {
    for (keep_alive, connections) in [(true, 1), (false, 2)] {
        let mut options = Options::default();
        options.pool.keep_alive = keep_alive;
        let client = HttpClient::new(&options, Arc::new(OneName)).unwrap();
        let peer = peer_that_hangs_up(0);
        run(async {
            for _ in 0..2 {
                let response = client.execute(client.client().get(peer.url("/")), LABEL, |_| ()).await.unwrap();
                response.bytes().await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert_eq!(peer.connections(), connections, "keep_alive {keep_alive}");
    }
}
