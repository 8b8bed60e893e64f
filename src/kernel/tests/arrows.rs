//! Holds the direction of the arrows between the rooms of the house.
//!
//! Which crate may depend on which, and what a crate may touch, is decided once, in the tables
//! below. A change here is a change of the architecture, and should read like one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms, and those of our own that each may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("katib", &[]),
    ("suggestion", &["katib"]),
    ("analysis", &["katib"]),
    ("lab", &["katib"]),
    // `lab` for the way to the engine: pods must run where images are built.
    ("sandbox", &["katib", "suggestion", "lab"]),
    // `cells` for the bridge's messages; `katib` comes with what lab, sandbox and analysis hand over.
    ("kernel", &["katib", "lab", "sandbox", "analysis", "cells"]),
    ("cells", &[]),
];

/// Rooms that never see a socket, a clock, a file or a thread.
const PURE: &[&str] = &["katib", "suggestion", "analysis"];

/// What gives such a thing away in their sources.
const IMPURE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::time",
    "std::process",
    "std::env",
    "std::thread",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "tokio",
    "Timestamp::now",
    "Zoned::now",
];

/// Packages that only some rooms may name, and within a room only some folders or files.
const RESERVED: &[(&str, &[&str])] = &[
    ("bollard", &["lab", "sandbox/src/runtime"]),
    ("zeromq", &["kernel"]),
    ("evcxr", &["kernel"]),
    ("evcxr_jupyter", &["kernel"]),
    ("comfy_table", &["kernel/src/render"]),
    ("kube", &["lab", "sandbox", "kernel"]),
    ("rusqlite", &["sandbox"]),
    ("axum", &["sandbox"]),
];

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The package names of our own crates, by room.
fn packages() -> BTreeMap<String, String> {
    let mut packages = BTreeMap::new();
    for entry in std::fs::read_dir(house()).unwrap() {
        let path = entry.unwrap().path();
        if path.join("Cargo.toml").exists() {
            let room = path.file_name().unwrap().to_str().unwrap().to_owned();
            packages.insert(room.clone(), name(&manifest(&room)));
        }
    }
    packages
}

fn manifest(room: &str) -> String {
    std::fs::read_to_string(house().join(room).join("Cargo.toml")).unwrap()
}

fn name(manifest: &str) -> String {
    let line = manifest
        .lines()
        .find(|line| line.starts_with("name"))
        .expect("a package has a name");
    line.split('"').nth(1).unwrap().to_owned()
}

/// The dependencies that a manifest names, of all kinds but those of tests, whatever the platform.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut within = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let (table, one) = match section.rsplit_once("dependencies.") {
                Some((before, one)) => (format!("{before}dependencies"), Some(one)),
                None => (section.to_owned(), None),
            };
            let ours = table.ends_with("dependencies") && !table.ends_with("dev-dependencies");
            within = ours && one.is_none();
            found.extend(one.filter(|_| ours).map(str::to_owned));
        } else if within && !line.is_empty() && !line.starts_with('#') {
            found.extend(
                line.split(['.', '=', ' '])
                    .next()
                    .map(|name| name.trim_matches('"').to_owned()),
            );
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The code of a file without its comments, and without the tests at its end.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().map(|line| match line.find("//") {
        // Not the slashes of an address.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether code names a crate: as the start of a path, not as a part of another word.
fn names_crate(code: &str, package: &str) -> bool {
    let word = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(package).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + package.len()..];
        let starts = before
            .is_none_or(|char| !word(char) && char != '.' && char != '"' && char != '/')
            && !code[..at].ends_with("crate::")
            && !code[..at].ends_with("super::")
            && !code[..at].ends_with("self::");
        starts
            && (after.starts_with("::") || (after.starts_with(';') && code[..at].ends_with("use ")))
    })
}

fn is_test(path: &Path) -> bool {
    let name = path.file_name().unwrap();
    name == "tests.rs"
        || name == "testing.rs"
        || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn rooms_depend_on_each_other_in_one_direction_only() {
    let packages = packages();
    let rooms: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    assert_eq!(
        rooms, known,
        "a room without a line in ARROWS, or a line without a room"
    );
    for (room, allowed) in ARROWS {
        let used = dependencies(&manifest(room));
        assert!(
            !used.is_empty() || allowed.is_empty(),
            "no dependencies were read from {room}/Cargo.toml"
        );
        for (other, package) in &packages {
            if used.contains(package) {
                assert!(
                    allowed.contains(&other.as_str()),
                    "{room} must not depend on {other}"
                );
            }
        }
    }
}

#[test]
fn pure_rooms_see_no_socket_no_clock_and_no_file() {
    for room in PURE {
        let used = dependencies(&manifest(room));
        for package in [
            "tokio", "reqwest", "hyper", "kube", "bollard", "tempfile", "futures", "axum",
        ] {
            assert!(
                !used.contains(package),
                "{room} must not depend on {package}"
            );
        }
        let files = sources(&house().join(room).join("src"));
        assert!(!files.is_empty(), "{room} has no sources");
        for path in files.iter().filter(|path| !is_test(path)) {
            let code = code(path);
            for word in IMPURE {
                assert!(
                    !code.contains(word),
                    "{}: {word} has no place in {room}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn engines_sockets_and_stores_keep_to_their_rooms() {
    let house = house();
    for (package, places) in RESERVED {
        for (room, _) in ARROWS {
            let within: Vec<PathBuf> = places.iter().map(|place| house.join(place)).collect();
            if !places
                .iter()
                .any(|place| place.split('/').next() == Some(room))
            {
                let used = dependencies(&manifest(room));
                assert!(
                    !used.contains(*package) && !used.contains(&package.replace('_', "-")),
                    "{room} must not depend on {package}"
                );
            }
            for path in sources(&house.join(room).join("src")) {
                // A folder's module may also be a file of the same name.
                let inside = within
                    .iter()
                    .any(|place| path.starts_with(place) || path == place.with_extension("rs"));
                assert!(
                    inside || is_test(&path) || !names_crate(&code(&path), package),
                    "{} must not name {package}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn magics_call_the_lab_and_nobody_else() {
    for path in sources(&house().join("kernel/src/magics")) {
        let code = code(&path);
        for package in ["bollard", "kube", "k8s_openapi", "comfy_table", "reqwest"] {
            assert!(
                !names_crate(&code, package),
                "{}: magics leave {package} to others",
                path.display()
            );
        }
    }
}

#[test]
fn the_lab_prints_nothing() {
    for room in ["katib", "suggestion", "analysis", "lab"] {
        for path in sources(&house().join(room).join("src"))
            .iter()
            .filter(|path| !is_test(path))
        {
            let code = code(path);
            for call in ["println!(", "print!(", "dbg!("] {
                assert!(
                    !code.contains(call),
                    "{}: {call}…) has no place in {room}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_readers_of_this_test_see_what_they_should() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n\n[dependencies.c]\nversion = \"1\"\n\
                    [dev-dependencies]\nd = \"1\"\n[target.'cfg(unix)'.dependencies]\ne = \"1\"\n[build-dependencies]\nf = \"1\"\n";
    let found: Vec<String> = dependencies(manifest).into_iter().collect();
    assert_eq!(found, ["a", "b", "c", "e", "f"]);
    assert!(
        names_crate("use bollard::Docker;", "bollard") && names_crate("x(kube::Client)", "kube")
    );
    assert!(!names_crate(
        "use crate::kube::x; my_kube::y; a.kube::z",
        "kube"
    ));
}
