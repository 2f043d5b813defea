//! A mailbox as an mbox file.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use puro_api::{
    Failure,
    model::{Message, Part},
};
use puro_types::EmailAddress;

use super::{Session, progress};
use crate::{
    commands::mail::listing,
    exit::Fault,
    mbox::{MboxWriter, return_path},
    output::say,
};

/// Writes all messages. A damaged one is named, what could be read of it may be there, and the command fails in the
/// end. When a service cannot answer it fails at once, and no file is left that looks whole.
pub(in crate::commands) async fn run(
    session: &Session,
    email: &EmailAddress,
    file: Option<&Path>,
) -> Result<(), Fault> {
    let messages = listing(session, email).await?;
    let sink = Sink::open(file)?;
    let mut mbox = MboxWriter::new(BufWriter::new(sink));
    let bar = progress(messages.iter().map(|message| message.size_bytes).sum());
    let mut damaged = 0;
    for message in &messages {
        match append(session, &mut mbox, message, &bar).await {
            Ok(()) => {}
            Err(Fault::Call(_, Failure::DataLoss(why) | Failure::NotFound(why))) => {
                damaged += 1;
                bar.suspend(|| say(format_args!("puro: message {} is damaged or lost: {why}", message.id)));
            }
            Err(fault) => return Err(fault),
        }
    }
    bar.finish_and_clear();
    let sink = mbox.into_inner().into_inner().map_err(|error| fault(file, error.into_error()))?;
    sink.keep()?;
    let written = messages.len() - damaged;
    say(format_args!("{written} of {} messages of {email} written.", messages.len()));
    match damaged {
        0 => Ok(()),
        count => Err(Fault::Refused(format!(
            "{count} messages are damaged or lost; `puro store audit` tells more"
        ))),
    }
}

async fn append(
    session: &Session,
    mbox: &mut MboxWriter<BufWriter<Sink>>,
    message: &Message,
    bar: &ProgressBar,
) -> Result<(), Fault> {
    let fault = |error| Fault::Stream("output", error);
    let mut stream = session.blob(session.blob.read(&message.location, Part::Message).await)?;
    let first = session.blob(stream.next().await)?.unwrap_or_default();
    mbox.begin(&return_path(&first).unwrap_or_default(), message.id.accepted_ms()).map_err(fault)?;
    let mut next = Some(first);
    while let Some(octets) = next {
        mbox.write(&octets).map_err(fault)?;
        bar.inc(octets.len() as u64);
        next = match session.blob(stream.next().await) {
            Ok(next) => next,
            Err(fault_of_rest) => {
                // Whatever follows must begin with a line of its own.
                mbox.end().map_err(fault)?;
                return Err(fault_of_rest);
            }
        };
    }
    mbox.end().map_err(fault)
}

fn fault(file: Option<&Path>, error: io::Error) -> Fault {
    match file {
        Some(path) => Fault::File(path.to_owned(), error),
        None => Fault::Stream("output", error),
    }
}

/// Where the mbox goes.
enum Sink {
    Stdout(io::Stdout),
    File(Partial),
}

/// A file under another name until it is whole.
struct Partial {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    is_kept: bool,
}

impl Sink {
    fn open(path: Option<&Path>) -> Result<Self, Fault> {
        let Some(path) = path else { return Ok(Self::Stdout(io::stdout())) };
        if path.exists() {
            let text = format!("{} exists: name another file, or remove it", path.display());
            return Err(Fault::Refused(text));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // Mail is for its owner's eyes.
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = opened.map_err(|error| Fault::File(partial.clone(), error))?;
        Ok(Self::File(Partial { file, partial, path: path.to_owned(), is_kept: false }))
    }

    /// Gives the file its name, once it is on the disk.
    fn keep(self) -> Result<(), Fault> {
        match self {
            Self::Stdout(mut out) => out.flush().map_err(|error| Fault::Stream("output", error)),
            Self::File(mut partial) => {
                let kept =
                    partial.file.sync_all().and_then(|()| std::fs::rename(&partial.partial, &partial.path));
                partial.is_kept = kept.is_ok();
                kept.map_err(|error| Fault::File(partial.path.clone(), error))
            }
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_kept {
            // Nothing can be done where even that fails; the name says what it is.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

impl Write for Sink {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(octets),
            Self::File(partial) => partial.file.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(partial) => partial.file.flush(),
        }
    }
}
