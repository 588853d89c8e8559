//! Names in replication commands.

/// `"name"`, an identifier whatever it holds.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'"first","second"'`: identifiers in a list in a literal, as pgoutput's `publication_names` is.
pub(crate) fn identifiers_in_a_literal(names: &[String]) -> String {
    let list: Vec<String> = names.iter().map(|name| identifier(name)).collect();
    format!("'{}'", list.join(",").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_inside_a_name_are_doubled_for_each_layer() {
        assert_eq!(identifier(r#"a"b"#), r#""a""b""#);
        let names = ["plain".to_owned(), r#"o'ne "two", three"#.to_owned()];
        assert_eq!(identifiers_in_a_literal(&names), r#"'"plain","o''ne ""two"", three"'"#);
    }
}
