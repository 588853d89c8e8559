//! An outbox whose rows and records a test makes up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;
use testbed::Kafka;

use crate::postrider::{Place, Run, postgres};

const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start().unwrap())
}

/// A database that `init` has set up, and the relay's place.
pub(crate) struct Outbox {
    pub(crate) place: Place,
    pub(crate) database: String,
}

impl Outbox {
    pub(crate) fn new(kafka: &Kafka) -> Outbox {
        let outbox = Outbox::without_init(kafka);
        let init = outbox.place.run(&["init"]);
        assert_eq!(init.code, Some(0), "{}", init.err);
        outbox
    }

    pub(crate) fn without_init(kafka: &Kafka) -> Outbox {
        let database = postgres().create_database("outbox").unwrap();
        let place = Place::for_url(&postgres().url(&database))
            .variable("POSTRIDER_POSTGRES_SLOT", &database)
            .variable("POSTRIDER_KAFKA_BROKERS", kafka.brokers());
        Outbox { place, database }
    }

    pub(crate) fn sql(&self, sql: &str) {
        postgres().execute(&self.database, sql).unwrap();
    }

    /// A PUBLISH row of this number with its record at this position.
    pub(crate) fn published(&self, number: usize, topic: &str, offset: usize, payload: Option<&str>) {
        let payload = payload.map_or("null".to_owned(), |payload| format!("'{payload}'"));
        self.sql(&format!(
            "insert into outbox (id, aggregate_type, aggregate_id, event_type, payload, status, published_at,
                                 kafka_topic, kafka_partition, kafka_offset)
             values ('{}', 'order', 'k', 'placed', {payload}, 'PUBLISH', now(), '{topic}', 0, {offset})",
            id(number)
        ));
    }

    /// Runs the command and reads its standard output as one JSON object.
    pub(crate) fn json(&self, arguments: &[&str]) -> (Run, Value) {
        let run = self.place.run(arguments);
        let json = serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        (run, json)
    }
}

/// The id of the row of this number.
pub(crate) fn id(number: usize) -> String {
    format!("00000000-0000-7000-8000-{number:012x}")
}

/// A topic of the test's own with one partition, and in it a record for each payload, of the row of its number.
pub(crate) fn topic_of_rows(kafka: &Kafka, payloads: &[Option<&str>]) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("program-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    kafka.create_topic(&name, 1, &[]).unwrap();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap();
    for (number, payload) in payloads.iter().enumerate() {
        let id = id(number);
        let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&id) });
        let mut record = BaseRecord::<str, str>::to(&name).key("k").partition(0).headers(headers);
        if let Some(payload) = payload {
            record = record.payload(payload);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
    name
}
