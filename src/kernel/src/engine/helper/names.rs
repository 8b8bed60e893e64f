//! What the crate offers, read from its own sources: an editor is answered before any engine
//! runs, and shown nothing but what a cell may use.

use std::sync::LazyLock;

use super::SOURCES;

const PATH: &str = "katlab::";

/// Something public at the root of the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What it is called.
    pub name: String,
    /// How an editor is to insert it: `trials_from(folder)`, `table!()`, `Plot`.
    pub text: String,
    /// As Jupyter's clients name kinds: `function`, `class`, `module`.
    pub kind: &'static str,
    /// Its declaration without a body.
    pub declaration: String,
    /// Its documentation, in Markdown.
    pub documentation: String,
}

impl Name {
    /// Declaration and documentation as text.
    pub fn page(&self) -> String {
        let mut page = format!("{}\n", self.declaration);
        let mut in_code = false;
        for line in self.documentation.lines() {
            if line.starts_with("```") {
                in_code = !in_code;
            } else if in_code && (line.starts_with("# ") || line == "#") {
                // Rust's way to keep a line of an example from the reader.
            } else if in_code {
                page.push_str(&format!("\n    {line}"));
            } else {
                page.push_str(&format!("\n{}", line.trim_start_matches('#').trim_start()));
            }
        }
        page
    }
}

/// The names that may stand at the cursor, which is after `katlab::` and as much of a name as was
/// typed; and how many characters that was. `None` where the cursor is elsewhere. Cursors are
/// counted in code points.
pub fn behind(code: &str, cursor: usize) -> Option<(Vec<&'static Name>, usize)> {
    let typed = begun(split(code, cursor).0)?;
    let found = NAMES.iter().filter(|name| name.name.starts_with(typed));
    Some((found.collect(), typed.chars().count()))
}

/// The name that the cursor is in or behind.
pub fn at(code: &str, cursor: usize) -> Option<&'static Name> {
    let (before, after) = split(code, cursor);
    let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
    let whole = &code[..before.len() + end];
    // A cursor in `katlab` itself asks about something else.
    let begun = begun(whole)?;
    let is_inside = whole.len() - begun.len() <= before.len();
    NAMES.iter().find(|name| is_inside && name.name == begun)
}

fn split(code: &str, cursor: usize) -> (&str, &str) {
    let at = code
        .char_indices()
        .nth(cursor)
        .map_or(code.len(), |(at, _)| at);
    code.split_at(at)
}

fn is_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What was typed behind `katlab::`.
fn begun(before: &str) -> Option<&str> {
    let path = before.trim_end_matches(is_part);
    let rest = path.strip_suffix(PATH)?;
    let is_root = !rest.ends_with(|c| is_part(c) || c == ':');
    is_root.then_some(&before[path.len()..])
}

static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| {
    let lib = source("lib");
    let mut names: Vec<Name> = items(lib);
    for (module, again) in lib.lines().filter_map(|line| {
        line.strip_prefix("pub use ")?
            .trim_end_matches(';')
            .split_once("::")
    }) {
        let wanted: Vec<&str> = again.trim_matches(['{', '}']).split(", ").collect();
        let there = items(source(module)).into_iter();
        names.extend(there.filter(|item| wanted.contains(&item.name.as_str())));
    }
    // A macro is at the root wherever it is written.
    let all = SOURCES.iter().flat_map(|(_, text)| items(text));
    names.extend(all.filter(|item| item.text.ends_with("!()")));
    names.sort_by(|a, b| a.name.cmp(&b.name));
    names
});

fn source(module: &str) -> &'static str {
    let file = format!("{module}.rs");
    let found = SOURCES.iter().find(|(name, _)| *name == file);
    found.map_or("", |(_, text)| text)
}

/// The public items of a module, whose sources are formatted by rustfmt.
fn items(text: &str) -> Vec<Name> {
    let mut found = Vec::new();
    let (mut documentation, mut is_hidden, mut is_exported) = (String::new(), false, false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(doc) = line.strip_prefix("///") {
            documentation.push_str(doc.strip_prefix(' ').unwrap_or(doc));
            documentation.push('\n');
            continue;
        }
        if line.starts_with("#[") {
            is_hidden |= line == "#[doc(hidden)]";
            is_exported |= line == "#[macro_export]";
            continue;
        }
        let documentation = std::mem::take(&mut documentation);
        let is_hidden = std::mem::take(&mut is_hidden);
        let is_exported = std::mem::take(&mut is_exported);
        let declared = line
            .strip_prefix("pub ")
            .or_else(|| line.strip_prefix("macro_rules! ").filter(|_| is_exported));
        let Some(rest) = declared.filter(|_| !is_hidden) else {
            continue;
        };
        let (kind, rest) = match rest.split_once(' ') {
            Some(("fn", rest)) => ("function", rest),
            Some(("mod", rest)) => ("module", rest),
            Some(("struct" | "enum" | "trait" | "type", rest)) => ("class", rest),
            Some((_, "{")) if is_exported => ("function", rest),
            _ => continue,
        };
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let mut declaration = line.to_owned();
        while kind == "function" && !is_exported && !declaration.ends_with(" {") {
            let Some(more) = lines.next() else { break };
            declaration.push_str(more.trim());
        }
        let declaration = declaration
            .trim_end_matches([' ', '{', ';', '('])
            .to_owned();
        let text = match kind {
            "function" if is_exported => format!("{name}!()"),
            "function" => format!("{name}({})", parameters(&declaration)),
            "module" => format!("{name}::"),
            _ => name.clone(),
        };
        found.push(Name {
            name,
            text,
            kind,
            declaration,
            documentation,
        });
    }
    found
}

/// The names of a function's parameters.
fn parameters(declaration: &str) -> String {
    let inside = declaration
        .split_once('(')
        .map_or("", |(_, rest)| rest.split(") ->").next().unwrap_or(rest));
    let names = inside.split(": ").map(|part| {
        let name = part.rsplit([' ', ',', '(']).next().unwrap_or(part);
        name.trim_end_matches(')')
    });
    let names: Vec<&str> = names.collect();
    names[..names.len().saturating_sub(1)].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(code: &str) -> Option<(Vec<&'static Name>, usize)> {
        super::behind(code, code.chars().count())
    }

    fn texts(before: &str) -> Vec<&'static str> {
        let (names, _) = behind(before).expect("a path of the crate");
        names.iter().map(|name| name.text.as_str()).collect()
    }

    #[test]
    fn names_come_with_their_parameters_and_pages() {
        assert_eq!(
            texts("let t = katlab::trial"),
            ["trials(experiment)", "trials_from(folder)"]
        );
        assert_eq!(
            texts("katlab::wait_"),
            ["wait_timeout(experiment, timeout)"]
        );
        assert_eq!(texts("katlab::experiments"), ["experiments()"]);
        assert_eq!(texts("katlab::disp"), ["display(bundle)"]);
        assert_eq!(texts("katlab::tab"), ["table!()"]);
        assert_eq!(texts("katlab::Plo"), ["Plot"]);
        assert_eq!(texts("katlab::js"), ["json::"]);
        let all: Vec<&str> = NAMES.iter().map(|name| name.name.as_str()).collect();
        for hidden in [
            "bound", "Request", "Response", "Duration", "bridge", "source",
        ] {
            assert!(!all.contains(&hidden), "{all:?}");
        }
        assert_eq!(texts("(katlab::").len(), all.len());
        let (names, typed) = behind("한 katlab::trials_from").expect("a path");
        assert_eq!(typed, "trials_from".len());
        let page = names[0].page();
        assert!(page.starts_with(
            "pub fn trials_from(folder: &str) -> Result<Trials>\n\nThe trials of an export"
        ));
        assert!(
            page.contains("\n    use katlab::Plot;") && !page.contains("fn main"),
            "{page}"
        );
        for name in NAMES.iter() {
            assert!(
                !name.documentation.is_empty() || name.kind == "module",
                "{name:?}"
            );
        }
    }

    #[test]
    fn other_places_are_left_to_the_engine() {
        assert!(behind("my_katlab::tri").is_none());
        assert!(behind("katlab::Plot::").is_none());
        assert!(behind("other::katlab::").is_none());
        assert!(behind("trials.").is_none());
        assert!(behind("").is_none());
    }

    #[test]
    fn a_name_is_found_around_the_cursor() {
        let code = "한 katlab::trials(\"a\")?";
        let found = |cursor| at(code, cursor).map(|name| name.name.as_str());
        assert_eq!(found(10), Some("trials"));
        assert_eq!(found(13), Some("trials"));
        assert_eq!(found(16), Some("trials"));
        assert_eq!(found(17), None);
        assert_eq!(found(4), None);
        assert_eq!(at("katlab::tria", 12), None);
    }
}
