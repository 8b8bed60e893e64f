//! A request as the algorithms see it: every parameter an axis, every trial a point, and
//! the objective something to make small.

use crate::history::{Given, Outcome};
use crate::random::{self, generator};
use crate::space::{Space, Taken};
use crate::{Assignments, Request, SuggestionError};
use katlab_katib::algorithm::setting;
use katlab_katib::types::{ObjectiveType, Setting};
use rand::rngs::Xoshiro256PlusPlus;

/// Proposals before one is replaced by a random point because all were given out before.
const PROPOSALS: usize = 32;

/// A trial that was given out, as a point.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// One coordinate for each axis.
    pub(crate) at: Vec<f64>,
    /// The objective, small is good.
    pub(crate) loss: Option<f64>,
}

/// What an algorithm works on.
pub(crate) struct Search<'a> {
    pub(crate) space: Space,
    pub(crate) count: usize,
    pub(crate) seed: u64,
    /// Everything given out whose values can be read, oldest first.
    pub(crate) past: Vec<Past>,
    given: &'a [Given],
    /// -1 when great is good.
    sign: f64,
    settings: &'a [Setting],
}

impl<'a> Search<'a> {
    pub(crate) fn read(request: &Request<'a>) -> Result<Self, SuggestionError> {
        let space = Space::read(request.parameters)?;
        let sign = match request.objective {
            ObjectiveType::Maximize => -1.0,
            _ => 1.0,
        };
        let past = request
            .history
            .iter()
            .filter_map(|given| {
                let at = space.point_of(&given.assignments)?;
                let loss = loss(given, sign);
                Some(Past { at, loss })
            })
            .collect();
        let settings = &request.algorithm.algorithm_settings;
        Ok(Self {
            space,
            count: request.count,
            seed: setting(settings, "random_state")
                .and_then(read_seed)
                .unwrap_or(request.seed),
            past,
            given: request.history,
            sign,
            settings,
        })
    }

    /// A setting of the algorithm; what does not parse was refused before.
    pub(crate) fn setting<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        setting(self.settings, name)
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(default)
    }

    /// Everything given out, with its loss.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&'a Assignments, Option<f64>)> {
        self.given
            .iter()
            .map(|given| (&given.assignments, loss(given, self.sign)))
    }

    /// How many trials reported their objective.
    pub(crate) fn measured(&self) -> usize {
        self.past.iter().filter(|past| past.loss.is_some()).count()
    }

    pub(crate) fn taken(&self) -> Taken {
        Taken::of(self.given.iter().map(|given| &given.assignments))
    }

    /// As many assignments as are wanted, one after the other. What was proposed in this
    /// call is handed on as points without a loss, so that a batch spreads. The randomness
    /// of the n-th assignment depends on the seed and on n alone.
    pub(crate) fn each(
        &self,
        mut propose: impl FnMut(&[Past], &mut Xoshiro256PlusPlus) -> Vec<f64>,
    ) -> Vec<Assignments> {
        self.each_fresh(|past, _, random| propose(past, random))
    }

    /// As [`Search::each`], for those that want to know whether a point is a new one.
    pub(crate) fn each_fresh(
        &self,
        mut propose: impl FnMut(&[Past], &dyn Fn(&[f64]) -> bool, &mut Xoshiro256PlusPlus) -> Vec<f64>,
    ) -> Vec<Assignments> {
        let mut past = self.past.clone();
        let mut taken = self.taken();
        let mut found = Vec::with_capacity(self.count.min(1024));
        for number in (self.given.len() as u64..).take(self.count) {
            let mut random = generator(self.seed, number);
            let fresh = (0..PROPOSALS)
                .map(|_| {
                    let is_new = |at: &[f64]| !taken.has(&self.space.assignments_at(at));
                    self.space
                        .assignments_at(&propose(&past, &is_new, &mut random))
                })
                .find(|assignments| !taken.has(assignments));
            let assignments =
                fresh.unwrap_or_else(|| random::fresh(&self.space, &taken, &mut random));
            taken.add(&assignments);
            if let Some(at) = self.space.point_of(&assignments) {
                past.push(Past { at, loss: None });
            }
            found.push(assignments);
        }
        found
    }

    /// The numbers that the next assignments have in the sequence.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        (self.given.len() as u64..).take(self.count)
    }
}

fn loss(given: &Given, sign: f64) -> Option<f64> {
    match given.outcome {
        Outcome::Measured(value) => Some(sign * value).filter(|loss| loss.is_finite()),
        Outcome::Open | Outcome::Failed => None,
    }
}

/// A seed; cmaes takes negative ones as well.
fn read_seed(text: &str) -> Option<u64> {
    let text = text.trim();
    let negative = || text.parse().ok().map(i64::cast_unsigned);
    text.parse().ok().or_else(negative)
}
