//! Accounts and messages on their way from one system to another.

use puro_types::{ByteSize, EmailAddress, Location, MailboxId, MessageId};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Malformed, UserStatus, admin::quota, blob::location, each, parse};
use crate::pb::metadata::v1 as pb;

/// An account with all that is kept of it.
#[derive(Debug, Clone)]
pub struct AccountRecord {
    /// The address.
    pub email: EmailAddress,
    /// A PHC string.
    pub password_hash: SecretString,
    /// First name, may be empty.
    pub first_name: String,
    /// Last name, may be empty.
    pub last_name: String,
    /// Its mail.
    pub mailbox: MailboxId,
    /// Octets of mail at most; `None`: no limit.
    pub quota: Option<ByteSize>,
    /// What it may do.
    pub status: UserStatus,
    /// Last change, milliseconds since the Unix epoch.
    pub updated_ms: u64,
    /// Its INBOX.
    pub folder: FolderRecord,
}

/// What clients may remember of an INBOX.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FolderRecord {
    /// Bumped by every change; 0 where there is no folder.
    pub version: u64,
    /// RFC 3501 section 2.3.1.1; 0 where there is none.
    pub uid_validity: u32,
    /// The next UID; 0 where there is none.
    pub next_uid: u32,
    /// Messages, by the folder's counter: a hint.
    pub messages: u64,
    /// Octets, by the folder's counter: a hint.
    pub bytes: u64,
}

/// One message of a mailbox, live or deleted within the last day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its id: the UIDL.
    pub id: MessageId,
    /// Where its bytes are; `None` for a deleted one.
    pub location: Option<Location>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// There was none.
    Added,
    /// It was there, the same.
    Same,
    /// Another was there.
    Replaced,
}

/// How far an import of an account's mail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailState {
    /// The account is closed and waits for its mail.
    Filling,
    /// The account is in use, and this import has not put its mail yet.
    InUse,
    /// This import's mail was put before.
    Done,
}

/// What became of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountPut {
    /// Its record.
    pub written: Written,
    /// Its mail.
    pub mail: MailState,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome {
    /// It is there now.
    Added,
    /// It was there before.
    Present,
    /// Its user has deleted it, and it stays so.
    Deleted,
    /// Another message with this id is there.
    Different,
}

impl TryFrom<pb::AccountRecord> for AccountRecord {
    type Error = Malformed;

    fn try_from(wire: pb::AccountRecord) -> Result<Self, Malformed> {
        Ok(Self {
            status: wire.status().try_into()?,
            email: parse("email", &wire.email)?,
            password_hash: wire.password_hash.into(),
            first_name: wire.first_name,
            last_name: wire.last_name,
            mailbox: parse("mailbox", &wire.mailbox)?,
            quota: quota(wire.quota_bytes),
            updated_ms: wire.updated_ms,
            folder: wire.folder.map(Into::into).unwrap_or_default(),
        })
    }
}

impl From<AccountRecord> for pb::AccountRecord {
    fn from(record: AccountRecord) -> Self {
        Self {
            email: record.email.to_string(),
            password_hash: record.password_hash.expose_secret().to_owned(),
            first_name: record.first_name,
            last_name: record.last_name,
            mailbox: record.mailbox.to_string(),
            quota_bytes: record.quota.map_or(0, |quota| quota.0),
            status: pb::UserStatus::from(record.status).into(),
            updated_ms: record.updated_ms,
            folder: Some(record.folder.into()),
        }
    }
}

impl From<pb::FolderRecord> for FolderRecord {
    fn from(wire: pb::FolderRecord) -> Self {
        let pb::FolderRecord { version, uid_validity, next_uid, messages, bytes } = wire;
        Self { version, uid_validity, next_uid, messages, bytes }
    }
}

impl From<FolderRecord> for pb::FolderRecord {
    fn from(record: FolderRecord) -> Self {
        let FolderRecord { version, uid_validity, next_uid, messages, bytes } = record;
        Self { version, uid_validity, next_uid, messages, bytes }
    }
}

impl TryFrom<pb::StoredMessage> for StoredMessage {
    type Error = Malformed;

    fn try_from(wire: pb::StoredMessage) -> Result<Self, Malformed> {
        let location = wire.location.map(|place| location(Some(place))).transpose()?;
        Ok(Self { id: parse("id", &wire.id)?, location })
    }
}

impl From<StoredMessage> for pb::StoredMessage {
    fn from(message: StoredMessage) -> Self {
        Self { id: message.id.to_string(), location: message.location.map(Into::into) }
    }
}

/// Takes the messages of a request, each of which must have a place.
///
/// # Errors
/// A malformed message, or one without a place.
pub fn placed(wire: Vec<pb::StoredMessage>) -> Result<Vec<(MessageId, Location)>, Malformed> {
    let messages: Vec<StoredMessage> = each(wire)?;
    let place = |StoredMessage { id, location }| match location {
        Some(location) => Ok((id, location)),
        None => Err(Malformed::new("location", "missing")),
    };
    messages.into_iter().map(place).collect()
}

/// Implements both directions between an enum and its wire form, whose 0 is refused.
macro_rules! both_ways {
    ($name:ident, $field:literal, [$($variant:ident),+]) => {
        impl TryFrom<pb::$name> for $name {
            type Error = Malformed;

            fn try_from(wire: pb::$name) -> Result<Self, Malformed> {
                match wire {
                    pb::$name::Unspecified => Err(Malformed::new($field, "missing or unknown")),
                    $(pb::$name::$variant => Ok(Self::$variant),)+
                }
            }
        }

        impl From<$name> for pb::$name {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => Self::$variant,)+
                }
            }
        }
    };
}

both_ways!(Written, "written", [Added, Same, Replaced]);
both_ways!(MailState, "mail", [Filling, InUse, Done]);
both_ways!(MessageOutcome, "outcomes", [Added, Present, Deleted, Different]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fault, blob::tests::sample};

    fn record() -> AccountRecord {
        AccountRecord {
            email: "me@example.org".parse().unwrap(),
            password_hash: "$argon2id$x".to_owned().into(),
            first_name: "First".into(),
            last_name: String::new(),
            mailbox: MailboxId::new([5; 12]),
            quota: Some(ByteSize(1000)),
            status: UserStatus::Disabled,
            updated_ms: 7,
            folder: FolderRecord { version: 3, uid_validity: 4, next_uid: 5, messages: 6, bytes: 7 },
        }
    }

    #[test]
    fn records_come_back_as_they_went() {
        let wire = pb::AccountRecord::from(record());
        assert_eq!(pb::AccountRecord::from(AccountRecord::try_from(wire.clone()).unwrap()), wire);
        assert_eq!((wire.quota_bytes, wire.password_hash.as_str()), (1000, "$argon2id$x"));
        for location in [None, Some(sample())] {
            let message = StoredMessage { id: "N0000000aaaaaaaa".parse().unwrap(), location };
            assert_eq!(StoredMessage::try_from(pb::StoredMessage::from(message.clone())), Ok(message));
        }
    }

    #[test]
    fn the_hash_is_not_in_debug_output() {
        assert!(!format!("{:?}", record()).contains("argon2id"));
    }

    #[test]
    fn wrong_records_are_refused() {
        let faults: [Fault<pb::AccountRecord>; 3] = [
            ("address", |record| record.email = "nobody".into()),
            ("mailbox", |record| record.mailbox.clear()),
            ("status", |record| record.status = 0),
        ];
        for (name, spoil) in faults {
            let mut wire = pb::AccountRecord::from(record());
            spoil(&mut wire);
            assert!(AccountRecord::try_from(wire).is_err(), "{name}");
        }
        let message = StoredMessage { id: "N0000000aaaaaaaa".parse().unwrap(), location: None };
        assert!(placed(vec![message.into()]).is_err(), "a message without a place cannot be put");
    }
}
