use std::time::Duration;

use outbox::Lsn;
use tokio::time::Instant;

use crate::replay::notice::{Announced, Missed, Told};
use crate::replay::notice_queue::News;

/// Between two looks at the table, however much is announced.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Between two looks for what others cannot see yet, while nothing else is announced.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What was announced and is to be looked for in the table.
pub(super) struct Unfound {
    news: News,
    /// Of what was looked for and is to be looked for again.
    pause: Option<Duration>,
    looked: Option<Instant>,
}

impl Unfound {
    /// What was announced before, to whoever listened then.
    pub(super) fn from_before() -> Self {
        let missed = Some(Missed { lsn: Lsn::ZERO, xids: None });
        Unfound { news: News { missed, ..News::default() }, pause: None, looked: None }
    }

    pub(super) fn add(&mut self, news: News) {
        news.told.into_iter().for_each(|told| self.again(Announced::Request(told)));
        if let Some(missed) = news.missed {
            self.again(Announced::Missed(missed));
        }
    }

    /// It was not found, or not all of it, and is to be looked for again.
    pub(super) fn again(&mut self, announced: Announced) {
        self.news.add(announced);
    }

    /// When it may be looked for.
    pub(super) fn allowed(&self) -> Option<Instant> {
        self.looked.map(|looked| looked + LOOK_EVERY)
    }

    /// When it is to be looked for, even though nothing more is announced.
    pub(super) fn due(&self) -> Option<Instant> {
        let pause = self.pause.unwrap_or(LOOK_EVERY);
        self.looked.filter(|_| !self.news.is_empty()).map(|looked| looked + pause)
    }

    /// All of it, to be looked for now.
    pub(super) fn take(&mut self) -> (Vec<Told>, Option<Missed>) {
        let News { told, missed } = std::mem::take(&mut self.news);
        (told.into(), missed)
    }

    /// It was looked for.
    pub(super) fn looked(&mut self) {
        self.looked = Some(Instant::now());
        self.pause = match self.pause {
            _ if self.news.is_empty() => None,
            None => Some(LOOK_EVERY),
            Some(pause) => Some((pause * 2).min(PAUSE_MAX)),
        };
    }
}
