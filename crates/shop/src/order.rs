//! An order: who buys what, and what goes wrong on the way.

use serde::Serialize;
use uuid::Uuid;

use crate::dice::Dice;

// Names and articles hold quotes, backslashes and characters of two to four bytes, so that a payload that is
// re-written on its way to the broker does not stay unnoticed.
const CUSTOMERS: [&str; 6] =
    ["Ada Lovelace", "Žofie Nováková", "O'Brien & Søn", "王小明", "José \"Pepe\" Núñez", "Nâzım \\ Hikmet"];
const ARTICLES: [&str; 5] = ["tea, 100 g", "Grüner Tee", "cup ☕", "sencha 煎茶", "tin 5\" 🍵"];

/// How often something does not go straight through, each in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Odds {
    /// Transactions that roll back after they have written their outbox row.
    pub rollback_percent: u8,
    /// Order transactions that roll back to a savepoint behind which an outbox row was written, and commit.
    pub savepoint_percent: u8,
    /// Payments that are declined once before they are received.
    pub declined_percent: u8,
}

impl Default for Odds {
    fn default() -> Self {
        Odds { rollback_percent: 10, savepoint_percent: 5, declined_percent: 20 }
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is bought.
    pub article: &'static str,
    /// How many of it.
    pub quantity: u64,
    /// The price of one.
    pub price_cents: u64,
}

/// An order, its content and its fate decided by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The order's id: the key of all its events.
    pub id: Uuid,
    /// Who buys.
    pub customer: &'static str,
    /// What is bought.
    pub lines: Vec<Line>,
    /// The order's transaction rolls back, and with it the order ends.
    pub rolls_back: bool,
    /// A gift is added behind a savepoint and taken back.
    pub gift_taken_back: bool,
    /// The first payment is declined; another one follows.
    pub payment_declined: bool,
    /// The payment's transaction rolls back once and is tried again.
    pub payment_rolls_back: bool,
}

impl Order {
    /// The `number`-th order; the same seed and number give the same order under another id.
    pub fn nth(seed: u64, number: u64, odds: Odds) -> Order {
        let mut dice = Dice::of(seed, number);
        let customer = dice.pick(&CUSTOMERS);
        let lines = (0..=dice.below(3))
            .map(|_| Line {
                article: dice.pick(&ARTICLES),
                quantity: 1 + dice.below(4),
                price_cents: 95 + dice.below(5_000),
            })
            .collect();
        Order {
            id: Uuid::now_v7(),
            customer,
            lines,
            rolls_back: dice.percent(odds.rollback_percent),
            gift_taken_back: dice.percent(odds.savepoint_percent),
            payment_declined: dice.percent(odds.declined_percent),
            payment_rolls_back: dice.percent(odds.rollback_percent),
        }
    }

    /// What the order costs.
    pub fn total_cents(&self) -> u64 {
        self.lines.iter().map(|line| line.quantity * line.price_cents).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_gives_the_same_order_under_another_id() {
        let first = Order::nth(3, 17, Odds::default());
        let second = Order::nth(3, 17, Odds::default());
        assert_ne!(first.id, second.id);
        assert_eq!(first, Order { id: first.id, ..second });
    }

    #[test]
    fn without_odds_everything_goes_through() {
        let odds = Odds { rollback_percent: 0, savepoint_percent: 0, declined_percent: 0 };
        for number in 0..500 {
            let order = Order::nth(1, number, odds);
            assert!(!order.rolls_back && !order.payment_rolls_back);
            assert!(!order.gift_taken_back && !order.payment_declined);
        }
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines() {
        let line = |quantity, price_cents| Line { article: "tea", quantity, price_cents };
        let order = Order { lines: vec![line(2, 150), line(1, 99)], ..Order::nth(1, 1, Odds::default()) };
        assert_eq!(order.total_cents(), 399);
    }
}
