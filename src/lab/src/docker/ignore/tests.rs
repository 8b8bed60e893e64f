use super::*;
use proptest::prelude::*;

fn ignores(patterns: &str, path: &str) -> bool {
    Ignore::parse(patterns).unwrap().ignores(path)
}

#[test]
fn patterns_mean_what_docker_means_by_them() {
    for (patterns, path, ignored) in [
        // Anchored at the root, whatever the spelling.
        ("a", "a", true),
        ("a", "b/a", false),
        ("/a", "a", true),
        ("./a/", "a", true),
        ("x/../a", "a", true),
        // What holds for a directory holds for what is in it.
        ("a", "a/b/c", true),
        ("a", "ab", false),
        // `*` and `?` stay within a component.
        ("*.pyc", "m.pyc", true),
        ("*.pyc", "d/m.pyc", false),
        ("*", "d/m.pyc", true),
        ("a/*/c", "a/b/c", true),
        ("a/*/c", "a/b/b/c", false),
        ("a?", "ab", true),
        ("a?", "a", false),
        ("?", "/", false),
        ("a?b", "a/b", false),
        // `**` crosses them.
        ("**/*.pyc", "m.pyc", true),
        ("**/*.pyc", "a/b/m.pyc", true),
        ("**/a", "a", true),
        ("**/a", "x/y/a", true),
        ("**/a", "x/ya", false),
        ("**/a", "x/a/below", true),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a/**/c", "a/c", true),
        ("a/**/c", "a/x/y/c", true),
        ("a/**/c", "a/xc", false),
        ("**", "anything/at/all", true),
        ("**.pyc", "a/b.pyc", true),
        ("**/tests/**/*.txt", "x/tests/y/z/n.txt", true),
        ("**/tests/**/*.txt", "x/test/y/z/n.txt", false),
        ("a**b", "ab", true),
        ("a**b", "ax/b", true),
        // Classes and escapes.
        ("[ab].txt", "a.txt", true),
        ("[^ab].txt", "a.txt", false),
        ("[^ab].txt", "c.txt", true),
        ("[a-c]x", "bx", true),
        ("[\\-x]y", "-y", true),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("a.c", "abc", false),
        ("(a|b)+$", "(a|b)+$", true),
        // Comments, blanks, a byte order mark, Windows line ends.
        ("# a\na", "a", true),
        ("# a", "# a", false),
        (" #a", "#a", true),
        ("\u{feff}a\r\n\r\nb\r\n", "b", true),
        // The last match wins, `!` brings back.
        ("*\n!keep", "keep", false),
        ("*\n!keep", "other", true),
        ("*\n!keep", "keep/inside", false),
        ("!keep\n*", "keep", true),
        ("a\n!a/b", "a/b/c", false),
        ("a\n!a/b", "a/c", true),
        ("a\n!a/b\na/b/c", "a/b/c", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README.md", false),
        (
            "*.md\n!README*.md\nREADME-secret.md",
            "README-secret.md",
            true,
        ),
        (
            "*.md\nREADME-secret.md\n!README*.md",
            "README-secret.md",
            false,
        ),
        ("! a", "a", false),
        ("a\n! a", "a", false),
        ("", "a", false),
        ("한글/*", "한글/파일", true),
    ] {
        assert_eq!(ignores(patterns, path), ignored, "{patterns:?} on {path}");
    }
}

#[test]
fn a_line_that_is_no_pattern_is_named() {
    for (text, line) in [
        ("a\n!", 2),
        ("[", 1),
        ("a\\", 1),
        ("x\n\n[a-", 3),
        ("[]", 1),
        ("[^]", 1),
    ] {
        assert_eq!(Ignore::parse(text).unwrap_err().line, line, "{text:?}");
    }
}

#[test]
fn an_ignored_directory_is_entered_only_when_an_exception_may_lie_in_it() {
    let below = |patterns: &str, directory: &str| {
        Ignore::parse(patterns).unwrap().may_except_below(directory)
    };
    assert!(below("a\n!a/b", "a"));
    assert!(below("a\n!a/b/c", "a/b"));
    assert!(below("*\n!**/keep", "deep/down"));
    assert!(below("*\n!sr*/x", "src"));
    assert!(!below("a\n!b/c", "a"));
    assert!(!below("a\nb", "a"));
    assert!(!below("a\n!ab/*", "a"));
}

#[test]
fn a_pattern_full_of_stars_answers_at_once() {
    let pattern = "*a".repeat(200) + "*b";
    let started = std::time::Instant::now();
    assert!(!ignores(&pattern, &"a".repeat(2000)));
    assert!(started.elapsed().as_secs() < 5);
}

/// The plainest matcher that could be right: every way to split, by recursion.
fn naive(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*', '/', rest @ ..] => {
            naive(rest, path)
                || (0..path.len()).any(|i| path[i] == '/' && naive(rest, &path[i + 1..]))
        }
        ['*', '*'] => true,
        ['*', rest @ ..] => (0..=path.len())
            .take_while(|i| !path[..*i].contains(&'/'))
            .any(|i| naive(rest, &path[i..])),
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && naive(rest, &path[1..]),
        [c, rest @ ..] => path.first() == Some(c) && naive(rest, &path[1..]),
    }
}

fn naive_on_path_or_ancestor(pattern: &str, path: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    path.match_indices('/')
        .map(|(i, _)| i)
        .chain([path.len()])
        .any(|end| naive(&pattern, &path[..end].chars().collect::<Vec<_>>()))
}

proptest! {
    #[test]
    fn one_pattern_agrees_with_the_plainest_matcher(
        parts in prop::collection::vec("\\*\\*|[ab*?]{1,3}", 1..4),
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
    ) {
        // Three stars and `**` inside a name have rules of their own, tested by the table.
        prop_assume!(parts.iter().all(|p| p == "**" || !p.contains("**")));
        let pattern = parts.join("/");
        prop_assert_eq!(ignores(&pattern, &path), naive_on_path_or_ancestor(&pattern, &path), "{}", pattern);
    }

    #[test]
    fn everything_left_out_and_brought_back_is_there(path in "[a-c]{1,3}(/[a-c]{1,3}){0,3}") {
        let patterns = format!("**\n!{path}");
        prop_assert!(!ignores(&patterns, &path));
    }

    #[test]
    fn no_text_panics(text in "[\\PC\n]{0,30}", path in "\\PC{0,12}") {
        if let Ok(ignore) = Ignore::parse(&text) {
            ignore.ignores(&path);
            ignore.may_except_below(&path);
        }
    }
}
