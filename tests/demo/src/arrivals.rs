//! The data platform on a thread of its own, and when each record reached it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Result, anyhow};
use shop::{ReceivedRecord, RecordHandler, Subscription};
use uuid::Uuid;

/// The data platform's consumer group.
pub(crate) const GROUP: &str = "data-platform";

/// The data platform, once it is started. Dropped, it stops.
pub(crate) struct Arrivals {
    subscription: Subscription,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), shop::Error>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    partitions: AtomicUsize,
    records: AtomicUsize,
    first: Mutex<HashMap<Uuid, Instant>>,
}

struct Notebook(Arc<Shared>);

impl RecordHandler for Notebook {
    fn assigned(&mut self, partitions: usize) {
        self.0.partitions.store(partitions, Ordering::Relaxed);
    }

    fn received(&mut self, record: &ReceivedRecord<'_>) {
        self.0.records.fetch_add(1, Ordering::Relaxed);
        if let Some(id) = record.header("id").and_then(|id| id.parse().ok()) {
            lock(&self.0).entry(id).or_insert(record.at);
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, HashMap<Uuid, Instant>> {
    shared.first.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arrivals {
    pub(crate) fn new(brokers: &str) -> Arrivals {
        let subscription =
            Subscription { brokers: brokers.to_owned(), group: GROUP.to_owned(), from_beginning: true };
        Arrivals { subscription, shared: Arc::default(), thread: None }
    }

    /// Starts consuming, where the group's committed offsets say.
    pub(crate) fn start(&mut self) -> Result<()> {
        let subscription = self.subscription.clone();
        let notebook = Notebook(Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name("data-platform".to_owned()).spawn(move || {
            let stop = Arc::clone(&notebook.0);
            let mut notebook = notebook;
            shop::consume(&subscription, &stop.stop, &mut notebook)
        })?;
        self.thread = Some(thread);
        Ok(())
    }

    /// The partitions it reads; 0 until the group gave it some.
    pub(crate) fn partitions(&self) -> usize {
        self.shared.partitions.load(Ordering::Relaxed)
    }

    /// How many records arrived, those of the same id each.
    pub(crate) fn records(&self) -> usize {
        self.shared.records.load(Ordering::Relaxed)
    }

    /// How many different ids arrived.
    pub(crate) fn count(&self) -> usize {
        lock(&self.shared).len()
    }

    /// The end of a data platform that ended by itself, as an error.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            None => Ok(()),
            Some(thread) => match thread.join() {
                Ok(Ok(())) => Err(anyhow!("the data platform ended by itself")),
                Ok(Err(error)) => Err(anyhow::Error::new(error).context("the data platform")),
                Err(_) => Err(anyhow!("the data platform panicked")),
            },
        }
    }

    /// When each id arrived first.
    pub(crate) fn first(&self) -> MutexGuard<'_, HashMap<Uuid, Instant>> {
        lock(&self.shared)
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it could say now is no longer of interest.
            thread.join().ok();
        }
    }
}
