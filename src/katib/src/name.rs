//! Names of trials.

/// The letters and digits Kubernetes makes up names from: no vowels, so no words, and
/// nothing that looks like something else.
pub const SAFE_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name part of `length` safe characters. `random` gives numbers of any size.
pub fn safe_suffix(length: usize, mut random: impl FnMut() -> u64) -> String {
    let letters = SAFE_ALPHABET.len() as u64;
    (0..length)
        .map(|_| {
            // Below 27 the remainder of a 64-bit number favours no letter noticeably.
            let index = usize::try_from(random() % letters).unwrap_or_default();
            char::from(SAFE_ALPHABET[index])
        })
        .collect()
}

/// A trial's name: the experiment's and eight safe characters. It is also the name of the
/// job, of the assignment in the Suggestion, and the key of the trial's metrics.
pub fn trial_name(experiment: &str, random: impl FnMut() -> u64) -> String {
    format!("{experiment}-{}", safe_suffix(8, random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_name_is_the_experiments_with_eight_safe_characters() {
        let mut state = 1u64;
        let name = trial_name("mnist", || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 33
        });
        let suffix = name.strip_prefix("mnist-").unwrap();
        assert_eq!(suffix.len(), 8);
        assert!(suffix.bytes().all(|byte| SAFE_ALPHABET.contains(&byte)));
    }
}
