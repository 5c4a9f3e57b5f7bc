//! A text of SQL, statement by statement.
//!
//! A `;` ends a statement unless it stands in a literal, a quoted name or a comment, which are written differently by each
//! database. Bodies between `BEGIN` and `END` are not known.

use crate::store::target::DatabaseKind;

/// The statements without what surrounds them. Those that are comments only are none.
pub fn statements(text: &str, kind: DatabaseKind) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = Statement::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let token = token(rest, &current.text, kind);
        let (taken, left) = rest.split_at(token.bytes(first));
        rest = left;
        match token {
            Token::End => found.push(std::mem::take(&mut current)),
            // What follows a comment at the end of a line is on a line of its own.
            Token::LineComment(_) => {}
            Token::Comment(_) => current.text.push_str(taken),
            Token::Quoted(_) | Token::Other => {
                current.says_something |= !taken.trim().is_empty();
                current.text.push_str(taken);
            }
        }
    }
    found.push(current);
    let said = found.into_iter().filter(|statement| statement.says_something);
    said.map(|statement| statement.text.trim().to_owned()).collect()
}

#[derive(Default)]
struct Statement {
    text: String,
    says_something: bool,
}

/// What stands at the beginning of a text, with its bytes.
enum Token {
    End,
    LineComment(usize),
    Comment(usize),
    /// A literal or a name, with its quotes.
    Quoted(usize),
    /// One character.
    Other,
}

impl Token {
    fn bytes(&self, first: char) -> usize {
        match self {
            Self::End | Self::Other => first.len_utf8(),
            Self::LineComment(bytes) | Self::Comment(bytes) | Self::Quoted(bytes) => *bytes,
        }
    }
}

/// `before` is what the statement has already.
fn token(text: &str, before: &str, kind: DatabaseKind) -> Token {
    let is_mysql = kind == DatabaseKind::Mysql;
    let is_postgres = kind == DatabaseKind::Postgres;
    let second = text.chars().nth(1);
    match text.chars().next() {
        Some(';') => Token::End,
        // Elsewhere `#` is an operator. MySQL wants a space behind `--`, without which it is two signs.
        Some('#') if is_mysql => Token::LineComment(line(text)),
        Some('-') if second == Some('-') && (!is_mysql || text.chars().nth(2).is_none_or(char::is_whitespace)) => {
            Token::LineComment(line(text))
        }
        // MySQL runs what stands in `/*! */`.
        Some('/') if second == Some('*') && is_mysql && text.starts_with("/*!") => Token::Quoted(comment(text, false)),
        Some('/') if second == Some('*') => Token::Comment(comment(text, is_postgres)),
        Some('\'') => {
            let has_escapes = is_mysql || (is_postgres && is_escape_mark(before));
            Token::Quoted(quoted(text, '\'', has_escapes))
        }
        Some('"') => Token::Quoted(quoted(text, '"', is_mysql)),
        Some('`') if !is_postgres => Token::Quoted(quoted(text, '`', false)),
        Some('[') if kind == DatabaseKind::Sqlite => Token::Quoted(text.find(']').map_or(text.len(), |end| end + 1)),
        Some('$') if is_postgres && !before.ends_with(is_of_a_name) => dollar_quoted(text),
        _ => Token::Other,
    }
}

fn is_of_a_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

/// The `E` of `E'...'`, which is no end of a word.
fn is_escape_mark(before: &str) -> bool {
    before.strip_suffix(['e', 'E']).is_some_and(|rest| !rest.ends_with(is_of_a_name))
}

/// Up to the end of the line, which stays.
fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// PostgreSQL's comments may stand in one another.
fn comment(text: &str, nests: bool) -> usize {
    let (mut at, mut depth) = (2, 1);
    let after = |at: usize, mark: &str| text[at..].find(mark).map(|found| at + found + mark.len());
    while depth > 0 {
        let opened = after(at, "/*").filter(|_| nests);
        match (opened, after(at, "*/")) {
            (_, None) => return text.len(),
            (Some(opened), Some(closed)) if opened < closed => (at, depth) = (opened, depth + 1),
            (_, Some(closed)) => (at, depth) = (closed, depth - 1),
        }
    }
    at
}

/// A doubled quote is one of the text; so is one behind a backslash, where there are escapes. An open end is the text's.
fn quoted(text: &str, quote: char, has_escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if has_escapes => drop(characters.next()),
            _ if character != quote => {}
            _ if characters.peek().is_some_and(|(_, next)| *next == quote) => drop(characters.next()),
            _ => return at + quote.len_utf8(),
        }
    }
    text.len()
}

/// `$$…$$`, or `$tag$…$tag$`. `$1` is a parameter.
fn dollar_quoted(text: &str) -> Token {
    let Some(end) = text[1..].find('$').map(|end| end + 2) else { return Token::Other };
    let tag = &text[..end];
    let name = &tag[1..end - 1];
    let is_tag = !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|character| character.is_alphanumeric() || character == '_');
    if !is_tag {
        return Token::Other;
    }
    Token::Quoted(text[end..].find(tag).map_or(text.len(), |close| end + close + tag.len()))
}

#[cfg(test)]
mod tests {
    use super::DatabaseKind::{Mysql, Postgres, Sqlite};
    use super::*;

    const ALL: [DatabaseKind; 3] = [Sqlite, Postgres, Mysql];

    #[test]
    fn a_text_falls_apart_at_semicolons_outside_of_literals_and_comments() {
        let text = "-- a; b\nCREATE TABLE a (x TEXT DEFAULT ';');\n\n;INSERT INTO a VALUES ('it''s; so') -- end;\n";
        for kind in ALL {
            let found = statements(text, kind);
            assert_eq!(found, ["CREATE TABLE a (x TEXT DEFAULT ';')", "INSERT INTO a VALUES ('it''s; so')"]);
        }
    }

    #[test]
    fn what_only_comments_is_no_statement() {
        for kind in ALL {
            for text in ["", " ;; ", "-- a", "/* a; b */", "/* a */;\n-- b;\n;"] {
                assert_eq!(statements(text, kind), [""; 0], "{text}");
            }
            assert_eq!(statements("/* a; */ SELECT 1 /* b; */", kind), ["/* a; */ SELECT 1 /* b; */"]);
        }
    }

    #[test]
    fn names_in_quotes_hold_semicolons() {
        for (kind, text) in [
            (Sqlite, "SELECT [a;b], `c;d`, \"e;\"\"f\""),
            (Mysql, "SELECT `c;``d`, \"e;\\\"f\""),
            (Postgres, "SELECT \"e;\"\"f\""),
        ] {
            assert_eq!(statements(&format!("{text};SELECT 2"), kind), [text, "SELECT 2"]);
        }
    }

    #[test]
    fn a_backslash_escapes_where_the_database_says_so() {
        assert_eq!(statements(r"SELECT 'it\'s; so'; SELECT 2", Mysql), [r"SELECT 'it\'s; so'", "SELECT 2"]);
        assert_eq!(statements(r"SELECT E'it\'s; so'; SELECT 2", Postgres), [r"SELECT E'it\'s; so'", "SELECT 2"]);
        assert_eq!(statements(r"SELECT date'\'; SELECT 2", Postgres), [r"SELECT date'\'", "SELECT 2"]);
        for kind in [Sqlite, Postgres] {
            assert_eq!(statements(r"SELECT 'C:\'; SELECT 2", kind), [r"SELECT 'C:\'", "SELECT 2"]);
        }
    }

    #[test]
    fn comments_are_those_of_the_database() {
        assert_eq!(statements("SELECT 1 # a; b\n; SELECT 2", Mysql), ["SELECT 1", "SELECT 2"]);
        assert_eq!(statements("SELECT 5--3; SELECT 2", Mysql), ["SELECT 5--3", "SELECT 2"]);
        assert_eq!(statements("/*! SET a = 1 */; SELECT 2", Mysql), ["/*! SET a = 1 */", "SELECT 2"]);
        assert_eq!(statements("SELECT a #> b; SELECT 2", Postgres), ["SELECT a #> b", "SELECT 2"]);
        let nested = "SELECT 1 /* a; /* b; */ c; */";
        assert_eq!(statements(&format!("{nested}; SELECT 2"), Postgres), [nested, "SELECT 2"]);
        assert_eq!(statements("/*/ a; */ SELECT 1", Sqlite), ["/*/ a; */ SELECT 1"]);
        assert_eq!(statements("SELECT 1 /* a; /* b */; SELECT 2", Sqlite), ["SELECT 1 /* a; /* b */", "SELECT 2"]);
    }

    #[test]
    fn functions_in_dollars_stay_whole() {
        let body = "CREATE FUNCTION f() RETURNS int AS $body$ BEGIN RETURN '$$;'; END; $body$ LANGUAGE plpgsql";
        assert_eq!(statements(&format!("{body};\nSELECT 2"), Postgres), [body, "SELECT 2"]);
        assert_eq!(statements("DO $$ a; $$; SELECT 2", Postgres), ["DO $$ a; $$", "SELECT 2"]);
        assert_eq!(
            statements("SELECT $1; SELECT a$b$c; SELECT 2", Postgres),
            ["SELECT $1", "SELECT a$b$c", "SELECT 2"]
        );
    }

    #[test]
    fn what_never_ends_is_taken_to_the_end() {
        for (kind, text) in [
            (Sqlite, "SELECT 'ä; b"),
            (Sqlite, "SELECT [a; b"),
            (Postgres, "SELECT $x$ a; b"),
            (Mysql, "SELECT 'a; \\"),
            (Sqlite, "SELECT 1 /* a; b"),
        ] {
            assert_eq!(statements(text, kind), [text]);
        }
    }
}
