//! Commands of other tools that people write into a cell, and what does the same here.

/// What to write instead of a command of docker, kubectl or a shell; nothing for other words.
pub fn instead(words: &[&str]) -> Option<String> {
    let first = *words.first()?;
    let verb = words.get(1).copied().unwrap_or_default();
    let magic = match (first, verb) {
        ("docker" | "podman", _) => docker(verb),
        ("kubectl" | "k", _) => kubectl(verb),
        ("cat" | "less" | "head" | "more", _) => Some("show"),
        ("wget" | "curl", _) => Some("download"),
        ("export" | "set", _) => Some("env set"),
        ("login", _) => Some("registry login"),
        ("logout", _) => Some("registry logout"),
        ("ps", _) => Some("pods"),
        ("image", _) => Some("images"),
        ("create", _) => Some("experiment create"),
        ("lint", _) => Some("experiment lint"),
        ("render", _) => Some("experiment render"),
        ("watch", _) => Some("experiment watch"),
        (
            "ls" | "cd" | "mkdir" | "pip" | "pip3" | "python" | "python3" | "rm" | "mv" | "cp"
            | "git",
            _,
        ) => None,
        _ => return None,
    };
    let shell = matches!(
        first,
        "docker"
            | "podman"
            | "kubectl"
            | "k"
            | "cat"
            | "less"
            | "head"
            | "more"
            | "wget"
            | "curl"
            | "ps"
            | "ls"
            | "cd"
            | "mkdir"
            | "pip"
            | "pip3"
            | "python"
            | "python3"
            | "rm"
            | "mv"
            | "cp"
            | "git"
    );
    Some(match (magic, shell) {
        (Some(magic), true) => {
            format!("`:{magic}` does it here; `!{first} …` runs the command in a shell")
        }
        (Some(magic), false) => format!("`:{magic}` does it here"),
        (None, _) => format!("`!{first} …` runs the command in a shell"),
    })
}

fn docker(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "build" => "build",
        "images" | "image" => "images",
        "run" => "run",
        "tag" => "tag",
        "push" => "push",
        "pull" => "pull",
        "rmi" => "rmi",
        "login" => "registry login",
        "logout" => "registry logout",
        _ => return None,
    })
}

fn kubectl(verb: &str) -> Option<&'static str> {
    Some(match verb {
        "get" => "get",
        "describe" => "describe",
        "logs" => "logs",
        "apply" => "apply",
        "delete" => "delete",
        "events" => "events",
        "create" => "secret create` or `:experiment create",
        _ => return None,
    })
}

/// What to say about a cell that is a line of a shell and no Rust, such as `docker images`.
///
/// Two bare words side by side are never Rust when the first is one of these, so nobody has to
/// wait for a compiler to say so in its own words.
pub fn shell_line(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [first, second, ..] = words.as_slice() else {
        return None;
    };
    let bare = second.starts_with(|c: char| c.is_ascii_alphabetic() || c == '-')
        && !matches!(*second, "as" | "in" | "-" | "-=")
        && !second.contains('=');
    let known = matches!(
        *first,
        "docker" | "podman" | "kubectl" | "wget" | "curl" | "pip" | "pip3" | "mkdir" | "cat"
    );
    (known && bare).then(|| instead(&words))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_docker_or_kubectl_is_told_what_does_the_same() {
        let instead = |line: &str| instead(&line.split(' ').collect::<Vec<_>>());
        assert!(instead("docker push x").unwrap().starts_with("`:push`"));
        assert!(instead("kubectl get po").unwrap().starts_with("`:get`"));
        assert!(instead("docker ps").unwrap().starts_with("`!docker …`"));
        assert_eq!(instead("login").unwrap(), "`:registry login` does it here");
        assert!(instead("frobnicate").is_none());
    }

    #[test]
    fn a_line_of_a_shell_is_known_from_rust() {
        assert!(shell_line("docker images").is_some());
        assert!(shell_line("docker --version").is_some());
        assert!(shell_line("wget -O x http://h/x").is_some());
        for rust in [
            "docker",
            "docker - x",
            "cat as u8",
            "docker.images()",
            "let cat = 1;",
            "docker += x",
        ] {
            assert!(shell_line(rust).is_none(), "{rust}");
        }
    }
}
