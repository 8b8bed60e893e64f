//! One blob on its way in: written to a file of its own and hashed as it comes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use futures::StreamExt;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::error::{Error, Refusal};
use super::name::{Digest, Name};
use super::storage::{Storage, failed};

/// How much is gathered before a thread is asked to write it.
const PORTION: usize = 1 << 20;

/// The uploads under way. One that was begun before a restart is taken up from its file.
#[derive(Default)]
pub(super) struct Uploads {
    open: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<Upload>>>>,
}

pub(super) struct Upload {
    path: PathBuf,
    file: File,
    hash: Sha256,
    size: u64,
}

impl Uploads {
    pub(super) fn begin(
        &self,
        storage: &Storage,
    ) -> Result<(Uuid, Arc<tokio::sync::Mutex<Upload>>), Error> {
        let id = Uuid::new_v4();
        let path = storage.upload_path(id);
        let file = File::create_new(&path).map_err(|error| failed("make", &path, error))?;
        let upload = Arc::new(tokio::sync::Mutex::new(Upload {
            path,
            file,
            hash: Sha256::new(),
            size: 0,
        }));
        self.lock().insert(id, upload.clone());
        Ok((id, upload))
    }

    /// The upload with this id, read back from its file if this process does not know it yet.
    pub(super) fn find(
        &self,
        storage: &Storage,
        id: Uuid,
    ) -> Result<Option<Arc<tokio::sync::Mutex<Upload>>>, Error> {
        if let Some(upload) = self.lock().get(&id) {
            return Ok(Some(upload.clone()));
        }
        let path = storage.upload_path(id);
        let mut file = match File::options().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path, error)),
        };
        let mut hash = Sha256::new();
        let mut size = 0;
        let mut portion = vec![0; PORTION];
        loop {
            match file.read(&mut portion) {
                Ok(0) => break,
                Ok(length) => {
                    hash.update(&portion[..length]);
                    size += length as u64;
                }
                Err(error) => return Err(failed("read", &path, error)),
            }
        }
        let upload = Arc::new(tokio::sync::Mutex::new(Upload {
            path,
            file,
            hash,
            size,
        }));
        Ok(Some(self.lock().entry(id).or_insert(upload).clone()))
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<tokio::sync::Mutex<Upload>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a request's body. What came before a broken connection stays: the client asks how far
    /// it got and goes on from there.
    pub(super) async fn append(
        guard: tokio::sync::OwnedMutexGuard<Upload>,
        body: Body,
    ) -> Result<tokio::sync::OwnedMutexGuard<Upload>, Refusal> {
        let mut guard = guard;
        let mut stream = body.into_data_stream();
        let mut gathered = Vec::new();
        loop {
            let next = stream.next().await;
            let broken = match next {
                Some(Ok(bytes)) => {
                    gathered.extend_from_slice(&bytes);
                    if gathered.len() < PORTION {
                        continue;
                    }
                    None
                }
                Some(Err(error)) => Some(error),
                None => {
                    return Ok(Self::write(guard, std::mem::take(&mut gathered)).await?);
                }
            };
            guard = Self::write(guard, std::mem::take(&mut gathered)).await?;
            if let Some(error) = broken {
                tracing::debug!(%error, "a push broke off");
                return Err(Refusal::new(
                    http::StatusCode::BAD_REQUEST,
                    "BLOB_UPLOAD_INVALID",
                    "the request's body ended early",
                ));
            }
        }
    }

    async fn write(
        mut guard: tokio::sync::OwnedMutexGuard<Upload>,
        bytes: Vec<u8>,
    ) -> Result<tokio::sync::OwnedMutexGuard<Upload>, Error> {
        if bytes.is_empty() {
            return Ok(guard);
        }
        tokio::task::spawn_blocking(move || {
            let upload = &mut *guard;
            if let Err(error) = upload.file.write_all(&bytes) {
                // A part may have been written: back to what the hash knows.
                let _ = upload.file.set_len(upload.size);
                return Err(failed("write", &upload.path, error));
            }
            upload.hash.update(&bytes);
            upload.size += bytes.len() as u64;
            Ok(guard)
        })
        .await
        .map_err(|_| Error::Interrupted)?
    }

    /// Checks the digest and turns the upload into a blob of the repository.
    pub(super) async fn finish(
        guard: tokio::sync::OwnedMutexGuard<Upload>,
        storage: Storage,
        name: Name,
        expected: Digest,
    ) -> Result<(), Refusal> {
        tokio::task::spawn_blocking(move || {
            let path = &guard.path;
            let real = if expected.algorithm() == "sha256" {
                Digest::from_parts("sha256", &hex::encode(guard.hash.clone().finalize()))
            } else {
                let content = std::fs::read(path).map_err(|error| failed("read", path, error))?;
                expected.same_algorithm(&content)
            };
            if real != expected {
                return Err(Refusal::digest_invalid(
                    "provided digest did not match uploaded content",
                )
                .detail(serde_json::json!({ "digest": expected.as_str() })));
            }
            guard
                .file
                .sync_all()
                .map_err(|error| failed("sync", path, error))?;
            storage.adopt(path, &name, &expected)?;
            Ok(())
        })
        .await
        .map_err(|_| Refusal::from(Error::Interrupted))?
    }

    /// Removes what was received.
    pub(super) fn discard(&self) -> Result<(), Error> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }
}
