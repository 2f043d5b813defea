//! Domains, users, aliases and configuration, as operators see them.

use puro_types::{ByteSize, DomainName, EmailAddress, MailboxId};
use secrecy::SecretString;

use super::{Malformed, parse, parse_optional};
use crate::pb::metadata::v1 as pb;

/// A domain that this system serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// Its name.
    pub name: DomainName,
    /// Where mail for unknown users goes; `None`: refused.
    pub catch_all: Option<EmailAddress>,
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserStatus {
    /// Everything.
    Active,
    /// No login; mail is put off with 450.
    Disabled,
}

/// An account as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The address.
    pub email: EmailAddress,
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
    /// Messages in the mailbox, by the folder's counter; 0 where users are listed.
    pub messages: u64,
    /// Octets in the mailbox, by the folder's counter; 0 where users are listed.
    pub bytes: u64,
    /// Last change, milliseconds since the Unix epoch.
    pub updated_ms: u64,
}

/// A user to make.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The address; its domain must be served here.
    pub email: EmailAddress,
    /// The password.
    pub password: SecretString,
    /// First name, may be empty.
    pub first_name: String,
    /// Last name, may be empty.
    pub last_name: String,
    /// Octets of mail at most; `None`: no limit.
    pub quota: Option<ByteSize>,
}

/// An address that stands for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The address.
    pub email: EmailAddress,
    /// What it stands for.
    pub targets: Vec<EmailAddress>,
}

/// A row of PuRoConfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What the metadata store says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    /// `embedded`, `memory`, `dynamodb`.
    pub store: String,
    /// Domains served.
    pub domains: u64,
    /// Users.
    pub users: u64,
}

/// A page of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What to ask for the next page with; `None` on the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    pub(crate) fn new(items: Vec<T>, token: String) -> Self {
        Self { items, next: (!token.is_empty()).then_some(token) }
    }
}

impl TryFrom<pb::Domain> for Domain {
    type Error = Malformed;

    fn try_from(wire: pb::Domain) -> Result<Self, Malformed> {
        Ok(Self {
            name: parse("name", &wire.name)?,
            catch_all: parse_optional("catch_all", &wire.catch_all)?,
        })
    }
}

impl TryFrom<pb::AddDomainRequest> for Domain {
    type Error = Malformed;

    fn try_from(wire: pb::AddDomainRequest) -> Result<Self, Malformed> {
        pb::Domain { name: wire.name, catch_all: wire.catch_all }.try_into()
    }
}

impl From<Domain> for pb::Domain {
    fn from(domain: Domain) -> Self {
        Self {
            name: domain.name.to_string(),
            catch_all: domain.catch_all.map(|email| email.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::UserStatus> for UserStatus {
    type Error = Malformed;

    fn try_from(wire: pb::UserStatus) -> Result<Self, Malformed> {
        match wire {
            pb::UserStatus::Unspecified => Err(Malformed::new("status", "missing or unknown")),
            pb::UserStatus::Active => Ok(Self::Active),
            pb::UserStatus::Disabled => Ok(Self::Disabled),
        }
    }
}

impl From<UserStatus> for pb::UserStatus {
    fn from(status: UserStatus) -> Self {
        match status {
            UserStatus::Active => Self::Active,
            UserStatus::Disabled => Self::Disabled,
        }
    }
}

/// 0 stands for no limit on the wire.
pub(super) fn quota(octets: u64) -> Option<ByteSize> {
    (octets != 0).then_some(ByteSize(octets))
}

impl TryFrom<pb::User> for User {
    type Error = Malformed;

    fn try_from(wire: pb::User) -> Result<Self, Malformed> {
        Ok(Self {
            status: wire.status().try_into()?,
            email: parse("email", &wire.email)?,
            first_name: wire.first_name,
            last_name: wire.last_name,
            mailbox: parse("mailbox", &wire.mailbox)?,
            quota: quota(wire.quota_bytes),
            messages: wire.messages,
            bytes: wire.bytes,
            updated_ms: wire.updated_ms,
        })
    }
}

impl From<User> for pb::User {
    fn from(user: User) -> Self {
        Self {
            email: user.email.to_string(),
            first_name: user.first_name,
            last_name: user.last_name,
            mailbox: user.mailbox.to_string(),
            quota_bytes: user.quota.map_or(0, |quota| quota.0),
            status: pb::UserStatus::from(user.status).into(),
            messages: user.messages,
            bytes: user.bytes,
            updated_ms: user.updated_ms,
        }
    }
}

impl TryFrom<pb::AddUserRequest> for NewUser {
    type Error = Malformed;

    fn try_from(wire: pb::AddUserRequest) -> Result<Self, Malformed> {
        Ok(Self {
            email: parse("email", &wire.email)?,
            password: wire.password.into(),
            first_name: wire.first_name,
            last_name: wire.last_name,
            quota: quota(wire.quota_bytes),
        })
    }
}

impl TryFrom<pb::Alias> for Alias {
    type Error = Malformed;

    fn try_from(wire: pb::Alias) -> Result<Self, Malformed> {
        let targets = wire.targets.iter().map(|target| parse("targets", target)).collect::<Result<_, _>>()?;
        Ok(Self { email: parse("email", &wire.email)?, targets })
    }
}

impl From<Alias> for pb::Alias {
    fn from(alias: Alias) -> Self {
        Self {
            email: alias.email.to_string(),
            targets: alias.targets.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<pb::AddAliasRequest> for Alias {
    type Error = Malformed;

    fn try_from(wire: pb::AddAliasRequest) -> Result<Self, Malformed> {
        pb::Alias { email: wire.email, targets: wire.targets }.try_into()
    }
}

impl TryFrom<pb::RemoveAliasRequest> for Alias {
    type Error = Malformed;

    fn try_from(wire: pb::RemoveAliasRequest) -> Result<Self, Malformed> {
        pb::Alias { email: wire.email, targets: wire.targets }.try_into()
    }
}

impl From<pb::ConfigEntry> for ConfigEntry {
    fn from(wire: pb::ConfigEntry) -> Self {
        Self { name: wire.name, value: wire.value }
    }
}

impl From<ConfigEntry> for pb::ConfigEntry {
    fn from(entry: ConfigEntry) -> Self {
        Self { name: entry.name, value: entry.value }
    }
}

impl From<pb::CheckResponse> for StoreStatus {
    fn from(wire: pb::CheckResponse) -> Self {
        Self { store: wire.store, domains: wire.domains, users: wire.users }
    }
}

impl From<StoreStatus> for pb::CheckResponse {
    fn from(status: StoreStatus) -> Self {
        Self { store: status.store, domains: status.domains, users: status.users }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fault;

    fn user() -> User {
        User {
            email: "me@example.org".parse().unwrap(),
            first_name: "First".into(),
            last_name: "Last".into(),
            mailbox: MailboxId::new([5; 12]),
            quota: Some(ByteSize(1000)),
            status: UserStatus::Disabled,
            messages: 3,
            bytes: 900,
            updated_ms: 1,
        }
    }

    #[test]
    fn users_domains_and_aliases_come_back_as_they_went() {
        for quota in [None, Some(ByteSize(1000))] {
            for status in [UserStatus::Active, UserStatus::Disabled] {
                let user = User { quota, status, ..user() };
                assert_eq!(User::try_from(pb::User::from(user.clone())), Ok(user));
            }
        }
        for catch_all in [None, Some("all@example.org".parse().unwrap())] {
            let domain = Domain { name: "example.org".parse().unwrap(), catch_all };
            assert_eq!(Domain::try_from(pb::Domain::from(domain.clone())), Ok(domain));
        }
        let targets = vec!["a@example.org".parse().unwrap(), "b@example.org".parse().unwrap()];
        let alias = Alias { email: "both@example.org".parse().unwrap(), targets };
        assert_eq!(Alias::try_from(pb::Alias::from(alias.clone())), Ok(alias));
    }

    #[test]
    fn wrong_users_are_refused() {
        let faults: [Fault<pb::User>; 4] = [
            ("address", |user| user.email = "nobody".into()),
            ("mailbox", |user| user.mailbox.clear()),
            ("no status", |user| user.status = 0),
            ("unknown status", |user| user.status = 9),
        ];
        for (name, spoil) in faults {
            let mut wire = pb::User::from(user());
            spoil(&mut wire);
            assert!(User::try_from(wire).is_err(), "{name}");
        }
    }
}
