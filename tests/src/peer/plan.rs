//! What the backend is to do, as the query of the path says it.

use std::fmt;

/// `Plan::default()` is an empty 200 after the whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub status: u16,
    pub bytes: u64,
    /// Without Content-Length: chunked, or DATA frames up to END_STREAM.
    pub unknown_length: bool,
    /// `x-checksum` after the body.
    pub trailers: bool,
    /// Answers before it reads the request's body, of which it then reads the rest.
    pub early: bool,
    /// Breaks off after this many bytes of the body.
    pub cut_after: Option<u64>,
    /// Breaks off only when the test has called [`super::Peer::release`].
    pub waits_for_release: bool,
    /// After this many bytes of the body waits for the end of the request, or for good.
    pub hold_after: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            status: 200,
            bytes: 0,
            unknown_length: false,
            trailers: false,
            early: false,
            cut_after: None,
            waits_for_release: false,
            hold_after: None,
        }
    }
}

impl Plan {
    pub fn of(target: &str) -> Self {
        let mut plan = Self::default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number: u64 = value.parse().expect("numbers in a plan");
            match name {
                "status" => plan.status = u16::try_from(number).expect("a status"),
                "bytes" => plan.bytes = number,
                "unknown" => plan.unknown_length = number == 1,
                "trailers" => plan.trailers = number == 1,
                "early" => plan.early = number == 1,
                "waits" => plan.waits_for_release = number == 1,
                "cut" => plan.cut_after = Some(number),
                "hold" => plan.hold_after = Some(number),
                other => panic!("a plan has no {other}"),
            }
        }
        plan
    }

    /// The path that asks for it, under this prefix.
    pub fn under(&self, prefix: &str) -> String {
        format!("{prefix}/plan?{self}")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = u8::from;
        write!(f, "status={}&bytes={}&unknown={}", self.status, self.bytes, flag(self.unknown_length))?;
        write!(f, "&trailers={}&early={}", flag(self.trailers), flag(self.early))?;
        write!(f, "&waits={}", flag(self.waits_for_release))?;
        self.cut_after.map_or(Ok(()), |bytes| write!(f, "&cut={bytes}"))?;
        self.hold_after.map_or(Ok(()), |bytes| write!(f, "&hold={bytes}"))
    }
}
