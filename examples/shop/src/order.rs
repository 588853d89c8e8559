//! Generated orders, and the faults injected into their transactions.

use serde::Serialize;
use uuid::Uuid;

use crate::order_rng::OrderRng;

// Quotes, backslashes and characters of two to four bytes, so that the tests notice a payload that is re-encoded.
const CUSTOMERS: [&str; 6] =
    ["Ada Lovelace", "Žofie Nováková", "O'Brien & Søn", "王小明", "José \"Pepe\" Núñez", "Nâzım \\ Hikmet"];
const ARTICLES: [&str; 5] = ["tea, 100 g", "Grüner Tee", "cup ☕", "sencha 煎茶", "tin 5\" 🍵"];

/// How often transactions roll back, payments are declined, and outbox rows are malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRates {
    /// Transactions that roll back after inserting their outbox row, in percent.
    pub rollback_percent: u8,
    /// Order transactions that roll back to a savepoint set before an outbox row and then commit, in percent.
    pub savepoint_percent: u8,
    /// Payments that are declined once before they are received, in percent.
    pub declined_percent: u8,
    /// How many of the first received payments insert an outbox row whose headers are not a JSON object. The
    /// transaction commits; the row cannot be published.
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
    /// The article's name.
    pub article: &'static str,
    /// The number of pieces.
    pub quantity: u64,
    /// The price per piece.
    pub price_cents: u64,
}

/// An order; its content and its faults are functions of its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The order's id: the key of all its events.
    pub id: Uuid,
    /// The customer's name.
    pub customer: &'static str,
    /// The articles.
    pub lines: Vec<OrderLine>,
    /// The order's transaction rolls back; no payment follows.
    pub rolls_back: bool,
    /// An outbox row for a gift is inserted and rolled back to a savepoint.
    pub gift_rolled_back: bool,
    /// The first payment is declined; another one follows.
    pub payment_declined: bool,
    /// The payment's transaction rolls back once and is repeated.
    pub payment_rolls_back: bool,
    /// The headers of the received payment's outbox row are not a JSON object.
    pub payment_malformed: bool,
}

impl FaultRates {
    /// No faults.
    pub const NONE: FaultRates =
        FaultRates { rollback_percent: 0, savepoint_percent: 0, declined_percent: 0, malformed_payments: 0 };
}

impl Order {
    /// The `number`-th order; the same seed and number give the same order with another id.
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

    /// The total price.
    pub fn total_cents(&self) -> u64 {
        self.lines.iter().map(|line| line.quantity * line.price_cents).sum()
    }
}

/// The malformed payments are those of the first orders that commit: a function of the order's number.
fn is_malformed(seed: u64, number: u64, rates: FaultRates) -> bool {
    let wanted = usize::from(rates.malformed_payments);
    let without = FaultRates { malformed_payments: 0, ..rates };
    let commits = |number: &u64| !Order::nth(seed, *number, without).rolls_back;
    wanted > 0 && (0..number).filter(commits).take(wanted).count() < wanted && commits(&number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nth_gives_the_same_order_with_another_id() {
        let first = Order::nth(3, 17, FaultRates::default());
        let second = Order::nth(3, 17, FaultRates::default());
        assert_ne!(first.id, second.id);
        assert_eq!(first, Order { id: first.id, ..second });
    }

    #[test]
    fn nth_without_fault_rates_has_no_faults() {
        for number in 0..500 {
            let order = Order::nth(1, number, FaultRates::NONE);
            assert!(!order.rolls_back && !order.payment_rolls_back);
            assert!(!order.gift_rolled_back && !order.payment_declined && !order.payment_malformed);
        }
    }

    #[test]
    fn malformed_payments_affects_the_first_committed_orders_and_nothing_else() {
        for (seed, wanted) in [(1, 0), (1, 1), (2, 3), (3, 40)] {
            let rates =
                FaultRates { rollback_percent: 50, malformed_payments: wanted, ..FaultRates::default() };
            let orders: Vec<Order> = (0..200).map(|number| Order::nth(seed, number, rates)).collect();
            let committed = orders.iter().filter(|order| !order.rolls_back);
            let malformed: Vec<bool> = committed.map(|order| order.payment_malformed).collect();
            let wanted = usize::from(wanted);
            assert!(malformed[..wanted].iter().all(|&is| is) && !malformed[wanted..].contains(&true));
            assert!(!orders.iter().any(|order| order.rolls_back && order.payment_malformed));
            for (number, order) in (0..).zip(&orders) {
                let usual = Order::nth(seed, number, FaultRates { malformed_payments: 0, ..rates });
                assert_eq!(
                    *order,
                    Order { id: order.id, payment_malformed: order.payment_malformed, ..usual }
                );
            }
        }
    }

    #[test]
    fn total_cents_is_the_sum_of_the_lines() {
        let line = |quantity, price_cents| OrderLine { article: "tea", quantity, price_cents };
        let order =
            Order { lines: vec![line(2, 150), line(1, 99)], ..Order::nth(1, 1, FaultRates::default()) };
        assert_eq!(order.total_cents(), 399);
    }
}
