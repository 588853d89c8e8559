//! The account against a model that remembers every row.

use outbox::{CreatedRange, WriteBackSummary};
use proptest::prelude::*;

use crate::deadlines::schedule::{BucketNumber, Deadlines, Kind, Overdue};

const INIT_AFTER: u64 = 800;
const PUBLISH_AFTER: u64 = 1600;
// A bucket's width, and the step of the model's clock.
const LATE: u64 = PUBLISH_AFTER / 8 + STEP;
const STEP: u64 = 60;
const EPOCH: i64 = 1_000_000;

#[derive(Clone, Debug)]
struct Row {
    created: Option<i64>,
    state: State,
    /// When it began to wait.
    since: u64,
    looked: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Seen(BucketNumber),
    Published {
        attempted: i64,
    },
    /// Inserted as PUBLISH, without saying when it was sent.
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
    /// Receipts of some rows, of those beginning at a fraction of all.
    Complete {
        from: u8,
        count: usize,
    },
    InsertPublished,
    /// The database's clock moves by something else than the relay's.
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
    deadlines: Deadlines,
    rows: Vec<Row>,
    now: u64,
    /// The database's clock is the relay's and this.
    ahead: i64,
    /// Rows of an earlier life, which nobody has counted; their receipts come too.
    looks: usize,
}

impl Model {
    fn new(strangers: usize) -> Self {
        let mut model = Model {
            deadlines: Deadlines::new(INIT_AFTER, Some(PUBLISH_AFTER)),
            rows: Vec::new(),
            now: 1000,
            ahead: EPOCH,
            looks: 0,
        };
        for n in 0..strangers {
            let attempted = model.database_now() - n as i64 * 40;
            let since = u64::MAX;
            model.rows.push(Row {
                created: Some(5),
                state: State::Published { attempted },
                since,
                looked: None,
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
                    self.rows.push(Row { created, state, since: self.now, looked: None });
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
                    row.looked = None;
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
                self.rows.push(Row { created, state, since: self.now, looked: None });
            }
            Act::ClockJumps(by) => self.ahead += by,
            Act::Wait(steps) => {
                for _ in 0..*steps {
                    self.now += STEP;
                    self.look();
                }
            }
        }
    }

    /// What the reconciler does: half of what it finds waits on, the other half is dealt with.
    fn look(&mut self) {
        let mut turns = 0;
        assert!(self.deadlines.next_due().is_none_or(|due| due > self.now) || self.deadlines_is_due());
        while let Some(overdue) = self.deadlines.due(self.now) {
            turns += 1;
            assert!(turns < 1000, "it has an end");
            self.looks += 1;
            let now = self.now;
            let mut remaining = 0;
            let mut number = 0;
            self.rows.retain_mut(|row| {
                if !is_in(row, &overdue) {
                    return true;
                }
                row.looked = Some(now);
                number += 1;
                // INIT rows are settled before they are judged.
                let stays = overdue.kind == Kind::Publish && number % 2 == 0;
                remaining += u64::from(stays);
                stays
            });
            self.deadlines.judged(now, overdue, remaining, None);
        }
        for row in self.rows.iter().filter(|row| row.since != u64::MAX) {
            let (deadline, from) = match (&row.state, row.looked) {
                (State::Seen(_), _) => (INIT_AFTER, row.since),
                (_, None) => (PUBLISH_AFTER, row.since),
                (_, Some(looked)) => (PUBLISH_AFTER * 12 * 5 / 4, looked),
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
        (State::Seen(_), Kind::Init) => true,
        (State::Published { attempted }, Kind::Publish) => {
            overdue.attempted.is_none_or(|(from, to)| (from..=to).contains(attempted))
        }
        (State::Uncounted, Kind::Publish) => overdue.attempted.is_none(),
        _ => false,
    };
    created && matches
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    // Rows of earlier lives, whose receipts come in this one, and clocks that jump included.
    #[test]
    fn no_row_that_waits_is_ever_forgotten(
        strangers in 0..6_usize,
        acts in proptest::collection::vec(act(), 1..150),
    ) {
        let mut model = Model::new(strangers);
        for act in &acts {
            model.act(act);
        }
        // Whatever is left is looked at in the end.
        model.act(&Act::Wait(40));
    }

    #[test]
    fn memory_is_by_the_bucket(
        rate in 1..2000_u64,
        days in 1..20_u64,
        lagging in any::<bool>(),
    ) {
        let mut deadlines = Deadlines::new(INIT_AFTER, Some(PUBLISH_AFTER));
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
                queries += u64::from(overdue.kind == Kind::Publish);
                let remaining = if lagging && overdue.kind == Kind::Publish { overdue.rows } else { 0 };
                deadlines.judged(now, overdue, remaining, None);
            }
            let (init, publish, again) = deadlines.sizes();
            prop_assert!(init <= 10 && publish <= 10, "{} {}", init, publish);
            prop_assert!(again <= 30, "{}", again);
        }
        // One for each bucket when it is overdue, and those that look again.
        let buckets = days * 40_000 / (PUBLISH_AFTER / 8);
        prop_assert!(queries <= buckets * 3, "{} for {} buckets", queries, buckets);
    }

    #[test]
    fn what_leaves_in_time_costs_no_query(
        rows in proptest::collection::vec((1..20_u64, 0..INIT_AFTER - STEP, 0..PUBLISH_AFTER - STEP), 1..200),
    ) {
        let mut deadlines = Deadlines::new(INIT_AFTER, Some(PUBLISH_AFTER));
        let width = deadlines.publish_width_us() as i64;
        // The first buckets of a life may be shared with rows of another and are looked at once.
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
fn what_waits_on_is_looked_at_less_and_less() {
    let mut deadlines = Deadlines::new(INIT_AFTER, Some(PUBLISH_AFTER));
    let created = CreatedRange::of(Some(7));
    deadlines.written(
        0,
        &WriteBackSummary { at_us: EPOCH, published: 3, created: Some(created), completed: Vec::new() },
    );
    let mut looks = Vec::new();
    while looks.len() < 8 {
        let now = deadlines.next_due().expect("it waits");
        assert_eq!(deadlines.due(now - 1), None);
        let overdue = deadlines.due(now).expect("it is due");
        assert_eq!((overdue.kind, overdue.created, overdue.rows), (Kind::Publish, created, 3));
        assert!(overdue.attempted.is_some_and(|(from, to)| (from..=to).contains(&EPOCH)));
        looks.push(now);
        deadlines.judged(now, overdue, 3, None);
    }
    assert_eq!(looks[0], PUBLISH_AFTER);
    for (pair, deadlines) in looks.windows(2).zip([1, 2, 4, 8, 12, 12, 12]) {
        let (pause, longest) = (pair[1] - pair[0], PUBLISH_AFTER * deadlines);
        assert!(pause >= longest * 7 / 8 && pause <= longest * 5 / 4, "{pause} of {longest}");
    }
}

#[test]
fn a_row_that_backs_off_is_looked_at_when_it_may_be_sent() {
    let mut deadlines = Deadlines::new(INIT_AFTER, Some(PUBLISH_AFTER));
    deadlines.inserted_published(0, CreatedRange::of(Some(1)));
    let now = deadlines.next_due().expect("it waits");
    let overdue = deadlines.due(now).expect("it is due");
    deadlines.judged(now, Overdue { looks: 4, ..overdue }, 1, Some(500));
    let due = deadlines.next_due().expect("it waits on");
    assert!((now + 500..now + 500 + PUBLISH_AFTER / 8).contains(&due), "{due}");
}

#[test]
fn without_receipts_nothing_is_followed_beyond_publish() {
    let mut deadlines = Deadlines::new(INIT_AFTER, None);
    let created = CreatedRange::of(Some(7));
    deadlines.written(
        0,
        &WriteBackSummary { at_us: EPOCH, published: 3, created: Some(created), completed: Vec::new() },
    );
    deadlines.inserted_published(0, created);
    assert_eq!(deadlines.next_due(), None);
}

// What leaves a bucket that was judged may be in what the look has counted; a row that came to it later, because the
// database's clock went back, must not be taken for it.
#[test]
fn a_row_in_a_bucket_that_was_judged_is_not_counted_out_for_another() {
    let mut deadlines = Deadlines::new(INIT_AFTER, Some(PUBLISH_AFTER));
    let written = |published: u64, completed: Vec<(i64, u64)>| WriteBackSummary {
        at_us: EPOCH + 10 * PUBLISH_AFTER as i64,
        published,
        created: (published > 0).then_some(CreatedRange::of(Some(7))),
        completed,
    };
    deadlines.written(0, &WriteBackSummary { at_us: EPOCH, ..written(0, Vec::new()) });
    deadlines.written(0, &written(1, Vec::new()));
    let overdue = deadlines.due(PUBLISH_AFTER).expect("it is due");
    deadlines.judged(PUBLISH_AFTER, overdue, 1, None);
    deadlines.written(PUBLISH_AFTER, &written(1, Vec::new()));
    let number = (EPOCH + 10 * PUBLISH_AFTER as i64).div_euclid(deadlines.publish_width_us() as i64);
    deadlines.written(PUBLISH_AFTER, &written(0, vec![(number, 1)]));
    let mut due = std::iter::from_fn(|| deadlines.due(2 * PUBLISH_AFTER));
    assert!(due.any(|overdue| overdue.looks == 0), "the later one is looked at in its turn");
}
