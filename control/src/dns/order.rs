//! In which order record types are asked for (`FERRUM_DNS_ORDER`).

/// A kind of question. `Cname` is an address lookup of either family that follows the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Srv,
    A,
    Aaaa,
    Cname,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// `CACHE`: begin with the kind that answered last time.
    begins_with_last: bool,
    kinds: Vec<Kind>,
}

impl Default for Order {
    fn default() -> Self {
        Self { begins_with_last: true, kinds: vec![Kind::Srv, Kind::A, Kind::Cname] }
    }
}

impl Order {
    pub(super) fn parse(items: &[String]) -> Self {
        let mut order = Self { begins_with_last: false, kinds: Vec::new() };
        for item in items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()) {
            let kind = match item.to_ascii_uppercase().as_str() {
                "CACHE" => {
                    order.begins_with_last = true;
                    continue;
                }
                "SRV" => Kind::Srv,
                "A" => Kind::A,
                "AAAA" => Kind::Aaaa,
                "CNAME" => Kind::Cname,
                _ => {
                    tracing::warn!("FERRUM_DNS_ORDER: '{item}' is ignored; expected CACHE, SRV, A, AAAA or CNAME");
                    continue;
                }
            };
            if !order.kinds.contains(&kind) {
                order.kinds.push(kind);
            }
        }
        // CACHE alone asks nothing, so it is as good as nothing.
        if order.kinds.is_empty() { Self::default() } else { order }
    }

    /// What to ask for a name whose last answer came from `last`.
    pub(super) fn kinds(&self, last: Option<Kind>) -> Vec<Kind> {
        let first = last.filter(|_| self.begins_with_last);
        first.into_iter().chain(self.kinds.iter().copied().filter(|kind| Some(*kind) != first)).collect()
    }

    /// Whether IPv6 addresses come before IPv4 ones.
    pub(super) fn prefers_ipv6(&self) -> bool {
        let place = |kind| self.kinds.iter().position(|each| *each == kind).unwrap_or(usize::MAX);
        place(Kind::Aaaa) < place(Kind::A)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Order {
        Order::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn unknown_items_are_left_out_and_nothing_usable_is_the_default() {
        assert_eq!(parse("a, mx ,AAAA,a").kinds(None), [Kind::A, Kind::Aaaa]);
        for text in ["", "cache", "mx,txt"] {
            assert_eq!(parse(text), Order::default(), "{text}");
        }
    }

    #[test]
    fn with_cache_the_kind_that_answered_last_is_asked_first() {
        assert_eq!(parse("cache,srv,a").kinds(Some(Kind::A)), [Kind::A, Kind::Srv]);
        assert_eq!(parse("srv,a").kinds(Some(Kind::A)), [Kind::Srv, Kind::A]);
    }

    #[test]
    fn the_preferred_family_is_that_which_comes_first() {
        assert!(parse("aaaa,a").prefers_ipv6() && parse("aaaa").prefers_ipv6());
        assert!(!parse("a,aaaa").prefers_ipv6() && !parse("srv").prefers_ipv6());
    }
}
