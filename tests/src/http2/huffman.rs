//! The string code of HPACK, read only. RFC 7541 appendix B is a canonical code (its words of one length count up with
//! the symbols), so the lengths alone say everything.

/// Bits of each symbol's word, 0 to 255; the one after them is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const EOS: u16 = 256;
const LONGEST: u8 = 30;

/// The string behind these bytes, or what is wrong with them.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut symbols: Vec<u16> = (0..=EOS).collect();
    symbols.sort_by_key(|&symbol| LENGTHS[usize::from(symbol)]);
    let mut out = Vec::new();
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1)));
    loop {
        // `first` is the smallest word of this length and `index` its place among the sorted symbols.
        let (mut word, mut first, mut index) = (0, 0, 0);
        for length in 1..=LONGEST {
            let Some(bit) = bits.next() else {
                let padding_is_eos = word == (1 << (length - 1)) - 1;
                return if length <= 8 && padding_is_eos { Ok(out) } else { Err("Huffman padding".to_owned()) };
            };
            word = word << 1 | bit;
            let of_this_length = LENGTHS.iter().filter(|&&l| l == length).count();
            if ((word - first) as usize) < of_this_length {
                let symbol = symbols[index + (word - first) as usize];
                out.push(u8::try_from(symbol).map_err(|_| "EOS inside a Huffman string".to_owned())?);
                break;
            }
            index += of_this_length;
            first = (first + of_this_length as u32) << 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7541_appendix_c_are_read() {
        for (bytes, text) in [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
        ] {
            assert_eq!(decode(bytes).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn every_bit_sequence_is_some_word() {
        let share: u64 = LENGTHS.iter().map(|&length| 1 << (LONGEST - length)).sum();
        assert_eq!(share, 1 << LONGEST, "the code is complete");
    }

    #[test]
    fn bad_padding_is_refused() {
        assert!(decode(&[0x00]).is_err(), "'0' and then padding of zeroes");
        assert!(decode(&[0x07, 0xff]).is_err(), "'0' and then eleven bits of padding");
        assert!(decode(&[0xff; 4]).is_err(), "EOS");
    }
}
