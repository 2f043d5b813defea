//! Answers the front ends' questions about accounts and addresses.
//!
//! Reads are eventually consistent first. What such a read does not find, or finds and contradicts the client, is read
//! once more, strongly, so that a fresh account or a new password works at once.

mod resolve;

use std::sync::Arc;

use puro_api::model;
use puro_types::{DomainName, EmailAddress};
use quick_cache::sync::Cache;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::{
    Metadata, MetadataError,
    passwords::{PASSWORD_MAX, is_same},
    schema::{Account, Domain, Entry, Status, domain_key, user_key},
    settings::{self, REMEMBERED},
    store::{Consistency, Table},
};

/// How long it is remembered that a domain is not served here: strangers ask for many.
const MISS_REMEMBERED: std::time::Duration = std::time::Duration::from_secs(2);
const DOMAINS_REMEMBERED: usize = 10_000;

/// Domains looked up lately, and until when that holds.
#[derive(Debug)]
pub(crate) struct Domains(Cache<String, (Instant, Option<Arc<Domain>>)>);

impl Domains {
    pub(crate) fn new() -> Self {
        Self(Cache::new(DOMAINS_REMEMBERED))
    }

    /// Forgets a domain after a change made here.
    pub(crate) fn forget(&self, name: &str) {
        self.0.remove(name);
    }
}

impl Metadata {
    /// Checks a password. A login without a domain means the default domain.
    ///
    /// # Errors
    /// `BadCredentials` for an unknown user, a wrong password and a disabled account alike, after the same work: two
    /// reads and one hash. `Busy` for all of them, and for a password that has not been right before, after too many
    /// failures of the same login, with the same reads and no hash; and where too many passwords are being checked.
    /// `Unavailable` where the store cannot answer.
    pub async fn authenticate(
        &self,
        login: &str,
        password: &SecretString,
    ) -> Result<model::Account, MetadataError> {
        let address = self.login_email(login).await?;
        // What is no address is nobody's, and tried under its own name.
        let login = address.as_deref().unwrap_or(login);
        let email = address.as_deref().unwrap_or_default();
        let eventual = self.active_account(email, Consistency::Eventual).await?;
        if secrecy::ExposeSecret::expose_secret(password).len() > PASSWORD_MAX {
            return Err(MetadataError::BadCredentials);
        }
        let mut checked = Ok(false);
        if let Some(account) = &eventual {
            checked = self.passwords.verify(login, password, Some(&account.password)).await;
            if checked == Ok(true) {
                return logged_in(account);
            }
        }
        let strong = self.active_account(email, Consistency::Strong).await?;
        // Only now, so that the reads are as many as for nobody.
        checked?;
        let good = match (&eventual, &strong) {
            (Some(before), Some(now)) if is_same(&before.password, &now.password) => false,
            // The wrong password was hashed already; the account went away meanwhile.
            (Some(_), None) => false,
            (_, now) => {
                let stored = now.as_ref().map(|account| &account.password);
                self.passwords.verify(login, password, stored).await?
            }
        };
        match strong {
            Some(account) if good => logged_in(&account),
            _ => Err(MetadataError::BadCredentials),
        }
    }

    /// Returns how many password hashes this process has computed, for checks and for new passwords: what logins cost.
    #[must_use]
    pub fn password_hashes(&self) -> u64 {
        self.passwords.counts().computed()
    }

    /// Returns how many logins this process has put off without a look at the password, after too many failures.
    #[must_use]
    pub fn logins_throttled(&self) -> u64 {
        self.passwords.counts().throttled()
    }

    /// Says whether an account may use an address as envelope sender: its own, with or without a tag, and aliases that
    /// name the account.
    ///
    /// # Errors
    /// `Unavailable` where the store cannot answer. A sender that is no address is not allowed, rather than an error.
    pub async fn check_sender(&self, email: &str, sender: &str) -> Result<bool, MetadataError> {
        let (Ok(email), Ok(sender)) = (email.parse::<EmailAddress>(), sender.parse::<EmailAddress>()) else {
            return Ok(false);
        };
        let (email, key) = (email.key(), sender.key());
        if key == email || without_tag(&sender).is_some_and(|base| base.key() == email) {
            return Ok(true);
        }
        for consistency in [Consistency::Eventual, Consistency::Strong] {
            if let Some(Entry::Alias(alias)) = self.entry(&key, consistency).await?
                && alias.targets.contains(&email)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns what an address, given as its key, stands for.
    pub(crate) async fn entry(
        &self,
        email: &str,
        consistency: Consistency,
    ) -> Result<Option<Entry>, MetadataError> {
        match self.store.get(Table::User, &user_key(email), consistency).await? {
            Some(item) => Ok(Some(Entry::from_item(email, &item)?)),
            None => Ok(None),
        }
    }

    /// Returns a domain if it is served here; at most 30 s old.
    pub(crate) async fn domain(&self, name: &DomainName) -> Result<Option<Arc<Domain>>, MetadataError> {
        if let Some((until, domain)) = self.domains.0.get(name.as_str())
            && until > Instant::now()
        {
            return Ok(domain);
        }
        let mut found = None;
        for consistency in [Consistency::Eventual, Consistency::Strong] {
            if let Some(item) = self.store.get(Table::Domain, &domain_key(name.as_str()), consistency).await?
            {
                found = Some(Arc::new(Domain::from_item(&item)?));
                break;
            }
        }
        let lifetime = if found.is_some() { REMEMBERED } else { MISS_REMEMBERED };
        self.domains.0.insert(name.as_str().to_owned(), (Instant::now() + lifetime, found.clone()));
        Ok(found)
    }

    async fn active_account(
        &self,
        email: &str,
        consistency: Consistency,
    ) -> Result<Option<Account>, MetadataError> {
        // What is no address is looked up too, as a key that no address has: the time must not tell.
        let key = if email.is_empty() { "@" } else { email };
        Ok(match self.entry(key, consistency).await? {
            Some(Entry::User(account)) if account.status == Status::Active => Some(account),
            _ => None,
        })
    }

    /// Returns the key of the address that a login names.
    async fn login_email(&self, login: &str) -> Result<Option<String>, MetadataError> {
        if let Ok(address) = login.parse::<EmailAddress>() {
            return Ok(Some(address.key()));
        }
        if login.contains('@') {
            return Ok(None);
        }
        let domain = self.default_domain().await?;
        Ok(domain
            .and_then(|domain| format!("{login}@{domain}").parse().ok())
            .map(|at: EmailAddress| at.key()))
    }

    /// Returns the domain of addresses that are given without one: the setting `domain`, else the postmaster's domain,
    /// which is that of the first account, else any.
    pub(crate) async fn default_domain(&self) -> Result<Option<String>, MetadataError> {
        let settings = self.settings().await?;
        if let Some(domain) = settings.value(settings::DOMAIN) {
            return Ok(Some(domain.to_owned()));
        }
        let postmaster = settings.value(settings::POSTMASTER).and_then(|at| at.parse::<EmailAddress>().ok());
        if let Some(postmaster) = postmaster {
            return Ok(Some(postmaster.domain().to_string()));
        }
        let any = self.store.scan(Table::Domain, None, 1).await?;
        Ok(any.items.into_iter().next().map(|(key, _)| key.partition))
    }
}

fn logged_in(account: &Account) -> Result<model::Account, MetadataError> {
    Ok(model::Account { email: stored_address(&account.email)?, mailbox: account.mailbox.clone() })
}

/// Parses an address that was checked before it was stored.
pub(crate) fn stored_address(key: &str) -> Result<EmailAddress, MetadataError> {
    key.parse().map_err(|_| MetadataError::Internal(format!("table user: {key:?} is no address")))
}

/// Returns `user@domain` for `user+tag@domain`.
pub(crate) fn without_tag(address: &EmailAddress) -> Option<EmailAddress> {
    let (user, _) = address.local_part().split_once('+')?;
    EmailAddress::from_parts(user, address.domain().clone()).ok()
}
