//! Text inside of JSON strings.

/// The text as it stands between the quotes of a JSON string.
pub fn escape_json_string(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_and_control_characters_are_escaped() {
        assert_eq!(super::escape_json_string("a\"b\\\n\u{1}ü"), "a\\\"b\\\\\\n\\u0001ü");
    }
}
