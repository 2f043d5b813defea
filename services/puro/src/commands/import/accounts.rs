//! Domains, users, aliases and settings of an export.

use std::{collections::HashMap, path::Path};

use puro_api::{
    Failure,
    model::{AccountPut, AccountRecord, Alias, ConfigEntry, Domain, FolderRecord, UserStatus, Written},
};
use puro_types::ByteSize;

use super::{
    read::Export,
    tally::{Counts, Tally},
};
use crate::{
    commands::{
        Session,
        export::layout::{
            ALIASES, AliasLine, CONFIG, ConfigLine, DOMAINS, DomainLine, Records, USERS, UserLine,
        },
    },
    exit::Fault,
    output::say,
};

/// Puts all records. Users come closed, before any mail: mail for them is put off from then on, rather than refused.
pub(super) async fn put(
    session: &Session,
    export: &Export,
    overwrite: bool,
    tally: &mut Tally,
) -> Result<(), Fault> {
    if let Some(path) = export.file(DOMAINS)? {
        for line in Records::<DomainLine>::open(&path)? {
            let domain = domain(&path, line?)?;
            let name = domain.name.to_string();
            let put = session.metadata(session.transfer.put_domain(domain, overwrite).await);
            judge(&mut tally.domains, &name, put)?;
        }
    }
    if let Some(path) = export.file(USERS)? {
        for line in Records::<UserLine>::open(&path)? {
            let line = line?;
            let email = line.email.clone();
            let put = account(session, export, line, overwrite).await.map(|put| put.written);
            judge(&mut tally.users, &email, put)?;
        }
    }
    if let Some(path) = export.file(ALIASES)? {
        for line in Records::<AliasLine>::open(&path)? {
            let alias = alias(&path, line?)?;
            let email = alias.email.to_string();
            let put = session.metadata(session.transfer.put_alias(alias, overwrite).await);
            judge(&mut tally.aliases, &email, put)?;
        }
    }
    if let Some(path) = export.file(CONFIG)? {
        settings(session, &path, overwrite, &mut tally.config).await?;
    }
    Ok(())
}

/// Puts an account, or finds it.
pub(super) async fn account(
    session: &Session,
    export: &Export,
    line: UserLine,
    overwrite: bool,
) -> Result<AccountPut, Fault> {
    let record = record(&export.folder.join(USERS), line)?;
    session.metadata(session.transfer.put_account(record, &export.manifest.id, overwrite).await)
}

/// Returns what the account may do once it is open.
pub(super) fn status(line: &UserLine) -> UserStatus {
    if line.active { UserStatus::Active } else { UserStatus::Disabled }
}

async fn settings(session: &Session, path: &Path, overwrite: bool, counts: &mut Counts) -> Result<(), Fault> {
    let known = session.metadata(session.admin.config(None).await)?;
    let known: HashMap<String, String> = known.into_iter().map(|entry| (entry.name, entry.value)).collect();
    for line in Records::<ConfigLine>::open(path)? {
        let ConfigLine { name, value } = line?;
        let written = match known.get(&name) {
            Some(there) if *there == value => {
                counts.already_there += 1;
                continue;
            }
            Some(there) if !overwrite => {
                counts.failed += 1;
                say(format_args!("puro: the setting {name} is {there:?} here, and {value:?} in the export"));
                continue;
            }
            Some(_) => Written::Replaced,
            None => Written::Added,
        };
        let set = session.admin.set_config(ConfigEntry { name: name.clone(), value }).await;
        judge(counts, &name, session.metadata(set).map(|()| written))?;
    }
    Ok(())
}

/// Counts a record; one that was refused is named, and the import goes on.
fn judge(counts: &mut Counts, what: &str, put: Result<Written, Fault>) -> Result<(), Fault> {
    match put {
        Ok(written) => counts.count(written),
        Err(fault) => {
            refused(what, fault)?;
            counts.failed += 1;
        }
    }
    Ok(())
}

/// Names what was refused for itself; any other fault ends the import.
pub(super) fn refused(what: &str, fault: Fault) -> Result<(), Fault> {
    match &fault {
        Fault::Call(
            _,
            Failure::AlreadyExists(_)
            | Failure::FailedPrecondition(_)
            | Failure::Invalid(_)
            | Failure::NotFound(_),
        ) => {
            say(format_args!("puro: {what}: {fault}"));
            Ok(())
        }
        _ => Err(fault),
    }
}

fn domain(path: &Path, line: DomainLine) -> Result<Domain, Fault> {
    let catch_all = line.catch_all.map(|email| parse(path, &email)).transpose()?;
    Ok(Domain { name: parse(path, &line.name)?, catch_all })
}

fn alias(path: &Path, line: AliasLine) -> Result<Alias, Fault> {
    let targets = line.targets.iter().map(|target| parse(path, target)).collect::<Result<_, _>>()?;
    Ok(Alias { email: parse(path, &line.email)?, targets })
}

fn record(path: &Path, line: UserLine) -> Result<AccountRecord, Fault> {
    Ok(AccountRecord {
        status: status(&line),
        email: parse(path, &line.email)?,
        password_hash: line.password_hash.into(),
        first_name: line.first_name,
        last_name: line.last_name,
        mailbox: parse(path, &line.mailbox)?,
        quota: line.quota_bytes.map(ByteSize),
        updated_ms: line.updated_ms,
        folder: FolderRecord {
            version: line.folder_version,
            uid_validity: line.uid_validity,
            next_uid: line.next_uid,
            messages: 0,
            bytes: 0,
        },
    })
}

/// Parses a value of an export.
pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    path: &Path,
    text: &str,
) -> Result<T, Fault> {
    text.parse().map_err(|why| Fault::Refused(format!("{}: {text:?}: {why}", path.display())))
}
