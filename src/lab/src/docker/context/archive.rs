//! The archive of a context: a tar that is the same for the same files, written as it is sent.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use bytes::Bytes;

use super::{Context, Kind};

/// How much is sent at once.
const CHUNK: usize = 256 << 10;

impl Context {
    /// Writes the archive. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read any more or the receiver is gone.
    pub fn write_archive(&self, out: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(out);
        archive.mode(tar::HeaderMode::Complete);
        for entry in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_uid(0);
            header.set_gid(0);
            let path = self.root.join(&entry.name);
            match &entry.kind {
                Kind::Made(content) => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_mode(0o600);
                    header.set_size(content.len() as u64);
                    archive.append_data(&mut header, &entry.name, content.as_slice())?;
                }
                Kind::Folder => {
                    describe(&mut header, &fs::symlink_metadata(&path)?);
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_size(0);
                    archive.append_data(&mut header, &entry.name, io::empty())?;
                }
                Kind::Link(target) => {
                    describe(&mut header, &fs::symlink_metadata(&path)?);
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    archive.append_link(&mut header, &entry.name, target)?;
                }
                Kind::File => {
                    let file = fs::File::open(&path)?;
                    let metadata = file.metadata()?;
                    describe(&mut header, &metadata);
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_size(metadata.len());
                    // A file that grows or shrinks meanwhile must not shift what follows it.
                    let exact = io::Read::take(file, metadata.len()).chain_zeros(metadata.len());
                    archive.append_data(&mut header, &entry.name, exact)?;
                }
            }
        }
        archive.into_inner()?.flush()
    }

    /// The archive as pieces, written by a thread of its own as fast as they are taken.
    pub fn into_stream(self) -> tokio::sync::mpsc::Receiver<io::Result<Bytes>> {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        tokio::task::spawn_blocking(move || {
            let mut pieces = Pieces {
                sender: sender.clone(),
                buffer: Vec::with_capacity(CHUNK),
            };
            if let Err(error) = self.write_archive(&mut pieces) {
                // The receiver may be gone, which is how a build is cancelled.
                let _ = sender.blocking_send(Err(error));
            }
        });
        receiver
    }
}

fn describe(header: &mut tar::Header, metadata: &fs::Metadata) {
    header.set_mode(metadata.mode() & 0o7777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
}

/// Reads exactly `length` bytes, with zeros where the reader ends early.
trait ChainZeros: io::Read + Sized {
    fn chain_zeros(self, length: u64) -> io::Take<io::Chain<Self, io::Repeat>> {
        io::Read::take(io::Read::chain(self, io::repeat(0)), length)
    }
}

impl<R: io::Read> ChainZeros for R {}

struct Pieces {
    sender: tokio::sync::mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the build was given up"))
    }
}
