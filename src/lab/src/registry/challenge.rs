//! What a registry wants to see before it answers: the `WWW-Authenticate` header.

use std::collections::BTreeMap;

/// How a registry wants to be told who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// User and password with every request.
    Basic,
    /// A token, fetched from a token service.
    Bearer,
}

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// How.
    pub scheme: Scheme,
    /// Where the token comes from, or what the registry calls itself.
    pub realm: String,
    /// The service's name for the token.
    pub service: Option<String>,
    /// The rights the token must carry.
    pub scope: Option<String>,
    /// Why the last token was not enough.
    pub error: Option<String>,
}

impl Challenge {
    /// The best challenge in these header values: a token before a password.
    pub fn best<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let all: Vec<Self> = headers.flat_map(parse).collect();
        all.iter()
            .find(|c| c.scheme == Scheme::Bearer)
            .or_else(|| all.iter().find(|c| c.scheme == Scheme::Basic))
            .cloned()
    }
}

/// Reads the challenges of one header value; schemes nobody here speaks are passed over.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut current: Option<(String, BTreeMap<String, String>)> = None;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c == ',' || c.is_whitespace())
            .unwrap_or(rest.len());
        let word = &rest[..end];
        let after = rest[end..].trim_start();
        if let (Some(value), Some((_, parameters))) = (after.strip_prefix('='), current.as_mut()) {
            let (value, remaining) = take_value(value.trim_start());
            parameters.insert(word.to_ascii_lowercase(), value);
            rest = remaining;
        } else if let Some(value) = after.strip_prefix('=') {
            // A parameter without a scheme before it: nothing to attach it to.
            let (_, remaining) = take_value(value.trim_start());
            rest = remaining;
        } else if word.is_empty() {
            rest = after.strip_prefix(',').unwrap_or(after);
        } else {
            found.extend(current.take().and_then(challenge));
            current = Some((word.to_ascii_lowercase(), BTreeMap::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found.extend(current.and_then(challenge));
    found
}

fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

fn challenge((scheme, mut parameters): (String, BTreeMap<String, String>)) -> Option<Challenge> {
    let scheme = match scheme.as_str() {
        "basic" => Scheme::Basic,
        "bearer" => Scheme::Bearer,
        _ => return None,
    };
    let mut take = |name: &str| parameters.remove(name).filter(|value| !value.is_empty());
    let realm = take("realm");
    if scheme == Scheme::Bearer && realm.is_none() {
        return None;
    }
    Some(Challenge {
        scheme,
        realm: realm.unwrap_or_default(),
        service: take("service"),
        scope: take("scope"),
        error: take("error"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn best(text: &str) -> Option<Challenge> {
        Challenge::best([text].into_iter())
    }

    #[test]
    fn a_token_challenge_is_read_with_its_scope() {
        let c = best(r#"Bearer realm="https://auth.io/token?x=1,2",service="reg \"io\"",scope="repository:a/b:pull,push",error="insufficient_scope""#).unwrap();
        assert_eq!(
            (c.scheme, c.realm.as_str()),
            (Scheme::Bearer, "https://auth.io/token?x=1,2")
        );
        assert_eq!(c.service.as_deref(), Some("reg \"io\""));
        assert_eq!(c.scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(c.error.as_deref(), Some("insufficient_scope"));
    }

    #[test]
    fn a_token_is_preferred_wherever_it_stands() {
        for text in [
            r#"Basic realm="r", Bearer realm="t""#,
            r#"Bearer realm="t", Basic realm="r""#,
            r#"Negotiate, basic realm=r, bearer realm=t"#,
        ] {
            assert_eq!(best(text).unwrap().scheme, Scheme::Bearer, "{text}");
        }
        let two = Challenge::best([r#"Basic realm="r""#, r#"Bearer realm="t""#].into_iter());
        assert_eq!(two.unwrap().scheme, Scheme::Bearer);
    }

    #[test]
    fn what_nobody_speaks_is_no_challenge() {
        for text in [
            "",
            "Negotiate",
            "Digest realm=\"x\"",
            "Bearer",
            "realm=\"x\"",
            ",,,",
        ] {
            assert_eq!(best(text), None, "{text}");
        }
        assert_eq!(best("basic").unwrap().scheme, Scheme::Basic);
    }

    proptest! {
        #[test]
        fn no_header_panics_or_hangs(text in "\\PC{0,60}") {
            let _ = best(&text);
        }

        #[test]
        fn any_quoted_value_comes_back(service in "[^\"\\\\\\p{C}]{1,20}") {
            let c = best(&format!("Bearer realm=\"r\", service=\"{service}\"")).unwrap();
            prop_assert_eq!(c.service.unwrap(), service);
        }
    }
}
