//! Sobol's quasi-random sequence: points that fill the space evenly from the first on.
//!
//! The direction numbers are those of S. Joe and F. Y. Kuo, *Constructing Sobol sequences
//! with better two-dimensional projections*, SIAM J. Sci. Comput. 30 (2008), the file
//! `new-joe-kuo-6.21201`, for the first 256 dimensions. As in goptuna, which Katib runs, the
//! sequence is not scrambled and leaves out the corner at zero. It needs no seed. Unlike
//! there, distributions hold: a share of the axis becomes the number with that share of the
//! distribution below it.

use crate::Assignments;
use crate::axis::Axis;
use crate::normal::{quantile, share_below};
use crate::random::{fresh, generator};
use crate::search::Search;
use rand::RngExt;

/// For each dimension after the first: the primitive polynomial, its coefficients as bits,
/// and the first direction numbers.
///
/// Copyright (c) 2008, Frances Y. Kuo and Stephen Joe; the licence is beside the table.
const TABLE: &str = include_str!("joe_kuo.txt");
/// Bits of a coordinate, as in goptuna.
const BITS: usize = 32;
/// Points passed over in a row before the rest is left to chance: the sequence meets the
/// points of a small grid again and again.
const PASSED: usize = 4096;

pub(crate) fn suggest(search: &Search<'_>) -> Vec<Assignments> {
    let sequence = Sequence::new(search.space.axes.len());
    let mut taken = search.taken();
    let mut next = 1u32;
    search
        .numbers()
        .map(|number| {
            // From the start each time: what counts is what was given out, not how often
            // was asked. What was given out is passed over for free.
            let given = search.past.len() + search.count;
            for _ in 0..PASSED + given {
                let mut point = sequence.at(next);
                // Of the point's own number, as the rest of it.
                let mut random = generator(search.seed, next.into());
                next = next.wrapping_add(1);
                for (at, axis) in point.iter_mut().zip(&search.space.axes) {
                    // Dimensions beyond the table.
                    let share = if at.is_nan() { random.random() } else { *at };
                    *at = along(axis, share);
                }
                let assignments = search.space.assignments_at(&point);
                if !taken.has(&assignments) {
                    taken.add(&assignments);
                    return assignments;
                }
            }
            let mut random = generator(search.seed, number);
            let assignments = fresh(&search.space, &taken, &mut random);
            taken.add(&assignments);
            assignments
        })
        .collect()
}

/// The coordinate with a share of the axis' distribution below it.
fn along(axis: &Axis, share: f64) -> f64 {
    match axis {
        Axis::Choice(count) => (share * *count as f64).floor(),
        Axis::Number(scale) if scale.bell => {
            // The range is six deviations wide; the rest is cut off.
            let (low, high) = (share_below(-3.0), share_below(3.0));
            (0.5 + quantile(low + share * (high - low)) / 6.0).clamp(0.0, 1.0)
        }
        Axis::Number(_) => share,
    }
}

/// Direction numbers of every dimension.
struct Sequence {
    dimensions: usize,
    directions: Vec<[u32; BITS]>,
}

impl Sequence {
    fn new(dimensions: usize) -> Self {
        let first = std::array::from_fn(|bit| 1 << (BITS - 1 - bit));
        let rest = TABLE.lines().map(directions);
        Self {
            dimensions,
            directions: std::iter::once(first)
                .chain(rest)
                .take(dimensions)
                .collect(),
        }
    }

    /// The point with a number, in the order of Gray's code (Antonov and Saleev 1979); no
    /// number in the dimensions the table does not have.
    fn at(&self, number: u32) -> Vec<f64> {
        let gray = number ^ number >> 1;
        (0..self.dimensions)
            .map(|dimension| {
                let Some(directions) = self.directions.get(dimension) else {
                    return f64::NAN;
                };
                let bits = (0..BITS)
                    .filter(|bit| gray >> bit & 1 == 1)
                    .fold(0, |bits, bit| bits ^ directions[bit]);
                f64::from(bits) / 2f64.powi(BITS as i32)
            })
            .collect()
    }
}

/// The direction numbers of one dimension, by the recurrence of its polynomial.
fn directions(line: &str) -> [u32; BITS] {
    let mut numbers = line.split(' ').filter_map(|text| text.parse::<u32>().ok());
    let polynomial = numbers.next().unwrap_or(1);
    let degree = (u32::BITS - 1 - polynomial.leading_zeros()) as usize;
    let mut directions = [0; BITS];
    for (bit, number) in numbers.take(degree).enumerate() {
        directions[bit] = number << (BITS - 1 - bit);
    }
    for bit in degree..BITS {
        let before = directions[bit - degree];
        directions[bit] = (1..degree)
            .filter(|back| polynomial >> (degree - back) & 1 == 1)
            .fold(before ^ before >> degree, |value, back| {
                value ^ directions[bit - back]
            });
    }
    directions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points 1 to 5 of the first six dimensions, as `scipy.stats.qmc.Sobol(6, scramble=False)`
    /// gives them.
    #[test]
    fn the_sequence_is_the_published_one() {
        let sequence = Sequence::new(6);
        for (number, point) in [
            (1, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
            (2, [0.75, 0.25, 0.25, 0.25, 0.75, 0.75]),
            (3, [0.25, 0.75, 0.75, 0.75, 0.25, 0.25]),
            (5, [0.875, 0.875, 0.125, 0.375, 0.875, 0.625]),
            (
                100,
                [
                    0.4140625, 0.2578125, 0.7734375, 0.7265625, 0.8828125, 0.7421875,
                ],
            ),
            (
                1023,
                [
                    0.0009765625,
                    0.7529296875,
                    0.6123046875,
                    0.1455078125,
                    0.1865234375,
                    0.4384765625,
                ],
            ),
        ] {
            assert_eq!(sequence.at(number), point);
        }
    }

    #[test]
    fn every_dimension_of_the_table_is_balanced() {
        let sequence = Sequence::new(256);
        assert_eq!(sequence.directions.len(), 256);
        let mut below = [0; 256];
        for number in 0..1024 {
            for (count, at) in below.iter_mut().zip(sequence.at(number)) {
                *count += u32::from(at < 0.25);
            }
        }
        assert_eq!(below, [256; 256]);
        assert!(Sequence::new(257).at(1)[256].is_nan());
    }
}
