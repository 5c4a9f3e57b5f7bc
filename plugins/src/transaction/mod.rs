//! The transaction record: one JSON object per finished exchange, as every logging plugin writes it.

mod clock;
mod fields;
mod json;
mod schema;

pub use clock::Moment;
pub use schema::{SCHEMA_KEYS, Schema};

use std::net::IpAddr;

use engine::http::Known;

use crate::redaction::{REDACTED, is_sensitive};
use crate::{Outcome, RequestContext};
use fields::HttpField;

/// Body text that a plugin asked for; it is never logged (plugins sheet §1.10).
const REQUEST_BODY: &str = "request_body";
/// A record of ordinary length in either form, so that writing one grows its buffer at most once.
const USUAL_BYTES: usize = 1536;

/// In which form the JSON is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Escape {
    /// As it is.
    None,
    /// As the inside of a JSON string.
    InString,
}

/// Appends the record of one exchange that has just ended.
pub fn write_record(out: &mut Vec<u8>, cx: &RequestContext, outcome: &Outcome, escape: Escape) {
    Record::new(cx, outcome, Moment::now()).write(out, escape);
}

/// One finished exchange.
pub struct Record<'a> {
    cx: &'a RequestContext,
    outcome: &'a Outcome,
    ended: Moment,
}

impl<'a> Record<'a> {
    pub fn new(cx: &'a RequestContext, outcome: &'a Outcome, ended: Moment) -> Self {
        Self { cx, outcome, ended }
    }

    /// Appends the record with the fields and names of the sheet.
    pub fn write(&self, out: &mut Vec<u8>, escape: Escape) {
        out.reserve(USUAL_BYTES);
        let start = out.len();
        match escape {
            Escape::None => fields::write_native::<false>(self, out),
            Escape::InString => fields::write_native::<true>(self, out),
        }
        // Every member was written behind a comma; the first comma is where the object opens.
        out[start] = b'{';
        out.push(b'}');
    }

    fn received(&self) -> Moment {
        self.ended.earlier(self.outcome.total_ns)
    }

    /// The value plugins see: the last one, if it is visible ASCII.
    fn user_agent(&self) -> Option<&[u8]> {
        let value = self.cx.head.headers.known(Known::UserAgent).last()?;
        value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')).then_some(value)
    }

    /// Whether the field is part of this record.
    #[inline(always)]
    fn has(&self, field: HttpField) -> bool {
        let (cx, outcome) = (self.cx, self.outcome);
        match field {
            HttpField::AuthMethod => cx.auth_method.is_some(),
            HttpField::ProxyId => !cx.proxy().id.is_empty(),
            HttpField::ProxyName => cx.proxy().name.is_some(),
            HttpField::BackendResolvedIp => outcome.backend_ip.is_some(),
            HttpField::ResponseStreamed => outcome.response_streamed,
            HttpField::ClientDisconnected => outcome.client_disconnected,
            HttpField::ErrorClass => outcome.error_class.is_some(),
            HttpField::BodyErrorClass => outcome.body_error_class.is_some(),
            HttpField::BodyCompleted => outcome.body_completed,
            HttpField::BytesSent => outcome.bytes_sent != 0,
            HttpField::BytesReceived => outcome.bytes_received != 0,
            // Shadow requests are recorded by the plugin that makes them, which is not built yet.
            HttpField::Mirror => false,
            _ => true,
        }
    }

    /// Writes the value of a field that this record [`has`](Self::has).
    #[inline(always)]
    fn write_value<const S: bool>(&self, out: &mut Vec<u8>, field: HttpField) {
        let (cx, outcome) = (self.cx, self.outcome);
        match field {
            HttpField::Namespace => json::string::<S>(out, &cx.facts.namespace),
            HttpField::TimestampReceived => {
                json::text(out, json::quote::<S>());
                self.received().write_nanos(out);
                json::text(out, json::quote::<S>());
            }
            HttpField::ClientIp => write_ip::<S>(out, cx.client_ip),
            HttpField::ConsumerUsername => write_optional::<S>(out, cx.effective_identity()),
            HttpField::AuthMethod => write_optional::<S>(out, cx.auth_method),
            HttpField::HttpMethod => json::bytes::<S>(out, cx.head.method_text()),
            HttpField::RequestPath => json::bytes::<S>(out, cx.head.path()),
            HttpField::ProxyId => json::string::<S>(out, &cx.proxy().id),
            HttpField::ProxyName => write_optional::<S>(out, cx.proxy().name.as_deref()),
            HttpField::BackendTarget => write_optional::<S>(out, outcome.backend_target.as_deref()),
            HttpField::BackendResolvedIp => outcome.backend_ip.into_iter().for_each(|ip| write_ip::<S>(out, ip)),
            HttpField::ResponseStatusCode => json::integer(out, u64::from(outcome.status)),
            HttpField::LatencyTotal => json::milliseconds(out, outcome.total_ns),
            HttpField::LatencyGatewayProcessing => {
                json::milliseconds(out, outcome.total_ns.saturating_sub(outcome.backend_ns()));
            }
            HttpField::LatencyBackendTtfb => write_backend_latency(out, outcome.backend_ttfb_ns),
            HttpField::LatencyBackendTotal => write_backend_latency(out, outcome.backend_total_ns),
            HttpField::LatencyPluginExecution => json::milliseconds(out, outcome.plugin_ns),
            HttpField::LatencyPluginExternalIo => json::milliseconds(out, outcome.plugin_io_ns),
            HttpField::LatencyGatewayOverhead => json::milliseconds(out, outcome.overhead_ns()),
            HttpField::RequestUserAgent => match self.user_agent() {
                Some(value) => json::bytes::<S>(out, value),
                None => json::text(out, "null"),
            },
            HttpField::ErrorClass => write_optional::<S>(out, outcome.error_class.map(|class| class.name())),
            HttpField::BodyErrorClass => write_optional::<S>(out, outcome.body_error_class.map(|class| class.name())),
            HttpField::BytesSent => json::integer(out, outcome.bytes_sent),
            HttpField::BytesReceived => json::integer(out, outcome.bytes_received),
            HttpField::ResponseStreamed
            | HttpField::ClientDisconnected
            | HttpField::BodyCompleted
            | HttpField::Mirror => json::text(out, "true"),
            HttpField::Metadata => self.write_metadata::<S>(out),
        }
    }

    /// Keys with the values that may be shown.
    fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let shown = |(key, value)| match is_sensitive(key, &self.cx.facts.redacted_keys) {
            true => (key, REDACTED),
            false => (key, value),
        };
        self.cx.metadata.iter().filter(|(key, _)| *key != REQUEST_BODY).map(shown)
    }

    fn write_metadata<const S: bool>(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (key, value)) in self.metadata().enumerate() {
            if index != 0 {
                out.push(b',');
            }
            json::string::<S>(out, key);
            out.push(b':');
            json::string::<S>(out, value);
        }
        out.push(b'}');
    }
}

fn write_optional<const S: bool>(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => json::string::<S>(out, value),
        None => json::text(out, "null"),
    }
}

/// A backend that was not called, or whose end is not known, is -1 (§15 of the sheet).
fn write_backend_latency(out: &mut Vec<u8>, ns: Option<u64>) {
    match ns {
        Some(ns) => json::milliseconds(out, ns),
        None => json::text(out, "-1.0"),
    }
}

fn write_ip<const S: bool>(out: &mut Vec<u8>, ip: IpAddr) {
    json::text(out, json::quote::<S>());
    match ip {
        IpAddr::V4(ip) => json::ipv4(out, ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(ip.to_string().as_bytes()),
    }
    json::text(out, json::quote::<S>());
}

#[cfg(test)]
mod tests;
