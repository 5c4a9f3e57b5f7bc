//! Which of the two formats a document is shown in, and whether the caller has it already (admin sheet §31.8).

use engine::model::SpecFormat;

use super::parse::format_of;

/// Thousandths.
const BEST: u16 = 1000;

/// The qualities that an `Accept` header gives.
#[derive(Default)]
struct Qualities {
    json: Option<u16>,
    yaml: Option<u16>,
    wildcard: Option<u16>,
}

impl Qualities {
    fn of(&self, format: SpecFormat) -> u16 {
        let own = match format {
            SpecFormat::Json => self.json,
            SpecFormat::Yaml => self.yaml,
        };
        own.or(self.wildcard).unwrap_or(0)
    }

    fn place(&mut self, media_type: &str) -> Option<&mut Option<u16>> {
        match format_of(media_type) {
            Some(SpecFormat::Json) => Some(&mut self.json),
            Some(SpecFormat::Yaml) => Some(&mut self.yaml),
            None => matches!(media_type, "*/*" | "application/*").then_some(&mut self.wildcard),
        }
    }
}

/// The format to answer in; `None` if the caller takes none of them. An `Accept` that names neither is not looked at.
pub(super) fn chosen(accept: &str, stored: SpecFormat) -> Option<SpecFormat> {
    let mut qualities = Qualities::default();
    for entry in accept.split(',') {
        let mut parts = entry.split(';');
        let media_type = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let quality = parts.find_map(quality).unwrap_or(BEST);
        if let Some(place) = qualities.place(&media_type) {
            *place = Some(place.map_or(quality, |best| best.max(quality)));
        }
    }
    let is_asked = qualities.json.or(qualities.yaml).or(qualities.wildcard).is_some();
    if !is_asked {
        return Some(stored);
    }
    let other = match stored {
        SpecFormat::Json => SpecFormat::Yaml,
        SpecFormat::Yaml => SpecFormat::Json,
    };
    let (of_stored, of_other) = (qualities.of(stored), qualities.of(other));
    match of_stored.max(of_other) {
        0 => None,
        best if of_stored == best => Some(stored),
        _ => Some(other),
    }
}

/// `q=0.8`; what is no number counts as if it were not there.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let value: f64 = name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().ok())??;
    // Between 0 and 1000; NaN is neither.
    (!value.is_nan()).then(|| (value.clamp(0.0, 1.0) * f64::from(BEST)).round() as u16)
}

/// Whether `If-None-Match` names the tag. Weak tags are compared like strong ones, as for every GET.
pub(super) fn is_known(if_none_match: &str, tag: &str) -> bool {
    let named = |entry: &str| {
        let entry = entry.trim();
        entry == "*" || entry.strip_prefix("W/").unwrap_or(entry) == tag
    };
    if_none_match.split(',').any(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use SpecFormat::{Json, Yaml};

    #[test]
    fn the_better_quality_wins_and_a_tie_is_the_stored_format() {
        for (accept, from_json, from_yaml) in [
            ("", Json, Yaml),
            ("text/html", Json, Yaml),
            ("text/*", Json, Yaml),
            ("text/html;q=0", Json, Yaml),
            ("*/*", Json, Yaml),
            ("application/*;q=0.1", Json, Yaml),
            ("application/json, application/yaml", Json, Yaml),
            ("Application/JSON", Json, Json),
            ("TEXT/x-yaml;charset=utf-8", Yaml, Yaml),
            ("application/x-yaml;q=0.2, application/json;q=0.1", Yaml, Yaml),
            ("application/yaml;q=0.1, text/yaml;q=0.9, application/json;q=0.5", Yaml, Yaml),
            ("*/*;q=0.9, application/json;q=0.5", Yaml, Yaml),
            ("*/*, application/json;q=0", Yaml, Yaml),
            ("*/*;q=0, application/yaml;q=0.001", Yaml, Yaml),
            ("application/json;q=7, application/yaml;q=1", Json, Yaml),
            ("application/json;q=-1, application/yaml;q=0.1", Yaml, Yaml),
            ("application/json;q=0.9994, application/yaml;q=0.9991", Json, Yaml),
            ("application/json;q=abc, application/yaml;q=0.5", Json, Json),
            ("application/json;q=nan, application/yaml;q=0.5", Json, Json),
            ("text/html, application/json;q=0.1", Json, Json),
        ] {
            assert_eq!((chosen(accept, Json), chosen(accept, Yaml)), (Some(from_json), Some(from_yaml)), "{accept}");
        }
    }

    #[test]
    fn a_caller_may_take_none_of_them() {
        for accept in
            ["*/*;q=0", "application/json;q=0", "text/yaml;q=0.0001", "application/json;q=0, application/yaml;q=0"]
        {
            assert_eq!(chosen(accept, Json), None, "{accept}");
        }
    }

    #[test]
    fn tags_are_found_in_lists() {
        let tag = "\"abc-json\"";
        for known in ["\"abc-json\"", "W/\"abc-json\"", "*", "\"x\", \"abc-json\"", " \"x\" ,W/\"abc-json\" "] {
            assert!(is_known(known, tag), "{known}");
        }
        for other in ["", "abc-json", "\"abc-yaml\"", "w/\"abc-json\"", "\"abc-json"] {
            assert!(!is_known(other, tag), "{other}");
        }
    }
}
