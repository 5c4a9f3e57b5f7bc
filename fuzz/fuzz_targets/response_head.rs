//! Response heads: as `request_head`, for what a backend sends.
#![no_main]

use engine::http::{ResponseHead, Version};
use fuzz::{FIELDS_MAX, Pair, assert_agrees, buffer, checked_fields, cuts, write_fields};
use libfuzzer_sys::fuzz_target;
use protocols::fuzzing::response;

type Parts = (u16, bool, Vec<Pair>);

fn parts(bytes: &[u8]) -> Option<(usize, Parts)> {
    let mut head = ResponseHead::new(0);
    let length = response(bytes, FIELDS_MAX, &mut head).ok()??;
    head.headers.set_received(buffer(&bytes[..length]));
    assert!((100..1000).contains(&head.status));
    Some((length, (head.status, head.version == Version::Http10, checked_fields(&head.headers))))
}

fuzz_target!(|data: &[u8]| {
    let whole = response(data, FIELDS_MAX, &mut ResponseHead::new(0));
    for cut in cuts(data) {
        let part = response(&data[..cut], FIELDS_MAX, &mut ResponseHead::new(0));
        assert_agrees(&whole, data.len(), cut, &part);
    }
    let Some((length, parts)) = parts(data) else { return };
    assert_eq!(whole, Ok(Some(length)));

    let (status, is_http10, fields) = &parts;
    let mut again = format!("HTTP/1.{} {status} \r\n", u8::from(!is_http10)).into_bytes();
    write_fields(fields, &mut again);
    let again_parts = self::parts(&again).expect("an accepted head is refused when written again");
    assert_eq!(again_parts, (again.len(), parts.clone()));

    let mut longer = data[..length].to_vec();
    longer.extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(response(&longer, FIELDS_MAX, &mut ResponseHead::new(0)), Ok(Some(length)));

    if !data[..length].is_ascii() {
        return;
    }
    let mut other_fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut other = httparse::Response::new(&mut other_fields);
    assert_eq!(other.parse(data), Ok(httparse::Status::Complete(length)));
    assert_eq!((other.code, other.version), (Some(*status), Some(u8::from(!is_http10))));
    assert_eq!(other.headers.len(), fields.len());
    for (other, (name, value)) in other.headers.iter().zip(fields) {
        assert_eq!((other.name.as_bytes(), other.value), (&**name, &**value));
    }
});
