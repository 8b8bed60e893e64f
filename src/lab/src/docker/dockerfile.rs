//! What a Dockerfile says before it is built: its base images, and what only BuildKit can do.

use std::collections::BTreeMap;

/// One `FROM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The line, from 1.
    pub line: usize,
    /// The image, with build arguments filled in.
    pub image: String,
}

/// A use of something that only BuildKit can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modern {
    /// The line, from 1.
    pub line: usize,
    /// What is used.
    pub feature: String,
}

/// What was found in a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Base images, `scratch` and earlier stages left out.
    pub bases: Vec<Base>,
    /// Names of stages, in order.
    pub stages: Vec<String>,
    /// What only BuildKit can do.
    pub modern: Vec<Modern>,
    /// The `# syntax=` line, which the classic builder passes over.
    pub syntax: Option<Modern>,
    /// How many instructions there are.
    pub steps: usize,
    /// Names of build arguments that are declared.
    pub arguments: Vec<String>,
}

impl Base {
    /// Whether another day may bring another image under this name.
    pub fn is_unpinned(&self) -> bool {
        match crate::reference::Reference::parse(&self.image) {
            Ok(reference) => {
                reference.tag_or_latest() == Some("latest") && reference.digest().is_none()
            }
            // With a variable left in it, nothing can be said.
            Err(_) => false,
        }
    }
}

/// Reads a Dockerfile. What it does not understand it passes over: the engine is the judge.
pub fn survey(text: &str, build_arguments: &BTreeMap<String, String>) -> Survey {
    let mut survey = Survey::default();
    let mut defaults: BTreeMap<String, String> = BTreeMap::new();
    let mut seen_from = false;
    let escape = escape_of(text);
    for (line, instruction) in instructions(text, escape) {
        if let Some(image) = instruction.strip_prefix("# syntax=") {
            survey.syntax = Some(Modern {
                line,
                feature: format!("`# syntax={image}`"),
            });
            continue;
        }
        let (keyword, rest) = instruction
            .split_once(char::is_whitespace)
            .unwrap_or((instruction.as_str(), ""));
        let keyword = keyword.to_ascii_uppercase();
        let rest = rest.trim();
        match keyword.as_str() {
            "ARG" => {
                for word in rest.split_whitespace() {
                    let (name, default) = word.split_once('=').unwrap_or((word, ""));
                    survey.arguments.push(name.to_owned());
                    if !seen_from {
                        let given = build_arguments.get(name).cloned();
                        let default = expand(default.trim_matches(['"', '\'']), &defaults);
                        defaults.insert(name.to_owned(), given.unwrap_or(default));
                    }
                }
            }
            "FROM" => {
                seen_from = true;
                let words: Vec<&str> = rest
                    .split_whitespace()
                    .filter(|word| !word.starts_with("--"))
                    .collect();
                let image = expand(words.first().copied().unwrap_or_default(), &defaults);
                let is_stage = survey
                    .stages
                    .iter()
                    .any(|stage| stage.eq_ignore_ascii_case(&image));
                if !image.is_empty() && image != "scratch" && !is_stage {
                    survey.bases.push(Base { line, image });
                }
                match words.as_slice() {
                    [_, r#as, name, ..] if r#as.eq_ignore_ascii_case("as") => {
                        survey.stages.push((*name).to_owned())
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        survey.steps += 1;
        if let Some(feature) = modern_feature(&keyword, rest) {
            survey.modern.push(Modern { line, feature });
        }
    }
    survey
}

fn modern_feature(keyword: &str, rest: &str) -> Option<String> {
    let flags: Vec<&str> = rest
        .split_whitespace()
        .take_while(|word| word.starts_with("--"))
        .collect();
    let wanted: &[&str] = match keyword {
        "RUN" => &["--mount", "--network", "--security", "--device"],
        "COPY" => &["--link", "--chmod", "--parents", "--exclude"],
        "ADD" => &[
            "--link",
            "--chmod",
            "--checksum",
            "--keep-git-dir",
            "--exclude",
            "--unpack",
        ],
        _ => return None,
    };
    for flag in &flags {
        let name = flag.split('=').next().unwrap_or(flag);
        if wanted.contains(&name) {
            return Some(format!("`{keyword} {name}`"));
        }
    }
    let has_heredoc = rest.split_whitespace().any(|word| {
        let Some(marker) = word
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .strip_prefix("<<")
        else {
            return false;
        };
        let marker = marker.trim_start_matches('-').trim_matches(['"', '\'']);
        !marker.is_empty()
            && !marker.starts_with('<')
            && marker
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    // In a shell command `<<EOF` may be the shell's own on one line, but then its text would have
    // to follow on the next, which the classic builder reads as instructions: it cannot work.
    has_heredoc.then(|| format!("a here-document in `{keyword}`"))
}

fn escape_of(text: &str) -> char {
    for line in text.lines() {
        let Some(directive) = line.trim().strip_prefix('#') else {
            break;
        };
        match directive.trim().split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("escape") => {
                return value.trim().chars().next().unwrap_or('\\');
            }
            Some(_) => {}
            None => break,
        }
    }
    '\\'
}

/// The instructions with their first lines' numbers: comments gone, continued lines joined. A
/// `# syntax=` directive stays, spelled that way.
fn instructions(text: &str, escape: char) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let mut in_head = true;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix('#') {
            match comment.trim().split_once('=') {
                Some((name, value)) if in_head && name.trim().eq_ignore_ascii_case("syntax") => {
                    found.push((index + 1, format!("# syntax={}", value.trim())));
                }
                Some(_) => {}
                None => in_head = false,
            }
            continue;
        }
        in_head = false;
        if trimmed.is_empty() {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        if let Some(part) = trimmed.strip_suffix(escape) {
            joined.push_str(part);
            joined.push(' ');
            open = Some((number, joined));
        } else {
            joined.push_str(trimmed);
            found.push((number, joined));
        }
    }
    found.extend(open);
    found
}

/// Fills `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}`.
fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name_part, braces) = match after.strip_prefix('{') {
            Some(inner) => (inner.split('}').next().unwrap_or_default(), true),
            None => (
                &after[..after
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(after.len())],
                false,
            ),
        };
        let (name, default) = match name_part.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name_part, None),
        };
        let value = values
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
            .or_else(|| default.map(str::to_owned));
        let consumed = 1 + name_part.len() + if braces { 2 } else { 0 };
        match value {
            Some(value) => expanded.push_str(&value),
            None => expanded.push_str(rest.get(at..at + consumed).unwrap_or(&rest[at..])),
        }
        rest = rest.get(at + consumed..).unwrap_or_default();
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn base_images_are_found_with_their_arguments_filled_in() {
        let text = "# a comment\nARG BASE=katlab/base:bookworm\nARG TAG\nFROM ${BASE} AS build\nRUN true\nFROM --platform=linux/amd64 python:$TAG\nFROM build\nFROM scratch\nFROM busybox\n";
        let survey = survey(text, &with(&[("TAG", "3.11")]));
        let images: Vec<_> = survey
            .bases
            .iter()
            .map(|b| (b.line, b.image.as_str(), b.is_unpinned()))
            .collect();
        assert_eq!(
            images,
            [
                (4, "katlab/base:bookworm", false),
                (6, "python:3.11", false),
                (9, "busybox", true)
            ]
        );
        assert_eq!((survey.steps, survey.stages.len()), (8, 1));
        assert_eq!(survey.arguments, ["BASE", "TAG"]);
    }

    #[test]
    fn what_needs_buildkit_is_found_at_its_line() {
        for (text, line, word) in [
            (
                "FROM a:1\nRUN --mount=type=cache,target=/x pip install y\n",
                2,
                "--mount",
            ),
            ("FROM a:1\n\n# c\nCOPY --link a b\n", 4, "--link"),
            ("FROM a:1\nRUN <<EOF\necho hi\nEOF\n", 2, "here-document"),
            ("FROM a:1\nCOPY <<-\"X\" /x\n", 2, "here-document"),
            (
                "FROM a:1\nRUN echo \\\n  # inside\n  --mount\nADD --checksum=sha256:1 u /x\n",
                5,
                "--checksum",
            ),
        ] {
            let survey = survey(text, &BTreeMap::new());
            assert_eq!(survey.modern[0].line, line, "{text}");
            assert!(
                survey.modern[0].feature.contains(word),
                "{:?}",
                survey.modern
            );
        }
        for text in [
            "FROM a:1\nRUN cat <<< hi\nCOPY --from=x --chown=1 a b\nRUN echo $((1<<2))\n",
            "FROM a:1\nRUN x --mount=1\n",
        ] {
            assert!(survey(text, &BTreeMap::new()).modern.is_empty(), "{text}");
        }
        assert_eq!(
            survey("# syntax=docker/dockerfile:1\nFROM a:1", &BTreeMap::new())
                .syntax
                .unwrap()
                .line,
            1
        );
        assert!(
            survey("FROM a:1\n# syntax=docker/dockerfile:1", &BTreeMap::new())
                .syntax
                .is_none()
        );
    }

    #[test]
    fn an_unknown_variable_stays_and_is_not_called_unpinned() {
        let survey = survey("FROM ${WHAT}\nFROM ${X:-a:1}\nFROM $\n", &BTreeMap::new());
        assert_eq!(survey.bases[0].image, "${WHAT}");
        assert!(!survey.bases[0].is_unpinned());
        assert_eq!(survey.bases[1].image, "a:1");
    }

    #[test]
    fn windows_dockerfiles_may_choose_their_escape() {
        let survey = survey(
            "# escape=`\nFROM a:1\nRUN dir C:\\\nRUN x `\n y\n",
            &BTreeMap::new(),
        );
        assert_eq!(survey.steps, 3);
    }
}
