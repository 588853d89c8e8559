//! Being asked to stop.

use std::process;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// What a shell reports of a process that ended by SIGINT.
const EXIT_ABORTED: i32 = 130;

/// SIGTERM and SIGINT: the first asks to drain, the second ends the process at once.
#[derive(Clone)]
pub(super) struct Shutdown {
    asked: watch::Receiver<bool>,
}

impl Shutdown {
    pub(super) fn listen() -> Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
        let (ask, asked) = watch::channel(false);
        tokio::spawn(async move {
            for is_first in [true, false] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if is_first {
                    info!("{name} received");
                    let _ = ask.send(true);
                } else {
                    warn!("{name} received again: ended without draining; the next start sends what is left");
                    process::exit(EXIT_ABORTED);
                }
            }
        });
        Ok(Shutdown { asked })
    }

    /// Waits until it is asked for; at once if it has been. Cancel-safe.
    pub(super) async fn asked(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has been asked for.
    pub(super) fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// One that is also asked for when something else has come to its end.
    pub(super) fn or_when(&self, end: impl Future<Output = ()> + Send + 'static) -> Shutdown {
        let (ask, asked) = watch::channel(false);
        let mut first = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = first.asked() => {}
                () = end => {}
            }
            let _ = ask.send(true);
        });
        Shutdown { asked }
    }

    /// Carries something out, unless it is asked to stop first.
    pub(super) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.asked() => None,
            done = work => Some(done),
        }
    }
}
