//! A seeded generator: the content of an order is a function of its number.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): six lines, and
/// the same orders on every machine.
pub(crate) struct OrderRng(u64);

impl OrderRng {
    /// The generator of one order; consecutive numbers get unrelated sequences.
    pub(crate) fn for_order(seed: u64, number: u64) -> OrderRng {
        let mut rng = OrderRng(seed ^ number.wrapping_mul(0xd605_bbb5_8c8a_bbb5));
        rng.next();
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True with a probability of `percent`.
    pub(crate) fn percent(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }

    /// One of `choices`, which must not be empty.
    pub(crate) fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_order_repeats_for_the_same_number_and_differs_for_the_next() {
        let sequence =
            |number| (0..8).scan(OrderRng::for_order(7, number), |d, _| Some(d.next())).collect::<Vec<_>>();
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }

    #[test]
    fn percent_is_true_for_about_that_share() {
        let hits = (0..10_000).filter(|&number| OrderRng::for_order(1, number).percent(10)).count();
        assert!((800..1_200).contains(&hits), "{hits}");
        assert!((0..1_000).all(|number| !OrderRng::for_order(1, number).percent(0)));
        assert!((0..1_000).all(|number| OrderRng::for_order(1, number).percent(100)));
    }
}
