//! Hyperband: many configurations with few resources, the better ones again with more.
//!
//! L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh, A. Talwalkar, *Hyperband*, JMLR 18
//! (2018), with Katib's settings: at most `r_l` of the parameter `resource_name`, and `eta`
//! times as much from rung to rung. Brackets start with less and more in turn.
//!
//! A configuration rises as soon as it is among the best `1/eta` of its rung, and when none
//! can rise a new one is begun: so no request has to wait, whatever its size (L. Li et al.,
//! *A system for massively parallel hyperparameter tuning*, MLSys 2020). Katib's service
//! waits for whole rungs and gives an error when the request does not fit one, which it
//! does for the first bracket only.

use crate::random::{fresh, generator};
use crate::search::Search;
use crate::space::{Space, Taken};
use crate::{Assignments, SuggestionError};
use katlab_katib::space::{Domain, python_float};
use katlab_katib::types::{ParameterAssignment, ParameterSpec};

/// Katib's default.
const ETA: f64 = 3.0;
/// Nobody has trials for more rungs.
const MOST_RUNGS: f64 = 32.0;

pub(crate) fn suggest(
    search: &Search<'_>,
    parameters: &[ParameterSpec],
) -> Result<Vec<Assignments>, SuggestionError> {
    let name: String = search.setting("resource_name", String::new());
    let others: Vec<ParameterSpec> = parameters
        .iter()
        .filter(|parameter| parameter.name != name)
        .cloned()
        .collect();
    let space = Space::read(&others)?;
    let resource = parameters.iter().find(|parameter| parameter.name == name);
    let Some(resource) = resource.map(Domain::of).transpose()? else {
        return Err(SuggestionError::NoParameters);
    };
    let mut ladder = Ladder::new(search, &resource);
    for (assignments, trial) in search.told() {
        ladder.learn(&name, assignments, trial);
    }
    Ok(search
        .numbers()
        .map(|number| {
            let (configuration, resource) = ladder.rise().unwrap_or_else(|| {
                let taken = Taken::of(ladder.configurations.iter().map(|known| &known.values));
                let mut random = generator(search.seed, number);
                let bracket = ladder.bracket(ladder.configurations.len());
                let lowest = ladder.brackets[bracket].rungs.first().cloned();
                (
                    fresh(&space, &taken, &mut random),
                    lowest.unwrap_or_default(),
                )
            });
            let assignments = in_order(parameters, &name, configuration, resource);
            ladder.learn(&name, &assignments, None);
            assignments
        })
        .collect())
}

/// A configuration with its resource, in the order of the parameters.
fn in_order(
    parameters: &[ParameterSpec],
    name: &str,
    configuration: Assignments,
    resource: String,
) -> Assignments {
    let mut others = configuration.into_iter();
    parameters
        .iter()
        .filter_map(|parameter| {
            if parameter.name == name {
                Some(ParameterAssignment::new(name, resource.clone()))
            } else {
                others.next()
            }
        })
        .collect()
}

/// Everything known, by bracket and rung.
struct Ladder {
    eta: f64,
    brackets: Vec<Bracket>,
    configurations: Vec<Configuration>,
}

struct Bracket {
    /// How many configurations begin in it before it is the next one's turn.
    size: usize,
    /// The resource of each rung, as it is written.
    rungs: Vec<String>,
}

struct Configuration {
    values: Assignments,
    bracket: usize,
    /// For each rung it was given out for: its loss, if there is one.
    trials: Vec<Option<f64>>,
}

impl Ladder {
    fn new(search: &Search<'_>, resource: &Domain) -> Self {
        let most = search.setting("r_l", 1.0f64);
        let eta = Some(search.setting("eta", ETA)).filter(|eta| *eta > 1.0);
        let eta = eta.unwrap_or(ETA);
        let highest = (most.ln() / eta.ln() + 1e-9).floor();
        // Written so that no number at all becomes 0.
        let highest = if highest > 0.0 {
            highest.min(MOST_RUNGS) as i32
        } else {
            0
        };
        let brackets = (0..=highest).rev().map(|rungs| {
            let share = f64::from(highest + 1) / f64::from(rungs + 1);
            let mut texts: Vec<String> = (0..=rungs)
                .map(|rung| nearest(resource, most * eta.powi(rung - rungs)))
                .collect();
            // A coarse parameter may not have as many values.
            texts.dedup();
            Bracket {
                size: (share * eta.powi(rungs)).ceil() as usize,
                rungs: texts,
            }
        });
        Self {
            eta,
            brackets: brackets.collect(),
            configurations: Vec::new(),
        }
    }

    /// The bracket in which the n-th configuration begins.
    fn bracket(&self, number: usize) -> usize {
        let all: usize = self.brackets.iter().map(|bracket| bracket.size).sum();
        let mut left = number % all.max(1);
        for (index, bracket) in self.brackets.iter().enumerate() {
            if left < bracket.size {
                return index;
            }
            left -= bracket.size;
        }
        0
    }

    fn learn(&mut self, name: &str, assignments: &[ParameterAssignment], loss: Option<f64>) {
        let (resource, values): (Assignments, Assignments) = assignments
            .iter()
            .cloned()
            .partition(|assignment| assignment.name == name);
        let number = self.configurations.len();
        let known = self
            .configurations
            .iter()
            .position(|known| known.values == values);
        let index = known.unwrap_or_else(|| {
            self.configurations.push(Configuration {
                bracket: self.bracket(number),
                trials: Vec::new(),
                values,
            });
            number
        });
        let configuration = &mut self.configurations[index];
        let rungs = &self.brackets[configuration.bracket].rungs;
        let rung = resource
            .first()
            .and_then(|resource| rungs.iter().position(|text| *text == resource.value));
        match rung {
            Some(rung) if rung < configuration.trials.len() => {
                configuration.trials[rung] = configuration.trials[rung].or(loss);
            }
            // Rungs are climbed one by one.
            Some(_) => configuration.trials.push(loss),
            None => {}
        }
    }

    /// A configuration that may rise, and the resource it is to have: the higher the rung,
    /// the sooner.
    fn rise(&self) -> Option<(Assignments, String)> {
        for (index, bracket) in self.brackets.iter().enumerate() {
            for rung in (1..bracket.rungs.len()).rev() {
                let mut ended: Vec<(f64, &Configuration)> = self
                    .configurations
                    .iter()
                    .filter(|configuration| configuration.bracket == index)
                    .filter_map(|configuration| {
                        Some(((*configuration.trials.get(rung - 1)?)?, configuration))
                    })
                    .collect();
                ended.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                let places = (ended.len() as f64 / self.eta).floor() as usize;
                let rising = ended
                    .iter()
                    .take(places)
                    .find(|(_, configuration)| configuration.trials.len() == rung);
                if let Some((_, configuration)) = rising {
                    return Some((configuration.values.clone(), bracket.rungs[rung].clone()));
                }
            }
        }
        None
    }
}

/// The value of the parameter next to a number.
fn nearest(domain: &Domain, wanted: f64) -> String {
    let position = match domain {
        Domain::Real { min, max, .. } => return python_float(wanted.clamp(*min, *max)),
        Domain::Steps { min, step, .. } => (wanted - min) / step,
        Domain::Whole { min, step, .. } => (wanted - *min as f64) / *step as f64,
        Domain::List(items) => {
            let away = |text: &str| {
                text.parse::<f64>()
                    .map_or(f64::INFINITY, |n| (n - wanted).abs())
            };
            let best = items
                .iter()
                .enumerate()
                .min_by(|(_, a), (_, b)| away(a).total_cmp(&away(b)));
            best.map_or(0.0, |(position, _)| position as f64)
        }
    };
    let last = domain.count().unwrap_or(1).saturating_sub(1);
    // Katib rounds down; a number below 0 becomes 0.
    domain.value((position.max(0.0) + 1e-9).floor().min(last as f64) as u64)
}
