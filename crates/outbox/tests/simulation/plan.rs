//! What kind of history a seed stands for.

use outbox::InFlightLimits;

use crate::random::Random;
use crate::steps::Step;

/// The shape of one history. Each draws its own bounds, habits and likelihoods, so that some histories are
/// all crashes and some all patience: a uniform mix would rarely get far into either.
pub(crate) struct Plan {
    pub(crate) write_back: bool,
    pub(crate) limits: InFlightLimits,
    pub(crate) steps: usize,
    pub(crate) transactions_max: usize,
    pub(crate) oversized_percent: usize,
    /// How many of the events the broker refuses, some time or for good.
    pub(crate) refused_percent: usize,
    /// Whether a row that is refused steps aside; otherwise it stops the relay.
    pub(crate) parks: bool,
    pub(crate) keys: usize,
    pub(crate) partitions: usize,
    /// The most rows one question asks for.
    pub(crate) window_max: usize,
    /// The most rows one write-back statement changes.
    pub(crate) batch_max: usize,
    pub(crate) server: ServerHabits,
    weights: [usize; Step::ALL.len()],
}

/// In what servers differ.
#[derive(Clone, Copy)]
pub(crate) struct ServerHabits {
    /// PostgreSQL 14 sends a transaction without rows for us as a BEGIN and a COMMIT; 15 and later do not.
    pub(crate) sends_empty: bool,
    /// Keepalives also between the messages of a transaction, which a server sends while its output blocks.
    pub(crate) keepalives_anytime: bool,
    /// Between BEGIN and COMMIT a keepalive may say more than the transaction's commit record. PostgreSQL's
    /// does not, but the protocol's documentation promises no more than "the current end of WAL".
    pub(crate) keepalives_run_ahead: bool,
    /// On a new connection the server decodes from the slot's restart position, and its keepalives say so:
    /// they start below the confirmed position (`XLogSendLogical` in walsender.c).
    pub(crate) keepalives_retreat: bool,
    /// Since the minor releases of May 2025 a confirmation below the slot's position is ignored; before, it
    /// moved the slot back (`LogicalConfirmReceivedLocation` in logical.c).
    pub(crate) ignores_retreat: bool,
    /// A server that crashes comes back with the slot as the last checkpoint saved it (PostgreSQL
    /// documentation, "Logical Decoding Concepts", on replication slots).
    pub(crate) forgets_confirmations: bool,
    /// Sends from the slot's position whatever the client asks for. PostgreSQL does not; the relay must not
    /// depend on it.
    pub(crate) starts_early: bool,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let ignores_retreat = random.chance(50);
        let starts_early = random.chance(15);
        let is_calm = random.chance(25);
        let mut weights = [0; Step::ALL.len()];
        for step in Step::ALL {
            let swing: &[usize] = if step.is_fault() { &[0, 1, 1, 3] } else { &[1, 2, 2, 8] };
            let kept = !(is_calm && step.ends_the_process_abruptly());
            weights[step as usize] = if kept { step.weight() * random.pick(swing) } else { 0 };
        }
        let write_back = random.chance(70);
        Plan {
            write_back,
            parks: write_back && random.chance(50),
            limits: InFlightLimits {
                events_max: random.between(1, 10),
                bytes_max: random.pick(&[1, 50, 300, 100_000]),
            },
            steps: random.between(50, 700),
            transactions_max: random.between(3, 30),
            oversized_percent: random.pick(&[0, 10, 30]),
            refused_percent: if is_calm { 0 } else { random.pick(&[0, 0, 5]) },
            keys: random.between(1, 4),
            partitions: random.between(1, 3),
            window_max: random.between(1, 8),
            batch_max: random.between(1, 6),
            server: ServerHabits {
                sends_empty: random.chance(50),
                keepalives_anytime: random.chance(60),
                // Inside a transaction that is sent again, such a keepalive would be wrong.
                keepalives_run_ahead: random.chance(20) && !starts_early,
                keepalives_retreat: random.chance(50),
                ignores_retreat,
                forgets_confirmations: random.chance(80),
                starts_early,
            },
            weights,
        }
    }

    pub(crate) fn weight(&self, step: Step) -> usize {
        self.weights[step as usize]
    }
}
