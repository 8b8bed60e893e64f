//! Names that were probably meant.

/// Names similar to `name`, best first, at most three.
pub fn near_misses<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted = name.to_lowercase();
    let limit = (wanted.chars().count() / 3).max(2);
    let mut scored: Vec<(usize, &str)> = known
        .into_iter()
        .filter(|candidate| *candidate != name)
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            let distance = distance(&wanted, &lower);
            // A long common beginning is what a forgotten suffix looks like.
            let shared =
                wanted.len() >= 3 && (lower.starts_with(&wanted) || wanted.starts_with(&lower));
            (distance <= limit || shared)
                .then_some((if shared { distance.min(1) } else { distance }, candidate))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored
        .into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// The valid object name nearest to one that Kubernetes refuses; nothing when it is valid (an RFC 1123
/// subdomain, as most kinds want it) or when nothing is left of it.
pub fn valid_name(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let parts = lower.split('.').map(|part| {
        let words = part.split(|c| !is_plain(c) && c != '-');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        words.join("-").trim_matches('-').to_owned()
    });
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    let mut valid = parts.join(".");
    valid.truncate(253);
    valid.truncate(valid.trim_end_matches(['-', '.']).len());
    (valid != name && !valid.is_empty()).then_some(valid)
}

fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let cost = if a == *b {
                diagonal
            } else {
                1 + diagonal.min(row[j]).min(row[j + 1])
            };
            diagonal = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_refused_comes_with_one_that_is_not() {
        let near = |name| valid_name(name);
        assert_eq!(near("reg_cred").as_deref(), Some("reg-cred"));
        assert_eq!(near("-My Secret_").as_deref(), Some("my-secret"));
        assert_eq!(near("a..b").as_deref(), Some("a.b"));
        for valid in ["regcred", "a.b-c", "1"] {
            assert_eq!(near(valid), None);
        }
        assert_eq!(near("___"), None);
        // Cut to length where a dash would come last.
        let long = format!("{}-bc", "a".repeat(252));
        assert_eq!(near(&long), Some("a".repeat(252)));
    }

    #[test]
    fn near_misses_are_close_and_few() {
        let known = [
            "mnist-hyperparameter-tuning",
            "random-1",
            "random-2",
            "grid",
        ];
        assert_eq!(
            near_misses("mnist-hyperparamter-tuning", known),
            ["mnist-hyperparameter-tuning"]
        );
        assert_eq!(near_misses("mnist", known), ["mnist-hyperparameter-tuning"]);
        assert!(near_misses("zzzzzz", known).is_empty());
    }
}
