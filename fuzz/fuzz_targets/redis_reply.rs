//! The reader of Redis' replies: nothing is given out before it is whole, what is whole stays what it is whatever follows, and
//! what was refused is refused with more behind it too.
#![no_main]

use fuzz::cuts;
use libfuzzer_sys::fuzz_target;
use plugins::outbound::redis::fuzzing::{Malformed, Reply, first};

/// As Redis would write it, status texts aside.
fn written(reply: &Reply<'_>, out: &mut Vec<u8>) {
    match reply {
        Reply::Status => out.extend(b"+\r\n"),
        Reply::Error(text) => out.extend([b"-", *text, b"\r\n"].concat()),
        Reply::Integer(number) => out.extend(format!(":{number}\r\n").bytes()),
        Reply::Nil => out.extend(b"$-1\r\n"),
        Reply::Bulk(text) => {
            out.extend(format!("${}\r\n", text.len()).bytes());
            out.extend([*text, b"\r\n"].concat());
        }
        Reply::Array(replies) => {
            out.extend(format!("*{}\r\n", replies.len()).bytes());
            replies.iter().for_each(|reply| written(reply, out));
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let whole = first(data);
    for cut in cuts(data) {
        match (first(&data[..cut]), &whole) {
            (Ok(None), _) => {}
            (Ok(Some((reply, length))), Ok(Some((expected, whole_length)))) => {
                assert!(length <= cut && length == *whole_length && reply == *expected);
            }
            (Err(Malformed), Err(Malformed)) => {}
            (part, whole) => panic!("{part:?} of {cut} bytes, {whole:?} of all"),
        }
    }
    if let Ok(Some((reply, length))) = whole {
        assert!(length <= data.len());
        let mut again = Vec::new();
        written(&reply, &mut again);
        assert_eq!(first(&again), Ok(Some((reply, again.len()))));
    }
});
