//! Request heads: the verdict does not depend on how the bytes arrive, what is accepted survives being written again, and an
//! independent parser that accepts more reads the same.
#![no_main]

use engine::http::{Method, RequestHead, Version};
use fuzz::{FIELDS_MAX, Pair, assert_agrees, buffer, checked_fields, cuts, is_token, write_fields};
use libfuzzer_sys::fuzz_target;
use protocols::fuzzing::request;

#[derive(Debug, PartialEq)]
struct Parts {
    method: Vec<u8>,
    is_http10: bool,
    authority: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    fields: Vec<Pair>,
}

fn parts(bytes: &[u8]) -> Option<(usize, Parts)> {
    let mut head = RequestHead::new();
    let length = request(bytes, FIELDS_MAX, &mut head).ok()??;
    head.headers.set_received(buffer(&bytes[..length]));
    let parts = Parts {
        method: head.method_text().to_vec(),
        is_http10: head.version == Version::Http10,
        authority: head.authority.of(head.headers.received()).to_vec(),
        path: head.path().to_vec(),
        query: head.query().to_vec(),
        fields: checked_fields(&head.headers),
    };
    assert!(is_token(&parts.method));
    assert_eq!(Method::of(&parts.method), head.method);
    let is_target = |text: &[u8]| !text.iter().any(|byte| *byte <= b' ' || *byte == 0x7f || *byte == b'#');
    assert!(is_target(&parts.path) && is_target(&parts.query) && is_target(&parts.authority));
    assert!(!parts.path.contains(&b'?'));
    if head.method != Method::Connect {
        assert!(
            parts.path.starts_with(b"/")
                || parts.path == b"*"
                || (parts.path.is_empty() && !parts.authority.is_empty()),
            "a path of no known form: {:?}",
            parts.path
        );
    }
    Some((length, parts))
}

fn written(parts: &Parts) -> Vec<u8> {
    let mut out = parts.method.clone();
    out.push(b' ');
    if !parts.authority.is_empty() {
        out.extend_from_slice(b"http://");
        out.extend_from_slice(&parts.authority);
    }
    out.extend_from_slice(&parts.path);
    // A bare question mark is not kept; without any other text the target needs it to be one.
    if !parts.query.is_empty() || (parts.authority.is_empty() && parts.path.is_empty()) {
        out.push(b'?');
        out.extend_from_slice(&parts.query);
    }
    out.extend_from_slice(if parts.is_http10 { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    write_fields(&parts.fields, &mut out);
    out
}

fn assert_other_parser_agrees(bytes: &[u8], length: usize, parts: &Parts) {
    // Bytes above ASCII in a target are refused by some versions of the other parser.
    if !bytes[..length].is_ascii() {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert_eq!(other.method.map(str::as_bytes), Some(&*parts.method));
    assert_eq!(other.version, Some(u8::from(!parts.is_http10)));
    assert_eq!(other.headers.len(), parts.fields.len());
    for (other, (name, value)) in other.headers.iter().zip(&parts.fields) {
        assert_eq!((other.name.as_bytes(), other.value), (&**name, &**value));
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = request(data, FIELDS_MAX, &mut RequestHead::new());
    for cut in cuts(data) {
        let part = request(&data[..cut], FIELDS_MAX, &mut RequestHead::new());
        assert_agrees(&whole, data.len(), cut, &part);
    }
    let Some((length, parts)) = parts(data) else { return };
    assert_eq!(whole, Ok(Some(length)));
    assert!(length <= data.len());

    let again = written(&parts);
    let (again_length, again_parts) = self::parts(&again).expect("an accepted head is refused when written again");
    assert_eq!(again_length, again.len());
    assert_eq!(again_parts, parts);
    // Whatever follows belongs to the next message.
    let mut longer = data[..length].to_vec();
    longer.extend_from_slice(b"X: y\r\n\r\n");
    assert_eq!(request(&longer, FIELDS_MAX, &mut RequestHead::new()), Ok(Some(length)));
    assert_other_parser_agrees(data, length, &parts);
});
