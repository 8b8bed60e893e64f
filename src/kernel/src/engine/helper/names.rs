//! What the crate offers, read from its own sources: an editor is answered before any engine
//! runs, and shown nothing but what a cell may use.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::SOURCES;

const CRATE: &str = "katlab";

/// Something public of the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What it is called, as an editor is to insert it: `trials_from`, `table!`, `Plot`.
    pub name: String,
    /// As Jupyter's clients name kinds: `function`, `class`, `module`.
    pub kind: &'static str,
    /// Its declaration without a body.
    pub declaration: String,
    /// Its documentation, in Markdown.
    pub documentation: String,
}

impl Name {
    fn word(&self) -> &str {
        self.name.trim_end_matches('!')
    }

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

/// The names that may stand at the cursor, which is after `katlab::`, or the path of one of its types or
/// modules, and as much of a name as was typed; and how many characters that was. `None` where the cursor
/// is elsewhere. Cursors are counted in code points.
pub fn behind(code: &str, cursor: usize) -> Option<(Vec<&'static Name>, usize)> {
    let path = Path::before(split(code, cursor).0)?;
    let found = path.all()?.iter();
    let found = found.filter(|name| name.name.starts_with(path.typed));
    Some((found.collect(), path.typed.chars().count()))
}

/// The crate itself, where its name is being typed.
pub fn begun(code: &str, cursor: usize) -> Option<(&'static Name, usize)> {
    let before = split(code, cursor).0;
    let rest = before.trim_end_matches(is_part);
    let typed = &before[rest.len()..];
    let is_free = !rest.ends_with(['.', ':']);
    let is_begun = !typed.is_empty() && CRATE.starts_with(typed);
    (is_free && is_begun).then(|| (&*ROOT, typed.chars().count()))
}

/// The name that the cursor is in or behind.
pub fn at(code: &str, cursor: usize) -> Option<&'static Name> {
    let (before, after) = split(code, cursor);
    let (before, after) = match before.strip_suffix('!') {
        Some(name) => (name, ""),
        None => (before, after),
    };
    let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
    let whole = &code[..before.len() + end];
    let start = whole.trim_end_matches(is_part).len();
    // A cursor before the name asks about something else.
    if start > before.len() {
        return None;
    }
    match Path::before(whole) {
        Some(path) => path.all()?.iter().find(|name| name.word() == path.typed),
        None => begun(whole, whole.chars().count())
            .map(|(root, _)| root)
            .filter(|_| &whole[start..] == CRATE),
    }
}

/// The name at the root of the crate that is this word; of a macro with its exclamation mark.
pub fn named(word: &str) -> Option<&'static str> {
    let found = NAMES.iter().find(|name| name.word() == word)?;
    Some(&found.name)
}

/// A path into the crate: `katlab::Plot::hi`.
struct Path<'c> {
    /// The type or module behind the crate.
    owner: Option<&'c str>,
    typed: &'c str,
}

impl<'c> Path<'c> {
    /// The one that the code ends in.
    fn before(code: &'c str) -> Option<Self> {
        let word = |text: &'c str| {
            let rest = text.trim_end_matches(is_part);
            (rest, &text[rest.len()..])
        };
        let (rest, typed) = word(code);
        let (mut rest, mut last) = word(rest.strip_suffix("::")?);
        let mut owner = None;
        if last != CRATE {
            owner = Some(last);
            (rest, last) = word(rest.strip_suffix("::")?);
        }
        (last == CRATE && !rest.ends_with(':')).then_some(Self { owner, typed })
    }

    /// All that there is.
    fn all(&self) -> Option<&'static [Name]> {
        match self.owner {
            None => Some(&NAMES),
            Some(owner) => MEMBERS.get(owner).map(Vec::as_slice),
        }
    }
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

static ROOT: LazyLock<Name> = LazyLock::new(|| Name {
    name: CRATE.to_owned(),
    kind: "module",
    declaration: format!("crate {CRATE}"),
    documentation: inner_documentation(source("lib")),
});

static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| {
    let lib = source("lib");
    let mut names: Vec<Name> = items(lib);
    let exported = lib.split("\npub use ").skip(1);
    for (module, again) in exported.filter_map(|rest| rest.split(';').next()?.split_once("::")) {
        let again = again.trim_matches(['{', '}']);
        let wanted: Vec<&str> = again.split(',').map(str::trim).collect();
        let there = items(source(module)).into_iter();
        names.extend(there.filter(|item| wanted.contains(&item.name.as_str())));
    }
    // A macro is at the root wherever it is written.
    let all = SOURCES.iter().flat_map(|(_, text)| items(text));
    names.extend(all.filter(|item| item.name.ends_with('!')));
    for module in names.iter_mut().filter(|name| name.kind == "module") {
        module.documentation = inner_documentation(source(&module.name));
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    names
});

/// What is behind each type and module of the crate.
static MEMBERS: LazyLock<HashMap<String, Vec<Name>>> = LazyLock::new(|| {
    let mut members: HashMap<String, Vec<Name>> = HashMap::new();
    for (_, text) in SOURCES {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let of = |what: &str| line.strip_prefix(what)?.strip_suffix(" {");
            let (enumeration, implementation) = (of("pub enum "), of("impl "));
            let owner = enumeration.or(implementation);
            let Some(owner) = owner.filter(|owner| owner.chars().all(is_part)) else {
                continue;
            };
            let inside = lines.by_ref().take_while(|line| *line != "}");
            let body: Vec<&str> = inside
                .map(|line| line.strip_prefix("    ").unwrap_or(line))
                .collect();
            let found = match enumeration {
                Some(_) => variants(&body),
                None => items(&body.join("\n")),
            };
            members.entry(owner.to_owned()).or_default().extend(found);
        }
    }
    members
        .retain(|owner, found| !found.is_empty() && NAMES.iter().any(|name| name.name == *owner));
    for module in NAMES.iter().filter(|name| name.kind == "module") {
        members.insert(module.name.clone(), items(source(&module.name)));
    }
    members
});

/// The documentation that a module has inside.
fn inner_documentation(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

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
        found.push(Name {
            name: if is_exported { name + "!" } else { name },
            kind,
            declaration,
            documentation,
        });
    }
    found
}

/// The variants of an enum, from the lines inside it.
fn variants(body: &[&str]) -> Vec<Name> {
    let mut found = Vec::new();
    let mut documentation = String::new();
    for line in body {
        if let Some(doc) = line.strip_prefix("/// ") {
            documentation.push_str(doc);
            documentation.push('\n');
        } else if line.starts_with(char::is_uppercase) {
            found.push(Name {
                name: line.chars().take_while(|c| is_part(*c)).collect(),
                kind: "class",
                declaration: line.trim_end_matches(',').to_owned(),
                documentation: std::mem::take(&mut documentation),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(before: &str) -> Vec<&'static str> {
        let (names, _) = behind(before, before.chars().count()).expect("a path of the crate");
        names.iter().map(|name| name.name.as_str()).collect()
    }

    #[test]
    fn public_names_are_found_with_their_pages() {
        assert_eq!(names("let t = katlab::trial"), ["trials", "trials_from"]);
        assert_eq!(names("katlab::tab"), ["table!"]);
        assert_eq!(names("katlab::Plo"), ["Plot"]);
        assert_eq!(names("use katlab::js"), ["json"]);
        let all = names("(katlab::");
        for hidden in [
            "bound", "Request", "Response", "Duration", "bridge", "source",
        ] {
            assert!(!all.contains(&hidden), "{all:?}");
        }
        let (found, typed) = behind("한 katlab::trials_from", 21).expect("a path");
        assert_eq!(typed, "trials_from".len());
        let page = found[0].page();
        assert!(page.starts_with(
            "pub fn trials_from(folder: &str) -> Result<Trials>\n\nThe trials of an export"
        ));
        assert!(
            page.contains("\n    use katlab::Plot;") && !page.contains("fn main"),
            "{page}"
        );
        for name in NAMES.iter().chain(MEMBERS.values().flatten()) {
            assert!(!name.documentation.is_empty(), "{name:?}");
        }
    }

    #[test]
    fn types_and_modules_have_members() {
        assert_eq!(names("katlab::Plot::h"), ["history"]);
        assert_eq!(names("katlab::Trials::be"), ["best"]);
        assert!(!names("katlab::Trials::").contains(&"with"));
        assert_eq!(names("katlab::json::J"), ["Json"]);
        assert_eq!(names("katlab::Value::"), ["Number", "Text", "number"]);
        assert!(names("katlab::Event::").contains(&"TrialEnded"));
        assert!(behind("katlab::Nothing::", 17).is_none());
    }

    #[test]
    fn the_crate_is_offered_where_its_name_is_begun() {
        let offered = |code: &str| begun(code, code.chars().count()).map(|(_, typed)| typed);
        assert_eq!(offered("let x = kat"), Some(3));
        assert_eq!(offered("katlab"), Some(6));
        for code in ["x.kat", "a::kat", "kit", "", "katlabs"] {
            assert_eq!(offered(code), None, "{code}");
        }
    }

    #[test]
    fn other_places_are_left_to_the_engine() {
        for code in ["my_katlab::tri", "other::katlab::", "trials.", ""] {
            assert!(behind(code, code.len()).is_none(), "{code}");
        }
    }

    #[test]
    fn a_name_is_found_around_the_cursor() {
        let code = "한 katlab::trials(\"a\")?";
        let found = |cursor| at(code, cursor).map(|name| name.name.as_str());
        assert_eq!(found(10), Some("trials"));
        assert_eq!(found(13), Some("trials"));
        assert_eq!(found(16), Some("trials"));
        assert_eq!(found(17), None);
        assert_eq!(found(4), Some("katlab"));
        assert_eq!(at("katlab::tria", 12), None);
        assert_eq!(at("x.katlab", 8), None);
        for cursor in [10, 13, 14] {
            let found = at("katlab::table!(", cursor).map(|name| name.name.as_str());
            assert_eq!(found, Some("table!"), "{cursor}");
        }
        let found = at("katlab::Plot::parallel()", 20).map(|name| name.name.as_str());
        assert_eq!(found, Some("parallel"));
    }
}
