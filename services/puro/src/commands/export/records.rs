//! Domains, aliases, settings and users.

use std::{collections::BTreeSet, path::Path};

use puro_api::model::{AccountRecord, Page, UserStatus};
use puro_types::EmailAddress;
use secrecy::ExposeSecret as _;

use super::{
    Session,
    layout::{
        ALIASES, AliasLine, CONFIG, ConfigLine, DOMAINS, DomainLine, FILES, RecordWriter, Totals, USERS,
        UserLine,
    },
};
use crate::exit::Fault;

/// What was written, and the list of files begun.
pub(super) struct Written {
    pub(super) totals: Totals,
    pub(super) files: RecordWriter,
    /// Octets of mail to be expected.
    pub(super) bytes: u64,
}

/// Writes all records, or those of the chosen users.
///
/// What refers to something is read before what it refers to: a user that is made meanwhile has its domain in the list.
pub(super) async fn write(
    session: &Session,
    folder: &Path,
    chosen: &[EmailAddress],
) -> Result<Written, Fault> {
    let mut files = RecordWriter::create(folder, FILES)?;
    let mut totals = Totals::default();
    if chosen.is_empty() {
        totals.aliases = aliases(session, folder, &mut files).await?;
        totals.config = config(session, folder, &mut files).await?;
    }
    let users = users(session, folder, chosen, &mut files).await?;
    totals.users = users.count;
    totals.domains = domains(session, folder, users.domains.as_ref(), &mut files).await?;
    Ok(Written { totals, files, bytes: users.bytes })
}

async fn aliases(session: &Session, folder: &Path, files: &mut RecordWriter) -> Result<u64, Fault> {
    let mut out = RecordWriter::create(folder, ALIASES)?;
    let mut after: Option<String> = None;
    loop {
        let page = session.metadata(session.admin.list_aliases(after.as_deref()).await)?;
        for alias in page.items {
            let targets = alias.targets.iter().map(ToString::to_string).collect();
            out.write(&AliasLine { email: alias.email.to_string(), targets })?;
        }
        after = page.next;
        if after.is_none() {
            return keep(out, files);
        }
    }
}

async fn config(session: &Session, folder: &Path, files: &mut RecordWriter) -> Result<u64, Fault> {
    let mut out = RecordWriter::create(folder, CONFIG)?;
    for entry in session.metadata(session.admin.config(None).await)? {
        out.write(&ConfigLine { name: entry.name, value: entry.value })?;
    }
    keep(out, files)
}

/// The users that were written.
struct Users {
    count: u64,
    bytes: u64,
    /// The domains of chosen users; `None` for all domains.
    domains: Option<BTreeSet<String>>,
}

async fn users(
    session: &Session,
    folder: &Path,
    chosen: &[EmailAddress],
    files: &mut RecordWriter,
) -> Result<Users, Fault> {
    let mut out = RecordWriter::create(folder, USERS)?;
    let mut users = Users { count: 0, bytes: 0, domains: (!chosen.is_empty()).then(BTreeSet::new) };
    if let Some(domains) = &mut users.domains {
        let mut written = BTreeSet::new();
        for email in chosen.iter().filter(|email| written.insert(email.key())) {
            let account = session.metadata(session.transfer.account(email).await)?;
            domains.insert(account.email.domain().to_string());
            users.bytes += account.folder.bytes;
            out.write(&line(account))?;
        }
    } else {
        let mut after: Option<String> = None;
        loop {
            let page: Page<AccountRecord> =
                session.metadata(session.transfer.accounts(after.as_deref()).await)?;
            for account in page.items {
                users.bytes += account.folder.bytes;
                out.write(&line(account))?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    users.count = keep(out, files)?;
    Ok(users)
}

fn line(account: AccountRecord) -> UserLine {
    UserLine {
        email: account.email.to_string(),
        password_hash: account.password_hash.expose_secret().to_owned(),
        first_name: account.first_name,
        last_name: account.last_name,
        mailbox: account.mailbox.to_string(),
        quota_bytes: account.quota.map(|quota| quota.0),
        active: account.status == UserStatus::Active,
        updated_ms: account.updated_ms,
        folder_version: account.folder.version,
        uid_validity: account.folder.uid_validity,
        next_uid: account.folder.next_uid,
    }
}

async fn domains(
    session: &Session,
    folder: &Path,
    only: Option<&BTreeSet<String>>,
    files: &mut RecordWriter,
) -> Result<u64, Fault> {
    let mut out = RecordWriter::create(folder, DOMAINS)?;
    for domain in session.metadata(session.admin.list_domains().await)? {
        if only.is_none_or(|only| only.contains(domain.name.as_str())) {
            let catch_all = domain.catch_all.map(|email| email.to_string());
            out.write(&DomainLine { name: domain.name.to_string(), catch_all })?;
        }
    }
    keep(out, files)
}

fn keep(out: RecordWriter, files: &mut RecordWriter) -> Result<u64, Fault> {
    let lines = out.lines;
    files.write(&out.keep()?)?;
    Ok(lines)
}
