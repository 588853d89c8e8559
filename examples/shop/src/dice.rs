//! Repeatable chance: what an order holds is a function of its number.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): six lines, and
/// the same orders on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    /// The dice of one order: neighbours get unrelated throws.
    pub(crate) fn of(seed: u64, number: u64) -> Dice {
        let mut dice = Dice(seed ^ number.wrapping_mul(0xd605_bbb5_8c8a_bbb5));
        dice.throw();
        dice
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.throw() % bound
    }

    /// Whether something that happens in `percent` of all cases happens now.
    pub(crate) fn percent(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }

    /// One of `choices`, which are not empty.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_throws_the_same_and_its_neighbour_another() {
        let throws = |number| (0..8).scan(Dice::of(7, number), |d, _| Some(d.throw())).collect::<Vec<_>>();
        assert_eq!(throws(1), throws(1));
        assert_ne!(throws(1), throws(2));
    }

    #[test]
    fn a_share_of_the_throws_is_about_the_percentage() {
        let hits = (0..10_000).filter(|&number| Dice::of(1, number).percent(10)).count();
        assert!((800..1_200).contains(&hits), "{hits}");
        assert!((0..1_000).all(|number| !Dice::of(1, number).percent(0)));
        assert!((0..1_000).all(|number| Dice::of(1, number).percent(100)));
    }
}
