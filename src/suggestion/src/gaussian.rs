//! A Gaussian process over the axes of a space: what is expected at a point, and how sure
//! that is.
//!
//! C. E. Rasmussen, C. K. I. Williams, *Gaussian processes for machine learning*, MIT Press
//! 2006: Matérn's kernel with smoothness 5/2 and a length for each axis. Two listed values
//! are one length unit apart or none. The lengths and the noise are those that make the
//! measurements likeliest (section 5.4.1; the amplitude follows from them), with a mild
//! preference, so that few measurements do not lead to extremes.

use crate::axis::Axis;
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

/// Logarithms of the length on every axis, and of the noise, which is last.
#[derive(Clone)]
pub(crate) struct Shape(Vec<f64>);

/// Smallest and greatest length and noise, as logarithms.
const LENGTHS: (f64, f64) = (-4.0, 3.0);
const NOISES: (f64, f64) = (-16.0, 0.0);
/// What is preferred when the measurements leave it open: the length on each of so many axes
/// grows with the root of their number, as distances do. Longer ones sent the search to the
/// corners of the space.
const USUAL: f64 = 0.12;
const USUAL_NOISE: f64 = -9.0;
/// Steps to the likeliest shape.
const STEPS: usize = 40;

/// A process that has seen points.
pub(crate) struct Process<'a> {
    axes: &'a [Axis],
    shape: &'a Shape,
    points: Vec<Vec<f64>>,
    factor: Cholesky<f64, Dyn>,
    /// `K^-1 y`.
    alpha: DVector<f64>,
    amplitude: f64,
}

impl Shape {
    /// The likeliest shape for points and their values, whose mean is 0 and deviation 1.
    pub(crate) fn fit(axes: &[Axis], points: &[Vec<f64>], values: &[f64]) -> Self {
        let usual = (USUAL * (axes.len() as f64).sqrt()).ln();
        let mut best: Option<(f64, Self)> = None;
        // Little noise and much: both may explain few measurements, each is its own summit.
        for noise in [USUAL_NOISE, -2.0] {
            let mut shape = vec![usual; axes.len()];
            shape.push(noise);
            let found = Self(shape).climb(axes, points, values, usual);
            if let Some((height, shape)) = found
                && best.as_ref().is_none_or(|(best, _)| height > *best)
            {
                best = Some((height, shape));
            }
        }
        best.map_or_else(
            || {
                let mut shape = vec![usual; axes.len()];
                shape.push(-4.0);
                Self(shape)
            },
            |(_, shape)| shape,
        )
    }

    /// Resilient steps uphill (M. Riedmiller, H. Braun, *RPROP*, 1993): only the gradient's
    /// signs count, so that no line has to be searched.
    fn climb(
        self,
        axes: &[Axis],
        points: &[Vec<f64>],
        values: &[f64],
        usual: f64,
    ) -> Option<(f64, Self)> {
        let squares = squared_distances(axes, points);
        let values = DVector::from_column_slice(values);
        let mut shape = self;
        let mut steps = vec![0.3; shape.0.len()];
        let mut before = vec![0.0; shape.0.len()];
        let mut best: Option<(f64, Self)> = None;
        for _ in 0..STEPS {
            let Some((height, gradient)) = shape.likelihood(&squares, &values, usual) else {
                break;
            };
            if best.as_ref().is_none_or(|(best, _)| height > *best) {
                best = Some((height, shape.clone()));
            }
            for (index, slope) in gradient.iter().enumerate() {
                let turned = slope * before[index];
                if turned > 0.0 {
                    steps[index] = (steps[index] * 1.2f64).min(1.0);
                } else if turned < 0.0 {
                    steps[index] *= 0.5;
                }
                let slope = if turned < 0.0 { 0.0 } else { *slope };
                before[index] = slope;
                if slope != 0.0 {
                    shape.0[index] += slope.signum() * steps[index];
                }
                let (low, high) = if index < axes.len() { LENGTHS } else { NOISES };
                shape.0[index] = shape.0[index].clamp(low, high);
            }
            if steps.iter().all(|step| *step < 1e-2) {
                break;
            }
        }
        best
    }

    /// The logarithm of the likelihood (up to a constant) and its gradient.
    fn likelihood(
        &self,
        squares: &[DMatrix<f64>],
        values: &DVector<f64>,
        usual: f64,
    ) -> Option<(f64, Vec<f64>)> {
        let count = values.len();
        let axes = squares.len();
        let noise = self.0[axes].exp();
        let lengths: Vec<f64> = self.0[..axes]
            .iter()
            .map(|log| (-2.0 * log).exp())
            .collect();
        let mut far = DMatrix::<f64>::zeros(count, count);
        for (square, length) in squares.iter().zip(&lengths) {
            far.zip_apply(square, |far, square| *far += square * length);
        }
        let mut kernel = far.map(matern);
        for index in 0..count {
            kernel[(index, index)] += noise + 1e-10;
        }
        let factor = Cholesky::new(kernel)?;
        let alpha = factor.solve(values);
        let amplitude = (values.dot(&alpha) / count as f64).max(1e-12);
        let determinant: f64 = factor.l_dirty().diagonal().iter().map(|d| d.ln()).sum();
        let prior = |log: f64, middle: f64, width: f64| {
            let off = (log - middle) / width;
            (-0.5 * off * off, -off / width)
        };
        let mut height = -0.5 * count as f64 * amplitude.ln() - determinant;
        let inverse = factor.inverse();
        // What each entry of the kernel's derivative counts.
        let counts = &alpha * alpha.transpose() / amplitude - inverse;
        let slopes = far.map(|far| {
            let r = (5.0 * far).sqrt();
            5.0 / 3.0 * (1.0 + r) * (-r).exp()
        });
        let mut gradient = Vec::with_capacity(axes + 1);
        for ((square, length), log) in squares.iter().zip(&lengths).zip(&self.0) {
            let sum: f64 = counts
                .iter()
                .zip(slopes.iter())
                .zip(square.iter())
                .map(|((count, slope), square)| count * slope * square)
                .sum();
            let (prior, slope) = prior(*log, usual, 1.0);
            height += prior;
            gradient.push(0.5 * sum * length + slope);
        }
        let (prior, slope) = prior(self.0[axes], USUAL_NOISE, 3.0);
        height += prior;
        gradient.push(0.5 * counts.trace() * noise + slope);
        height.is_finite().then_some((height, gradient))
    }
}

impl<'a> Process<'a> {
    pub(crate) fn new(
        axes: &'a [Axis],
        shape: &'a Shape,
        points: Vec<Vec<f64>>,
        values: &[f64],
    ) -> Option<Self> {
        let count = points.len();
        let noise = shape.0[axes.len()].exp();
        let lengths = shape.lengths();
        let kernel = DMatrix::from_fn(count, count, |row, column| {
            let same = if row == column { noise + 1e-10 } else { 0.0 };
            matern(scaled(axes, &lengths, &points[row], &points[column])) + same
        });
        let factor = Cholesky::new(kernel)?;
        let values = DVector::from_column_slice(values);
        let alpha = factor.solve(&values);
        let amplitude = (values.dot(&alpha) / count as f64).max(1e-12);
        Some(Self {
            axes,
            shape,
            points,
            factor,
            alpha,
            amplitude,
        })
    }

    /// The expected value at a point, and its deviation.
    pub(crate) fn at(&self, point: &[f64]) -> (f64, f64) {
        let lengths = self.shape.lengths();
        let near = self
            .points
            .iter()
            .map(|other| matern(scaled(self.axes, &lengths, point, other)));
        let mut near = DVector::from_iterator(self.points.len(), near);
        let mean = near.dot(&self.alpha);
        let known = if self.factor.l_dirty().solve_lower_triangular_mut(&mut near) {
            near.norm_squared()
        } else {
            0.0
        };
        (mean, (self.amplitude * (1.0 - known).max(1e-12)).sqrt())
    }

    /// The least value that it expects where it has seen one: of measurements with noise the
    /// best one is no good measure (V. Picheny, T. Wagner, D. Ginsbourger, *A benchmark of
    /// kriging-based infill criteria for noisy optimization*, 2013).
    pub(crate) fn least(&self) -> f64 {
        let expected = self.points.iter().map(|point| self.at(point).0);
        expected.fold(f64::INFINITY, f64::min)
    }

    /// The same process when it has seen what it expects at some more points: it is sure
    /// there, and expects nothing new elsewhere.
    pub(crate) fn believing(self, more: &[Vec<f64>]) -> Self {
        if more.is_empty() {
            return self;
        }
        let mut points = self.points.clone();
        let mut values: Vec<f64> = points.iter().map(|point| self.at(point).0).collect();
        values.extend(more.iter().map(|point| self.at(point).0));
        points.extend(more.iter().cloned());
        let amplitude = self.amplitude;
        match Self::new(self.axes, self.shape, points, &values) {
            Some(process) => Self {
                amplitude,
                ..process
            },
            None => self,
        }
    }
}

impl Shape {
    fn lengths(&self) -> Vec<f64> {
        self.0.iter().map(|log| (-2.0 * log).exp()).collect()
    }
}

/// Matérn's kernel of a squared distance.
fn matern(square: f64) -> f64 {
    let r = (5.0 * square).sqrt();
    (1.0 + r + r * r / 3.0) * (-r).exp()
}

fn apart(axis: &Axis, a: f64, b: f64) -> f64 {
    match axis {
        Axis::Number(_) => (a - b) * (a - b),
        Axis::Choice(_) => f64::from(u8::from(a != b)),
    }
}

fn scaled(axes: &[Axis], lengths: &[f64], a: &[f64], b: &[f64]) -> f64 {
    axes.iter()
        .zip(lengths)
        .zip(a.iter().zip(b))
        .map(|((axis, length), (a, b))| apart(axis, *a, *b) * length)
        .sum()
}

fn squared_distances(axes: &[Axis], points: &[Vec<f64>]) -> Vec<DMatrix<f64>> {
    axes.iter()
        .enumerate()
        .map(|(index, axis)| {
            DMatrix::from_fn(points.len(), points.len(), |row, column| {
                apart(axis, points[row][index], points[column][index])
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use katlab_katib::space::Domain;
    use katlab_katib::types::Distribution;

    fn axis() -> Axis {
        Axis::of(&Domain::Real {
            min: 0.0,
            max: 1.0,
            distribution: Distribution::Uniform,
        })
    }

    fn sample(count: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
        let points: Vec<Vec<f64>> = (0..count)
            .map(|index| {
                vec![
                    index as f64 / (count - 1) as f64,
                    (index * 7 % count) as f64 / count as f64,
                ]
            })
            .collect();
        // Only the first axis matters.
        let values = points.iter().map(|point| (6.0 * point[0]).sin()).collect();
        (points, values)
    }

    #[test]
    fn the_gradient_is_that_of_the_likelihood() {
        let axes = [axis(), axis()];
        let (points, values) = sample(12);
        let squares = squared_distances(&axes, &points);
        let values = DVector::from_vec(values);
        let height = |shape: &[f64]| {
            let shape = Shape(shape.to_vec());
            shape.likelihood(&squares, &values, -0.5).unwrap()
        };
        let at = vec![-0.7, 0.2, -3.0];
        let (_, gradient) = height(&at);
        for index in 0..3 {
            let mut moved = [at.clone(), at.clone()];
            moved[0][index] -= 1e-5;
            moved[1][index] += 1e-5;
            let slope = (height(&moved[1]).0 - height(&moved[0]).0) / 2e-5;
            assert!(
                (slope - gradient[index]).abs() < 1e-4,
                "{slope} {gradient:?}"
            );
        }
    }

    #[test]
    fn it_knows_what_it_saw_and_what_matters() {
        let axes = [axis(), axis()];
        let (points, values) = sample(15);
        let shape = Shape::fit(&axes, &points, &values);
        assert!(
            shape.0[1] > shape.0[0] + 0.5,
            "the axis that matters is shorter: {:?}",
            shape.0
        );
        let process = Process::new(&axes, &shape, points.clone(), &values).unwrap();
        for (point, value) in points.iter().zip(&values) {
            let (mean, deviation) = process.at(point);
            assert!((mean - value).abs() < 0.05 && deviation < 0.1);
        }
        let (mean, sure) = process.at(&[0.53, 0.5]);
        assert!((mean - (6.0f64 * 0.53).sin()).abs() < 0.1);
        let believing = process.believing(&[vec![0.53, 0.5]]);
        assert!(believing.at(&[0.53, 0.5]).1 < sure);
        assert!((believing.at(&[0.53, 0.5]).0 - mean).abs() < 0.02);
    }
}
