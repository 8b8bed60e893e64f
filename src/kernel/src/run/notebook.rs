//! Notebook files (nbformat 4): read, filled with outputs, written whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

/// A notebook that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotebookError {
    /// It cannot be read or written.
    #[error("notebook {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not JSON.
    #[error("notebook {path} is not valid JSON: {source}")]
    Json {
        /// Which.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is JSON, but no notebook of version 4.
    #[error("{path} is no notebook that katlab can run: {reason}")]
    Format {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl NotebookError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => {
                Some("check the path, and that its directory exists and may be written".into())
            }
            Self::Json { .. } => {
                Some("was the file cut off, or has it conflict markers in it?".into())
            }
            Self::Format { .. } => Some(
                "`jupyter nbconvert --to notebook --nbformat 4 FILE` converts older notebooks"
                    .into(),
            ),
        }
    }
}

/// A notebook. What this program does not know in it stays as it is.
pub struct Notebook {
    document: Value,
}

impl Notebook {
    /// Reads a notebook of version 4.
    ///
    /// # Errors
    /// When it cannot be read, is no JSON, or is of another version.
    pub fn read(path: &Path) -> Result<Self, NotebookError> {
        let text = std::fs::read(path).map_err(|source| NotebookError::File {
            path: path.to_owned(),
            source,
        })?;
        let document = serde_json::from_slice(&text).map_err(|source| NotebookError::Json {
            path: path.to_owned(),
            source,
        })?;
        Self::from_document(document).map_err(|reason| NotebookError::Format {
            path: path.to_owned(),
            reason,
        })
    }

    fn from_document(document: Value) -> Result<Self, String> {
        match document["nbformat"].as_u64() {
            Some(4) => {}
            Some(version) => {
                return Err(format!(
                    "it is of nbformat {version}, and only nbformat 4 is supported"
                ));
            }
            None => return Err("it does not say its nbformat".to_owned()),
        }
        let language = document["metadata"]["kernelspec"]["language"]
            .as_str()
            .or_else(|| document["metadata"]["language_info"]["name"].as_str());
        if let Some(language) = language.filter(|language| !language.eq_ignore_ascii_case("rust")) {
            return Err(format!("its cells are {language}"));
        }
        let cells = document["cells"]
            .as_array()
            .ok_or("it has no list of cells")?;
        for (index, cell) in cells.iter().enumerate() {
            if !cell.is_object() || !(cell["source"].is_string() || cell["source"].is_array()) {
                return Err(format!("cell {} has no source", index + 1));
            }
        }
        Ok(Self { document })
    }

    /// Removes old outputs and counts, and returns the indices of the code cells.
    pub fn begin(&mut self) -> Vec<usize> {
        let mut found = Vec::new();
        for (index, cell) in self.document["cells"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .enumerate()
        {
            if cell["cell_type"] == "code" {
                cell["outputs"] = json!([]);
                cell["execution_count"] = Value::Null;
                if !cell["metadata"].is_object() {
                    cell["metadata"] = json!({});
                }
                found.push(index);
            }
        }
        if !self.document["metadata"].is_object() {
            self.document["metadata"] = json!({});
        }
        self.document["metadata"]["language_info"] = json!({
            "file_extension": ".rs",
            "mimetype": "text/rust",
            "name": "rust",
            "pygments_lexer": "rust",
        });
        if !self.document["metadata"]["kernelspec"].is_object() {
            self.document["metadata"]["kernelspec"] =
                json!({ "display_name": "katlab (Rust)", "language": "rust", "name": "katlab" });
        }
        found
    }

    /// The text of a cell.
    pub fn source(&self, index: usize) -> String {
        joined(&self.document["cells"][index]["source"])
    }

    /// Whether a cell carries a tag.
    pub fn has_tag(&self, index: usize, tag: &str) -> bool {
        let tags = self.document["cells"][index]["metadata"]["tags"].as_array();
        tags.is_some_and(|tags| tags.iter().any(|found| found == tag))
    }

    /// The headings of the prose right before a cell.
    pub fn headings_before(&self, index: usize) -> Vec<String> {
        let cells = self.document["cells"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut from = index;
        while from > 0 && cells[from - 1]["cell_type"] != "code" {
            from -= 1;
        }
        let mut headings = Vec::new();
        for cell in cells[from..index]
            .iter()
            .filter(|cell| cell["cell_type"] == "markdown")
        {
            let mut fenced = false;
            for line in joined(&cell["source"]).lines() {
                fenced ^= line.trim_start().starts_with("```");
                if !fenced && line.starts_with('#') && line.trim_start_matches('#').starts_with(' ')
                {
                    headings.push(line.trim_start_matches('#').trim().to_owned());
                }
            }
        }
        headings
    }

    /// Replaces the outputs of a cell.
    pub fn set_outputs(&mut self, index: usize, outputs: Vec<Value>) {
        self.document["cells"][index]["outputs"] = Value::Array(outputs);
    }

    /// Numbers a cell, and the value it showed.
    pub fn executed(&mut self, index: usize, count: u64) {
        let cell = &mut self.document["cells"][index];
        cell["execution_count"] = json!(count);
        for output in cell["outputs"].as_array_mut().into_iter().flatten() {
            if output["output_type"] == "execute_result" {
                output["execution_count"] = json!(count);
            }
        }
    }

    /// Writes the notebook as Jupyter does (one blank of indentation), by rename.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), NotebookError> {
        let failed = |source| NotebookError::File {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
        self.document
            .serialize(&mut serializer)
            .map_err(|source| NotebookError::Json {
                path: path.to_owned(),
                source,
            })?;
        text.push(b'\n');
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        // A temporary file is private; a notebook is a file like any other, or as it was before.
        let mode = std::fs::metadata(path)
            .map(|found| found.permissions())
            .unwrap_or_else(|_| std::os::unix::fs::PermissionsExt::from_mode(0o644));
        file.as_file().set_permissions(mode).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// Finds out before a long run whether its result can be written.
///
/// # Errors
/// When the directory is missing or cannot be written.
pub fn check_target(path: &Path) -> Result<(), NotebookError> {
    let failed = |source| NotebookError::File {
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        return Err(failed(std::io::Error::other("it is a directory")));
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(directory)
        .map(drop)
        .map_err(failed)
}

/// Text that a notebook keeps whole or as a list of lines.
fn joined(text: &Value) -> String {
    match text {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// Text as a list of lines, as notebooks keep it, for diffs.
pub fn lines(text: &str) -> Value {
    text.split_inclusive('\n').map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notebook(document: Value) -> Result<Notebook, String> {
        Notebook::from_document(document)
    }

    #[test]
    fn other_versions_and_languages_are_refused_by_name() {
        let refused = |document| notebook(document).err().unwrap_or_default();
        assert!(refused(json!({"nbformat": 3, "worksheets": []})).contains("nbformat 3"));
        assert!(refused(json!({"cells": []})).contains("nbformat"));
        assert!(refused(json!({"nbformat": 4})).contains("cells"));
        let python =
            json!({"nbformat": 4, "cells": [], "metadata": {"kernelspec": {"language": "python"}}});
        assert!(refused(python).contains("python"));
    }

    #[test]
    fn unknown_parts_stay_and_outputs_are_renewed() {
        let mut notebook = notebook(json!({
            "nbformat": 4, "nbformat_minor": 5, "metadata": {"mine": 1},
            "cells": [
                {"cell_type": "markdown", "source": ["# One\n", "text\n", "## Two"]},
                {"cell_type": "code", "source": "1", "outputs": [1], "custom": true, "execution_count": 9},
            ],
        }))
        .expect("a notebook");
        assert_eq!(notebook.begin(), [1]);
        assert_eq!(notebook.headings_before(1), ["One", "Two"]);
        notebook.set_outputs(
            1,
            vec![json!({"output_type": "execute_result", "execution_count": null})],
        );
        notebook.executed(1, 3);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("out.ipynb");
        notebook.write(&path).expect("written");
        let back: Value =
            serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        assert_eq!(back["metadata"]["mine"], 1);
        assert_eq!(back["cells"][1]["custom"], true);
        assert_eq!(back["cells"][1]["outputs"][0]["execution_count"], 3);
    }

    #[test]
    fn text_is_kept_by_lines() {
        assert_eq!(lines("a\nb\n"), json!(["a\n", "b\n"]));
        assert_eq!(joined(&lines("a\n\nb")), "a\n\nb");
    }
}
