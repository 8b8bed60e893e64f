//! Repository names, tags and digests, checked once where they enter.

use std::fmt;

use sha2::Digest as _;

/// The longest repository name, as the reference registry has it.
const LONGEST_NAME: usize = 255;

/// A repository's name: path components of any number, each `[a-z0-9]+` joined by `.`, `_`, `__` or dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(String);

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() <= LONGEST_NAME && text.split('/').all(is_component);
        fits.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_component(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(word) || !text.ends_with(word) {
        return false;
    }
    // What stands between two words is one of the separators and nothing else.
    text.split(word).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.chars().all(|c| c == '-')
    })
}

/// A content digest: `sha256:` or `sha512:` and lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Digest {
    text: String,
    colon: usize,
}

impl Digest {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        let digits = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hex.len() == length && digits).then(|| Self {
            text: text.to_owned(),
            colon: algorithm.len(),
        })
    }

    /// The digest of some bytes, by the same algorithm as `self`.
    pub(super) fn same_algorithm(&self, content: &[u8]) -> Self {
        if self.algorithm() == "sha512" {
            Self::from_parts("sha512", &hex::encode(sha2::Sha512::digest(content)))
        } else {
            Self::sha256(content)
        }
    }

    pub(super) fn sha256(content: &[u8]) -> Self {
        Self::from_parts("sha256", &hex::encode(sha2::Sha256::digest(content)))
    }

    pub(super) fn from_parts(algorithm: &str, hex: &str) -> Self {
        Self {
            text: format!("{algorithm}:{hex}"),
            colon: algorithm.len(),
        }
    }

    pub(super) fn algorithm(&self) -> &str {
        &self.text[..self.colon]
    }

    pub(super) fn hex(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl Reference {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(digest) = Digest::parse(text) {
            return Some(Self::Digest(digest));
        }
        is_tag(text).then(|| Self::Tag(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

fn is_tag(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128
        && text.starts_with(first)
        && text.chars().all(|c| first(c) || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_depth_are_accepted_and_paths_out_of_the_tree_are_not() {
        for good in [
            "a",
            "kakao-registry/hyperparam",
            "a/b/c/d",
            "a.b_c__d--e/x1",
        ] {
            assert!(Name::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a//b",
            "A",
            "..",
            "a/../b",
            "_a",
            "a_",
            "a..b",
            "a/_tags/b",
            "a._b",
        ] {
            assert!(Name::parse(bad).is_none(), "{bad}");
        }
        assert!(Name::parse(&"a".repeat(256)).is_none());
    }

    #[test]
    fn digests_need_a_known_algorithm_and_all_their_digits() {
        assert!(Digest::parse(&format!("sha256:{}", "a".repeat(64))).is_some());
        assert!(Digest::parse(&format!("sha512:{}", "0".repeat(128))).is_some());
        assert!(Digest::parse(&format!("sha256:{}", "A".repeat(64))).is_none());
        assert!(Digest::parse("sha256:abc").is_none());
        assert!(Digest::parse(&format!("md5:{}", "a".repeat(32))).is_none());
    }

    #[test]
    fn a_tag_holds_no_slash_and_does_not_begin_with_a_dot() {
        assert_eq!(Reference::parse("1.0"), Some(Reference::Tag("1.0".into())));
        assert_eq!(Reference::parse(".0"), None);
        assert_eq!(Reference::parse("a/b"), None);
        assert_eq!(Reference::parse(&"t".repeat(129)), None);
    }
}
