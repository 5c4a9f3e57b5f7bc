//! `docs/admin_api.md`, printed from the same table.

use std::fmt::Write;

use super::operations;

const HEAD: &str = "# Admin API reference

Printed by `ferrum-edge docs admin-api` from the table that `GET /openapi.yaml` is made of; do not edit by hand. Shapes of bodies
are in [openapi.yaml](openapi.yaml).

- Every call but the first four needs `Authorization: Bearer <token>`; `ferrum-edge admin token --role admin` makes one. Roles are
  viewer < operator < admin.
- `X-Ferrum-Namespace` says whose resources are meant; without it `ferrum`.
- An error is `{\"error\": \"<text>\"}`. Besides what the table says, a call that needs a token may answer 400, 401, 403, 404 and 413,
  and one that writes 409, 500 and 503 as well.
- An unknown path and a wrong method are both 404.

| Call | Role | What | Answers |
|---|---|---|---|
";

/// The whole page in Markdown.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    for operation in operations::all() {
        let role = operation.role.map_or("–", crate::admin::auth::Role::name);
        let query = operation.query.join("=…&");
        let query = if query.is_empty() { query } else { format!("?{query}=…") };
        let answers: Vec<String> =
            operation.answers.iter().map(|answer| format!("{} {}", answer.status, answer.description)).collect();
        let (method, path, what) = (operation.method, operation.path, operation.summary);
        let _ = writeln!(text, "| `{method} {path}{query}` | {role} | {what} | {} |", answers.join("; "));
    }
    text
}
