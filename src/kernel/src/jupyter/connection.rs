//! The connection file a client hands to a kernel.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Ports, address and signing key of one kernel.
#[derive(Clone, Serialize, Deserialize)]
pub struct Connection {
    /// `tcp` or `ipc`.
    pub transport: String,
    /// Address to bind or connect to; a path prefix for `ipc`.
    pub ip: String,
    /// Requests that run one after the other.
    pub shell_port: u16,
    /// Requests that must get through while a cell runs.
    pub control_port: u16,
    /// Prompts.
    pub stdin_port: u16,
    /// Output, to every client.
    pub iopub_port: u16,
    /// Liveness.
    pub hb_port: u16,
    /// Signing key; empty when messages are not signed.
    #[serde(default)]
    pub key: String,
    /// How messages are signed.
    #[serde(default = "default_scheme")]
    pub signature_scheme: String,
}

fn default_scheme() -> String {
    "hmac-sha256".to_owned()
}

/// A connection file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The file cannot be read or written.
    #[error("connection file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not say what a kernel must know.
    #[error("connection file {path} is not valid: {source}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A signature scheme other than HMAC-SHA256.
    #[error(
        "connection file {path} asks for signature scheme `{scheme}`; only hmac-sha256 is supported"
    )]
    Scheme {
        /// Which file.
        path: PathBuf,
        /// What it asks for.
        scheme: String,
    },
}

impl Connection {
    /// Reads a connection file.
    ///
    /// # Errors
    /// When the file is missing, is not JSON, lacks a port, or asks for another signature scheme.
    pub fn read(path: &Path) -> Result<Self, ConnectionError> {
        let text = std::fs::read(path).map_err(|source| ConnectionError::File {
            path: path.to_owned(),
            source,
        })?;
        let connection: Self =
            serde_json::from_slice(&text).map_err(|source| ConnectionError::Content {
                path: path.to_owned(),
                source,
            })?;
        if !connection.key.is_empty() && connection.signature_scheme != "hmac-sha256" {
            return Err(ConnectionError::Scheme {
                path: path.to_owned(),
                scheme: connection.signature_scheme,
            });
        }
        Ok(connection)
    }

    /// Writes a connection file only its owner can read: the key in it lets a program run code.
    ///
    /// # Errors
    /// When the file exists already or cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ConnectionError> {
        let failed = |source| ConnectionError::File {
            path: path.to_owned(),
            source,
        };
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let text = serde_json::to_vec_pretty(self).map_err(|source| ConnectionError::Content {
            path: path.to_owned(),
            source,
        })?;
        file.write_all(&text).map_err(failed)
    }

    /// The address of one socket.
    pub fn endpoint(&self, port: u16) -> String {
        if self.transport == "ipc" {
            format!("ipc://{}-{port}", self.ip)
        } else {
            format!("{}://{}:{port}", self.transport, self.ip)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_reads_back_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("connection.json");
        let connection = Connection {
            transport: "tcp".into(),
            ip: "127.0.0.1".into(),
            shell_port: 1,
            control_port: 2,
            stdin_port: 3,
            iopub_port: 4,
            hb_port: 5,
            key: "k".into(),
            signature_scheme: default_scheme(),
        };
        connection.write(&path).expect("written");
        assert_eq!(
            std::fs::metadata(&path)
                .expect("metadata")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        let back = Connection::read(&path).expect("read");
        assert_eq!(back.endpoint(back.hb_port), "tcp://127.0.0.1:5");
        assert!(
            connection.write(&path).is_err(),
            "an existing file is never taken over"
        );
    }

    #[test]
    fn another_signature_scheme_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("connection.json");
        std::fs::write(
            &path,
            r#"{"transport":"tcp","ip":"127.0.0.1","shell_port":1,"control_port":2,"stdin_port":3,
                "iopub_port":4,"hb_port":5,"key":"k","signature_scheme":"hmac-md5"}"#,
        )
        .expect("written");
        let error = Connection::read(&path).err().expect("refused").to_string();
        assert!(error.contains("hmac-md5"), "{error}");
    }
}
