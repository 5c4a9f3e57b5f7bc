//! Rules for header fields and query parameters.

use engine::http::Headers;

use crate::{Rejection, RequestContext, query};

/// Names of headers are lower-case; those of parameters are as they are.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldRule {
    /// Only where there is none.
    Add {
        name: String,
        value: String,
    },
    Update {
        name: String,
        value: String,
    },
    Remove {
        name: String,
    },
    Rename {
        name: String,
        to: String,
    },
}

/// Something with named values.
pub trait Fields {
    fn has(&self, name: &str) -> bool;
    /// In the place of all that there are of that name.
    fn set(&mut self, name: &str, value: &str);
    fn remove(&mut self, name: &str);
    /// In the place of all that there are of the new name; nothing happens when there is none of the old one.
    fn rename(&mut self, name: &str, to: &str);
}

/// Runs the rules in their order.
pub fn edit(rules: &[FieldRule], mut fields: impl Fields) {
    for rule in rules {
        match rule {
            FieldRule::Add { name, .. } if fields.has(name) => {}
            FieldRule::Add { name, value } | FieldRule::Update { name, value } => fields.set(name, value),
            FieldRule::Remove { name } => fields.remove(name),
            FieldRule::Rename { name, to } => fields.rename(name, to),
        }
    }
}

/// The headers of a request as plugins see them: the last of several lines (plugins sheet §1.4).
pub struct RequestFields<'h>(pub &'h mut Headers);

impl Fields for RequestFields<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.set(name, value.as_bytes());
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn rename(&mut self, name: &str, to: &str) {
        let Some(last) = self.0.get(name) else { return };
        let value = match name {
            // Its lines are members of one list, and none may be lost.
            "baggage" => self.0.all(name).collect::<Vec<_>>().join(&b","[..]),
            _ => last.as_bytes().to_vec(),
        };
        self.0.remove(name);
        self.0.set(to, &value);
    }
}

/// The headers of a response; all lines of a name, because each cookie that is set is one.
pub struct ResponseFields<'h>(pub &'h mut Headers);

impl Fields for ResponseFields<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.all(name).next().is_some()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.set(name, value.as_bytes());
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn rename(&mut self, name: &str, to: &str) {
        let values: Vec<Vec<u8>> = self.0.all(name).map(<[u8]>::to_vec).collect();
        if values.is_empty() {
            return;
        }
        self.0.remove(name);
        self.0.remove(to);
        values.iter().for_each(|value| self.0.append(to, value));
    }
}

/// The headers of an answer that is not a backend's.
pub struct RejectionFields<'r>(pub &'r mut Rejection);

impl Fields for RejectionFields<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.has_header(name)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.set_header(name, value);
    }

    fn remove(&mut self, name: &str) {
        self.0.headers.retain(|(present, _)| !present.eq_ignore_ascii_case(name));
    }

    fn rename(&mut self, name: &str, to: &str) {
        if !self.has(name) || name == to {
            return;
        }
        self.remove(to);
        let renamed = self.0.headers.iter_mut().filter(|(present, _)| present.eq_ignore_ascii_case(name));
        renamed.for_each(|(present, _)| to.clone_into(present));
    }
}

/// The query as the plugins behind see it.
pub struct QueryFields<'c>(pub &'c mut RequestContext);

impl Fields for QueryFields<'_> {
    fn has(&self, name: &str) -> bool {
        query::parameter(self.0, name).is_some()
    }

    fn set(&mut self, name: &str, value: &str) {
        query::set(self.0, name, Some(value.to_owned()));
    }

    fn remove(&mut self, name: &str) {
        if self.has(name) {
            query::set(self.0, name, None);
        }
    }

    fn rename(&mut self, name: &str, to: &str) {
        let Some(value) = query::parameter(self.0, name).map(|value| value.into_owned()) else { return };
        query::set(self.0, name, None);
        query::set(self.0, to, Some(value));
    }
}
