//! The batches that are being written.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use outbox_store::StoreError;

use super::batch::Batch;
use super::worker::Answer;

type Outcome = Result<Answer, StoreError>;

/// Batches on their way over one connection, in order: they are sent in it, and answered in it.
#[derive(Default)]
pub(super) struct Flights(VecDeque<Flight>);

struct Flight {
    batch: Batch,
    write: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    outcome: Option<Outcome>,
}

impl Flights {
    pub(super) fn start(&mut self, batch: Batch, write: impl Future<Output = Outcome> + Send + 'static) {
        self.0.push_back(Flight { batch, write: Box::pin(write), outcome: None });
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.0.iter().map(|flight| &flight.batch)
    }

    /// Waits for the first of them; for ever when there is none. Cancel-safe.
    ///
    /// # Errors
    ///
    /// It was not written, as far as is known. It stays here with those behind it, and nothing more is to be asked of
    /// this connection.
    pub(super) async fn landed(&mut self) -> Result<(Batch, Answer), StoreError> {
        poll_fn(|context| {
            // All are polled, and the first before the second: the first poll is what sends.
            for flight in &mut self.0 {
                if flight.outcome.is_none()
                    && let Poll::Ready(outcome) = flight.write.as_mut().poll(context)
                {
                    flight.outcome = Some(outcome);
                }
            }
            match self.0.front_mut().and_then(|first| first.outcome.take()) {
                None => Poll::Pending,
                Some(Err(error)) => Poll::Ready(Err(error)),
                Some(Ok(answer)) => match self.0.pop_front() {
                    Some(first) => Poll::Ready(Ok((first.batch, answer))),
                    None => Poll::Pending,
                },
            }
        })
        .await
    }

    /// What is still on its way, in order.
    pub(super) fn into_batches(self) -> impl DoubleEndedIterator<Item = Batch> {
        self.0.into_iter().map(|flight| flight.batch)
    }
}
