//! What `GET /api-specs` is asked for (admin sheet §31.9).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::submission::is_tag;
use crate::admin::query;
use crate::store::{Range, SpecFilter, SpecSort};

const LIMIT_DEFAULT: u64 = 50;
const LIMIT_MAX: i128 = 200;

const SORTS: [(&str, SpecSort); 4] = [
    ("updated_at", SpecSort::UpdatedAt),
    ("title", SpecSort::Title),
    ("operation_count", SpecSort::OperationCount),
    ("created_at", SpecSort::CreatedAt),
];

/// The filter and the page of a query. The first of each parameter counts.
///
/// # Errors
/// The first that is wrong, in the order of the sheet.
pub(super) fn asked(query: &str) -> Result<(SpecFilter, Range), String> {
    let pairs = pairs(query)?;
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let limit = value("limit").and_then(|raw| raw.parse::<i128>().ok());
    let limit = limit.map_or(LIMIT_DEFAULT, |limit| limit.clamp(1, LIMIT_MAX) as u64);
    let offset = value("offset").and_then(|raw| raw.parse().ok()).unwrap_or(0);
    let updated_since = value("updated_since").map(moment).transpose()?;
    let filter = SpecFilter {
        proxy_id: value("proxy_id").map(str::to_owned),
        spec_version: literal("spec_version", value("spec_version"))?,
        title_contains: literal("title_contains", value("title_contains"))?,
        updated_since,
        has_tag: tag(value("has_tag"))?,
        sort: sort(value("sort_by"))?,
        is_ascending: is_ascending(value("order"))?,
    };
    Ok((filter, Range { offset, limit: Some(limit) }))
}

fn moment(raw: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(raw, &Rfc3339)
        .map_err(|_| format!("invalid updated_since value '{raw}'; expected RFC3339 timestamp"))
}

/// A text that stands for itself.
fn literal(name: &str, value: Option<&str>) -> Result<Option<String>, String> {
    match value {
        Some(text) if text.contains(['%', '_', '\\']) => {
            Err(format!("invalid {name} value '{text}'; it must not contain any of '%', '_' and '\\'"))
        }
        other => Ok(other.map(str::to_owned)),
    }
}

fn tag(value: Option<&str>) -> Result<Option<String>, String> {
    match value {
        Some(text) if !is_tag(text) => {
            Err(format!("invalid has_tag value '{text}'; it must not contain any of '\"', '%', '_' and '\\'"))
        }
        other => Ok(other.map(str::to_owned)),
    }
}

fn sort(value: Option<&str>) -> Result<SpecSort, String> {
    let Some(asked) = value else { return Ok(SpecSort::UpdatedAt) };
    let found = SORTS.iter().find(|(name, _)| *name == asked);
    found.map(|(_, sort)| *sort).ok_or_else(|| {
        let allowed = SORTS.map(|(name, _)| name).join(", ");
        format!("invalid sort_by value '{asked}'; allowed: {allowed}")
    })
}

fn is_ascending(value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("desc") => Ok(false),
        Some("asc") => Ok(true),
        Some(other) => Err(format!("invalid order value '{other}'; allowed: asc, desc")),
    }
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let split = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    split.map(|(key, value)| Ok((decoded(key)?, decoded(value)?))).collect()
}

fn decoded(raw: &str) -> Result<String, String> {
    query::decoded(raw).ok_or_else(|| format!("invalid percent-encoding in query: '{raw}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_forgiving() {
        for (query, expected) in [
            ("", (0, 50)),
            ("limit=0", (0, 1)),
            ("limit=-7", (0, 1)),
            ("limit=200&offset=3", (3, 200)),
            ("limit=201", (0, 200)),
            ("limit=many&offset=many", (0, 50)),
            ("limit=%32&limit=9", (0, 2)),
        ] {
            let (_, range) = asked(query).unwrap();
            assert_eq!((range.offset, range.limit.unwrap()), expected, "{query}");
        }
    }

    #[test]
    fn filters_are_decoded() {
        let query = "proxy_id=p&spec_version=3.1&title_contains=My+%C3%84pi&has_tag=a%20b&sort_by=title&order=asc&x=%41\
                     &updated_since=2026-01-01T01:00:00+01:00";
        let (filter, _) = asked(query).unwrap();
        assert_eq!((filter.proxy_id.as_deref(), filter.spec_version.as_deref()), (Some("p"), Some("3.1")));
        assert_eq!((filter.title_contains.as_deref(), filter.has_tag.as_deref()), (Some("My+Äpi"), Some("a b")));
        assert_eq!((filter.sort, filter.is_ascending), (SpecSort::Title, true));
        assert_eq!(filter.updated_since.unwrap().unix_timestamp(), 1_767_225_600);
        let (none, _) = asked("&&order=desc").unwrap();
        assert_eq!((none.sort, none.is_ascending, none.proxy_id), (SpecSort::UpdatedAt, false, None));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for (query, said) in [
            ("updated_since=now", "invalid updated_since value 'now'; expected RFC3339 timestamp"),
            ("sort_by=id", "invalid sort_by value 'id'; allowed: updated_at, title, operation_count, created_at"),
            ("order=up", "invalid order value 'up'; allowed: asc, desc"),
            ("spec_version=3%25", "invalid spec_version value '3%'"),
            ("title_contains=a_b", "invalid title_contains value 'a_b'"),
            ("title_contains=a%5Cb", "invalid title_contains value 'a\\b'"),
            ("has_tag=%22", "invalid has_tag value '\"'"),
            ("has_tag=a_b", "invalid has_tag value 'a_b'"),
            ("x=%zz", "invalid percent-encoding"),
            ("x=%4", "invalid percent-encoding"),
            ("x=%", "invalid percent-encoding"),
            ("x=%ff", "invalid percent-encoding"),
        ] {
            let error = asked(query).unwrap_err();
            assert!(error.starts_with(said), "{query}: {error}");
        }
    }
}
