//! API specs (control-plane sheet §5).

use engine::model::ApiSpec;
use mongodb::bson::{Document, doc};

use super::documents::{spec, stamp};
use super::{API_SPECS, MongoStore};
use crate::store::{Page, Range, SpecFilter, SpecKey, SpecSort, SpecSummary, StoreError};

impl MongoStore {
    pub(super) async fn one_spec(&self, key: SpecKey<'_>) -> Result<Option<ApiSpec>, StoreError> {
        let wanted = match key {
            SpecKey::Id(id) => doc! { "_id": id },
            SpecKey::Proxy(id) => doc! { "proxy_id": id },
        };
        let found = self.patiently(self.collection(API_SPECS).find_one(wanted)).await?;
        found.map(spec).transpose()
    }

    pub(super) async fn list_specs(
        &self,
        namespace: &str,
        filter: &SpecFilter,
        range: Range,
    ) -> Result<Page<SpecSummary>, StoreError> {
        let without_content = doc! { "spec_content": 0 };
        let page = self.some(API_SPECS, narrowed(namespace, filter), order(filter), without_content, range).await?;
        let rows = page.rows.into_iter().map(|document| spec(document).map(|spec| SpecSummary::from(&spec)));
        Ok(Page { rows: rows.collect::<Result<_, _>>()?, total: page.total })
    }
}

fn narrowed(namespace: &str, filter: &SpecFilter) -> Document {
    let mut wanted = doc! { "namespace": namespace };
    if let Some(proxy) = &filter.proxy_id {
        wanted.insert("proxy_id", proxy);
    }
    if let Some(version) = &filter.spec_version {
        wanted.insert("spec_version", doc! { "$regex": format!("^{}", literal(version)) });
    }
    if let Some(title) = &filter.title_contains {
        wanted.insert("title", doc! { "$regex": literal(title), "$options": "i" });
    }
    if let Some(since) = filter.updated_since {
        wanted.insert("updated_at", doc! { "$gte": stamp(since) });
    }
    if let Some(tag) = &filter.has_tag {
        wanted.insert("tags", tag);
    }
    wanted
}

/// A title that is missing is less than any other.
fn order(filter: &SpecFilter) -> Document {
    let direction = if filter.is_ascending { 1 } else { -1 };
    let field = match filter.sort {
        SpecSort::UpdatedAt => "updated_at",
        SpecSort::CreatedAt => "created_at",
        SpecSort::OperationCount => "operation_count",
        SpecSort::Title => "title",
    };
    doc! { field: direction, "_id": direction }
}

/// A text as a regular expression of nothing but itself.
fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_punctuation() && character != '_' {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_of_a_filter_stands_for_another() {
        assert_eq!(literal("a.b [x]* ä_"), r"a\.b \[x\]\* ä_");
    }
}
