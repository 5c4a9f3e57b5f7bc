//! `grpc_web`: browsers speak gRPC without trailers, and in text if they must; backends see gRPC (plugins sheet §2.9).
//!
//! Both directions are rewritten as they pass, so that a server's stream reaches the browser message by message.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::http::{Headers, Known, ResponseHead};
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, is_token, key};
use crate::{Codec, CoreEnv, Flow, Phases, Plugin, Protocol, Protocols, Rejection, RequestContext, Specs};

/// What browsers may always read.
const EXPOSED: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
const EXPOSE_HEADERS: &str = "access-control-expose-headers";
/// A frame is a flag and a length; this flag says that it holds trailers.
const TRAILERS_FLAG: u8 = 0x80;
const FRAME_HEADER_BYTES: usize = 5;

const MODE: &str = "grpc_web_mode";
const ORIGINAL: &str = "grpc_web_original_ct";

const TOO_SHORT: &str = "Invalid gRPC-Web text request: body too short for gRPC framing";
const CORRUPTED: &str = "Invalid gRPC-Web text request: invalid base64 encoding or corrupted gRPC framing";

#[derive(Clone, Debug, PartialEq)]
pub struct GrpcWeb {
    /// Lower-case, without repetitions.
    expose_headers: Vec<String>,
}

impl BuiltIn for GrpcWeb {
    const NAME: &'static str = "grpc_web";
    const PRIORITY: u16 = 260;
    const PROTOCOLS: Protocols = Protocols::of(&[Protocol::Http, Protocol::Grpc]);
    const KEYS: &'static [Key] = &[key(
        "expose_headers",
        "string[]",
        "`[]`",
        "names that browsers may read besides `grpc-status`, `grpc-message` and `grpc-status-details-bin`; in lower case, \
         without repetitions",
    )];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        let mut expose_headers = Vec::new();
        for name in keys.texts("expose_headers") {
            let name = name.trim().to_ascii_lowercase();
            if !is_token(&name) {
                keys.refuse("expose_headers", format_args!("has an invalid header name '{name}' (RFC 7230 token)"));
            } else if !expose_headers.contains(&name) {
                expose_headers.push(name);
            }
        }
        keys.finish(Self { expose_headers })
    }
}

impl Specs for GrpcWeb {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, _env: &CoreEnv) -> Rc<dyn Plugin> {
        Rc::new(self.clone())
    }
}

/// Whether the content type is one of gRPC-Web, and whether it is text.
fn detect(content_type: &str) -> Option<bool> {
    let content_type = content_type.trim().to_ascii_lowercase();
    content_type.starts_with("application/grpc-web").then(|| content_type.starts_with("application/grpc-web-text"))
}

impl Plugin for GrpcWeb {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::RECEIVED.and(Phases::BEFORE_PROXY).and(Phases::CODEC)
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        cx.head.headers.remove("x-grpc-web-mode");
        let Some(original) = cx.head.headers.get("content-type").map(str::to_owned) else { return Flow::Continue };
        if let Some(is_text) = detect(&original) {
            cx.metadata.set(MODE, if is_text { "text" } else { "binary" });
            cx.metadata.set(ORIGINAL, original);
            cx.head.headers.set("content-type", b"application/grpc");
        }
        Flow::Continue
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        if cx.metadata.get(MODE).is_some() {
            cx.head.headers.set("content-type", b"application/grpc");
            cx.head.headers.remove("x-grpc-web");
        }
        Flow::Continue
    }

    fn codec(&self, cx: &RequestContext) -> Option<Box<dyn Codec>> {
        let is_text = cx.metadata.get(MODE)? == "text";
        let has_proto =
            cx.metadata.get(ORIGINAL).is_some_and(|original| original.to_ascii_lowercase().contains("+proto"));
        Some(Box::new(Translation {
            is_text,
            has_proto,
            expose_headers: self.expose_headers.clone(),
            encoded: Vec::new(),
            begun: Vec::new(),
            plain: Vec::new(),
            status_lines: Vec::new(),
        }))
    }
}

/// One exchange on its way.
struct Translation {
    is_text: bool,
    has_proto: bool,
    expose_headers: Vec<String>,
    /// Of the request: base64 that does not make a whole group yet.
    encoded: Vec<u8>,
    /// The first bytes of the decoded request, until they have been checked.
    begun: Vec<u8>,
    /// Of the response: bytes that do not make a whole group yet.
    plain: Vec<u8>,
    /// What the head says about the call; an answer may be all head.
    status_lines: Vec<u8>,
}

fn refused(text: &str) -> Box<Rejection> {
    Box::new(Rejection::error(400, text))
}

impl Translation {
    /// The beginning of a request must be that of a frame; it is looked at before anything goes on.
    fn pass_on(&mut self, decoded: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Rejection>> {
        if self.begun.len() >= FRAME_HEADER_BYTES {
            out.extend_from_slice(decoded);
            return Ok(());
        }
        let was = self.begun.len();
        self.begun.extend(decoded.iter().take(FRAME_HEADER_BYTES - was));
        if self.begun.first().is_some_and(|flag| !matches!(*flag, 0 | TRAILERS_FLAG)) {
            return Err(refused(CORRUPTED));
        }
        if self.begun.len() == FRAME_HEADER_BYTES {
            out.extend_from_slice(&self.begun);
            out.extend_from_slice(&decoded[FRAME_HEADER_BYTES - was..]);
        }
        Ok(())
    }

    /// Appends to the response, in whole groups of base64 if it is text.
    fn answer(&mut self, bytes: &[u8], is_last: bool, out: &mut Vec<u8>) {
        if !self.is_text {
            out.extend_from_slice(bytes);
            return;
        }
        self.plain.extend_from_slice(bytes);
        let whole = if is_last { self.plain.len() } else { self.plain.len() / 3 * 3 };
        let mut text = String::with_capacity(whole.div_ceil(3) * 4);
        STANDARD.encode_string(&self.plain[..whole], &mut text);
        self.plain.drain(..whole);
        out.extend_from_slice(text.as_bytes());
    }
}

/// What belongs into the trailer frame, a line each.
fn status_lines(headers: &Headers, lines: &mut Vec<u8>) {
    for field in headers.iter() {
        let name = field.name.to_ascii_lowercase();
        if name.starts_with(b"grpc-") || name.ends_with(b"-bin") {
            lines.extend_from_slice(&name);
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(field.value);
            lines.extend_from_slice(b"\r\n");
        }
    }
}

impl Codec for Translation {
    fn request(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Rejection>> {
        if !self.is_text {
            out.extend_from_slice(piece);
            return Ok(());
        }
        self.encoded.extend(piece.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let whole = self.encoded.len() / 4 * 4;
        let mut decoded = Vec::with_capacity(whole / 4 * 3);
        // Clients may encode message by message: padding ends a part, not the body.
        let mut start = 0;
        while start < whole {
            let groups = self.encoded[start..whole].chunks(4);
            let padded = groups.take_while(|group| !group.contains(&b'=')).count() * 4;
            let end = (start + padded + 4).min(whole);
            STANDARD.decode_vec(&self.encoded[start..end], &mut decoded).map_err(|_| refused(CORRUPTED))?;
            start = end;
        }
        self.encoded.drain(..whole);
        self.pass_on(&decoded, out)
    }

    fn request_end(&mut self, _: &mut Vec<u8>) -> Result<(), Box<Rejection>> {
        if !self.is_text {
            return Ok(());
        }
        if !self.encoded.is_empty() {
            return Err(refused(CORRUPTED));
        }
        if self.begun.len() < FRAME_HEADER_BYTES { Err(refused(TOO_SHORT)) } else { Ok(()) }
    }

    fn response_head(&mut self, head: &mut ResponseHead) {
        status_lines(&head.headers, &mut self.status_lines);
        let kind = if self.is_text { "application/grpc-web-text" } else { "application/grpc-web" };
        let proto = if self.has_proto { "+proto" } else { "" };
        let headers = &mut head.headers;
        headers.set("content-type", format!("{kind}{proto}").as_bytes());
        headers.set("x-grpc-web", b"1");
        let present = headers.get(EXPOSE_HEADERS).unwrap_or_default().to_owned();
        let mut exposed: Vec<&str> = present.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        for name in EXPOSED.into_iter().chain(self.expose_headers.iter().map(String::as_str)) {
            if !exposed.iter().any(|present| present.eq_ignore_ascii_case(name)) {
                exposed.push(name);
            }
        }
        headers.set(EXPOSE_HEADERS, exposed.join(", ").as_bytes());
        headers.remove_known(engine::http::KnownSet::of(&[Known::ContentLength]));
    }

    fn response(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.answer(piece, false, out);
    }

    fn response_end(&mut self, trailers: &mut Option<Headers>, out: &mut Vec<u8>) {
        let mut lines = std::mem::take(&mut self.status_lines);
        if let Some(trailers) = trailers.take() {
            status_lines(&trailers, &mut lines);
        }
        if lines.is_empty() {
            lines.extend_from_slice(b"grpc-status: 0\r\n");
        }
        let mut frame = vec![TRAILERS_FLAG];
        frame.extend_from_slice(&(lines.len() as u32).to_be_bytes());
        frame.extend_from_slice(&lines);
        self.answer(&frame, true, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::request;
    use serde_json::json;

    fn plugin(config: Value) -> GrpcWeb {
        GrpcWeb::parse(&config).expect("a sound config").spec
    }

    /// A codec for a request of this content type.
    fn codec(content_type: &str) -> Box<dyn Codec> {
        let mut cx = request("POST /a.B/C", &[("Content-Type", content_type), ("X-Grpc-Web", "1")]);
        let plugin = plugin(json!({"expose_headers": ["X-Own", "x-own", "Grpc-Status"]}));
        assert!(matches!(plugin.on_request_received(&mut cx), Flow::Continue));
        assert!(matches!(plugin.before_proxy(&mut cx), Flow::Continue));
        assert_eq!(cx.head.headers.get("content-type"), Some("application/grpc"));
        assert_eq!(cx.head.headers.get("x-grpc-web"), None);
        plugin.codec(&cx).expect("it is gRPC-Web")
    }

    fn sent(codec: &mut dyn Codec, body: &[u8], step: usize) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let text = |rejection: Box<Rejection>| String::from_utf8(rejection.body).expect("JSON");
        for piece in body.chunks(step) {
            codec.request(piece, &mut out).map_err(text)?;
        }
        codec.request_end(&mut out).map_err(text)?;
        Ok(out)
    }

    const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

    #[test]
    fn text_is_decoded_however_it_is_cut_and_padded() {
        let twice = [STANDARD.encode(MESSAGE), STANDARD.encode(MESSAGE)].concat();
        for step in [1, 3, 5, 64] {
            let mut codec = codec("application/grpc-web-text+proto");
            assert_eq!(sent(&mut *codec, twice.as_bytes(), step), Ok([MESSAGE, MESSAGE].concat()), "{step}");
        }
        let mut binary = codec("application/grpc-web");
        assert_eq!(sent(&mut *binary, MESSAGE, 3), Ok(MESSAGE.to_vec()));
    }

    #[test]
    fn what_is_no_text_or_no_frame_is_refused() {
        let refusal = |body: &[u8]| sent(&mut *codec("application/grpc-web-text"), body, 7).expect_err("refused");
        assert!(refusal(b"").contains("too short"));
        assert!(refusal(STANDARD.encode(b"\0\0\0").as_bytes()).contains("too short"));
        assert!(refusal(b"!!!!!!!!").contains("invalid base64"));
        assert!(refusal(STANDARD.encode(b"hello world").as_bytes()).contains("corrupted"));
        assert!(refusal(b"AAAAAAAA=").contains("invalid base64"));
    }

    fn answered(codec: &mut dyn Codec, head: &mut ResponseHead, trailers: &[(&str, &str)]) -> Vec<u8> {
        codec.response_head(head);
        let mut out = Vec::new();
        MESSAGE.chunks(4).for_each(|piece| codec.response(piece, &mut out));
        let mut fields = Headers::new();
        trailers.iter().for_each(|(name, value)| fields.append(name, value.as_bytes()));
        let mut fields = Some(fields);
        codec.response_end(&mut fields, &mut out);
        assert!(fields.is_none(), "trailers have become a frame");
        out
    }

    #[test]
    fn trailers_become_the_last_frame() {
        let mut head = ResponseHead::new(200);
        head.headers.append("content-type", b"application/grpc");
        head.headers.append("access-control-expose-headers", b"x-old, GRPC-Message");
        let body =
            answered(&mut *codec("application/grpc-web+proto"), &mut head, &[("grpc-status", "0"), ("x-a", "b")]);
        let lines = b"grpc-status: 0\r\n";
        assert_eq!(body, [MESSAGE, &[0x80, 0, 0, 0, lines.len() as u8], lines].concat());
        assert_eq!(head.headers.get("content-type"), Some("application/grpc-web+proto"));
        let exposed = "x-old, GRPC-Message, grpc-status, grpc-status-details-bin, x-own";
        assert_eq!(head.headers.get("access-control-expose-headers"), Some(exposed));
    }

    #[test]
    fn an_answer_that_is_all_head_has_its_status_in_the_frame_too_and_text_is_encoded_once() {
        let mut head = ResponseHead::new(200);
        head.headers.append("Grpc-Status", b"5");
        head.headers.append("x-detail-bin", b"AA");
        let body = answered(&mut *codec("Application/gRPC-Web-Text"), &mut head, &[]);
        let plain = STANDARD.decode(&body).expect("one run of base64");
        let lines = b"grpc-status: 5\r\nx-detail-bin: AA\r\n";
        assert_eq!(plain, [MESSAGE, &[0x80, 0, 0, 0, lines.len() as u8], lines].concat());
    }

    #[test]
    fn other_requests_are_left_alone() {
        let mut cx = request("POST /a.B/C", &[("Content-Type", "application/grpc"), ("X-Grpc-Web-Mode", "text")]);
        let plugin = plugin(Value::Null);
        assert!(matches!(plugin.on_request_received(&mut cx), Flow::Continue));
        assert_eq!(cx.head.headers.get("x-grpc-web-mode"), None);
        assert!(plugin.codec(&cx).is_none());
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for config in
            [json!({"expose_headers": ["a b"]}), json!({"expose_headers": "x"}), json!({"expose_headers": [1]})]
        {
            assert!(GrpcWeb::parse(&config).is_err(), "{config}");
        }
        assert!(GrpcWeb::parse(&json!({"expose_headers": null})).is_ok());
    }
}
