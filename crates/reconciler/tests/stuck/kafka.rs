//! A broker that is a few numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use outbox_store::StoredPlace;
use reconciler::{Bounds, Broker, BrokerAway, RecordAt};

#[derive(Clone, Default)]
pub(crate) struct Kafka {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// By partition of topic `t`.
    pub(crate) logs: BTreeMap<i32, Log>,
    pub(crate) away: bool,
    pub(crate) asked: usize,
    pub(crate) looks: usize,
    /// What becomes of the next partition that is looked into, meanwhile.
    pub(crate) cut_when_looked_at: Option<Log>,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) start: i64,
    pub(crate) records: Vec<RecordAt>,
    pub(crate) committed: i64,
}

impl Kafka {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody has panicked")
    }

    pub(crate) fn append(&self, partition: i32, record: RecordAt) -> i64 {
        let mut state = self.state();
        let records = &mut state.logs.entry(partition).or_default().records;
        records.push(record);
        records.len() as i64 - 1
    }

    fn asked(&self) -> Result<MutexGuard<'_, State>, BrokerAway> {
        let mut state = self.state();
        state.asked += 1;
        if state.away { Err(BrokerAway("no broker answers".to_owned())) } else { Ok(state) }
    }
}

impl Broker for Kafka {
    async fn bounds(&self, topic: &str, partition: i32) -> Result<Option<Bounds>, BrokerAway> {
        let state = self.asked()?;
        let log = state.logs.get(&partition).filter(|_| topic == "t");
        Ok(log.map(|log| Bounds { start: log.start, end: log.records.len() as i64 }))
    }

    async fn committed(&self, partitions: &[(String, i32)]) -> Result<Vec<i64>, BrokerAway> {
        let state = self.asked()?;
        Ok(partitions
            .iter()
            .map(|(_, partition)| state.logs.get(partition).map_or(0, |log| log.committed))
            .collect())
    }

    async fn record_at(&self, place: &StoredPlace) -> Result<RecordAt, BrokerAway> {
        let mut state = self.asked()?;
        state.looks += 1;
        if let Some(cut) = state.cut_when_looked_at.take() {
            state.logs.insert(place.partition, cut);
        }
        let Some(log) = state.logs.get(&place.partition).filter(|log| log.start <= place.offset) else {
            return Ok(RecordAt::Absent);
        };
        Ok(log.records.get(place.offset as usize).copied().unwrap_or(RecordAt::Absent))
    }
}
