//! The batches that are being written.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use outbox_store::{BatchOutcome, StoreError};

use crate::write_back::batch::Batch;

type WriteResult = Result<BatchOutcome, StoreError>;

/// Batches sent over one connection, in order; the server answers them in the same order.
#[derive(Default)]
pub(super) struct BatchesInFlight(VecDeque<BatchInFlight>);

struct BatchInFlight {
    batch: Batch,
    write: Pin<Box<dyn Future<Output = WriteResult> + Send>>,
    result: Option<WriteResult>,
}

impl BatchesInFlight {
    pub(super) fn start(&mut self, batch: Batch, write: impl Future<Output = WriteResult> + Send + 'static) {
        self.0.push_back(BatchInFlight { batch, write: Box::pin(write), result: None });
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.0.iter().map(|in_flight| &in_flight.batch)
    }

    /// Waits for the oldest batch; forever if there is none. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The write failed or its outcome is unknown. The batch stays here with those behind it, and the connection must
    /// not be used any more.
    pub(super) async fn next_completed(&mut self) -> Result<(Batch, BatchOutcome), StoreError> {
        poll_fn(|context| {
            // All are polled, the oldest first: the first poll of a write sends it.
            for in_flight in &mut self.0 {
                if in_flight.result.is_none()
                    && let Poll::Ready(result) = in_flight.write.as_mut().poll(context)
                {
                    in_flight.result = Some(result);
                }
            }
            match self.0.front_mut().and_then(|oldest| oldest.result.take()) {
                None => Poll::Pending,
                Some(Err(error)) => Poll::Ready(Err(error)),
                Some(Ok(outcome)) => match self.0.pop_front() {
                    Some(oldest) => Poll::Ready(Ok((oldest.batch, outcome))),
                    None => Poll::Pending,
                },
            }
        })
        .await
    }

    /// The batches whose outcome is unknown, in order.
    pub(super) fn into_batches(self) -> impl DoubleEndedIterator<Item = Batch> {
        self.0.into_iter().map(|in_flight| in_flight.batch)
    }
}
