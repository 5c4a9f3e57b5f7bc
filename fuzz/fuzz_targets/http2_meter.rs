//! The meter of HTTP/2 frames in front of the library: the same verdict however the bytes are cut, and never a fault of a
//! connection whose frames are sound by their headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocols::fuzzing::Http2Meter;

const FRAME_BYTES_MAX: u32 = 16_384;

fn metered(input: &[u8], mut step: impl FnMut() -> usize) -> Result<(), String> {
    let mut meter = Http2Meter::new(3, FRAME_BYTES_MAX, 0);
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(step().clamp(1, rest.len()));
        meter.note(piece, 0).map_err(|reason| reason.to_string())?;
        rest = behind;
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let Some((seed, input)) = data.split_first() else { return };
    let whole = metered(input, || usize::MAX);
    assert_eq!(metered(input, || 1), whole);
    let mut turn = usize::from(*seed);
    let cut = metered(input, || {
        turn = turn.wrapping_mul(31).wrapping_add(7);
        turn % 17
    });
    assert_eq!(cut, whole);
});
