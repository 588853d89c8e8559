//! Months, and the partitions that hold them.

use std::fmt;

use outbox::TableName;

use crate::connection::quote;

/// A month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

// A longer name would be cut by the server, and the months would no longer differ.
const IDENTIFIER_BYTES_MAX: usize = 63;

impl Month {
    /// The month of this number, counted from the January of year 0.
    pub const fn from_number(number: i32) -> Month {
        Month(number)
    }

    /// The month of a year; January is 1.
    pub const fn new(year: i32, month: i32) -> Month {
        Month(year * 12 + month - 1)
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Month {
        Month(self.0 + 1)
    }

    /// Its first moment, as PostgreSQL reads it under any setting.
    pub(crate) fn start(self) -> String {
        format!("{:04}-{:02}-01 00:00:00+00", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }

    /// Its first moment in UTC, as the catalog is asked to tell it.
    pub(crate) fn timestamp(self) -> String {
        format!("{:04}-{:02}-01 00:00:00.000000", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }

    /// The name of its partition: of a long table's name as much as there is room for.
    pub fn partition(self, table: &TableName) -> TableName {
        named(table, &format!("_{self}"))
    }

    /// The month whose partition would bear this name.
    pub(crate) fn of_partition(table: &TableName, name: &str) -> Option<Month> {
        let digits = name.get(name.len().checked_sub("2026_11".len())?..)?;
        let (year, month) = digits.split_once('_')?;
        let month =
            Month::new(year.parse().ok()?, month.parse().ok().filter(|month| (1..=12).contains(month))?);
        (month.partition(table).name == name).then_some(month)
    }

    /// What makes its partition.
    pub(crate) fn create_sql(self, table: &TableName) -> String {
        format!(
            "create table {} partition of {} {} with (fillfactor = 50);\n",
            quote::table(&self.partition(table)),
            quote::table(table),
            self.bound()
        )
    }

    /// The partition's bound.
    pub(crate) fn bound(self) -> String {
        format!("for values from ('{}') to ('{}')", self.start(), self.next().start())
    }
}

/// As it ends a partition's name: `2026_11`.
impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}_{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

/// The name of the partition for what no month has room for.
pub(crate) fn default_partition(table: &TableName) -> TableName {
    named(table, "_default")
}

/// The name of the index on when rows were created.
pub(crate) fn created_at_index(table: &TableName) -> TableName {
    named(table, "_created_at")
}

fn named(table: &TableName, suffix: &str) -> TableName {
    let room = IDENTIFIER_BYTES_MAX - suffix.len();
    let end =
        (0..=room.min(table.name.len())).rev().find(|&end| table.name.is_char_boundary(end)).unwrap_or(0);
    TableName { schema: table.schema.clone(), name: format!("{}{suffix}", &table.name[..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(name: &str) -> TableName {
        TableName { schema: "public".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_year_ends_in_december() {
        let december = Month::new(2026, 12);
        assert_eq!(
            december.bound(),
            "for values from ('2026-12-01 00:00:00+00') to ('2027-01-01 00:00:00+00')"
        );
        assert_eq!(december.next(), Month::new(2027, 1));
        assert_eq!(december.partition(&table("outbox")).name, "outbox_2026_12");
        assert!(december < december.next());
    }

    #[test]
    fn other_names_are_of_no_month() {
        for name in
            ["outbox_2026_13", "outbox_2026_00", "outbox_26_11", "outbox2026_11", "outbox_+026_11", "é", ""]
        {
            assert_eq!(Month::of_partition(&table("outbox"), name), None, "{name}");
        }
        assert_eq!(Month::of_partition(&table("other"), "outbox_2026_11"), None);
    }

    proptest! {
        #[test]
        fn a_partitions_name_fits_and_tells_its_month(name in "[a-zé\" ]{1,63}", year in 1970..9999, month in 1..=12) {
            let (table, month) = (table(&name), Month::new(year, month));
            let partition = month.partition(&table);
            prop_assert!(partition.name.len() <= IDENTIFIER_BYTES_MAX);
            prop_assert_eq!(Month::of_partition(&table, &partition.name), Some(month));
            prop_assert_ne!(partition, default_partition(&table));
        }
    }
}
