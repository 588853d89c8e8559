//! Assertions that compare rows with records.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{Record, Row, Stage};

/// Asserts that every committed row has exactly one record with its bytes, and that the row holds the record's
/// position; returns the records.
pub fn assert_delivered(stage: &Stage<'_>) -> Vec<Record> {
    let rows = stage.rows();
    let records = stage.records();
    let found = delivered_once(&rows, &records);
    for row in &rows {
        let record = found[&row.id];
        let place = (record.topic.clone(), record.partition, record.offset);
        assert_eq!(row.status, "PUBLISH", "row {}", row.id);
        assert_eq!(row.place, Some(place), "row {} holds the position of its record", row.id);
        assert_eq!(row.attempts, 1, "row {} was sent once", row.id);
    }
    records
}

/// Asserts that every committed row holds the position of a record of its own. Further records are allowed.
pub fn assert_placed(stage: &Stage<'_>) {
    let records = stage.records();
    let ids: HashMap<_, _> = records
        .iter()
        .map(|record| ((record.topic.clone(), record.partition, record.offset), record.id()))
        .collect();
    for row in stage.rows() {
        assert_eq!(row.status, "PUBLISH", "row {}", row.id);
        let place = row.place.expect("a published row has a position");
        assert_eq!(ids.get(&place), Some(&row.id), "the record at {place:?}");
    }
}

/// Asserts that the records are those of the rows, each once, byte for byte.
pub fn delivered_once<'a>(rows: &[Row], records: &'a [Record]) -> HashMap<Uuid, &'a Record> {
    let mut found = HashMap::new();
    for record in records {
        let twice = found.insert(record.id(), record);
        assert!(twice.is_none(), "row {} is on the broker twice: {twice:?} and {record:?}", record.id());
    }
    for row in rows {
        let record = found.get(&row.id).unwrap_or_else(|| panic!("row {} is not on the broker", row.id));
        assert_eq!(record.value.as_deref(), row.payload.as_ref().map(String::as_bytes), "row {}", row.id);
        assert_eq!(record.key.as_deref(), Some(row.aggregate_id.as_bytes()), "row {}", row.id);
    }
    assert_eq!(found.len(), rows.len(), "every record belongs to a committed row");
    found
}

/// Asserts that the numbers in the values of each key increase.
pub fn assert_keys_in_order(records: &[Record]) {
    let mut last: HashMap<(&str, &[u8]), i64> = HashMap::new();
    for record in records {
        let number: i64 = record.text().parse().expect("the value is a number");
        let key = (record.topic.as_str(), record.key.as_deref().unwrap_or_default());
        let before = last.insert(key, number);
        assert!(
            before.is_none_or(|before| before < number),
            "key {:?}: {number} came after {before:?}",
            String::from_utf8_lossy(key.1)
        );
    }
}
