//! Header names the gateway itself looks at. They are recognised once, while the head is parsed; afterwards a test is a
//! compare of one byte and "remove all hop-by-hop fields" is a mask.

/// A header name, or `Other` for any name without a meaning to the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Known {
    Other = 0,
    Accept,
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    EarlyData,
    Expect,
    Forwarded,
    Host,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    SetCookie,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XConsumerCustomId,
    XConsumerUsername,
    XFerrumOriginalContentEncoding,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XGatewayError,
    XGatewayUpstreamStatus,
}

impl Known {
    /// Compares by length first, then without regard to case.
    pub fn of(name: &[u8]) -> Known {
        let candidates: &[(Known, &[u8])] = match name.len() {
            2 => &[(Known::Te, b"te")],
            3 => &[(Known::Via, b"via")],
            4 => &[(Known::Host, b"host"), (Known::Date, b"date")],
            6 => &[(Known::Accept, b"accept"), (Known::Cookie, b"cookie"), (Known::Expect, b"expect")],
            7 => &[(Known::Upgrade, b"upgrade"), (Known::Trailer, b"trailer")],
            9 => &[(Known::Forwarded, b"forwarded")],
            10 => &[
                (Known::Connection, b"connection"),
                (Known::UserAgent, b"user-agent"),
                (Known::KeepAlive, b"keep-alive"),
                (Known::SetCookie, b"set-cookie"),
                (Known::EarlyData, b"early-data"),
            ],
            12 => &[(Known::ContentType, b"content-type")],
            13 => &[(Known::Authorization, b"authorization")],
            14 => &[(Known::ContentLength, b"content-length")],
            15 => &[(Known::XForwardedFor, b"x-forwarded-for"), (Known::XGatewayError, b"x-gateway-error")],
            16 => &[(Known::XForwardedHost, b"x-forwarded-host"), (Known::ProxyConnection, b"proxy-connection")],
            17 => &[(Known::TransferEncoding, b"transfer-encoding"), (Known::XForwardedProto, b"x-forwarded-proto")],
            18 => &[(Known::ProxyAuthenticate, b"proxy-authenticate")],
            19 => &[
                (Known::ProxyAuthorization, b"proxy-authorization"),
                (Known::XConsumerUsername, b"x-consumer-username"),
            ],
            20 => &[(Known::XConsumerCustomId, b"x-consumer-custom-id")],
            25 => &[(Known::XGatewayUpstreamStatus, b"x-gateway-upstream-status")],
            34 => &[(Known::XFerrumOriginalContentEncoding, b"x-ferrum-original-content-encoding")],
            _ => return Known::Other,
        };
        candidates.iter().find(|(_, text)| name.eq_ignore_ascii_case(text)).map_or(Known::Other, |(known, _)| *known)
    }
}

/// A set of known names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KnownSet(u64);

impl KnownSet {
    /// What says where a message ends, and what becomes of its connection: whoever writes the message writes these.
    pub const FRAMING: Self = Self::of(&[
        Known::Connection,
        Known::ContentLength,
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::Te,
        Known::Trailer,
        Known::TransferEncoding,
        Known::Upgrade,
    ]);

    pub const fn empty() -> Self {
        Self(0)
    }

    pub const fn of(names: &[Known]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < names.len() {
            bits |= 1 << names[i] as u8;
            i += 1;
        }
        Self(bits & !1)
    }

    /// `Other` is never a member.
    pub const fn has(self, name: Known) -> bool {
        self.0 & (1 << name as u8) != 0
    }

    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn insert(&mut self, name: Known) {
        self.0 |= (1 << name as u8) & !1;
    }

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn with(mut self, name: Known) -> Self {
        self.insert(name);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_in_any_case() {
        assert_eq!(Known::of(b"Host"), Known::Host);
        assert_eq!(Known::of(b"CONTENT-LENGTH"), Known::ContentLength);
        assert_eq!(Known::of(b"transfer-encodinG"), Known::TransferEncoding);
        assert_eq!(Known::of(b"x-request-id"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
    }

    #[test]
    fn other_is_in_no_set() {
        let mut set = KnownSet::of(&[Known::Other, Known::Te]);
        set.insert(Known::Other);
        assert!(!set.has(Known::Other));
        assert!(set.has(Known::Te) && !set.has(Known::Via));
    }
}
