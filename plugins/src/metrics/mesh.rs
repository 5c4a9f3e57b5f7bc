//! The label set of a request that a mesh knows more about: what stands in metadata under `mesh.` (traffic sheet §11.2).

use engine::counters::push_label;

use crate::redaction::{REDACTED, is_sensitive};
use crate::{Outcome, RequestContext};

const UNKNOWN: &str = "unknown";

/// One end of a request.
#[derive(Default)]
struct End<'a> {
    workload: Option<&'a str>,
    namespace: Option<&'a str>,
    principal: Option<&'a str>,
    app: Option<&'a str>,
    service: Option<&'a str>,
}

impl<'a> End<'a> {
    fn set(&mut self, name: &str, value: &'a str) {
        match name {
            "workload" => self.workload = Some(value),
            "namespace" => self.namespace = Some(value),
            "principal" => self.principal = Some(value),
            "app" => self.app = Some(value),
            "service" => self.service = Some(value),
            _ => {}
        }
    }

    fn write(&self, names: [&str; 5], workload: &str, out: &mut String) {
        let values = [
            workload,
            self.namespace.unwrap_or(UNKNOWN),
            self.principal.unwrap_or(UNKNOWN),
            self.app.unwrap_or(workload),
            self.service.unwrap_or(workload),
        ];
        names.iter().zip(values).for_each(|(name, value)| push_label(out, name, value));
    }
}

/// What metadata says under `mesh.`.
#[derive(Default)]
pub(super) struct MeshRequest<'a> {
    source: End<'a>,
    destination: End<'a>,
    protocol: Option<&'a str>,
    policy: Option<&'a str>,
    flags: Option<&'a str>,
}

impl<'a> MeshRequest<'a> {
    /// Nothing when no key begins with `mesh.`, which is what most requests have.
    pub(super) fn of(cx: &'a RequestContext) -> Option<Self> {
        let mut found: Option<Self> = None;
        for (key, value) in cx.metadata.iter() {
            let Some(name) = key.strip_prefix("mesh.") else { continue };
            let request = found.get_or_insert_default();
            // What the operator hides in logs is no label either.
            let redacted = &cx.facts.redacted_keys;
            let value = if !redacted.is_empty() && is_sensitive(key, redacted) { REDACTED } else { value };
            match name {
                "request_protocol" => request.protocol = Some(value),
                "connection_security_policy" => request.policy = Some(value),
                "response_flags" => request.flags = Some(value),
                _ => {
                    if let Some(name) = name.strip_prefix("source.") {
                        request.source.set(name, value);
                    } else if let Some(name) = name.strip_prefix("destination.") {
                        request.destination.set(name, value);
                    }
                }
            }
        }
        found
    }

    /// Replaces `out` by the fourteen labels.
    pub(super) fn write(&self, cx: &RequestContext, outcome: &Outcome, out: &mut String) {
        out.clear();
        let proxy = cx.proxy();
        let source = ["source_workload", "source_namespace", "source_principal", "source_app", "source_service"];
        self.source.write(source, self.source.workload.unwrap_or(UNKNOWN), out);
        let destination = [
            "destination_workload",
            "destination_namespace",
            "destination_principal",
            "destination_app",
            "destination_service",
        ];
        let workload = self.destination.workload.or(proxy.name.as_deref()).unwrap_or(&proxy.id);
        self.destination.write(destination, workload, out);
        let flags = self.flags.unwrap_or(match outcome {
            _ if outcome.client_disconnected => "DC",
            _ if outcome.error_class.is_some() || outcome.body_error_class.is_some() => "UF",
            _ => "-",
        });
        push_label(out, "request_protocol", self.protocol.unwrap_or("http"));
        push_label(out, "response_code", outcome.status);
        push_label(out, "response_flags", flags);
        push_label(out, "connection_security_policy", self.policy.unwrap_or("none"));
    }
}

#[cfg(test)]
mod tests {
    use engine::counters::ErrorClass;

    use super::*;
    use crate::testing::{facts, outcome, request};

    fn labels(metadata: &[(&'static str, &str)], outcome: &Outcome) -> Option<String> {
        let mut cx = request("GET /", &[]);
        metadata.iter().for_each(|(key, value)| cx.metadata.set(*key, *value));
        let mut text = "left over".to_owned();
        MeshRequest::of(&cx)?.write(&cx, outcome, &mut text);
        Some(text)
    }

    #[test]
    fn a_request_counts_when_any_key_begins_with_mesh() {
        assert_eq!(labels(&[("request_id", "1"), ("meshed.x", "1")], &outcome()), None);
        let labels = labels(&[("mesh.request_principal", "iss/sub")], &outcome()).unwrap();
        assert_eq!(
            labels,
            "source_workload=\"unknown\",source_namespace=\"unknown\",source_principal=\"unknown\",\
             source_app=\"unknown\",source_service=\"unknown\",destination_workload=\"orders\",\
             destination_namespace=\"unknown\",destination_principal=\"unknown\",destination_app=\"orders\",\
             destination_service=\"orders\",request_protocol=\"http\",response_code=\"200\",response_flags=\"-\",\
             connection_security_policy=\"none\""
        );
    }

    #[test]
    fn labels_come_from_metadata_and_fall_back_to_the_workload() {
        let labels = labels(
            &[
                ("mesh.source.workload", "web"),
                ("mesh.source.principal", "spiffe://td/ns/a/sa/\"web\""),
                ("mesh.source.app", "shop"),
                ("mesh.destination.namespace", "b"),
                ("mesh.request_protocol", "grpc"),
                ("mesh.connection_security_policy", "mutual_tls"),
            ],
            &outcome(),
        );
        let labels = labels.unwrap();
        for part in [
            "source_principal=\"spiffe://td/ns/a/sa/\\\"web\\\"\"",
            "source_app=\"shop\",source_service=\"web\"",
            "destination_namespace=\"b\"",
            "request_protocol=\"grpc\"",
            "connection_security_policy=\"mutual_tls\"",
        ] {
            assert!(labels.contains(part), "{part} in {labels}");
        }
    }

    #[test]
    fn flags_tell_who_ended_it() {
        let flags = |metadata: &[(&'static str, &str)], outcome: Outcome| {
            let labels = labels(metadata, &outcome).unwrap();
            let start = labels.find("response_flags=\"").unwrap() + 16;
            labels[start..].split('"').next().unwrap().to_owned()
        };
        let refused = Outcome { error_class: Some(ErrorClass::ConnectionRefused), ..outcome() };
        let cut = Outcome { body_error_class: Some(ErrorClass::ConnectionReset), ..outcome() };
        let left = Outcome { client_disconnected: true, ..refused.clone() };
        let any: &[_] = &[("mesh.direction", "inbound")];
        assert_eq!(flags(any, refused), "UF");
        assert_eq!(flags(any, cut), "UF");
        assert_eq!(flags(any, left.clone()), "DC");
        assert_eq!(flags(&[("mesh.response_flags", "RBAC")], left), "RBAC");
    }

    #[test]
    fn what_the_operator_hides_is_no_label() {
        let mut cx = request("GET /", &[]);
        cx.facts = facts(&["principal"]);
        cx.metadata.set("mesh.source.principal", "spiffe://td/hidden");
        cx.metadata.set("mesh.source.app", "shop");
        let mut text = String::new();
        MeshRequest::of(&cx).unwrap().write(&cx, &outcome(), &mut text);
        assert!(text.contains("source_principal=\"[REDACTED]\"") && text.contains("source_app=\"shop\""), "{text}");
    }
}
