//! Random search.

use crate::Assignments;
use crate::search::Search;
use crate::space::{Space, Taken};
use katlab_katib::space::{Domain, python_float};
use katlab_katib::types::Distribution;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution as _, Normal};

/// Draws before a repetition is accepted for bad luck and the points left are counted out.
const ATTEMPTS: usize = 64;
/// Largest space whose points are counted out.
const COUNTABLE: u64 = 100_000;

/// The n-th assignment depends on the seed and on n alone, not on how many were asked for at
/// once, so that the same Experiment gives the same sequence whatever its timing.
pub(crate) fn suggest(search: &Search<'_>) -> Vec<Assignments> {
    let mut taken = search.taken();
    search
        .numbers()
        .map(|number| {
            let mut random = generator(search.seed, number);
            let point = fresh(&search.space, &taken, &mut random);
            taken.add(&point);
            point
        })
        .collect()
}

/// A random point that was not given out yet, as long as there is one.
pub(crate) fn fresh(space: &Space, taken: &Taken, random: &mut Xoshiro256PlusPlus) -> Assignments {
    let mut point = draw(space, random);
    for _ in 1..ATTEMPTS {
        if !taken.has(&point) {
            return point;
        }
        point = draw(space, random);
    }
    if taken.has(&point) {
        unused(space, taken, random).unwrap_or(point)
    } else {
        point
    }
}

pub(crate) fn generator(seed: u64, number: u64) -> Xoshiro256PlusPlus {
    // Neighbouring seeds and numbers must not meet: one is spread before they are joined.
    let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Xoshiro256PlusPlus::seed_from_u64(seed ^ spread)
}

/// One of the points that were not given out yet, if the space is small enough to look.
fn unused(space: &Space, taken: &Taken, random: &mut Xoshiro256PlusPlus) -> Option<Assignments> {
    let total = space.count().filter(|total| *total <= COUNTABLE)?;
    let left: Vec<u64> = (0..total)
        .filter(|number| !taken.has(&space.point(*number)))
        .collect();
    if left.is_empty() {
        return None;
    }
    let chosen = left[random.random_range(0..left.len())];
    Some(space.point(chosen))
}

pub(crate) fn draw(space: &Space, random: &mut Xoshiro256PlusPlus) -> Assignments {
    let values = space
        .domains
        .iter()
        .map(|domain| value(domain, random))
        .collect();
    space.assign(values)
}

fn value(domain: &Domain, random: &mut Xoshiro256PlusPlus) -> String {
    match domain {
        Domain::List(items) => domain.value(random.random_range(0..items.len().max(1)) as u64),
        Domain::Real {
            min,
            max,
            distribution,
        } => python_float(real(*min, *max, distribution, random)),
        Domain::Steps {
            min,
            step,
            count,
            distribution,
            ..
        } => {
            let position = stepped(*min, *step, *count, distribution, random);
            domain.value(position)
        }
        Domain::Whole {
            min,
            step,
            count,
            distribution,
        } => {
            let position = stepped(*min as f64, *step as f64, *count, distribution, random);
            domain.value(position)
        }
    }
}

/// A position on a grid: evenly, or the one next to a number drawn from the range.
fn stepped(
    min: f64,
    step: f64,
    count: u64,
    distribution: &Distribution,
    random: &mut Xoshiro256PlusPlus,
) -> u64 {
    let even = matches!(
        distribution,
        Distribution::Uniform | Distribution::Unknown | Distribution::Other(_)
    );
    if even {
        return random.random_range(0..count.max(1));
    }
    let last = count.saturating_sub(1);
    let drawn = real(min, min + last as f64 * step, distribution, random);
    let position = ((drawn - min) / step).round();
    if position <= 0.0 {
        0
    } else {
        (position as u64).min(last)
    }
}

fn real(min: f64, max: f64, distribution: &Distribution, random: &mut Xoshiro256PlusPlus) -> f64 {
    let drawn = match distribution {
        Distribution::LogUniform => even(min.ln(), max.ln(), random).exp(),
        Distribution::Normal => bell(min, max, random),
        Distribution::LogNormal => bell(min.ln(), max.ln(), random).exp(),
        Distribution::Uniform | Distribution::Unknown | Distribution::Other(_) => {
            even(min, max, random)
        }
    };
    // exp(ln(max)) may be a hair above max.
    drawn.clamp(min, max)
}

fn even(min: f64, max: f64, random: &mut Xoshiro256PlusPlus) -> f64 {
    let share: f64 = random.random();
    // Written so that a range from one end of the numbers to the other does not overflow.
    min * (1.0 - share) + max * share
}

/// Around the middle, a sixth of the range as deviation: outside values (3 in 1000) are
/// drawn again.
fn bell(min: f64, max: f64, random: &mut Xoshiro256PlusPlus) -> f64 {
    let middle = min / 2.0 + max / 2.0;
    let Ok(normal) = Normal::new(middle, (max / 6.0 - min / 6.0).abs()) else {
        return middle;
    };
    for _ in 0..ATTEMPTS {
        let drawn = normal.sample(random);
        if (min..=max).contains(&drawn) {
            return drawn;
        }
    }
    middle
}
