//! The name of the outbox table.

use std::fmt;
use std::str::FromStr;

/// A table's schema and name, unquoted as in the catalog. Parses from `public.outbox` or `outbox` (in `public`); a part in
/// double quotes may contain any character.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The table's name.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The text is not a table name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a table name; write it like public.outbox, with double quotes around a part that contains a dot"
)]
pub struct ParseTableNameError(String);

impl FromStr for TableName {
    type Err = ParseTableNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseTableNameError(text.to_owned());
        let (first, rest) = part(text).ok_or_else(error)?;
        match rest.strip_prefix('.') {
            None if rest.is_empty() => Ok(TableName { schema: "public".to_owned(), name: first }),
            None => Err(error()),
            Some(rest) => match part(rest) {
                Some((name, "")) => Ok(TableName { schema: first, name }),
                _ => Err(error()),
            },
        }
    }
}

/// One part of a dotted name and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(['.', '"', ' ']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String)> {
        text.parse::<TableName>().ok().map(|table| (table.schema, table.name))
    }

    #[test]
    fn a_name_has_a_schema_and_a_table() {
        let pair = |schema: &str, name: &str| Some((schema.to_owned(), name.to_owned()));
        assert_eq!(parsed("shop.outbox"), pair("shop", "outbox"));
        assert_eq!(parsed("outbox"), pair("public", "outbox"));
        assert_eq!(parsed("\"My.Schema\".\"a\"\"b\""), pair("My.Schema", "a\"b"));
    }

    #[test]
    fn table_name_rejects_malformed_text() {
        for text in ["", ".", "a.", ".b", "a.b.c", "\"a", "\"\"", "a b", "a.\"b\"c"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
