//! `puro import`: what `puro export` wrote, or mail of other programs.

mod accounts;
mod foreign;
mod mail;
mod read;
mod source;
mod tally;

use std::path::PathBuf;

use clap::Args;
use puro_types::EmailAddress;

use self::foreign::Wish;
use super::Session;
use crate::{exit::Fault, mbox::Quoting};

/// Bring in what export wrote, or mail of other programs
///
/// `puro import FOLDER` restores domains, users with the passwords and mailboxes they had, aliases, settings and mail,
/// into a system of any kind of store. Messages keep their ids (UIDLs) and times. A user whose mail is being brought in
/// is closed until all of it is there: mail is put off, and no mail program sees half a mailbox. Checksums are
/// verified. What is there is left alone; what is there and different is named and refused, unless --overwrite is
/// given. When the import is interrupted, or ends with 1 and the reason is mended, run it again: it goes on where it
/// was, and what was brought in and deleted by its user since does not come back.
///
/// `puro import EMAIL FILE…` puts the mail of mbox files, Maildirs and .eml files into one user's mailbox as new
/// messages. Bare line ends become CRLF. The id of a message follows from its text and the mailbox, so that the same
/// message is not brought in twice, however often and in whatever form it is given.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// A folder that `puro export` wrote; or the user whom the mail in FILEs is for
    #[arg(value_name = "FOLDER|EMAIL")]
    what: PathBuf,
    /// mbox files, Maildirs, .eml files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Of a folder: change what is there and different to what it was, and bring back messages deleted since
    #[arg(long, conflicts_with = "files")]
    overwrite: bool,
    /// Of a folder: open users although some of their messages are damaged in it
    #[arg(long, conflicts_with = "files")]
    skip_damaged: bool,
    /// How mbox files quote lines that begin with "From "
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Quoting::Rd, requires = "files")]
    mbox: Quoting,
    /// Also beyond the user's quota
    #[arg(long, requires = "files")]
    ignore_quota: bool,
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    if request.files.is_empty() {
        let wish = mail::Wish { overwrite: request.overwrite, skip_damaged: request.skip_damaged };
        return mail::run(session, &request.what, wish).await;
    }
    let email: EmailAddress = match request.what.to_str().map(str::parse) {
        Some(Ok(email)) => email,
        _ => {
            let text = format!("{} is no address; an export is imported alone", request.what.display());
            return Err(Fault::Usage(text));
        }
    };
    let wish = Wish { quoting: request.mbox, ignore_quota: request.ignore_quota };
    foreign::run(session, &email, request.files, wish).await
}
