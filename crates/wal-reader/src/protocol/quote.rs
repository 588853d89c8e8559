//! Quotes names for replication commands.

/// `"name"`: a quoted identifier.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'"first","second"'`: a string literal with a list of identifiers, the syntax of `publication_names`.
pub(crate) fn identifier_list_literal(names: &[String]) -> String {
    let list: Vec<String> = names.iter().map(|name| identifier(name)).collect();
    format!("'{}'", list.join(",").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_in_identifiers_and_literals() {
        assert_eq!(identifier(r#"a"b"#), r#""a""b""#);
        let names = ["plain".to_owned(), r#"o'ne "two", three"#.to_owned()];
        assert_eq!(identifier_list_literal(&names), r#"'"plain","o''ne ""two"", three"'"#);
    }
}
