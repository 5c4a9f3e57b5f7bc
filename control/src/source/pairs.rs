//! Which rows two documents share.

use std::cmp::Ordering;
use std::sync::Arc;

use engine::model::Proxy;

/// What a row was in the document before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Former {
    /// The same, at that place.
    Same(u32),
    /// Another with its id, at that place.
    Other(u32),
    None,
}

/// Whether two lists have the same rows.
pub fn is_same<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// For each row of `new`, in its order, what it was in `old`. Of lists that are not ordered by id it may not find them all; what
/// it finds is so, and in the same order in both.
pub fn pairs(new: &[Arc<Proxy>], old: &[Arc<Proxy>]) -> impl Iterator<Item = Former> {
    let mut at = 0;
    new.iter().map(move |row| {
        while let Some(former) = old.get(at) {
            let place = at as u32;
            if Arc::ptr_eq(former, row) {
                at += 1;
                return Former::Same(place);
            }
            match former.id.cmp(&row.id) {
                Ordering::Less => at += 1,
                Ordering::Equal => {
                    at += 1;
                    return Former::Other(place);
                }
                Ordering::Greater => return Former::None,
            }
        }
        Former::None
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: &str) -> Arc<Proxy> {
        serde_json::from_value(json!({"id": id, "listen_path": "/", "backend_host": "h", "backend_port": 1})).unwrap()
    }

    #[test]
    fn each_row_has_its_former_one() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(row);
        let old = [a.clone(), b, d.clone()];
        let new = [a, row("b"), c, d.clone()];
        let found: Vec<Former> = pairs(&new, &old).collect();
        assert_eq!(found, [Former::Same(0), Former::Other(1), Former::None, Former::Same(2)]);
        assert_eq!(pairs(&new[3..], &old).collect::<Vec<_>>(), [Former::Same(2)]);
        assert_eq!(pairs(&new, &[]).collect::<Vec<_>>(), [Former::None; 4]);
        assert_eq!(pairs(&[], &old).count(), 0);
    }

    #[test]
    fn lists_are_the_same_when_their_rows_are() {
        let (a, b) = (row("a"), row("b"));
        let (one, two) = ([a.clone()], [a, b]);
        assert!(is_same(&one, &two[..1]) && !is_same(&one, &two));
        assert!(!is_same(&two[1..], &[row("b")]), "equal is not the same");
    }
}
