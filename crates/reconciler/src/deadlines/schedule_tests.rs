//! The schedule against a model that remembers every row.

use outbox::{CreatedRange, WriteBackSummary};
use proptest::prelude::*;

use crate::deadlines::schedule::{BucketNumber, DeadlineKind, DeadlineSchedule, Overdue};

const INIT_AFTER: u64 = 800;
const PUBLISH_AFTER: u64 = 1600;
// The width of a bucket plus one step of the model's clock.
const LATE: u64 = PUBLISH_AFTER / 8 + STEP;
const STEP: u64 = 60;
const EPOCH: i64 = 1_000_000;

#[derive(Clone, Debug)]
struct Row {
    created: Option<i64>,
    state: State,
    /// When it entered its state; `u64::MAX` if another process counted it.
    since: u64,
    checked_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Seen(BucketNumber),
    Published {
        attempted: i64,
    },
    /// Inserted as PUBLISH, without a `last_attempt_at`.
    Uncounted,
}

#[derive(Clone, Debug)]
enum Act {
    Insert {
        created: Option<i64>,
        count: usize,
    },
    /// Writes back the oldest INIT rows.
    WriteBack(usize),
    /// Receipts of some rows, beginning at `from` 256ths of all.
    Complete {
        from: u8,
        count: usize,
    },
    InsertPublished,
    /// The database's clock jumps against the relay's.
    ClockJumps(i64),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let created = proptest::option::weighted(0.95, 0..10_000_i64);
    prop_oneof![
        4 => (created, 1..4_usize).prop_map(|(created, count)| Act::Insert { created, count }),
        4 => (1..6_usize).prop_map(Act::WriteBack),
        4 => (any::<u8>(), 1..6_usize).prop_map(|(from, count)| Act::Complete { from, count }),
        1 => Just(Act::InsertPublished),
        1 => (-3000..3000_i64).prop_map(Act::ClockJumps),
        6 => (1..15_u64).prop_map(Act::Wait),
    ]
}

struct Model {
    deadlines: DeadlineSchedule,
    rows: Vec<Row>,
    now: u64,
    /// How far the database's clock is ahead of the relay's.
    ahead: i64,
    check_count: usize,
}

impl Model {
    /// With `uncounted` PUBLISH rows of another process, whose receipts come too.
    fn new(uncounted: usize) -> Self {
        let mut model = Model {
            deadlines: DeadlineSchedule::new(INIT_AFTER, Some(PUBLISH_AFTER)),
            rows: Vec::new(),
            now: 1000,
            ahead: EPOCH,
            check_count: 0,
        };
        for n in 0..uncounted {
            let attempted = model.database_now() - n as i64 * 40;
            let since = u64::MAX;
            model.rows.push(Row {
                created: Some(5),
                state: State::Published { attempted },
                since,
                checked_at: None,
            });
        }
        model
    }

    fn database_now(&self) -> i64 {
        self.now as i64 + self.ahead
    }

    fn summary(&self, at_us: i64, published: &[Row], completed: &[i64]) -> WriteBackSummary {
        let width = self.deadlines.publish_width_us() as i64;
        let created = published.iter().map(|row| CreatedRange::of(row.created)).reduce(CreatedRange::and);
        let completed = completed.iter().map(|at| (at.div_euclid(width), 1)).collect();
        WriteBackSummary { at_us, published: published.len() as u64, created, completed }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Insert { created, count } => {
                for n in 0..*count {
                    let created = created.map(|created| created + n as i64);
                    let (bucket, _) = self.deadlines.seen(self.now, CreatedRange::of(created));
                    let state = State::Seen(bucket);
                    self.rows.push(Row { created, state, since: self.now, checked_at: None });
                }
            }
            Act::WriteBack(count) => {
                let at = self.database_now();
                let mut published = Vec::new();
                for row in &mut self.rows {
                    let State::Seen(bucket) = row.state else { continue };
                    if published.len() == *count {
                        break;
                    }
                    self.deadlines.settled(bucket);
                    row.since = self.now;
                    row.checked_at = None;
                    row.state = State::Published { attempted: at };
                    published.push(row.clone());
                }
                let summary = self.summary(at, &published, &[]);
                self.deadlines.written(self.now, &summary);
            }
            Act::Complete { from, count } => {
                let from = self.rows.len() * usize::from(*from) / 256;
                let mut completed = Vec::new();
                let mut index = from;
                while index < self.rows.len() && completed.len() < *count {
                    match self.rows[index].state {
                        State::Published { attempted } => {
                            completed.push(attempted);
                            self.rows.remove(index);
                        }
                        _ => index += 1,
                    }
                }
                let summary = self.summary(self.database_now(), &[], &completed);
                self.deadlines.written(self.now, &summary);
            }
            Act::InsertPublished => {
                let (created, state) = (Some(self.now as i64), State::Uncounted);
                self.deadlines.inserted_published(self.now, CreatedRange::of(created));
                self.rows.push(Row { created, state, since: self.now, checked_at: None });
            }
            Act::ClockJumps(by) => self.ahead += by,
            Act::Wait(steps) => {
                for _ in 0..*steps {
                    self.now += STEP;
                    self.check();
                }
            }
        }
    }

    /// Checks as the reconciler does: half of the rows still wait, the other half is settled.
    fn check(&mut self) {
        let mut turns = 0;
        assert!(self.deadlines.next_due().is_none_or(|due| due > self.now) || self.deadlines_is_due());
        while let Some(overdue) = self.deadlines.due(self.now) {
            turns += 1;
            assert!(turns < 1000, "it has an end");
            self.check_count += 1;
            let now = self.now;
            let mut remaining = 0;
            let mut number = 0;
            self.rows.retain_mut(|row| {
                if !is_in(row, &overdue) {
                    return true;
                }
                row.checked_at = Some(now);
                number += 1;
                // INIT rows are settled before they are checked.
                let stays = overdue.kind == DeadlineKind::Publish && number % 2 == 0;
                remaining += u64::from(stays);
                stays
            });
            self.deadlines.checked(now, overdue, remaining, None);
        }
        for row in self.rows.iter().filter(|row| row.since != u64::MAX) {
            let (deadline, from) = match (&row.state, row.checked_at) {
                (State::Seen(_), _) => (INIT_AFTER, row.since),
                (_, None) => (PUBLISH_AFTER, row.since),
                (_, Some(checked_at)) => (PUBLISH_AFTER * 12 * 5 / 4, checked_at),
            };
            assert!(self.now <= from + deadline + LATE, "{row:?} was forgotten at {}", self.now);
        }
    }

    fn deadlines_is_due(&self) -> bool {
        self.deadlines.next_due().is_some_and(|due| due <= self.now)
    }
}

fn is_in(row: &Row, overdue: &Overdue) -> bool {
    let CreatedRange { from_us, to_us } = overdue.created;
    let created = match row.created {
        Some(us) => (from_us..=to_us).contains(&us),
        None => overdue.created == CreatedRange::of(None),
    };
    let matches = match (&row.state, overdue.kind) {
        (State::Seen(_), DeadlineKind::Init) => true,
        (State::Published { attempted }, DeadlineKind::Publish) => {
            overdue.attempted.is_none_or(|(from, to)| (from..=to).contains(attempted))
        }
        (State::Uncounted, DeadlineKind::Publish) => overdue.attempted.is_none(),
        _ => false,
    };
    created && matches
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    // Includes PUBLISH rows of other processes, whose receipts come to this one, and clocks that jump.
    #[test]
    fn schedule_returns_every_waiting_row_in_time(
        uncounted in 0..6_usize,
        acts in proptest::collection::vec(act(), 1..150),
    ) {
        let mut model = Model::new(uncounted);
        for act in &acts {
            model.act(act);
        }
        // All that is left is checked in the end.
        model.act(&Act::Wait(40));
    }

    #[test]
    fn schedule_memory_grows_with_buckets_only(
        rate in 1..2000_u64,
        days in 1..20_u64,
        lagging in any::<bool>(),
    ) {
        let mut deadlines = DeadlineSchedule::new(INIT_AFTER, Some(PUBLISH_AFTER));
        let mut queries = 0;
        for now in (0..days * 40_000).step_by(100) {
            deadlines.seen(now, CreatedRange::of(Some(now as i64)));
            let summary = WriteBackSummary {
                at_us: EPOCH + now as i64,
                published: rate,
                created: Some(CreatedRange::of(Some(now as i64))),
                completed: Vec::new(),
            };
            deadlines.written(now, &summary);
            while let Some(overdue) = deadlines.due(now) {
                queries += u64::from(overdue.kind == DeadlineKind::Publish);
                let remaining = if lagging && overdue.kind == DeadlineKind::Publish { overdue.rows } else { 0 };
                deadlines.checked(now, overdue, remaining, None);
            }
            let (init, publish, again) = deadlines.sizes();
            prop_assert!(init <= 10 && publish <= 10, "{} {}", init, publish);
            prop_assert!(again <= 30, "{}", again);
        }
        // One per overdue bucket, and the rechecks.
        let buckets = days * 40_000 / (PUBLISH_AFTER / 8);
        prop_assert!(queries <= buckets * 3, "{} for {} buckets", queries, buckets);
    }

    #[test]
    fn rows_that_settle_in_time_cost_no_query(
        rows in proptest::collection::vec((1..20_u64, 0..INIT_AFTER - STEP, 0..PUBLISH_AFTER - STEP), 1..200),
    ) {
        let mut deadlines = DeadlineSchedule::new(INIT_AFTER, Some(PUBLISH_AFTER));
        let width = deadlines.publish_width_us() as i64;
        // The first buckets may contain rows of other processes and are checked once.
        deadlines.written(0, &WriteBackSummary { at_us: EPOCH, published: 0, created: None, completed: Vec::new() });
        enum Event { Seen, Settled(usize), Completed(usize) }
        let mut events = Vec::new();
        let mut now = 3 * PUBLISH_AFTER;
        for (index, (pause, init, publish)) in rows.iter().enumerate() {
            now += pause;
            events.push((now, Event::Seen));
            events.push((now + init, Event::Settled(index)));
            events.push((now + init + publish, Event::Completed(index)));
        }
        events.sort_by_key(|(at, _)| *at);
        let (mut buckets, mut attempted) = (Vec::new(), vec![0; rows.len()]);
        for (now, event) in events {
            prop_assert_eq!(deadlines.due(now), None);
            let at_us = EPOCH + now as i64;
            let mut summary = WriteBackSummary { at_us, published: 0, created: None, completed: Vec::new() };
            match event {
                Event::Seen => buckets.push(deadlines.seen(now, CreatedRange::of(Some(1))).0),
                Event::Settled(index) => {
                    deadlines.settled(buckets[index]);
                    attempted[index] = at_us;
                    summary.published = 1;
                    summary.created = Some(CreatedRange::of(Some(1)));
                    deadlines.written(now, &summary);
                }
                Event::Completed(index) => {
                    summary.completed = vec![(attempted[index].div_euclid(width), 1)];
                    deadlines.written(now, &summary);
                }
            }
        }
        prop_assert_eq!(deadlines.next_due(), None);
        prop_assert_eq!(deadlines.sizes(), (0, 0, 0));
    }
}

#[test]
fn checked_rows_that_wait_are_rechecked_after_growing_pauses() {
    let mut deadlines = DeadlineSchedule::new(INIT_AFTER, Some(PUBLISH_AFTER));
    let created = CreatedRange::of(Some(7));
    deadlines.written(
        0,
        &WriteBackSummary { at_us: EPOCH, published: 3, created: Some(created), completed: Vec::new() },
    );
    let mut checks = Vec::new();
    while checks.len() < 8 {
        let now = deadlines.next_due().expect("it waits");
        assert_eq!(deadlines.due(now - 1), None);
        let overdue = deadlines.due(now).expect("it is due");
        assert_eq!((overdue.kind, overdue.created, overdue.rows), (DeadlineKind::Publish, created, 3));
        assert!(overdue.attempted.is_some_and(|(from, to)| (from..=to).contains(&EPOCH)));
        checks.push(now);
        deadlines.checked(now, overdue, 3, None);
    }
    assert_eq!(checks[0], PUBLISH_AFTER);
    for (pair, deadlines) in checks.windows(2).zip([1, 2, 4, 8, 12, 12, 12]) {
        let (pause, longest) = (pair[1] - pair[0], PUBLISH_AFTER * deadlines);
        assert!(pause >= longest * 7 / 8 && pause <= longest * 5 / 4, "{pause} of {longest}");
    }
}

#[test]
fn checked_schedules_the_recheck_for_the_end_of_a_backoff() {
    let mut deadlines = DeadlineSchedule::new(INIT_AFTER, Some(PUBLISH_AFTER));
    deadlines.inserted_published(0, CreatedRange::of(Some(1)));
    let now = deadlines.next_due().expect("it waits");
    let overdue = deadlines.due(now).expect("it is due");
    deadlines.checked(now, Overdue { checks: 4, ..overdue }, 1, Some(500));
    let due = deadlines.next_due().expect("it still waits");
    assert!((now + 500..now + 500 + PUBLISH_AFTER / 8).contains(&due), "{due}");
}

#[test]
fn schedule_without_receipts_ignores_publish_rows() {
    let mut deadlines = DeadlineSchedule::new(INIT_AFTER, None);
    let created = CreatedRange::of(Some(7));
    deadlines.written(
        0,
        &WriteBackSummary { at_us: EPOCH, published: 3, created: Some(created), completed: Vec::new() },
    );
    deadlines.inserted_published(0, created);
    assert_eq!(deadlines.next_due(), None);
}

// A completion in a bucket that was checked may have been counted by the check. It must not be subtracted for a row
// that entered the bucket later because the database's clock went back.
#[test]
fn written_ignores_completions_in_a_bucket_that_was_checked() {
    let mut deadlines = DeadlineSchedule::new(INIT_AFTER, Some(PUBLISH_AFTER));
    let written = |published: u64, completed: Vec<(i64, u64)>| WriteBackSummary {
        at_us: EPOCH + 10 * PUBLISH_AFTER as i64,
        published,
        created: (published > 0).then_some(CreatedRange::of(Some(7))),
        completed,
    };
    deadlines.written(0, &WriteBackSummary { at_us: EPOCH, ..written(0, Vec::new()) });
    deadlines.written(0, &written(1, Vec::new()));
    let overdue = deadlines.due(PUBLISH_AFTER).expect("it is due");
    deadlines.checked(PUBLISH_AFTER, overdue, 1, None);
    deadlines.written(PUBLISH_AFTER, &written(1, Vec::new()));
    let number = (EPOCH + 10 * PUBLISH_AFTER as i64).div_euclid(deadlines.publish_width_us() as i64);
    deadlines.written(PUBLISH_AFTER, &written(0, vec![(number, 1)]));
    let mut due = std::iter::from_fn(|| deadlines.due(2 * PUBLISH_AFTER));
    assert!(due.any(|overdue| overdue.checks == 0), "the later row is due too");
}
