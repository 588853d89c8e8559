//! SIGTERM and SIGINT.

use std::future::Future;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// 128 + SIGINT, as shells report it.
const EXIT_ABORTED: i32 = 130;

/// A signal so soon after the first one is the same request: init systems signal a process and its group.
const REPEATED_WITHIN: Duration = Duration::from_secs(1);

/// The first signal requests a drain; another one, a second later or more, ends the process at once.
#[derive(Clone)]
pub(super) struct Shutdown {
    requested: watch::Receiver<bool>,
}

impl Shutdown {
    pub(super) fn listen() -> Result<Self> {
        let mut terminate =
            signal(SignalKind::terminate()).context("could not install the SIGTERM handler")?;
        let mut interrupt =
            signal(SignalKind::interrupt()).context("could not install the SIGINT handler")?;
        let (request, requested) = watch::channel(false);
        tokio::spawn(async move {
            let mut requested_at: Option<Instant> = None;
            loop {
                let signal = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                match requested_at {
                    None => {
                        info!(signal, "stop requested");
                        requested_at = Some(Instant::now());
                        let _ = request.send(true);
                    }
                    Some(at) if at.elapsed() < REPEATED_WITHIN => {}
                    Some(_) => {
                        warn!(
                            signal,
                            "aborted without draining; unfinished events are sent again at the next start"
                        );
                        process::exit(EXIT_ABORTED);
                    }
                }
            }
        });
        Ok(Shutdown { requested })
    }

    /// Waits until a stop is requested; returns at once if it has been. Cancel-safe.
    pub(super) async fn requested(&mut self) {
        if self.requested.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// A shutdown that is also requested when `end` completes.
    pub(super) fn or_when(&self, end: impl Future<Output = ()> + Send + 'static) -> Shutdown {
        let (request, requested) = watch::channel(false);
        let mut signals = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = signals.requested() => {}
                () = end => {}
            }
            let _ = request.send(true);
        });
        Shutdown { requested }
    }

    /// Runs `work` unless a stop is requested first.
    pub(super) async fn unless_requested<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.requested() => None,
            done = work => Some(done),
        }
    }
}
