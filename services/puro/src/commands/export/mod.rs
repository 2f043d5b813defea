//! `puro export`: a copy of the whole system, or of some users, in a folder.
//!
//! The system goes on meanwhile. Each list of records is as it was when it was read, and each mailbox has every message
//! that was there all the time while it was being read; what comes or goes at the same time may be in it or not.
//! Nothing is half in it: a message that is deleted while it is being copied is copied whole, since its bytes outlive
//! it by a quarter of an hour, or left out.
//!
//! An export that was interrupted is given the same folder again. Records are read anew; a mailbox goes on behind the
//! last message that is on the disk for sure. The manifest is written last, and only then is the export complete.

pub(super) mod layout;
mod mail;
pub(super) mod mailbox;
mod records;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use puro_types::{ByteSize, EmailAddress};

use super::{Session, mail::time};
use crate::{exit::Fault, output::say};
use layout::{FORMAT, MAIL, MANIFEST, Manifest, Totals, at};

/// Copy the whole system, or some users, into a folder
///
/// Domains, users with the hashes of their passwords, aliases, settings and all mail, for a backup or a move to another
/// system, whatever its stores.
///
/// FOLDER is made, for its owner's eyes only: it holds mail and password hashes. Beside lists of records (JSON, one a
/// line) it has a Maildir for each mailbox, with the messages octet for octet as POP3 gives them. The checksum of
/// everything is noted; `puro import FOLDER` checks it.
///
/// The system may be in use. Each mailbox is as at the time when it is read. When the export is interrupted, run it
/// again with the same FOLDER and it goes on where it was. It is complete when this command ends with 0, or with 1
/// because some messages could not be read, which it then names.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// The folder to make, or one whose export was interrupted
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Only these users and their domains, without aliases and settings
    #[arg(value_name = "EMAIL")]
    users: Vec<EmailAddress>,
}

/// An export under way.
struct Export {
    folder: PathBuf,
    manifest: Manifest,
    /// Held, so that no second export writes here at the same time.
    _lock: File,
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    let mut export = Export::open(&request)?;
    let records = records::write(session, &export.folder, &request.users).await?;
    let bar = progress(records.bytes);
    let mut totals = records.totals;
    let mut files = records.files;
    mail::write(session, &export.folder, &bar, &mut totals, &mut files).await?;
    bar.finish_and_clear();
    export.finish(totals, files)?;
    let Totals { users, messages, bytes, lost, .. } = totals;
    let size = ByteSize(bytes);
    say(format_args!("{users} users and {messages} messages ({size}) are in {}.", export.folder.display()));
    session.output.changed(&export.manifest)?;
    match lost {
        0 => Ok(()),
        lost => Err(Fault::Refused(format!(
            "the export is complete, but for {lost} messages that are damaged or lost; `puro store audit` tells more"
        ))),
    }
}

impl Export {
    /// Begins an export, or goes on with one.
    fn open(request: &Request) -> Result<Self, Fault> {
        let folder = request.folder.clone();
        layout::make_private(&folder)?;
        let lock = File::open(&folder).map_err(at(&folder))?;
        if lock.try_lock().is_err() {
            return Err(Fault::Refused(format!("another export is writing to {}", folder.display())));
        }
        let users: Vec<String> = request.users.iter().map(EmailAddress::key).collect();
        let manifest = match layout::manifest(&folder)? {
            None => begin(&folder, users)?,
            Some(found) if found.complete => {
                let text = format!(
                    "{} holds a complete export, of {}: name another folder",
                    folder.display(),
                    found.begun
                );
                return Err(Fault::Refused(text));
            }
            Some(found) if found.users != users => {
                let text = format!(
                    "{} holds an unfinished export of other users: name another folder, or the same users as then",
                    folder.display()
                );
                return Err(Fault::Refused(text));
            }
            Some(found) => {
                say(format_args!("Going on with the export that was begun at {}.", found.begun));
                found
            }
        };
        layout::make_private(&folder.join(MAIL))?;
        Ok(Self { folder, manifest, _lock: lock })
    }

    /// Writes the checksums and then the manifest that makes the export complete.
    fn finish(&mut self, totals: Totals, files: layout::RecordWriter) -> Result<(), Fault> {
        self.manifest.files_blake3 = files.keep()?.blake3;
        self.manifest.totals = totals;
        self.manifest.complete = true;
        self.manifest.ended = Some(now());
        layout::write_manifest(&self.folder, &self.manifest)
    }
}

/// Writes the first manifest, into an empty folder only.
fn begin(folder: &Path, users: Vec<String>) -> Result<Manifest, Fault> {
    let mut names = std::fs::read_dir(folder).map_err(at(folder))?;
    // A crash before the first manifest leaves no more than this.
    let partial = format!("{MANIFEST}.partial");
    if names.any(|name| name.map_or(true, |name| name.file_name() != partial.as_str())) {
        return Err(Fault::Refused(format!(
            "{} is no export and not empty: name another folder",
            folder.display()
        )));
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(folder, mode).map_err(at(folder))?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Fault::System(std::io::Error::other(error)))?;
    let manifest = Manifest {
        format: FORMAT,
        id: random.iter().map(|octet| format!("{octet:02x}")).collect(),
        complete: false,
        begun: now(),
        ended: None,
        users,
        totals: Totals::default(),
        files_blake3: String::new(),
    };
    layout::write_manifest(folder, &manifest)?;
    Ok(manifest)
}

fn now() -> String {
    time(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

/// A bar of octets on standard error, if that is a terminal.
pub(super) fn progress(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
