//! The `user` table: accounts and aliases, by case-folded address.

use std::collections::BTreeSet;

use puro_types::MailboxId;
use secrecy::{ExposeSecret, SecretString};

use super::{Attributes, Builder, LAST_UPDATE, number, single, text};
use crate::store::{Item, Key, StoreError, Table, Value};

/// Attribute names, for conditions and updates.
pub(crate) mod attribute {
    pub(crate) const KIND: &str = "kind";
    pub(crate) const PASSWORD: &str = "password";
    /// The mailbox id; aliases lack it.
    pub(crate) const FOLDER: &str = "folder";
    pub(crate) const STATUS: &str = "status";
    pub(crate) const TARGETS: &str = "targets";
    /// `filling ID` or `done ID`: the import that made the account, or put its mail.
    pub(crate) const IMPORT: &str = "import";
}
use attribute::{FOLDER, IMPORT, KIND, PASSWORD, STATUS, TARGETS};

const FIRST_NAME: &str = "first_name";
const LAST_NAME: &str = "last_name";
const QUOTA: &str = "quota";

const KIND_USER: &str = "user";
const KIND_ALIAS: &str = "alias";

/// What an address stands for.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    User(Account),
    Alias(AliasItem),
}

/// An account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// The key of the address.
    pub(crate) email: String,
    /// A PHC string.
    pub(crate) password: SecretString,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) mailbox: MailboxId,
    /// 0: no limit.
    pub(crate) quota_bytes: u64,
    pub(crate) status: Status,
    /// Milliseconds since the Unix epoch.
    pub(crate) updated_ms: u64,
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Disabled,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliasItem {
    /// The key of the address.
    pub(crate) email: String,
    /// Keys of the addresses that it stands for; never empty.
    pub(crate) targets: BTreeSet<String>,
}

pub(crate) fn user_key(email: &str) -> Key {
    single(email)
}

impl Entry {
    pub(crate) fn from_item(email: &str, item: &Item) -> Result<Self, StoreError> {
        let attributes = Attributes::new(Table::User, item);
        match attributes.text(KIND)? {
            KIND_USER => Account::read(email, attributes).map(Self::User),
            KIND_ALIAS => {
                Ok(Self::Alias(AliasItem { email: email.to_owned(), targets: attributes.set(TARGETS)? }))
            }
            _ => Err(attributes.wrong(KIND)),
        }
    }
}

impl Account {
    fn read(email: &str, attributes: Attributes<'_>) -> Result<Self, StoreError> {
        let status = match attributes.text(STATUS)? {
            "active" => Status::Active,
            // An unknown status locks the door rather than open it.
            _ => Status::Disabled,
        };
        Ok(Self {
            email: email.to_owned(),
            password: SecretString::from(attributes.text(PASSWORD)?.to_owned()),
            first_name: attributes.text_or_empty(FIRST_NAME)?.to_owned(),
            last_name: attributes.text_or_empty(LAST_NAME)?.to_owned(),
            mailbox: attributes.parsed(FOLDER)?,
            quota_bytes: attributes.number_or(QUOTA, 0)?,
            status,
            updated_ms: attributes.number_or(LAST_UPDATE, 0)?,
        })
    }

    pub(crate) fn to_item(&self) -> Item {
        Builder::default()
            .with(KIND, text(KIND_USER))
            .with(PASSWORD, text(self.password.expose_secret()))
            .text(FIRST_NAME, &self.first_name)
            .text(LAST_NAME, &self.last_name)
            .with(FOLDER, text(self.mailbox.as_str()))
            .number(QUOTA, self.quota_bytes, 0)
            .with(STATUS, text(self.status.as_str()))
            .with(LAST_UPDATE, number(self.updated_ms))
            .0
    }
}

impl AliasItem {
    pub(crate) fn to_item(&self, now_ms: u64) -> Item {
        Builder::default()
            .with(KIND, text(KIND_ALIAS))
            .set(TARGETS, &self.targets)
            .with(LAST_UPDATE, number(now_ms))
            .0
    }
}

/// How far an import of an account's mail is; each names the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Import {
    /// The account was made here.
    None,
    /// It is closed and waits for its mail.
    Filling(String),
    /// Its mail was put.
    Done(String),
}

impl Import {
    pub(crate) fn of(item: &Item) -> Self {
        let noted = match item.get(IMPORT) {
            Some(Value::Text(noted)) => noted.split_once(' '),
            _ => None,
        };
        match noted {
            Some(("filling", id)) => Self::Filling(id.to_owned()),
            Some(("done", id)) => Self::Done(id.to_owned()),
            _ => Self::None,
        }
    }

    /// Returns the attribute's value; `None` where there is no attribute.
    pub(crate) fn to_value(&self) -> Option<Value> {
        match self {
            Self::None => None,
            Self::Filling(id) => Some(text(&format!("filling {id}"))),
            Self::Done(id) => Some(text(&format!("done {id}"))),
        }
    }
}

/// The value of `kind` for accounts, for conditions.
pub(crate) fn kind_user() -> crate::store::Value {
    text(KIND_USER)
}

/// The value of `kind` for aliases.
pub(crate) fn kind_alias() -> crate::store::Value {
    text(KIND_ALIAS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            email: "ann@example.org".to_owned(),
            password: SecretString::from("$argon2id$secret".to_owned()),
            first_name: "Ann".to_owned(),
            last_name: String::new(),
            mailbox: MailboxId::new([3; 12]),
            quota_bytes: 5,
            status: Status::Disabled,
            updated_ms: 77,
        }
    }

    #[test]
    fn an_account_reads_back() {
        let item = account().to_item();
        assert!(!item.contains_key(LAST_NAME), "empty attributes are left out");
        let Entry::User(read) = Entry::from_item("ann@example.org", &item).unwrap() else {
            panic!("not a user")
        };
        assert_eq!(read.to_item(), item);
        assert_eq!(read.status, Status::Disabled);
    }

    #[test]
    fn the_hash_is_not_in_debug_output() {
        assert!(!format!("{:?}", account()).contains("argon2id"));
    }

    #[test]
    fn damage_is_an_error_and_an_unknown_status_locks() {
        let mut item = account().to_item();
        item.insert(STATUS.to_owned(), text("odd"));
        let Entry::User(read) = Entry::from_item("a@b", &item).unwrap() else { panic!("not a user") };
        assert_eq!(read.status, Status::Disabled);
        item.remove(FOLDER);
        assert!(matches!(Entry::from_item("a@b", &item), Err(StoreError::Internal(_))));
    }
}
