//! The processes below the engine, as `/proc` shows them: compilers, and the program of the cells.

use std::collections::HashMap;

/// One process.
#[derive(Clone, Debug)]
struct Entry {
    parent: i32,
    name: String,
    ticks: u64,
}

/// A view of all processes at one moment.
pub struct Snapshot(HashMap<i32, Entry>);

impl Snapshot {
    /// Looks now.
    pub fn take() -> Self {
        let mut entries = HashMap::new();
        if let Ok(dir) = std::fs::read_dir("/proc") {
            for pid in dir
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            {
                if let Some(entry) = std::fs::read_to_string(format!("/proc/{pid}/stat"))
                    .ok()
                    .and_then(|s| parse(&s))
                {
                    entries.insert(pid, entry);
                }
            }
        }
        Self(entries)
    }

    /// Everything below a process.
    pub fn below(&self, pid: i32) -> Vec<i32> {
        let mut found = vec![pid];
        let mut next = 0;
        while next < found.len() {
            let parent = found[next];
            found.extend(
                self.0
                    .iter()
                    .filter(|(_, entry)| entry.parent == parent)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        found.remove(0);
        found
    }

    /// The compilers below the engine: everything but the program that runs the cells, which is
    /// the engine's own executable, and what that program started.
    pub fn compilers(&self, engine: i32) -> Vec<i32> {
        let name = self
            .0
            .get(&engine)
            .map(|entry| entry.name.as_str())
            .unwrap_or_default();
        let is_program = |pid: &i32| self.0.get(pid).is_some_and(|entry| entry.name == name);
        let children = self
            .0
            .iter()
            .filter(|(_, entry)| entry.parent == engine)
            .map(|(pid, _)| *pid);
        children
            .filter(|pid| !is_program(pid))
            .flat_map(|pid| std::iter::once(pid).chain(self.below(pid)))
            .collect()
    }

    /// Processor time of a process so far, in clock ticks.
    pub fn ticks(&self, pid: i32) -> u64 {
        self.0.get(&pid).map_or(0, |entry| entry.ticks)
    }
}

/// Asks processes to end. A pid that is gone already is no error.
pub fn signal(pids: &[i32], signal: libc::c_int) {
    for pid in pids {
        // SAFETY: kill takes plain numbers; the pids are positive and were just seen below ours.
        unsafe { libc::kill(*pid, signal) };
    }
}

/// `pid (name, which may hold blanks) state ppid …`
fn parse(stat: &str) -> Option<Entry> {
    let open = stat.find('(')?;
    let close = stat.rfind(')')?;
    let fields: Vec<&str> = stat[close + 1..].split_whitespace().collect();
    // A zombie is over already; waiting for it or signalling it would never end.
    if fields.first() == Some(&"Z") {
        return None;
    }
    Some(Entry {
        parent: fields.get(1)?.parse().ok()?,
        name: stat[open + 1..close].to_owned(),
        ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(rows: &[(i32, i32, &str)]) -> Snapshot {
        let entry = |parent, name: &str| Entry {
            parent,
            name: name.to_owned(),
            ticks: 0,
        };
        Snapshot(
            rows.iter()
                .map(|(pid, parent, name)| (*pid, entry(*parent, name)))
                .collect(),
        )
    }

    #[test]
    fn compilers_are_told_from_the_program_of_the_cells_and_its_children() {
        let all = snapshot(&[
            (1, 0, "katlab"),
            (10, 1, "katlab"),
            (11, 10, "katlab"),
            (12, 11, "cargo"),
            (20, 10, "cargo"),
            (21, 20, "rustc"),
            (22, 21, "cc"),
        ]);
        let mut found = all.compilers(10);
        found.sort_unstable();
        assert_eq!(found, [20, 21, 22]);
        assert_eq!(all.below(11), [12]);
    }

    #[test]
    fn a_name_with_blanks_and_brackets_is_read() {
        let entry =
            parse("42 (tokio (rt) w) S 7 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0").expect("an entry");
        assert_eq!(
            (entry.parent, entry.name.as_str(), entry.ticks),
            (7, "tokio (rt) w", 42)
        );
        assert!(parse("42 (x) Z 7 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0").is_none());
    }
}
