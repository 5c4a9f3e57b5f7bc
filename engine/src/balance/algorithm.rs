//! The words users write for how to choose, parsed.

/// How a target is chosen among the candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    #[default]
    RoundRobin,
    WeightedRoundRobin,
    LeastConnections,
    LeastLatency,
    ConsistentHashing,
    Random,
}

impl Algorithm {
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::LeastConnections,
        Self::LeastLatency,
        Self::ConsistentHashing,
        Self::Random,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastConnections => "least_connections",
            Self::LeastLatency => "least_latency",
            Self::ConsistentHashing => "consistent_hashing",
            Self::Random => "random",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// Where the hash key comes from. Whoever picks extracts it: the client address text stands in for a missing value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    #[default]
    Ip,
    /// Header name, lower case.
    Header(String),
    /// Cookie name, as written: cookie names are case-sensitive. A request without it is answered with a sticky cookie.
    Cookie(String),
}

/// `hash_on` in any other form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashOnError {
    #[error("hash_on must be 'ip', 'header:<name>', or 'cookie:<name>' (got '{0}')")]
    Form(String),
    #[error("hash_on 'header:' requires a non-empty header name")]
    HeaderName,
    #[error("hash_on 'cookie:' requires a non-empty cookie name")]
    CookieName,
}

impl HashOn {
    /// Reads `ip`, `header:<name>`, `cookie:<name>` or nothing, which is `ip`; blanks around are ignored.
    pub fn parse(text: &str) -> Result<Self, HashOnError> {
        let text = text.trim();
        if text.is_empty() || text == "ip" {
            Ok(Self::Ip)
        } else if let Some(name) = text.strip_prefix("header:") {
            let name = name.trim();
            if name.is_empty() { Err(HashOnError::HeaderName) } else { Ok(Self::Header(name.to_ascii_lowercase())) }
        } else if let Some(name) = text.strip_prefix("cookie:") {
            let name = name.trim();
            if name.is_empty() { Err(HashOnError::CookieName) } else { Ok(Self::Cookie(name.to_owned())) }
        } else {
            Err(HashOnError::Form(text.to_owned()))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_and_others_do_not() {
        assert!(Algorithm::ALL.into_iter().all(|algorithm| Algorithm::parse(algorithm.name()) == Some(algorithm)));
        assert_eq!(Algorithm::parse("Round_Robin"), None);
    }

    #[test]
    fn hash_on_reads_its_three_forms_and_says_what_is_wrong_with_others() {
        assert_eq!(HashOn::parse(""), Ok(HashOn::Ip));
        assert_eq!(HashOn::parse(" ip "), Ok(HashOn::Ip));
        assert_eq!(HashOn::parse("header:X-User"), Ok(HashOn::Header("x-user".into())));
        assert_eq!(HashOn::parse("cookie:Sid"), Ok(HashOn::Cookie("Sid".into())));
        let error = |text: &str| HashOn::parse(text).unwrap_err().to_string();
        assert_eq!(error("header: "), "hash_on 'header:' requires a non-empty header name");
        assert_eq!(error("cookie:"), "hash_on 'cookie:' requires a non-empty cookie name");
        assert_eq!(error("IP"), "hash_on must be 'ip', 'header:<name>', or 'cookie:<name>' (got 'IP')");
    }
}
