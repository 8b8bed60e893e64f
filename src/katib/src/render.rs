//! Filling the variables of a template file, before it is YAML.
//!
//! `${NAME}` is replaced from a lookup, `${NAME:-text}` has a default, `${NAME:?text}` a
//! sentence for when there is no value. Katib's own `${trialParameters.x}` and
//! `${trialSpec.x}` stay as they are, and so does everything else with a dot in it. `\${`
//! (what is left of a template that went through a shell) and `$${` become `${`. Comment
//! lines are not looked into. A value is escaped for the quotes it lands in, so that it
//! cannot end them.

use crate::yaml::line_column;

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: String,
    /// For people: `settings`, `environment`, `--set`.
    pub source: String,
}

// A value may be a secret: it is not printed by accident.
impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// A variable that was filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Its name.
    pub name: String,
    /// Line in the template, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Where the value came from.
    pub source: String,
}

/// A variable without a value; it stays in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// Line in the template, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What the template itself says about it (`${NAME:?text}`), or why its value is not
    /// used.
    pub note: Option<String>,
}

/// A place in the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A template with its variables filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// What was filled in, in the template's order.
    pub uses: Vec<Use>,
    /// What was not.
    pub missing: Vec<Missing>,
    /// Where a backslash before `${` was removed.
    pub mended: Vec<Spot>,
    /// How many of Katib's own placeholders were left alone.
    pub kept: usize,
}

impl Rendered {
    /// The names without a value, each once.
    pub fn missing_names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for missing in &self.missing {
            if !names.contains(&missing.name.as_str()) {
                names.push(missing.name.as_str());
            }
        }
        names
    }
}

/// Fills the variables of a template.
pub fn render(template: &str, mut lookup: impl FnMut(&str) -> Option<Found>) -> Rendered {
    let mut rendered = Rendered {
        text: String::with_capacity(template.len()),
        ..Rendered::default()
    };
    let mut offset = 0;
    for line in template.split_inclusive('\n') {
        if line.trim_start().starts_with('#') {
            rendered.text.push_str(line);
        } else {
            render_line(template, line, offset, &mut lookup, &mut rendered);
        }
        offset += line.len();
    }
    rendered
}

/// The quotes a value stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    None,
    Single,
    Double,
}

fn render_line(
    template: &str,
    line: &str,
    start: usize,
    lookup: &mut impl FnMut(&str) -> Option<Found>,
    rendered: &mut Rendered,
) {
    let mut quotes = Quotes::None;
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let spot = || {
            let (line, column) = line_column(template, start + at);
            Spot { line, column }
        };
        if rest.starts_with("\\\\") && quotes == Quotes::Double {
            rendered.text.push_str("\\\\");
            at += 2;
        } else if rest.starts_with("\\\"") && quotes == Quotes::Double {
            rendered.text.push_str("\\\"");
            at += 2;
        } else if let Some(inside) = rest.strip_prefix("\\${") {
            rendered.mended.push(spot());
            rendered.kept += usize::from(is_katibs(inside));
            rendered.text.push_str("${");
            at += 3;
        } else if rest.starts_with("$${") {
            rendered.text.push_str("${");
            at += 3;
        } else if let Some(inside) = rest.strip_prefix("${") {
            if is_katibs(inside) {
                rendered.kept += 1;
            }
            match variable(inside) {
                Some(variable) => {
                    let length = 2 + variable.length;
                    let piece = &rest[..length];
                    fill(&variable, piece, quotes, spot(), lookup, rendered);
                    at += length;
                }
                None => {
                    rendered.text.push_str("${");
                    at += 2;
                }
            }
        } else {
            let Some(c) = rest.chars().next() else { break };
            quotes = match (c, quotes) {
                ('"', Quotes::None) if opens(line, at) => Quotes::Double,
                ('\'', Quotes::None) if opens(line, at) => Quotes::Single,
                ('"', Quotes::Double) | ('\'', Quotes::Single) => Quotes::None,
                _ => quotes,
            };
            rendered.text.push(c);
            at += c.len_utf8();
        }
    }
}

/// A quote begins a YAML string only where a value may begin: `don't` has none.
fn opens(line: &str, at: usize) -> bool {
    line[..at]
        .chars()
        .next_back()
        .is_none_or(|before| before.is_whitespace() || "[{,:".contains(before))
}

fn is_katibs(inside: &str) -> bool {
    inside.starts_with("trialParameters.") || inside.starts_with("trialSpec.")
}

struct Variable<'t> {
    name: &'t str,
    default: Option<&'t str>,
    note: Option<&'t str>,
    /// Bytes from after `${` to after `}`.
    length: usize,
}

/// Reads `NAME}`, `NAME:-text}`, `NAME:?text}`; nothing else is a variable.
fn variable(inside: &str) -> Option<Variable<'_>> {
    let end = inside
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(inside.len());
    let (name, rest) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if rest.starts_with('}') {
        return Some(Variable {
            name,
            default: None,
            note: None,
            length: end + 1,
        });
    }
    let (text, is_default) = match (rest.strip_prefix(":-"), rest.strip_prefix(":?")) {
        (Some(text), _) => (text, true),
        (None, Some(text)) => (text, false),
        (None, None) => return None,
    };
    let close = text.find(['}', '\n'])?;
    if !text[close..].starts_with('}') {
        return None;
    }
    let text = &text[..close];
    Some(Variable {
        name,
        default: is_default.then_some(text),
        note: (!is_default && !text.is_empty()).then_some(text),
        length: end + 2 + close + 1,
    })
}

fn fill(
    variable: &Variable<'_>,
    piece: &str,
    quotes: Quotes,
    spot: Spot,
    lookup: &mut impl FnMut(&str) -> Option<Found>,
    rendered: &mut Rendered,
) {
    let Variable {
        name,
        default,
        note,
        ..
    } = *variable;
    // As in a shell, an empty value counts as none when the template says what to do then.
    let tolerates_none = default.is_some() || note.is_some();
    let found = lookup(name)
        .filter(|found| !(tolerates_none && found.value.is_empty()))
        .or_else(|| {
            default.map(|text| Found {
                value: text.to_owned(),
                source: "the template's default".to_owned(),
            })
        });
    let mut miss = |note: Option<String>| {
        rendered.missing.push(Missing {
            name: name.to_owned(),
            line: spot.line,
            column: spot.column,
            note,
        });
        rendered.text.push_str(piece);
    };
    match found {
        None => miss(note.map(str::to_owned)),
        Some(found) if found.value.contains(|c: char| c.is_control()) => miss(Some(format!(
            "its value (from {}) has a line break or control character in it",
            found.source
        ))),
        Some(found) => {
            let value = match quotes {
                Quotes::None => found.value,
                Quotes::Single => found.value.replace('\'', "''"),
                Quotes::Double => found.value.replace('\\', "\\\\").replace('"', "\\\""),
            };
            rendered.text.push_str(&value);
            rendered.uses.push(Use {
                name: name.to_owned(),
                line: spot.line,
                column: spot.column,
                source: found.source,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &'static [(&str, &str)]) -> impl FnMut(&str) -> Option<Found> {
        move |name| {
            let (_, value) = pairs.iter().find(|(known, _)| *known == name)?;
            Some(Found {
                value: (*value).to_owned(),
                source: "settings".to_owned(),
            })
        }
    }

    #[test]
    fn variables_are_filled_and_katibs_placeholders_left_alone() {
        let template = "image: ${PROJECT}.kr/x:1.0\nargs: [\"\\${trialParameters.lr}\", ${trialSpec.Name}, ${a.b}]\n";
        let rendered = render(template, given(&[("PROJECT", "demo")]));
        assert_eq!(
            rendered.text,
            "image: demo.kr/x:1.0\nargs: [\"${trialParameters.lr}\", ${trialSpec.Name}, ${a.b}]\n"
        );
        assert_eq!(
            rendered.uses,
            [Use {
                name: "PROJECT".into(),
                line: 1,
                column: 8,
                source: "settings".into()
            }]
        );
        assert_eq!(rendered.mended, [Spot { line: 2, column: 9 }]);
        assert_eq!(rendered.kept, 2);
        assert!(rendered.missing.is_empty());
    }

    #[test]
    fn missing_names_stay_and_are_reported_with_their_place() {
        let template = "# ${IN_A_COMMENT}\n가: ${B:?the tag to use} ${B} ${C:-x} ${D:-}\n";
        let rendered = render(template, given(&[("D", "")]));
        assert_eq!(
            rendered.text,
            "# ${IN_A_COMMENT}\n가: ${B:?the tag to use} ${B} x \n"
        );
        assert_eq!(rendered.missing_names(), ["B"]);
        assert_eq!(rendered.missing[0].note.as_deref(), Some("the tag to use"));
        assert_eq!(
            (rendered.missing[0].line, rendered.missing[0].column),
            (2, 4)
        );
        assert_eq!(rendered.uses[0].source, "the template's default");
    }

    #[test]
    fn a_value_cannot_end_the_quotes_it_stands_in() {
        let template = "a: \"${V}\"\nb: '${V}'\nc: it's ${W}\n";
        let rendered = render(template, given(&[("V", "x\" y' \\"), ("W", "w'")]));
        assert_eq!(
            crate::yaml::parse(&rendered.text).unwrap(),
            serde_json::json!({"a": "x\" y' \\", "b": "x\" y' \\", "c": "it's w'"})
        );
        let broken = render("a: ${V}\n", given(&[("V", "x\nb: 1")]));
        assert_eq!(broken.text, "a: ${V}\n");
        assert_eq!(broken.missing_names(), ["V"]);
    }

    #[test]
    fn a_value_is_not_shown_by_debug() {
        let found = Found {
            value: "hunter2".into(),
            source: "settings".into(),
        };
        assert!(!format!("{found:?}").contains("hunter2"));
    }

    proptest::proptest! {
        #[test]
        fn rendering_never_panics(text in "(\\$\\{|\\}|:-|:\\?|\\\\|[\"'#\n a-zA-Z_.$é]){0,40}", value in ".{0,8}") {
            let rendered = render(&text, |_| Some(Found { value: value.clone(), source: String::new() }));
            let untouched = render(&text, |_| None);
            proptest::prop_assert!(untouched.uses.iter().all(|u| u.source == "the template's default"));
            let _ = rendered.missing_names();
        }

        #[test]
        fn a_text_without_dollars_is_unchanged(text in "[^$\\\\]{0,60}") {
            proptest::prop_assert_eq!(render(&text, |_| None).text, text);
        }
    }
}
