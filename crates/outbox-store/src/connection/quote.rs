//! Names and texts inside SQL.

use outbox::TableName;

/// An identifier, quoted: any character keeps its meaning and its case (PostgreSQL documentation,
/// "Identifiers and Key Words").
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A schema-qualified table, quoted.
pub(crate) fn table(table: &TableName) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

/// A text constant. The `E` form does not depend on `standard_conforming_strings`.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Replaces every `{name}` that `value` knows, in one pass: what a value contains is never looked at again.
pub(crate) fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        let inside = &rest[open + 1..];
        match inside.find('}').and_then(|close| Some((value(&inside[..close])?, &inside[close + 1..]))) {
            Some((value, after)) => {
                filled.push_str(&value);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = inside;
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_quotes() {
        assert_eq!(identifier("Out\"box.x"), "\"Out\"\"box.x\"");
        let name = TableName { schema: "a.b".to_owned(), name: "c\"; drop table d; --".to_owned() };
        assert_eq!(table(&name), "\"a.b\".\"c\"\"; drop table d; --\"");
    }

    #[test]
    fn a_text_cannot_end_its_quotes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_left_alone() {
        let value = |name: &str| match name {
            "id" => Some("\"{status}\"".to_owned()),
            "status" => Some("S".to_owned()),
            _ => None,
        };
        assert_eq!(fill("{id} {status} {other} {", value), "\"{status}\" S {other} {");
    }
}
