//! A strict reader of the Prometheus text form (version 0.0.4): what a scraper might forgive is a failure here.

use std::collections::HashSet;

/// Names and values in the order in which they are written.
type Labels = Vec<(String, String)>;

/// One sample line.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// The line as it came.
    pub line: String,
}

impl Sample {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.label(name) == Some(value))
    }

    /// The labels without the bound of a bucket.
    fn identity(&self) -> Labels {
        self.labels.iter().filter(|(name, _)| name != "le").cloned().collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct MetricFamily {
    pub name: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

/// A whole page.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsPage {
    pub families: Vec<MetricFamily>,
}

impl MetricsPage {
    /// The page, or the first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no end".into());
        }
        let mut families: Vec<MetricFamily> = Vec::new();
        let mut help: Option<String> = None;
        for line in text[..text.len() - 1].split('\n') {
            let wrong = |what: &str| format!("{what}: {line:?}");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, words) = rest.split_once(' ').ok_or_else(|| wrong("a HELP without a text"))?;
                if words.trim().is_empty() || help.replace(name.to_owned()).is_some() {
                    return Err(wrong("an empty HELP, or two in a row"));
                }
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or_else(|| wrong("a TYPE without a type"))?;
                let is_known = ["counter", "gauge", "histogram"].contains(&kind);
                if !is_known || help.take().as_deref() != Some(name) || !is_name(name, ":") {
                    return Err(wrong("an unknown type, or no HELP of the same family before"));
                }
                if families.iter().any(|family| family.name == name) {
                    return Err(wrong("a family is announced twice"));
                }
                families.push(MetricFamily { name: name.to_owned(), kind: kind.to_owned(), samples: Vec::new() });
            } else {
                let sample = sample(line).map_err(|what| wrong(&what))?;
                let family = families.last_mut().filter(|family| family.owns(&sample.name));
                let family =
                    family.filter(|_| help.is_none()).ok_or_else(|| wrong("a sample outside of its family"))?;
                family.samples.push(sample);
            }
        }
        families.iter().try_for_each(MetricFamily::check)?;
        Ok(Self { families })
    }

    pub fn family(&self, name: &str) -> Option<&MetricFamily> {
        self.families.iter().find(|family| family.name == name)
    }

    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.iter().flat_map(|family| &family.samples)
    }

    /// All samples of that name that have at least these labels, added up; nothing when there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let found: Vec<f64> =
            self.samples().filter(|sample| sample.name == name && sample.has(labels)).map(|s| s.value).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }
}

impl MetricFamily {
    fn owns(&self, sample: &str) -> bool {
        match self.kind.as_str() {
            "histogram" => sample
                .strip_prefix(self.name.as_str())
                .is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix)),
            _ => sample == self.name,
        }
    }

    fn check(&self) -> Result<(), String> {
        let mut seen = HashSet::new();
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            labels.sort();
            if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(format!("a label comes twice: {}", sample.line));
            }
            if !seen.insert((sample.name.clone(), labels)) {
                return Err(format!("a series comes twice: {}", sample.line));
            }
            if self.kind != "gauge" && sample.value < 0.0 {
                return Err(format!("a count is negative: {}", sample.line));
            }
        }
        if self.kind == "histogram" { self.check_histograms() } else { Ok(()) }
    }

    fn check_histograms(&self) -> Result<(), String> {
        let of = |suffix: &str| -> Vec<&Sample> {
            self.samples.iter().filter(|sample| sample.name[self.name.len()..] == *suffix).collect()
        };
        let (counts, sums, buckets) = (of("_count"), of("_sum"), of("_bucket"));
        let identities: HashSet<_> = buckets.iter().map(|sample| sample.identity()).collect();
        if identities.len() != counts.len() || counts.len() != sums.len() {
            return Err(format!("{}: not every histogram has buckets, a sum and a count", self.name));
        }
        for count in counts {
            let own: Vec<&&Sample> = buckets.iter().filter(|bucket| bucket.identity() == count.identity()).collect();
            let bounds: Vec<f64> = own.iter().filter_map(|bucket| bound(bucket.label("le")?)).collect();
            let is_whole = bounds.len() == own.len() && bounds.last() == Some(&f64::INFINITY);
            if !is_whole || !bounds.windows(2).all(|pair| pair[0] < pair[1]) {
                return Err(format!("the bounds do not rise to +Inf: {}", count.line));
            }
            if !own.windows(2).all(|pair| pair[0].value <= pair[1].value) {
                return Err(format!("the buckets are not cumulative: {}", count.line));
            }
            if own.last().map(|bucket| bucket.value) != Some(count.value) {
                return Err(format!("the last bucket is not the count: {}", count.line));
            }
            if !sums.iter().any(|sum| sum.identity() == count.identity()) {
                return Err(format!("a histogram without a sum: {}", count.line));
            }
        }
        Ok(())
    }
}

fn bound(text: &str) -> Option<f64> {
    if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok().filter(|bound: &f64| bound.is_finite()) }
}

fn is_name(text: &str, more: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || more.contains(c);
    text.starts_with(is_first) && text.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let name = &line[..end];
    if !is_name(name, ":") {
        return Err("not a name".into());
    }
    let mut rest = &line[end..];
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        (labels, rest) = label_list(inside)?;
    }
    let number = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    let is_plain = number.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && number.chars().all(|c| c.is_ascii_digit() || "+-.e".contains(c));
    let value = number.parse().ok().filter(|_| is_plain).ok_or("not a value")?;
    Ok(Sample { name: name.to_owned(), labels, value, line: line.to_owned() })
}

/// What stands behind `{`, and the rest of the line behind `}`.
fn label_list(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut labels = Vec::new();
    loop {
        let (name, value) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name, "") {
            return Err(format!("{name:?} is no name of a label"));
        }
        let (value, behind) = quoted(value)?;
        labels.push((name.to_owned(), value));
        if let Some(behind) = behind.strip_prefix('}') {
            return Ok((labels, behind));
        }
        rest = behind.strip_prefix(',').ok_or("neither , nor } behind a label")?;
    }
}

/// A value up to its closing quote, without escapes, and what comes behind it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"'))) => value.push(c),
                other => return Err(format!("not an escape: {other:?}")),
            },
            c => value.push(c),
        }
    }
    Err("a value without an end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# HELP h words\n# TYPE h histogram\n";

    #[test]
    fn a_page_is_read_with_its_labels() {
        let text = "# HELP a words\n# TYPE a counter\na{x=\"1\\\"\\\\\\n\",y=\"\"} 2\na{x=\"2\",y=\"\"} 3\n";
        let page = MetricsPage::parse(text).unwrap();
        assert_eq!(page.value("a", &[("y", "")]), Some(5.0));
        assert_eq!(page.value("a", &[("x", "1\"\\\n")]), Some(2.0));
        assert_eq!(page.value("a", &[("x", "3")]), None);
        assert_eq!(page.family("a").map(|family| family.kind.as_str()), Some("counter"));
    }

    #[test]
    fn a_page_that_is_not_right_is_refused() {
        let counter = "# HELP a words\n# TYPE a counter\n";
        for (what, text) in [
            ("no end", "# HELP a words".to_owned()),
            ("no help", "# TYPE a counter\na 1\n".to_owned()),
            ("no family", "a 1\n".to_owned()),
            ("another family", format!("{counter}b 1\n")),
            ("twice", format!("{counter}{counter}")),
            ("an empty line", format!("{counter}\na 1\n")),
            ("no value", format!("{counter}a\n")),
            ("not a value", format!("{counter}a x\n")),
            ("two blanks", format!("{counter}a  1\n")),
            ("a bare quote", format!("{counter}a{{x=\"\"\"}} 1\n")),
            ("an unknown escape", format!("{counter}a{{x=\"\\t\"}} 1\n")),
            ("a series twice", format!("{counter}a{{x=\"1\",y=\"2\"}} 1\na{{y=\"2\",x=\"1\"}} 1\n")),
            ("a label twice", format!("{counter}a{{x=\"1\",x=\"2\"}} 1\n")),
            ("no bucket for all", format!("{HEAD}h_bucket{{le=\"5\"}} 1\nh_sum 1\nh_count 1\n")),
            ("falling", format!("{HEAD}h_bucket{{le=\"5\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\nh_sum 1\nh_count 1\n")),
            ("another count", format!("{HEAD}h_bucket{{le=\"+Inf\"}} 1\nh_sum 1\nh_count 2\n")),
            ("no sum", format!("{HEAD}h_bucket{{le=\"+Inf\"}} 1\nh_count 1\n")),
        ] {
            assert!(MetricsPage::parse(&text).is_err(), "{what}");
        }
        let good = format!("{HEAD}h_bucket{{le=\"5\"}} 1\nh_bucket{{le=\"+Inf\"}} 1\nh_sum 1.50\nh_count 1\n");
        assert!(MetricsPage::parse(&good).is_ok());
    }
}
