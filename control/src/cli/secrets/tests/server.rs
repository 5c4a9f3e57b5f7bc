//! A server that says what a test wants and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// A field of a form.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let url = reqwest::Url::parse(&format!("http://form/?{}", self.body)).ok()?;
        url.query_pairs().find(|(field, _)| field == name).map(|(_, value)| value.into_owned())
    }
}

pub(super) enum Says {
    Text(u16, String),
    /// Only once so many requests have come.
    AfterAll(usize, String),
    Nothing,
}

pub(super) fn json(status: u16, body: Value) -> Says {
    Says::Text(status, body.to_string())
}

pub(super) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: Runtime,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&Asked) -> Says + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer, count) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(answer), watch::Sender::new(0));
        let kept = asked.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, answer, count) = (kept.clone(), answer.clone(), count.clone());
                let service = service_fn(move |request| {
                    let (asked, answer, count) = (asked.clone(), answer.clone(), count.clone());
                    async move {
                        let request = read(request).await;
                        asked.lock().unwrap().push(request.clone());
                        count.send_modify(|count| *count += 1);
                        Ok::<_, Infallible>(say(answer(&request), &count).await)
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, asked, _runtime: runtime }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn read(request: Request<Incoming>) -> Asked {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Asked {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
        body: text(&body),
    }
}

async fn say(says: Says, count: &watch::Sender<usize>) -> Response<Full<Bytes>> {
    let (status, body) = match says {
        Says::Text(status, body) => (status, body),
        Says::AfterAll(wanted, body) => {
            let _ = count.subscribe().wait_for(|count| *count >= wanted).await;
            (200, body)
        }
        Says::Nothing => std::future::pending().await,
    };
    Response::builder().status(status).body(Full::from(body)).unwrap()
}
