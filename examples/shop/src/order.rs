//! An order: who buys what, and what goes wrong on the way.

use serde::Serialize;
use uuid::Uuid;

use crate::order_rng::OrderRng;

// Names and articles hold quotes, backslashes and characters of two to four bytes, so that a payload that is
// re-written on its way to the broker does not stay unnoticed.
const CUSTOMERS: [&str; 6] =
    ["Ada Lovelace", "Žofie Nováková", "O'Brien & Søn", "王小明", "José \"Pepe\" Núñez", "Nâzım \\ Hikmet"];
const ARTICLES: [&str; 5] = ["tea, 100 g", "Grüner Tee", "cup ☕", "sencha 煎茶", "tin 5\" 🍵"];

/// How often something does not go straight through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRates {
    /// Transactions that roll back after they have written their outbox row, in percent.
    pub rollback_percent: u8,
    /// Order transactions that roll back to a savepoint behind which an outbox row was written, and commit, in
    /// percent.
    pub savepoint_percent: u8,
    /// Payments that are declined once before they are received, in percent.
    pub declined_percent: u8,
    /// How many of a day's first received payments write an outbox row whose headers are no JSON object. The
    /// transaction commits all the same; a record cannot be made of the row.
    pub malformed_payments: u16,
}

impl Default for FaultRates {
    fn default() -> Self {
        FaultRates { rollback_percent: 10, savepoint_percent: 5, declined_percent: 20, malformed_payments: 0 }
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderLine {
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
    pub lines: Vec<OrderLine>,
    /// The order's transaction rolls back, and with it the order ends.
    pub rolls_back: bool,
    /// A gift is added behind a savepoint and taken back.
    pub gift_rolled_back: bool,
    /// The first payment is declined; another one follows.
    pub payment_declined: bool,
    /// The payment's transaction rolls back once and is tried again.
    pub payment_rolls_back: bool,
    /// The received payment's outbox row carries headers that are no JSON object.
    pub payment_malformed: bool,
}

impl FaultRates {
    /// Every order goes straight through.
    pub const NONE: FaultRates =
        FaultRates { rollback_percent: 0, savepoint_percent: 0, declined_percent: 0, malformed_payments: 0 };
}

impl Order {
    /// The `number`-th order; the same seed and number give the same order under another id.
    pub fn nth(seed: u64, number: u64, rates: FaultRates) -> Order {
        let mut rng = OrderRng::for_order(seed, number);
        let customer = rng.choose(&CUSTOMERS);
        let lines = (0..=rng.below(3))
            .map(|_| OrderLine {
                article: rng.choose(&ARTICLES),
                quantity: 1 + rng.below(4),
                price_cents: 95 + rng.below(5_000),
            })
            .collect();
        Order {
            id: Uuid::now_v7(),
            customer,
            lines,
            rolls_back: rng.percent(rates.rollback_percent),
            gift_rolled_back: rng.percent(rates.savepoint_percent),
            payment_declined: rng.percent(rates.declined_percent),
            payment_rolls_back: rng.percent(rates.rollback_percent),
            payment_malformed: is_malformed(seed, number, rates),
        }
    }

    /// What the order costs.
    pub fn total_cents(&self) -> u64 {
        self.lines.iter().map(|line| line.quantity * line.price_cents).sum()
    }
}

/// The malformed payments are those of the first orders that go through: like all about an order, a function of
/// its number.
fn is_malformed(seed: u64, number: u64, rates: FaultRates) -> bool {
    let wanted = usize::from(rates.malformed_payments);
    let otherwise = FaultRates { malformed_payments: 0, ..rates };
    let goes_through = |number: &u64| !Order::nth(seed, *number, otherwise).rolls_back;
    wanted > 0 && (0..number).filter(goes_through).take(wanted).count() < wanted && goes_through(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_gives_the_same_order_under_another_id() {
        let first = Order::nth(3, 17, FaultRates::default());
        let second = Order::nth(3, 17, FaultRates::default());
        assert_ne!(first.id, second.id);
        assert_eq!(first, Order { id: first.id, ..second });
    }

    #[test]
    fn without_odds_everything_goes_through() {
        for number in 0..500 {
            let order = Order::nth(1, number, FaultRates::NONE);
            assert!(!order.rolls_back && !order.payment_rolls_back);
            assert!(!order.gift_rolled_back && !order.payment_declined && !order.payment_malformed);
        }
    }

    #[test]
    fn the_first_payments_of_a_day_are_malformed_and_no_order_is_another_for_it() {
        for (seed, wanted) in [(1, 0), (1, 1), (2, 3), (3, 40)] {
            let rates =
                FaultRates { rollback_percent: 50, malformed_payments: wanted, ..FaultRates::default() };
            let day: Vec<Order> = (0..200).map(|number| Order::nth(seed, number, rates)).collect();
            let through = day.iter().filter(|order| !order.rolls_back);
            let malformed: Vec<bool> = through.map(|order| order.payment_malformed).collect();
            let wanted = usize::from(wanted);
            assert!(malformed[..wanted].iter().all(|&is| is) && !malformed[wanted..].contains(&true));
            assert!(!day.iter().any(|order| order.rolls_back && order.payment_malformed));
            for (number, order) in (0..).zip(&day) {
                let usual = Order::nth(seed, number, FaultRates { malformed_payments: 0, ..rates });
                assert_eq!(
                    *order,
                    Order { id: order.id, payment_malformed: order.payment_malformed, ..usual }
                );
            }
        }
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines() {
        let line = |quantity, price_cents| OrderLine { article: "tea", quantity, price_cents };
        let order =
            Order { lines: vec![line(2, 150), line(1, 99)], ..Order::nth(1, 1, FaultRates::default()) };
        assert_eq!(order.total_cents(), 399);
    }
}
