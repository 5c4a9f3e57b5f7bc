//! A client that asks the same way over all transports.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::flow::{Inlet, Outlet, Received, fault_of, fields_of, map_of};
use super::http1::{self, Io, Left, Sink, Source};
use super::tls::ClientTls;
use super::{Transport, runtime};
use crate::gateway::Gateway;
use crate::wire::{Fault, Framing, Headers, framing_of};

const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// A body's length, and whether the head says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    None,
    Known(u64),
    Unknown(u64),
}

impl Size {
    fn bytes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Known(bytes) | Self::Unknown(bytes) => bytes,
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    method: &'static str,
    target: String,
    fields: Headers,
    size: Size,
    trailers: Option<Headers>,
}

impl Ask {
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target, Size::None)
    }

    pub fn new(method: &'static str, target: impl Into<String>, size: Size) -> Self {
        Self { method, target: target.into(), fields: Headers::default(), size, trailers: None }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push(name.to_owned(), value.to_owned());
        self
    }

    /// After the body.
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.get_or_insert_default().push(name.to_owned(), value.to_owned());
        self
    }
}

/// A response as far as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Received,
    /// Whether all of the request could be sent.
    pub uploaded: Result<(), Fault>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}

pub struct Client {
    scheme: &'static str,
    authority: String,
    wire: Wire,
}

enum Wire {
    Http1 { source: Source, sink: Sink },
    Http2 { requests: SendRequest<Bytes>, driver: Arc<Driver> },
}

/// Its end is the connection's.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A response that is awaited.
pub enum Reply<'a> {
    Http1 { source: &'a mut Source, is_head: bool },
    Http2(ResponseFuture),
}

impl Client {
    /// A new connection to the gateway's port for that.
    pub async fn connect(gateway: &Gateway, transport: Transport, tls: &ClientTls) -> Self {
        Self::connect_with_window(gateway, transport, tls, STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES).await
    }

    /// The same, with HTTP/2 windows of this many bytes, for a stream and for the connection.
    pub async fn connect_with_window(
        gateway: &Gateway,
        transport: Transport,
        tls: &ClientTls,
        stream_window: u32,
        connection_window: u32,
    ) -> Self {
        let port = if transport.is_tls() { gateway.https_port() } else { gateway.port() };
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let io: Io = if transport.is_tls() {
            let connector = TlsConnector::from(tls.config(transport.alpn()));
            let name = ServerName::try_from(tls.name).expect("a name");
            let stream = connector.connect(name, stream).await.expect("a handshake with the gateway");
            let agreed = stream.get_ref().1.alpn_protocol();
            assert_eq!(agreed, Some(transport.alpn().as_bytes()), "the gateway agrees by ALPN");
            Box::new(stream)
        } else {
            Box::new(stream)
        };
        let wire = if transport.is_http2() {
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(stream_window).initial_connection_window_size(connection_window);
            let (requests, connection) = builder.handshake::<_, Bytes>(io).await.expect("HTTP/2 with the gateway");
            let driver = runtime().spawn(async { drop(connection.await) });
            Wire::Http2 { requests, driver: Arc::new(Driver(driver.abort_handle())) }
        } else {
            let (source, sink) = http1::split(io);
            Wire::Http1 { source, sink }
        };
        let scheme = if transport.is_tls() { "https" } else { "http" };
        Self { scheme, authority: format!("{}:{port}", tls.name), wire }
    }

    /// Another user of the same HTTP/2 connection.
    pub fn beside(&self) -> Self {
        let Wire::Http2 { requests, driver } = &self.wire else { panic!("HTTP/1.1 carries one request at a time") };
        let wire = Wire::Http2 { requests: requests.clone(), driver: driver.clone() };
        Self { scheme: self.scheme, authority: self.authority.clone(), wire }
    }

    /// Sends the head. The body, and then its end, are the caller's to send.
    pub async fn begin(&mut self, ask: &Ask) -> Result<(Outlet<'_>, Reply<'_>), Fault> {
        let mut fields = ask.fields.clone();
        if let Size::Known(length) = ask.size {
            fields.push("content-length".into(), length.to_string());
        }
        match &mut self.wire {
            Wire::Http1 { source, sink } => {
                let mut lines = Headers::default();
                lines.push("Host".into(), self.authority.clone());
                fields.iter().for_each(|(name, value)| lines.push(name.to_owned(), value.to_owned()));
                if matches!(ask.size, Size::Unknown(_)) {
                    lines.push("Transfer-Encoding".into(), "chunked".into());
                }
                if fields.has("te") {
                    lines.push("Connection".into(), "TE".into());
                }
                sink.head(&format!("{} {} HTTP/1.1", ask.method, ask.target), &lines).await?;
                let outlet = match ask.size {
                    Size::None => Outlet::Nothing,
                    Size::Known(_) => Outlet::Http1 { sink, chunked: false },
                    Size::Unknown(_) => Outlet::Http1 { sink, chunked: true },
                };
                Ok((outlet, Reply::Http1 { source, is_head: ask.method == "HEAD" }))
            }
            Wire::Http2 { requests, .. } => {
                let uri = format!("{}://{}{}", self.scheme, self.authority, ask.target);
                let mut head = Request::builder().method(ask.method).uri(uri).body(()).expect("a request");
                *head.headers_mut() = map_of(&fields);
                *head.version_mut() = http::Version::HTTP_2;
                let mut requests = requests.clone().ready().await.map_err(|error| fault_of(&error))?;
                let has_no_body = ask.size == Size::None && ask.trailers.is_none();
                let sent = requests.send_request(head, has_no_body);
                let (reply, stream) = sent.map_err(|error| fault_of(&error))?;
                let outlet = if has_no_body { Outlet::Nothing } else { Outlet::Http2(stream) };
                Ok((outlet, Reply::Http2(reply)))
            }
        }
    }

    /// Sends the whole request and reads the whole response, at the same time.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, Fault> {
        let (mut outlet, reply) = self.begin(ask).await?;
        let upload = async {
            outlet.send_pattern(0, ask.size.bytes(), drop).await?;
            outlet.finish(ask.trailers.as_ref()).await
        };
        let download = async {
            let (status, headers, mut inlet) = reply.head().await?;
            Ok((status, headers, inlet.all().await))
        };
        let (uploaded, answered) = tokio::join!(upload, download);
        let (status, headers, body) = answered?;
        Ok(Answer { status, headers, body, uploaded })
    }
}

impl<'a> Reply<'a> {
    /// The final response's status and fields; its body is left to read.
    pub async fn head(self) -> Result<(u16, Headers, Inlet<'a>), Fault> {
        match self {
            Self::Http1 { source, is_head } => loop {
                let (start, headers) = source.head().await?;
                let status = start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
                let status: u16 = status.ok_or_else(|| Fault::Malformed(start.clone()))?;
                if (100..200).contains(&status) {
                    continue;
                }
                let declared = framing_of(&headers, Framing::UntilClose)?;
                let framing = if is_head || matches!(status, 204 | 304) { Framing::None } else { declared };
                let inlet = Inlet::Http1 { source, left: Left::from(framing), trailers: Headers::default() };
                return Ok((status, headers, inlet));
            },
            Self::Http2(reply) => {
                let (head, body) = reply.await.map_err(|error| fault_of(&error))?.into_parts();
                Ok((head.status.as_u16(), fields_of(&head.headers), Inlet::Http2(body)))
            }
        }
    }
}
