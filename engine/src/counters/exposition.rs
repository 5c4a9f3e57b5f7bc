//! The text form of Prometheus, version 0.0.4.

use std::fmt::{self, Display, Write};

use super::{HistogramTotals, MILLISECOND_BOUNDS};

/// A page of `/metrics` while it is written.
///
/// Samples take their labels as text that [`labels`] has made, because one label set is printed many times.
#[derive(Default)]
pub struct Exposition {
    text: String,
    /// `namespace="…"`, the last label of every sample; nothing = none has it.
    namespace: String,
}

/// `name="value",…`, escaped.
pub fn labels(pairs: &[(&str, &dyn Display)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        push_label(&mut text, name, value);
    }
    text
}

/// Adds one label to such a text.
pub fn push_label(text: &mut String, name: &str, value: impl Display) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    // Writing into a string cannot fail, here and below.
    let _ = write!(Escaped(text), "{value}");
    text.push('"');
}

/// Writes what may stand between the quotes of a label.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '"', '\n']) {
            self.0.push_str(&rest[..at]);
            self.0.push_str(match rest.as_bytes()[at] {
                b'\n' => "\\n",
                b'"' => "\\\"",
                _ => "\\\\",
            });
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}

impl Exposition {
    /// With a namespace every sample has it as its last label.
    pub fn new(namespace: Option<&str>) -> Self {
        let namespace = namespace.map_or_else(String::new, |namespace| labels(&[("namespace", &namespace)]));
        Self { text: String::new(), namespace }
    }

    /// An empty part of this page, for [`append`](Self::append).
    pub fn part(&self) -> Self {
        Self { text: String::new(), namespace: self.namespace.clone() }
    }

    /// An empty part whose samples have no namespace.
    pub fn part_without_namespace() -> Self {
        Self::default()
    }

    pub fn append(&mut self, part: &Exposition) {
        self.text.push_str(&part.text);
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub fn into_text(self) -> String {
        self.text
    }

    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// `labels` may be empty.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        self.line([name, ""], labels, None, value);
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }

    /// The samples of one histogram; durations are shown in milliseconds.
    pub fn histogram(&mut self, name: &str, labels: &str, totals: &HistogramTotals) {
        let mut cumulative = 0;
        for (bound, count) in MILLISECOND_BOUNDS.iter().zip(totals.buckets) {
            cumulative += count;
            self.line([name, "_bucket"], labels, Some(bound), cumulative);
        }
        self.line([name, "_bucket"], labels, Some(&"+Inf"), totals.count());
        self.line([name, "_sum"], labels, None, format_args!("{:.2}", totals.sum_ns as f64 / 1_000_000.0));
        self.line([name, "_count"], labels, None, totals.count());
    }

    fn line(&mut self, name: [&str; 2], labels: &str, le: Option<&dyn Display>, value: impl Display) {
        name.iter().for_each(|part| self.text.push_str(part));
        let mut open = '{';
        let mut separate = |text: &mut String| text.push(std::mem::replace(&mut open, ','));
        if !labels.is_empty() {
            separate(&mut self.text);
            self.text.push_str(labels);
        }
        if let Some(le) = le {
            separate(&mut self.text);
            let _ = write!(self.text, "le=\"{le}\"");
        }
        if !self.namespace.is_empty() {
            separate(&mut self.text);
            self.text.push_str(&self.namespace);
        }
        let has_labels = open == ',';
        let _ = writeln!(self.text, "{} {value}", if has_labels { "}" } else { "" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Exposition::new(None);
        page.sample("x", &labels(&[("a", &"q\"\\\nz"), ("b", &1)]), 2.5);
        page.sample("y", "", 1);
        assert_eq!(page.into_text(), "x{a=\"q\\\"\\\\\\nz\",b=\"1\"} 2.5\ny 1\n");
    }

    #[test]
    fn the_namespace_comes_last_also_behind_the_bound() {
        let mut page = Exposition::new(Some("team \"a\""));
        page.sample("x", "", 1);
        page.sample("x", &labels(&[("core", &0)]), 2);
        let mut part = page.part();
        part.histogram("h", &labels(&[("proxy_id", &"p")]), &HistogramTotals::default());
        page.append(&part);
        let mut bare = Exposition::part_without_namespace();
        assert!(bare.is_empty());
        bare.sample("m", "", 3);
        page.append(&bare);
        let text = page.into_text();
        for line in [
            "x{namespace=\"team \\\"a\\\"\"} 1",
            "x{core=\"0\",namespace=\"team \\\"a\\\"\"} 2",
            "h_bucket{proxy_id=\"p\",le=\"5\",namespace=\"team \\\"a\\\"\"} 0",
            "h_bucket{proxy_id=\"p\",le=\"+Inf\",namespace=\"team \\\"a\\\"\"} 0",
            "h_sum{proxy_id=\"p\",namespace=\"team \\\"a\\\"\"} 0.00",
            "m 3",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} in {text}");
        }
    }

    #[test]
    fn buckets_add_up_and_the_sum_is_in_milliseconds() {
        let totals = HistogramTotals { buckets: [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], sum_ns: 12_345_678 };
        let mut page = Exposition::new(None);
        page.histogram("h", "", &totals);
        let text = page.into_text();
        for line in [
            "h_bucket{le=\"5\"} 1",
            "h_bucket{le=\"10\"} 3",
            "h_bucket{le=\"10000\"} 3",
            "h_bucket{le=\"+Inf\"} 7",
            "h_sum 12.35",
            "h_count 7",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} in {text}");
        }
    }
}
