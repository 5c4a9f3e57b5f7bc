//! Which keys name secrets, for what is logged (traffic sheet §7) and for what the admin API shows (admin sheet §15).

/// Stands for a value that is not shown.
pub const REDACTED: &str = "[REDACTED]";

/// A `token` word next to one of these is a credential.
const CREDENTIAL_WORDS: [&str; 24] = [
    "access",
    "api",
    "auth",
    "authorization",
    "bearer",
    "client",
    "csrf",
    "github",
    "gitlab",
    "id",
    "identity",
    "jwt",
    "oauth",
    "oidc",
    "pat",
    "personal",
    "refresh",
    "request",
    "saml",
    "security",
    "session",
    "slack",
    "webhook",
    "xsrf",
];

/// A `token` word among only these is a credential.
const NEUTRAL_WORDS: [&str; 6] = ["digest", "hash", "hashed", "raw", "sha256", "value"];

/// Whether the value of `key` is hidden. `extra` holds the operator's lower-case sub-strings.
pub fn is_sensitive(key: &str, extra: &[String]) -> bool {
    let bytes = key.as_bytes();
    let mut mentions_token = false;
    for at in 0..bytes.len() {
        let rest = &bytes[at..];
        match rest[0].to_ascii_lowercase() {
            b't' => mentions_token |= starts_with(rest, "token"),
            letter if markers(letter).iter().any(|marker| starts_with(rest, marker)) => return true,
            _ => {}
        }
    }
    (mentions_token && has_credential_token(key)) || extra.iter().any(|part| contains(key, part))
}

/// Rule 1, by the first letter. `cookie` stands for `set-cookie` too.
fn markers(letter: u8) -> &'static [&'static str] {
    match letter {
        b'a' => &["authorization"],
        b'b' => &["bearer"],
        b'c' => &["cookie", "cache_request_headers_snapshot"],
        b'p' => &["password"],
        b's' => &["secret"],
        b'x' => &["x-api-key", "x-auth-token", "x-csrf-token"],
        _ => &[],
    }
}

fn starts_with(bytes: &[u8], lower: &str) -> bool {
    bytes.get(..lower.len()).is_some_and(|start| start.eq_ignore_ascii_case(lower.as_bytes()))
}

fn contains(key: &str, lower: &str) -> bool {
    if key.is_ascii() {
        !lower.is_empty() && (0..key.len()).any(|at| starts_with(&key.as_bytes()[at..], lower))
    } else {
        !lower.is_empty() && key.to_lowercase().contains(lower)
    }
}

/// Rule 2.
fn has_credential_token(key: &str) -> bool {
    let is = |segment: &&str, words: &[&str]| words.iter().any(|word| segment.eq_ignore_ascii_case(word));
    if !segments(key).any(|segment| is(&segment, &["token"])) {
        return false;
    }
    let others = || segments(key).filter(|segment| !is(segment, &["token"]));
    others().any(|segment| is(&segment, &CREDENTIAL_WORDS)) || others().all(|segment| is(&segment, &NEUTRAL_WORDS))
}

/// The words of a key: split at what is no ASCII letter or digit, and where a capital follows a small letter or a digit.
fn segments(key: &str) -> impl Iterator<Item = &str> {
    key.split(|letter: char| !letter.is_ascii_alphanumeric()).flat_map(camel_words).filter(|word| !word.is_empty())
}

fn camel_words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_border = |pair: &[u8]| !pair[0].is_ascii_uppercase() && pair[1].is_ascii_uppercase();
        let cut = rest.as_bytes().windows(2).position(is_border).map_or(rest.len(), |at| at + 1);
        let (word, after) = rest.split_at(cut);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_keys_are_redacted_in_any_case() {
        for key in ["Authorization", "set-cookie", "my_COOKIE_jar", "x-api-key", "X-Auth-Token", "x-csrf-token"] {
            assert!(is_sensitive(key, &[]), "{key}");
        }
        for key in ["cache_request_headers_snapshot", "bearer_x", "db.password", "clientSecret"] {
            assert!(is_sensitive(key, &[]), "{key}");
        }
        for key in ["request_id", "rejection_phase", "api_key", "path_param.id", "x", "", "sub-sec", "traceparent"] {
            assert!(!is_sensitive(key, &[]), "{key}");
        }
    }

    #[test]
    fn a_token_word_is_redacted_by_its_company() {
        for key in ["token", "TOKEN", "access_token", "accessToken", "id-token", "jwt.token", "tokenHash", "raw_token"]
        {
            assert!(is_sensitive(key, &[]), "{key}");
        }
        for key in ["token_sha256", "token.hash.value", "slack_webhook_token", "token_token", "-token-", "ai_id_token"]
        {
            assert!(is_sensitive(key, &[]), "{key}");
        }
        for key in ["auth_v2Token", "tokenöhash", "é_token", "token_value", "githubToken", "refreshToken"] {
            assert!(is_sensitive(key, &[]), "{key}");
        }
        for key in ["ai_total_tokens", "prompt_tokens", "token_count", "tokenizer", "accesstoken", "total_token_hash"] {
            assert!(!is_sensitive(key, &[]), "{key}");
        }
        for key in ["APIToken", "oauth2Token", "tokens"] {
            assert!(!is_sensitive(key, &[]), "{key}");
        }
    }

    #[test]
    fn the_operator_s_own_parts_count_too() {
        let extra = ["tenant".to_owned(), String::new(), "größe".to_owned()];
        assert!(is_sensitive("X-Tenant-Id", &extra));
        assert!(is_sensitive("GRÖSSE_größe", &extra));
        assert!(!is_sensitive("request_id", &extra));
        assert!(!is_sensitive("grösse", &extra));
    }
}
