//! A quadratic model of a function near where a search is: which of some points is likely
//! the best.
//!
//! N. Hansen, *A global surrogate assisted CMA-ES*, GECCO 2019: least squares, the better
//! a point the more it counts, and as many terms as there are points for: linear, with
//! squares, with products.

use nalgebra::{Cholesky, DMatrix, DVector};

/// The weight of the best point; that of the worst is 1.
const BEST: f64 = 20.0;
/// How many points a term needs.
const EACH: f64 = 1.1;
/// Keeps what the points leave open at 0.
const RIDGE: f64 = 1e-6;

/// A function of a point, up to a constant.
pub(crate) struct Quadratic {
    terms: Terms,
    coefficients: DVector<f64>,
}

#[derive(Clone, Copy)]
enum Terms {
    Linear,
    Squares,
    Products,
}

impl Terms {
    fn count(self, dimensions: usize) -> usize {
        match self {
            Self::Linear => dimensions + 1,
            Self::Squares => 2 * dimensions + 1,
            Self::Products => (dimensions + 1) * (dimensions + 2) / 2,
        }
    }

    fn of(self, at: &DVector<f64>) -> DVector<f64> {
        let dimensions = at.len();
        let mut terms = Vec::with_capacity(self.count(dimensions));
        terms.push(1.0);
        terms.extend(at.iter());
        if !matches!(self, Self::Linear) {
            terms.extend(at.iter().map(|x| x * x));
        }
        if matches!(self, Self::Products) {
            for row in 0..dimensions {
                terms.extend((0..row).map(|column| at[row] * at[column]));
            }
        }
        DVector::from_vec(terms)
    }
}

/// How many points the greatest model wants.
pub(crate) fn wanted(dimensions: usize) -> usize {
    2 * Terms::Products.count(dimensions)
}

impl Quadratic {
    /// The model of points with their values; none when there are too few.
    pub(crate) fn fit(points: &[(DVector<f64>, f64)]) -> Option<Self> {
        let dimensions = points.first()?.0.len();
        let terms = [Terms::Products, Terms::Squares, Terms::Linear]
            .into_iter()
            .find(|terms| points.len() as f64 >= EACH * terms.count(dimensions) as f64)?;
        let mut order: Vec<&(DVector<f64>, f64)> = points.iter().collect();
        order.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let count = terms.count(dimensions);
        let last = (order.len() - 1).max(1) as f64;
        let least = order[0].1;
        let width = (order[order.len() / 2].1 - least).max(1e-300);
        let mut normal = DMatrix::<f64>::zeros(count, count);
        let mut right = DVector::<f64>::zeros(count);
        for (rank, (at, value)) in order.iter().enumerate() {
            let weight = BEST - (BEST - 1.0) * rank as f64 / last;
            let row = terms.of(at);
            normal.ger(weight, &row, &row, 1.0);
            right.axpy(weight * (value - least) / width, &row, 1.0);
        }
        for index in 0..count {
            normal[(index, index)] += RIDGE * normal[(index, index)].max(1.0);
        }
        let coefficients = Cholesky::new(normal)?.solve(&right);
        coefficients
            .iter()
            .all(|coefficient| coefficient.is_finite())
            .then_some(Self {
                terms,
                coefficients,
            })
    }

    pub(crate) fn at(&self, point: &DVector<f64>) -> f64 {
        self.terms.of(point).dot(&self.coefficients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::generator;
    use rand::RngExt;

    /// As many points as are needed for each kind of terms, and a function it can be.
    #[test]
    fn a_model_has_the_terms_its_points_suffice_for() {
        let linear = |at: &DVector<f64>| 3.0 * at[0] - at[1];
        let squares = |at: &DVector<f64>| at[0] * at[0] + 4.0 * (at[1] - 0.5).powi(2);
        let products = |at: &DVector<f64>| (at[0] + at[1]).powi(2) + (at[0] - 2.0 * at[1]).powi(2);
        for (count, value) in [
            (4, &linear as &dyn Fn(&DVector<f64>) -> f64),
            (6, &squares),
            (7, &products),
            (12, &products),
        ] {
            let mut random = generator(7, 1);
            let mut draw = || DVector::from_fn(2, |_, _| random.random_range(-1.0..1.0));
            let points: Vec<(DVector<f64>, f64)> = (0..count)
                .map(|_| draw())
                .map(|at| (at.clone(), value(&at)))
                .collect();
            let model = Quadratic::fit(&points).unwrap();
            for _ in 0..50 {
                let (one, other) = (draw(), draw());
                if (value(&one) - value(&other)).abs() > 0.1 {
                    let agrees =
                        (model.at(&one) < model.at(&other)) == (value(&one) < value(&other));
                    assert!(agrees, "{count} points: {one} and {other}");
                }
            }
        }
        let few = vec![(DVector::zeros(2), 1.0); 3];
        assert!(Quadratic::fit(&few).is_none());
        let same = vec![(DVector::zeros(2), 1.0); 9];
        assert!(Quadratic::fit(&same).is_none_or(|model| model.at(&few[0].0).is_finite()));
    }
}
