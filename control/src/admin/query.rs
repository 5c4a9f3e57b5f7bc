//! Parameters of a query. The first of each name counts.

/// The value as it stands there.
pub(super) fn first<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Percent-decoded. None if a triplet is broken or the whole is not UTF-8. `+` is no blank, so that `+00:00` is a time zone.
pub(super) fn decoded(raw: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = after else { return None };
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// As [`decoded`]; what is broken stands for itself.
pub(super) fn forgiven(raw: &str) -> String {
    decoded(raw).unwrap_or_else(|| raw.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts_as_it_stands() {
        let query = "limits=1&limit=%32&limit=3&empty=&none";
        assert_eq!((first(query, "limit"), first(query, "empty")), (Some("%32"), Some("")));
        assert_eq!((first(query, "none"), first(query, "imit"), first("", "limit")), (None, None, None));
    }

    #[test]
    fn triplets_are_decoded_or_broken() {
        assert_eq!(decoded("a%2cb%2C+%C3%84").as_deref(), Some("a,b,+Ä"));
        for broken in ["%", "%4", "%zz", "a%4", "%ff"] {
            assert_eq!((decoded(broken), forgiven(broken)), (None, broken.to_owned()));
        }
    }
}
