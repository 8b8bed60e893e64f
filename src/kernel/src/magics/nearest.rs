//! Names that a person may have meant.

/// The names nearest to what was written, best first; none when nothing is near.
pub fn to<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = written.to_lowercase();
    let allowed = (lower.chars().count() / 3).clamp(1, 4);
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let candidate = name.to_lowercase();
            let distance = distance(&lower, &candidate);
            if distance <= allowed {
                Some((distance, name))
            } else if lower.chars().count() >= 3
                && (candidate.starts_with(&lower) || lower.starts_with(&candidate))
            {
                Some((allowed + 1, name))
            } else {
                None
            }
        })
        .collect();
    near.sort();
    near.into_iter().map(|(_, name)| name).take(3).collect()
}

/// How many characters must be put in, left out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(
            to("PROJET_NAME", ["PROJECT_NAME", "CLUSTER_NAME", "X"]),
            ["PROJECT_NAME"]
        );
        assert_eq!(to("hlep", ["help", "env"]), ["help"]);
        assert_eq!(to("regis", ["registry", "env"]), ["registry"]);
        assert!(to("zzz", ["help", "env"]).is_empty());
    }
}
