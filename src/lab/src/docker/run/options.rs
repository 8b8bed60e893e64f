//! Options of a run that have a notation of their own: volumes and amounts of memory.

use std::path::Path;

use crate::docker::{Error, Result};

/// A volume as the engine wants it: relative paths made absolute, a missing source refused, since
/// the engine would make an empty folder of it, owned by root.
pub(super) fn bind(volume: &str, directory: Option<&Path>) -> Result<String> {
    let wrong = |why: String, hint: &str| Error::Option {
        option: format!("-v {volume}"),
        why,
        hint: hint.to_owned(),
    };
    let (source, rest) = volume.split_once(':').ok_or_else(|| {
        wrong(
            "a volume is SOURCE:TARGET".to_owned(),
            "For example `-v ./data:/data:ro`.",
        )
    })?;
    if !rest.starts_with('/') {
        return Err(wrong(
            "the path in the container must be absolute".to_owned(),
            "For example `-v ./data:/data`.",
        ));
    }
    let expanded = match source.strip_prefix('~') {
        Some(below) => format!("{}{below}", std::env::var("HOME").unwrap_or_default()),
        None => source.to_owned(),
    };
    if !expanded.starts_with(['.', '/']) {
        // A name without a slash is a named volume.
        return match expanded.contains('/') {
            true => Err(wrong(
                "a relative path must begin with `./`".to_owned(),
                "Otherwise it names a volume.",
            )),
            false => Ok(volume.to_owned()),
        };
    }
    let anchored =
        directory.map_or_else(|| expanded.clone().into(), |folder| folder.join(&expanded));
    let path = std::path::absolute(anchored)
        .map_err(|error| wrong(error.to_string(), "Name a folder that exists."))?;
    if !Path::new(&path).exists() {
        return Err(wrong(
            format!("there is no {}", path.display()),
            "Name a file or folder that exists.",
        ));
    }
    Ok(format!("{}:{rest}", path.display()))
}

/// Reads an amount of memory as docker writes it: `512m`, `1.5g`, `64MiB`, plain bytes.
///
/// # Errors
/// When it is no amount, or less than the six megabytes the engine wants.
pub fn parse_memory(text: &str) -> Result<i64> {
    let wrong = |why: &str| Error::Option {
        option: format!("--memory {text}"),
        why: why.to_owned(),
        hint: "Write an amount like 512m or 2g.".to_owned(),
    };
    let lower = text.trim().to_ascii_lowercase();
    let end = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let number: f64 = lower[..end]
        .parse()
        .map_err(|_| wrong("it does not begin with a number"))?;
    let unit = lower[end..]
        .trim()
        .trim_end_matches('b')
        .trim_end_matches('i');
    let factor = match unit {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        "t" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong("its unit is none of b, k, m, g, t")),
    };
    let bytes = number * factor;
    if bytes < 6.0 * 1024.0 * 1024.0 {
        return Err(wrong("a container needs at least 6m"));
    }
    if bytes > 9e18 {
        return Err(wrong("that is more than there is"));
    }
    Ok(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_docker_reads_it() {
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("64MiB", 64 << 20),
            ("10485760", 10 << 20),
            ("2GB", 2 << 30),
            ("8192 k", 8 << 20),
        ] {
            assert_eq!(parse_memory(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "m", "12x", "1k", "-5g", "1.2.3g", "99999999t"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_volume_is_checked_before_the_engine_makes_a_folder_of_it() {
        let home = tempfile::tempdir().unwrap();
        let here = home.path().display().to_string();
        assert_eq!(
            bind(&format!("{here}:/data:ro"), None).unwrap(),
            format!("{here}:/data:ro")
        );
        assert_eq!(bind("named:/data", None).unwrap(), "named:/data");
        assert!(bind(".:/data", None).unwrap().starts_with('/'));
        for volume in ["/nowhere/at/all:/x", "data", "a/b:/x", ".:relative"] {
            assert!(bind(volume, None).unwrap_err().hint().is_some(), "{volume}");
        }
    }
}
