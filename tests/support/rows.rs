//! Rows of the outbox.

use postgres::{Error, GenericClient};
use uuid::Uuid;

/// A row as a service inserts it.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// The primary key.
    pub id: Uuid,
    /// `aggregate_type`.
    pub aggregate_type: String,
    /// `aggregate_id`, the record's key.
    pub aggregate_id: String,
    /// The payload's JSON text, `None` for NULL.
    pub payload: Option<String>,
    /// The JSON text of the headers.
    pub headers: Option<String>,
}

impl NewRow {
    /// A row of a key, with a number as payload.
    pub fn of(aggregate_type: &str, aggregate_id: impl ToString, number: impl ToString) -> Self {
        NewRow {
            id: Uuid::now_v7(),
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: aggregate_id.to_string(),
            payload: Some(number.to_string()),
            headers: None,
        }
    }

    /// Inserts it with a status and an age, like a row of an earlier publisher.
    ///
    /// # Panics
    ///
    /// If the database rejects it.
    pub fn insert_aged(&self, client: &mut impl GenericClient, status: &str, age: &str) {
        let sql = "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, created_at) \
                   values ($1, $2, $3, 'happened', $4::text::jsonb, $5, now() - $6::text::interval)";
        client
            .execute(sql, &[&self.id, &self.aggregate_type, &self.aggregate_id, &self.payload, &status, &age])
            .expect("inserted");
    }

    /// Inserts it.
    ///
    /// # Errors
    ///
    /// The error of the database.
    pub fn insert(&self, client: &mut impl GenericClient) -> Result<u64, Error> {
        client.execute(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, headers) \
             values ($1, $2, $3, 'happened', $4::text::jsonb, $5::text::jsonb)",
            &[&self.id, &self.aggregate_type, &self.aggregate_id, &self.payload, &self.headers],
        )
    }
}

/// A row as it is in the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The primary key.
    pub id: Uuid,
    /// `aggregate_id`.
    pub aggregate_id: String,
    /// `status`.
    pub status: String,
    /// Topic, partition and offset, once published.
    pub place: Option<(String, i32, i64)>,
    /// `attempts`.
    pub attempts: i32,
    /// The payload's text.
    pub payload: Option<String>,
    /// `last_error`.
    pub last_error: Option<String>,
}

/// Every row, by id.
pub fn read_rows(client: &mut impl GenericClient) -> Vec<Row> {
    let sql = "select id, aggregate_id, status, kafka_topic, kafka_partition, kafka_offset, attempts, \
               payload::text, last_error from outbox order by id";
    let rows = client.query(sql, &[]).expect("the outbox is read");
    let row = |row: postgres::Row| Row {
        id: row.get(0),
        aggregate_id: row.get(1),
        status: row.get(2),
        place: row.get::<_, Option<String>>(3).map(|topic| (topic, row.get(4), row.get(5))),
        attempts: row.get(6),
        payload: row.get(7),
        last_error: row.get(8),
    };
    rows.into_iter().map(row).collect()
}

/// Text that does not compress.
pub fn incompressible(length: usize) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0))
    };
    (0..length).map(|_| next()).collect()
}
