//! The servers of one run.

use std::thread;

use anyhow::{Result, anyhow};
use shop::TOPICS;
use testbed::{Kafka, POSTGRES_DEFAULT, Postgres, fetch_kafka, fetch_postgres};

use crate::steps::Step;

/// More than one, so that the order of a key depends on its partition.
const PARTITIONS: i32 = 6;

/// A PostgreSQL with a database for the shop and a Kafka with the shop's topics; both end when dropped.
pub(crate) struct Servers {
    postgres: Postgres,
    kafka: Kafka,
    database: String,
}

impl Servers {
    /// Fetches what is not cached and starts both. Blocks.
    pub(crate) fn start() -> Result<Servers> {
        let step = Step::begin("Looking for the programs of PostgreSQL and Kafka");
        let version = std::env::var("POSTRIDER_TEST_PG").ok().and_then(|version| version.parse().ok());
        fetch_postgres(version.unwrap_or(POSTGRES_DEFAULT), &|line| step.print(line))?;
        fetch_kafka(&|line| step.print(line))?;
        step.done("The programs of PostgreSQL and Kafka are in the cache");

        let step = Step::begin("Starting PostgreSQL and Kafka");
        let (postgres, kafka) = thread::scope(|scope| {
            let kafka = scope.spawn(Kafka::start);
            (Postgres::start(), kafka.join())
        });
        let postgres = postgres?;
        let kafka = kafka.map_err(|_| anyhow!("starting Kafka panicked"))??;
        let database = postgres.create_database("shop")?;
        for topic in TOPICS {
            kafka.create_topic(topic, PARTITIONS, &[])?;
        }
        step.done(format!(
            "PostgreSQL {} on port {}, Kafka on {}",
            postgres.version(),
            postgres.port(),
            kafka.brokers()
        ));
        Ok(Servers { postgres, kafka, database })
    }

    /// The shop's database, password included.
    pub(crate) fn postgres_url(&self) -> String {
        self.postgres.url(&self.database)
    }

    pub(crate) fn kafka_brokers(&self) -> &str {
        self.kafka.brokers()
    }

    /// Stops both and removes their data.
    pub(crate) fn end(self) {
        let step = Step::begin("Ending the servers and removing their data");
        drop(self);
        step.done("Nothing of the run is left but the relay's log");
    }
}
