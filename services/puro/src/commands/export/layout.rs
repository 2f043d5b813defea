//! What an export looks like on disk.
//!
//! ```text
//! manifest.json             which export this is, and whether it is complete; totals; the checksum of files.jsonl
//! files.jsonl               octets and BLAKE3 of each file of records below
//! domains.jsonl aliases.jsonl config.jsonl users.jsonl      a record a line
//! mail/MAILBOX/messages.jsonl     a message a line: id, file, octets, BLAKE3; in the order of the ids
//! mail/MAILBOX/new/…              the messages, a file each, octet for octet (a Maildir)
//! ```
//!
//! The manifest's checksum covers files.jsonl, which covers the records, which cover the messages. A mailbox that is
//! not finished has `messages.partial.jsonl` instead.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::exit::Fault;

/// The version of this layout.
pub(crate) const FORMAT: u32 = 1;
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const FILES: &str = "files.jsonl";
pub(crate) const DOMAINS: &str = "domains.jsonl";
pub(crate) const ALIASES: &str = "aliases.jsonl";
pub(crate) const CONFIG: &str = "config.jsonl";
pub(crate) const USERS: &str = "users.jsonl";
pub(crate) const MAIL: &str = "mail";
pub(crate) const MESSAGES: &str = "messages.jsonl";
pub(crate) const MESSAGES_PARTIAL: &str = "messages.partial.jsonl";

/// The head of an export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// Made once for each export: what an import is known by.
    pub(crate) id: String,
    pub(crate) complete: bool,
    pub(crate) begun: String,
    pub(crate) ended: Option<String>,
    /// The users asked for; empty for all there are.
    pub(crate) users: Vec<String>,
    pub(crate) totals: Totals,
    /// BLAKE3 of files.jsonl; empty until it is complete.
    pub(crate) files_blake3: String,
}

/// What an export holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) domains: u64,
    pub(crate) users: u64,
    pub(crate) aliases: u64,
    pub(crate) config: u64,
    pub(crate) messages: u64,
    /// Octets of all messages.
    pub(crate) bytes: u64,
    /// Messages whose octets are damaged or lost where they were.
    pub(crate) lost: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileLine {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DomainLine {
    pub(crate) name: String,
    pub(crate) catch_all: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct AliasLine {
    pub(crate) email: String,
    pub(crate) targets: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ConfigLine {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// An account. It holds a password hash and so has no Debug.
#[derive(Serialize, Deserialize)]
pub(crate) struct UserLine {
    pub(crate) email: String,
    pub(crate) password_hash: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) mailbox: String,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) active: bool,
    pub(crate) updated_ms: u64,
    pub(crate) folder_version: u64,
    pub(crate) uid_validity: u32,
    pub(crate) next_uid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageLine {
    /// The UIDL; it begins with the time of acceptance.
    pub(crate) id: String,
    /// The same time, for people.
    pub(crate) accepted: String,
    pub(crate) size_bytes: u64,
    /// Below the mailbox's folder. Absent, as the checksum, of a message that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blake3: Option<String>,
    /// Why it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<String>,
}

/// Says which file a fault is about.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Fault + '_ {
    |error| Fault::File(path.to_owned(), error)
}

/// Makes a folder that is its owner's alone, unless it is there.
pub(crate) fn make_private(folder: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))
}

/// Makes, or empties, a file that is its owner's alone.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Fault> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// Puts a whole file in place of what is there, durably.
pub(crate) fn replace(folder: &Path, name: &str, octets: &[u8]) -> Result<(), Fault> {
    let partial = folder.join(format!("{name}.partial"));
    let write = || {
        let mut file = create_private(&partial)?;
        file.write_all(octets)?;
        file.sync_all()?;
        std::fs::rename(&partial, folder.join(name))
    };
    write().map_err(at(&folder.join(name)))?;
    sync_folder(folder)
}

/// Reads the manifest; `None` where there is none.
pub(crate) fn manifest(folder: &Path) -> Result<Option<Manifest>, Fault> {
    let path = folder.join(MANIFEST);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::File(path, error)),
    };
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|why| Fault::Refused(format!("{}: damaged, or no export: {why}", path.display())))?;
    if manifest.format != FORMAT {
        let newer = format!("{}: of format {}, this program knows {FORMAT}", path.display(), manifest.format);
        return Err(Fault::Refused(newer));
    }
    Ok(Some(manifest))
}

/// Writes the manifest.
pub(crate) fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), Fault> {
    let mut text = serde_json::to_vec_pretty(manifest).map_err(|error| Fault::System(error.into()))?;
    text.push(b'\n');
    replace(folder, MANIFEST, &text)
}

/// Writes a file of records under another name until it is whole.
pub(crate) struct RecordWriter {
    folder: PathBuf,
    name: &'static str,
    out: BufWriter<File>,
    hasher: blake3::Hasher,
    pub(crate) lines: u64,
    bytes: u64,
}

impl RecordWriter {
    pub(crate) fn create(folder: &Path, name: &'static str) -> Result<Self, Fault> {
        let partial = folder.join(format!("{name}.partial"));
        let out = BufWriter::new(create_private(&partial).map_err(at(&partial))?);
        Ok(Self { folder: folder.to_owned(), name, out, hasher: blake3::Hasher::new(), lines: 0, bytes: 0 })
    }

    pub(crate) fn write(&mut self, record: &impl Serialize) -> Result<(), Fault> {
        let line = line(record)?;
        self.out.write_all(&line).map_err(at(&self.folder.join(self.name)))?;
        self.hasher.update(&line);
        self.lines += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Gives the file its name, once it is on the disk.
    pub(crate) fn keep(self) -> Result<FileLine, Fault> {
        let path = self.folder.join(self.name);
        let file = self.out.into_inner().map_err(|error| Fault::File(path.clone(), error.into_error()))?;
        let partial = self.folder.join(format!("{}.partial", self.name));
        file.sync_all().and_then(|()| std::fs::rename(&partial, &path)).map_err(at(&path))?;
        sync_folder(&self.folder)?;
        let blake3 = self.hasher.finalize().to_hex().to_string();
        Ok(FileLine { path: self.name.to_owned(), bytes: self.bytes, blake3 })
    }
}

/// Returns a record as a line.
pub(crate) fn line(record: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut line = serde_json::to_vec(record).map_err(|error| Fault::System(error.into()))?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a file of records, a line at a time.
pub(crate) struct Records<T> {
    path: PathBuf,
    lines: io::Split<BufReader<File>>,
    number: u64,
    record: std::marker::PhantomData<T>,
}

impl<T: DeserializeOwned> Records<T> {
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let file = File::open(path).map_err(at(path))?;
        let lines = BufReader::new(file).split(b'\n');
        Ok(Self { path: path.to_owned(), lines, number: 0, record: std::marker::PhantomData })
    }
}

impl<T: DeserializeOwned> Iterator for Records<T> {
    type Item = Result<T, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?;
        self.number += 1;
        Some(line.map_err(at(&self.path)).and_then(|line| {
            serde_json::from_slice(&line).map_err(|why| {
                Fault::Refused(format!("{}, line {}: {why}", self.path.display(), self.number))
            })
        }))
    }
}

/// Reads a whole file for its octets and checksum.
pub(crate) fn summed(path: &Path) -> Result<(u64, String), Fault> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match file.read(&mut chunk).map_err(at(path))? {
            0 => return Ok((bytes, hasher.finalize().to_hex().to_string())),
            count => {
                hasher.update(&chunk[..count]);
                bytes += count as u64;
            }
        }
    }
}
