//! Takes accounts, aliases, domains and messages out of the store, and puts them into another one.
//!
//! An account that is imported is made closed: it is disabled, so that senders are put off and nobody sees half a
//! mailbox, and its item names the import that fills it. It is opened by one conditional write of that item when all of
//! its mail is in. So a crash leaves accounts that are closed and waiting, never one that is open and lacks mail, and
//! the next run of the same import finds out from the item itself how far the last one came:
//! * `filling ID`: nobody could log in since the account was made. Whatever is a tombstone there belongs to an account
//!   that was removed before, and gives way.
//! * `done ID`: the mail was in. What is missing since then was deleted by its user, and is not put again.
//! * neither: the account was there before. Missing messages are added; a tombstone is a message that its user deleted
//!   within the last day, and stays one.
//!
//! The account comes before its folder, and the folder before its messages. The job that empties the mailbox of an
//! account that was removed marks the folder before each look at the messages, on the condition that it is what it was
//! before the job found no account ([`crate::cleanup`]); while that mark is fresh an import is refused. So the job never
//! takes a message that an import has put, or has counted as there.

mod accounts;
mod messages;
mod records;

use crate::MetadataError;

/// Octets of an import's id at most.
const IMPORT_ID_MAX: usize = 64;

/// Refuses what is no id of an import.
fn check_import_id(id: &str) -> Result<(), MetadataError> {
    let good =
        (1..=IMPORT_ID_MAX).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if good {
        Ok(())
    } else {
        Err(MetadataError::Invalid(format!("import_id: 1 to {IMPORT_ID_MAX} letters and digits")))
    }
}
