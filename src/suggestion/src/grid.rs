//! Grid search: every point once, in an order that depends on the seed.

use crate::random::generator;
use crate::search::Search;
use crate::{Assignments, SuggestionError};
use rand::RngExt;

pub(crate) fn suggest(search: &Search<'_>) -> Result<Vec<Assignments>, SuggestionError> {
    let space = &search.space;
    let total = space.count().ok_or(SuggestionError::TooLarge)?;
    let order = Shuffle::new(total, search.seed);
    let taken = search.taken();
    // Points are skipped by what they are, not by how many were given out: trials can be
    // taken back, and then their points are free again.
    let found: Vec<Assignments> = (0..total)
        .map(|number| space.point(order.at(number)))
        .filter(|point| !taken.has(point))
        .take(search.count)
        .collect();
    if found.is_empty() && search.count > 0 {
        return Err(SuggestionError::Exhausted { total });
    }
    Ok(found)
}

/// A shuffled order of the numbers below `total` that needs no list of them: a small
/// Feistel network permutes the next power of four, and numbers that fall outside walk on
/// until they are inside.
struct Shuffle {
    total: u64,
    half_bits: u32,
    keys: [u64; 4],
}

impl Shuffle {
    fn new(total: u64, seed: u64) -> Self {
        let bits = 64 - total.saturating_sub(1).leading_zeros();
        let mut random = generator(seed, 0);
        Self {
            total,
            half_bits: bits.div_ceil(2).max(1),
            keys: std::array::from_fn(|_| random.random()),
        }
    }

    fn at(&self, number: u64) -> u64 {
        let mut value = self.permute(number);
        while value >= self.total {
            value = self.permute(value);
        }
        value
    }

    fn permute(&self, number: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits & mask, number & mask);
        for key in self.keys {
            // The finaliser of SplitMix64.
            let mut mixed = right ^ key;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            (left, right) = (right, left ^ mixed & mask);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_visits_every_number_once() {
        for total in [1, 2, 3, 4, 5, 12, 17, 100, 1000] {
            let order = Shuffle::new(total, 42);
            let mut seen: Vec<u64> = (0..total).map(|number| order.at(number)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_order_depends_on_the_seed() {
        let order = |seed| {
            let shuffle = Shuffle::new(50, seed);
            (0..50).map(|n| shuffle.at(n)).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert_ne!(order(1), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn the_largest_total_has_an_order() {
        let order = Shuffle::new(u64::MAX, 3);
        assert_ne!(order.at(0), order.at(u64::MAX - 1));
    }
}
