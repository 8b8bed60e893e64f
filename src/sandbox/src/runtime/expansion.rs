//! `$(NAME)` in commands, arguments and environment values, as Kubernetes expands it.

/// Replaces `$(NAME)` by what `value_of` knows; `$$` stands for `$`; a reference to an unknown name and
/// everything else stay as they are (`$(head -1 x)` among them: it is no known name).
pub fn expanded(text: &str, value_of: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|inside| inside.split_once(')'))
        {
            match value_of(name) {
                Some(value) => result.push_str(&value),
                None => {
                    result.push_str("$(");
                    result.push_str(name);
                    result.push(')');
                }
            }
            rest = after;
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> String {
        expanded(text, |name| match name {
            "A" => Some("a".into()),
            "B" => Some("$(A)".into()),
            _ => None,
        })
    }

    #[test]
    fn known_names_are_replaced_once_and_unknown_ones_left() {
        assert_eq!(of("x $(A) y"), "x a y");
        assert_eq!(of("$(B)"), "$(A)");
        assert_eq!(of("$(C) $(A"), "$(C) $(A");
        assert_eq!(of("$$(A) $ $x"), "$(A) $ $x");
    }

    #[test]
    fn katibs_marker_survives_with_the_shells_own_process_id() {
        let text = "echo completed > /tmp/$$$$.pid && [ $(head -n 1 /tmp/$$.pid) = x ]";
        // The reference is unknown as a whole, so what stands inside it is not looked at.
        let expected = "echo completed > /tmp/$$.pid && [ $(head -n 1 /tmp/$$.pid) = x ]";
        assert_eq!(of(text), expected);
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_is_untouched(text in "[^$]*") {
            prop_assert_eq!(of(&text), text);
        }

        #[test]
        fn escaped_text_comes_back_whole(text in ".*") {
            prop_assert_eq!(of(&text.replace('$', "$$")), text);
        }
    }
}
