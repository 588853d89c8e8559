//! The data platform on a thread of its own, and when each record reached it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Result, anyhow};
use shop::{Arrival, DataPlatform, Subscription};
use uuid::Uuid;

/// A running data platform. Dropped, it stops.
pub(crate) struct Arrivals {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), shop::Error>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    partitions: AtomicUsize,
    first: Mutex<HashMap<Uuid, Instant>>,
}

struct Notebook(Arc<Shared>);

impl DataPlatform for Notebook {
    fn joined(&mut self, partitions: usize) {
        self.0.partitions.store(partitions, Ordering::Relaxed);
    }

    fn arrived(&mut self, record: &Arrival<'_>) {
        if let Some(id) = record.header("id").and_then(|id| id.parse().ok()) {
            lock(&self.0).entry(id).or_insert(record.at);
        }
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, HashMap<Uuid, Instant>> {
    shared.first.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arrivals {
    pub(crate) fn start(brokers: &str) -> Result<Arrivals> {
        let subscription = Subscription {
            brokers: brokers.to_owned(),
            group: "demo-data-platform".to_owned(),
            from_beginning: true,
        };
        let shared = Arc::new(Shared::default());
        let notebook = Notebook(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("data-platform".to_owned()).spawn(move || {
            let stop = Arc::clone(&notebook.0);
            let mut notebook = notebook;
            shop::consume(&subscription, &stop.stop, &mut notebook)
        })?;
        Ok(Arrivals { shared, thread: Some(thread) })
    }

    /// The partitions it reads; 0 until the group gave it some.
    pub(crate) fn partitions(&self) -> usize {
        self.shared.partitions.load(Ordering::Relaxed)
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

    /// Stops it and returns when each id arrived first.
    pub(crate) fn stop(mut self) -> HashMap<Uuid, Instant> {
        self.end();
        std::mem::take(&mut *lock(&self.shared))
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it could say now is no longer of interest.
            thread.join().ok();
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.end();
    }
}
