//! The servers that tests share; their guardians end them with the test process.

use std::sync::OnceLock;

use testbed::{Kafka, Postgres};

/// The PostgreSQL for tests that do not break it.
pub fn shared_postgres() -> &'static Postgres {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    POSTGRES.get_or_init(|| Postgres::start().expect("PostgreSQL starts"))
}

/// The Kafka for tests that do not break it.
pub fn shared_kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| Kafka::start().expect("Kafka starts"))
}
