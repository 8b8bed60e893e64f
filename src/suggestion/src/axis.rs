//! A parameter as an axis: numbers become coordinates from 0 to 1 (on a logarithmic scale
//! where the distribution says so), listed values their position.
//!
//! A grid's points stand in the middle of cells of equal width, so that the first and the
//! last are as likely as the others.

use katlab_katib::space::{Domain, python_float};
use katlab_katib::types::Distribution;

/// One parameter's axis.
#[derive(Clone, Debug)]
pub(crate) enum Axis {
    /// From 0 to 1.
    Number(Scale),
    /// The position in a list of this many.
    Choice(usize),
}

/// How a number and its coordinate belong together.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// The ends, as logarithms on a logarithmic scale.
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Whether the middle is likelier: a normal distribution a sixth of the range wide.
    pub(crate) bell: bool,
    /// Smallest value, distance and number of a grid's values.
    grid: Option<(f64, f64, u64)>,
    /// Ends of the values.
    min: f64,
    max: f64,
}

impl Axis {
    pub(crate) fn of(domain: &Domain) -> Self {
        match domain {
            Domain::List(items) => Self::Choice(items.len()),
            Domain::Real {
                min,
                max,
                distribution,
            } => Self::Number(Scale::real(*min, *max, distribution)),
            Domain::Steps {
                min,
                step,
                count,
                distribution,
                ..
            } => Self::Number(Scale::grid(*min, *step, *count, distribution)),
            Domain::Whole {
                min,
                step,
                count,
                distribution,
            } => Self::Number(Scale::grid(*min as f64, *step as f64, *count, distribution)),
        }
    }

    /// The coordinate of a value of the domain.
    pub(crate) fn coordinate(&self, domain: &Domain, text: &str) -> Option<f64> {
        match (self, domain) {
            (Self::Choice(_), Domain::List(items)) => {
                let position = items.iter().position(|item| item == text)?;
                Some(position as f64)
            }
            (Self::Number(scale), _) => {
                let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
                Some(scale.coordinate(value))
            }
            (Self::Choice(_), _) => None,
        }
    }

    /// The value of the domain next to a coordinate, as it is written.
    pub(crate) fn value(&self, domain: &Domain, at: f64) -> String {
        match self {
            Self::Choice(count) => {
                domain.value((at.max(0.0) as u64).min(count.saturating_sub(1) as u64))
            }
            Self::Number(scale) => {
                let value = scale.value(at);
                match scale.grid {
                    Some(grid) => domain.value(position(grid, value)),
                    None => python_float(value),
                }
            }
        }
    }
}

impl Scale {
    fn real(min: f64, max: f64, distribution: &Distribution) -> Self {
        Self::between(min, max, min, max, None, distribution)
    }

    fn grid(min: f64, step: f64, count: u64, distribution: &Distribution) -> Self {
        let max = min + count.saturating_sub(1) as f64 * step;
        // Half a cell below the smallest value there may be nothing positive.
        let below = if is_logarithmic(distribution) {
            (min - step / 2.0).max(min / 2.0)
        } else {
            min - step / 2.0
        };
        let grid = Some((min, step, count));
        Self::between(below, max + step / 2.0, min, max, grid, distribution)
    }

    fn between(
        low: f64,
        high: f64,
        min: f64,
        max: f64,
        grid: Option<(f64, f64, u64)>,
        distribution: &Distribution,
    ) -> Self {
        let logarithmic = is_logarithmic(distribution);
        let ends = if logarithmic {
            (low.ln(), high.ln())
        } else {
            (low, high)
        };
        Self {
            low: ends.0,
            high: ends.1,
            logarithmic,
            bell: matches!(distribution, Distribution::Normal | Distribution::LogNormal),
            grid,
            min,
            max,
        }
    }

    fn coordinate(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.ln() } else { value };
        // Halved, so that a range from one end of the numbers to the other does not overflow.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.5
        }
    }

    fn value(&self, at: f64) -> f64 {
        let at = at.clamp(0.0, 1.0);
        let value = self.low * (1.0 - at) + self.high * at;
        let value = if self.logarithmic { value.exp() } else { value };
        value.clamp(self.min, self.max)
    }

    /// The coordinates that give the same value as this one; none when every one has its own.
    pub(crate) fn cell(&self, at: f64) -> Option<(f64, f64)> {
        let (min, step, count) = self.grid?;
        let centre = min + position((min, step, count), self.value(at)) as f64 * step;
        let edge = |value: f64| {
            if self.logarithmic && value <= 0.0 {
                0.0
            } else {
                self.coordinate(value)
            }
        };
        Some((edge(centre - step / 2.0), edge(centre + step / 2.0)))
    }

    /// The coordinate of the value next to a coordinate.
    pub(crate) fn snap(&self, at: f64) -> f64 {
        self.grid.map_or(at, |(min, step, count)| {
            let position = position((min, step, count), self.value(at));
            self.coordinate(min + position as f64 * step)
        })
    }

    /// From the smallest to the greatest value.
    pub(crate) fn range(&self) -> f64 {
        self.max - self.min
    }

    /// The width of a grid's cell, for a scale that is even.
    pub(crate) fn resolution(&self) -> f64 {
        self.grid.map_or(0.0, |(_, _, count)| 1.0 / count as f64)
    }
}

fn is_logarithmic(distribution: &Distribution) -> bool {
    matches!(
        distribution,
        Distribution::LogUniform | Distribution::LogNormal
    )
}

fn position((min, step, count): (f64, f64, u64), value: f64) -> u64 {
    let position = ((value - min) / step).round();
    // A float too large for the type becomes its greatest number, one below 0 becomes 0.
    (position as u64).min(count.saturating_sub(1))
}
