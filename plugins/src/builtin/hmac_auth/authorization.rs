//! The parameters behind the `hmac` scheme: `name=value`, comma-separated, values with or without quotes.

/// Those that are known and not empty. Of repeated ones the last counts, as with headers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parameters<'v> {
    pub username: Option<&'v str>,
    pub algorithm: Option<&'v str>,
    pub signature: Option<&'v str>,
}

impl<'v> Parameters<'v> {
    /// Names are compared without case. What is no parameter, or none that is known, is passed over.
    pub fn read(text: &'v str) -> Self {
        let mut parameters = Self::default();
        let mut rest = text;
        while let Some((name, value, behind)) = next(rest) {
            let slot = match name {
                _ if name.eq_ignore_ascii_case("username") => Some(&mut parameters.username),
                _ if name.eq_ignore_ascii_case("algorithm") => Some(&mut parameters.algorithm),
                _ if name.eq_ignore_ascii_case("signature") => Some(&mut parameters.signature),
                _ => None,
            };
            if let Some(slot) = slot {
                *slot = Some(value).filter(|value| !value.is_empty());
            }
            rest = behind;
        }
        parameters
    }
}

/// The next name with its value, and what comes behind; every byte is looked at once.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let blank = [' ', '\t'];
    let text = text.trim_start_matches([' ', '\t', ',']);
    if text.is_empty() {
        return None;
    }
    let end = text.find(['=', ',']).unwrap_or(text.len());
    let name = text[..end].trim_end_matches(blank);
    let Some(value) = text[end..].strip_prefix('=') else { return Some((name, "", &text[end..])) };
    let value = value.trim_start_matches(blank);
    let Some(quoted) = value.strip_prefix('"') else {
        let (value, behind) = value.split_at(value.find(',').unwrap_or(value.len()));
        return Some((name, value.trim_end_matches(blank), behind));
    };
    let (value, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
    Some((name, value, &behind[behind.find(',').unwrap_or(behind.len())..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> [Option<&str>; 3] {
        let Parameters { username, algorithm, signature } = Parameters::read(text);
        [username, algorithm, signature]
    }

    #[test]
    fn quotes_and_blanks_are_optional_and_case_does_not_matter() {
        let all = [Some("u"), Some("hmac-sha256"), Some("c2ln==")];
        assert_eq!(read(r#"username="u", algorithm="hmac-sha256", signature="c2ln==""#), all);
        assert_eq!(read("username=u,algorithm=hmac-sha256,signature=c2ln=="), all);
        assert_eq!(read("Signature = c2ln== ,\tUSERNAME = \"u\" , algorithm=hmac-sha256"), all);
    }

    #[test]
    fn a_quoted_value_may_have_commas_and_backslashes() {
        assert_eq!(read(r#"username="doe, jane", signature="s""#), [Some("doe, jane"), None, Some("s")]);
        assert_eq!(read(r#"username="SHOP\jane""#)[0], Some(r"SHOP\jane"));
        assert_eq!(read(r#"username="u" x, signature=s"#), [Some("u"), None, Some("s")]);
        assert_eq!(read(r#"username="never closed, signature=s"#), [Some("never closed, signature=s"), None, None]);
    }

    #[test]
    fn what_is_empty_unknown_or_no_parameter_is_passed_over() {
        for nothing in ["", ",,, ,", "username", "username=", "username=\"\"", "=u", "user=u", "username,x=1", "\"u\""]
        {
            assert_eq!(read(nothing)[0], None, "{nothing}");
        }
        assert_eq!(read("x, username=u, nonce=\"1\", =, signature=s"), [Some("u"), None, Some("s")]);
    }

    #[test]
    fn of_repeated_parameters_the_last_counts() {
        assert_eq!(read("username=a, username=b")[0], Some("b"));
        assert_eq!(read("username=a, username=")[0], None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_makes_it_panic(
            name in "[^\"]{1,20}", signature in "[A-Za-z0-9+/]{1,20}={0,2}", noise in ".{0,60}",
        ) {
            let written = format!("username=\"{name}\",signature={signature}");
            prop_assert_eq!(read(&written), [Some(name.as_str()), None, Some(signature.as_str())]);
            Parameters::read(&noise);
            Parameters::read(&format!("{noise}{written}"));
        }
    }
}
