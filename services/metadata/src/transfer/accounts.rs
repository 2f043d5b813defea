//! Accounts with all that is kept of them.

use puro_api::model::{AccountPut, AccountRecord, FolderRecord, MailState, UserStatus, Written};
use puro_types::{ByteSize, EmailAddress, MailboxId};

use super::check_import_id;
use crate::{
    Metadata, MetadataError,
    admin::NAME_MAX,
    directory::stored_address,
    passwords::{is_hash, is_same},
    retry::persist,
    schema::{
        Account, Entry, Folder, Status,
        folder::{given_back, identity, is_of_version, moved_item},
        folder_key, text,
        user::{Import, attribute},
        user_key,
    },
    store::{Check, Condition, Consistency, Item, StoreError, Table, Update, Value},
};

/// Attempts to change an item that others change at the same time.
const RACES_MAX: usize = 8;

impl Metadata {
    /// Returns a page of accounts with their password hashes, in the store's order, and where the next page begins. A
    /// page may be short or empty.
    ///
    /// # Errors
    /// `Unavailable` where the store cannot answer.
    pub async fn list_account_records(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<AccountRecord>, Option<String>), MetadataError> {
        let (items, next) = self.user_page(after, limit).await?;
        let mut records = Vec::new();
        for (key, item) in items {
            if let Entry::User(account) = Entry::from_item(&key.partition, &item)? {
                records.push(self.record_of(account).await?);
            }
        }
        Ok((records, next))
    }

    /// Returns an account with its password hash.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn account_record(&self, email: &EmailAddress) -> Result<AccountRecord, MetadataError> {
        let account = self.account(email).await?;
        self.record_of(account).await
    }

    async fn record_of(&self, account: Account) -> Result<AccountRecord, MetadataError> {
        let folder =
            self.store.get(Table::Folder, &folder_key(&account.mailbox), Consistency::Strong).await?;
        Ok(AccountRecord {
            email: stored_address(&account.email)?,
            password_hash: account.password,
            first_name: account.first_name,
            last_name: account.last_name,
            mailbox: account.mailbox,
            quota: (account.quota_bytes != 0).then_some(ByteSize(account.quota_bytes)),
            status: match account.status {
                Status::Active => UserStatus::Active,
                Status::Disabled => UserStatus::Disabled,
            },
            updated_ms: account.updated_ms,
            folder: folder.map(|item| identity(&item)).transpose()?.unwrap_or_default(),
        })
    }

    /// Makes an account that is closed until its mail is in, or finds it. `import` names the export that it is from.
    ///
    /// # Errors
    /// `AlreadyExists` where the address is an alias's, or a user's who is different and not to be overwritten;
    /// `Refused` where the domain is not served; `Invalid`.
    pub async fn put_account_record(
        &self,
        record: &AccountRecord,
        import: &str,
        overwrite: bool,
    ) -> Result<AccountPut, MetadataError> {
        check_import_id(import)?;
        let wanted = wanted(record)?;
        self.require_domain(record.email.domain()).await?;
        for _ in 0..RACES_MAX {
            let found = self.store.get(Table::User, &user_key(&wanted.email), Consistency::Strong).await?;
            let step = match &found {
                None => Step::Put { over: None, written: Written::Added },
                Some(item) => next_step(&wanted, item, import, overwrite)?,
            };
            let (over, written) = match step {
                Step::Leave(put) => {
                    if put.mail == MailState::Filling {
                        self.ensure_folder(&record.mailbox, &record.folder).await?;
                    }
                    return Ok(put);
                }
                Step::Put { over, written } => (over, written),
            };
            if let Some(known) = over
                && known.mailbox != wanted.mailbox
            {
                self.queue_emptying(&known).await?;
            }
            match self.write_account(&wanted, import, found.as_ref()).await {
                Ok(mail) => {
                    if mail == MailState::Filling {
                        self.ensure_folder(&record.mailbox, &record.folder).await?;
                    }
                    return Ok(AccountPut { written, mail });
                }
                // Changed since it was read, perhaps by an attempt of this call whose answer was lost.
                Err(StoreError::ConditionFailed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MetadataError::Unavailable(format!("{} is being changed by others", wanted.email)))
    }

    /// Writes an account in place of what was found. One that was not there, and one that got another mailbox, is
    /// closed.
    async fn write_account(
        &self,
        wanted: &Account,
        import: &str,
        found: Option<&Item>,
    ) -> Result<MailState, StoreError> {
        let keeps_mailbox = |item: &Item| item.get(attribute::FOLDER) == Some(&text(wanted.mailbox.as_str()));
        let condition = found.map_or_else(absent, unchanged);
        let mut item = wanted.to_item();
        let state = match found.map(|before| (Import::of(before), before)) {
            Some((state @ (Import::None | Import::Done(_)), before)) if keeps_mailbox(before) => {
                item.extend(state.to_value().map(|noted| (attribute::IMPORT.to_owned(), noted)));
                if state == Import::Done(import.to_owned()) { MailState::Done } else { MailState::InUse }
            }
            _ => {
                item.insert(attribute::STATUS.to_owned(), text(Status::Disabled.as_str()));
                let filling = Import::Filling(import.to_owned());
                item.extend(filling.to_value().map(|noted| (attribute::IMPORT.to_owned(), noted)));
                MailState::Filling
            }
        };
        let put = persist(self.patience(), self.random.as_ref(), |_| {
            self.store.put(Table::User, user_key(&wanted.email), item.clone(), condition.clone())
        });
        match put.await {
            // An attempt of this call whose answer was lost.
            Err(StoreError::ConditionFailed(Some(found))) if found == item => Ok(state),
            put => put.map(|()| state),
        }
    }

    /// Opens an account whose mail is in: a closed one gets this status. Notes that the mail of this import is in.
    ///
    /// # Errors
    /// `NotFound` where the account, or this mailbox of it, is no more; `Refused` where another import fills it.
    pub async fn open_account(
        &self,
        email: &EmailAddress,
        mailbox: &MailboxId,
        import: &str,
        status: UserStatus,
    ) -> Result<(), MetadataError> {
        check_import_id(import)?;
        let email = email.key();
        let gone = || MetadataError::NotFound(format!("the user {email} with this mailbox"));
        let done = Import::Done(import.to_owned());
        for _ in 0..RACES_MAX {
            let found = self.store.get(Table::User, &user_key(&email), Consistency::Strong).await?;
            let Some(item) = found else { return Err(gone()) };
            match Entry::from_item(&email, &item)? {
                Entry::User(account) if account.mailbox == *mailbox => {}
                _ => return Err(gone()),
            }
            let mut set: Vec<(String, Value)> = Vec::new();
            let before = Import::of(&item);
            match &before {
                Import::Done(by) if by == import => return Ok(()),
                Import::Filling(by) if by != import => {
                    return Err(MetadataError::Refused(format!("another import is filling {email}")));
                }
                Import::Filling(_) => {
                    set.push((attribute::STATUS.to_owned(), text(stored_status(status).as_str())));
                }
                Import::Done(_) | Import::None => {}
            }
            set.extend(done.to_value().map(|noted| (attribute::IMPORT.to_owned(), noted)));
            let as_found = match before.to_value() {
                Some(noted) => Check::Equals(attribute::IMPORT.to_owned(), noted),
                None => Check::Lacks(attribute::IMPORT.to_owned()),
            };
            let same = Check::Equals(attribute::FOLDER.to_owned(), text(mailbox.as_str()));
            let condition = Condition(vec![same, as_found]);
            let opened = persist(self.patience(), self.random.as_ref(), |_| {
                let update = Update { set: set.clone(), ..Update::default() };
                self.store.update(Table::User, user_key(&email), update, condition.clone())
            });
            match opened.await {
                Ok(_) => return Ok(()),
                Err(StoreError::ConditionFailed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MetadataError::Unavailable(format!("{email} is being changed by others")))
    }

    /// Makes sure that a mailbox has a folder that is not given up, and whose version is beyond the one that it had where
    /// it comes from: a front end may remember a listing of that one. The folder is changed in any case, so that a job
    /// which is about to give the mailbox up, and has not seen the account, notices.
    async fn ensure_folder(&self, mailbox: &MailboxId, record: &FolderRecord) -> Result<(), MetadataError> {
        let key = || folder_key(mailbox);
        for _ in 0..RACES_MAX {
            let now_ms = self.clock.now_ms();
            let found = self.store.get(Table::Folder, &key(), Consistency::Strong).await?;
            let made = match found {
                None => {
                    let item = moved_item(record, now_ms);
                    let put = persist(self.patience(), self.random.as_ref(), |_| {
                        self.store.put(Table::Folder, key(), item.clone(), absent())
                    });
                    put.await
                }
                Some(item) => {
                    let folder = Folder::from_item(&item)?;
                    if folder.removed && folder.emptying_until_ms > now_ms {
                        return Err(MetadataError::Refused(
                            "the mailbox is being emptied after a removal: try again in some minutes"
                                .to_owned(),
                        ));
                    }
                    let ahead = record.version.saturating_sub(folder.version).saturating_add(1);
                    let update = given_back(i64::try_from(ahead).unwrap_or(1), now_ms);
                    let updated = persist(self.patience(), self.random.as_ref(), |_| {
                        let condition = is_of_version(folder.version);
                        self.store.update(Table::Folder, key(), update.clone(), condition)
                    });
                    updated.await.map(drop)
                }
            };
            match made {
                // Looked at once more where others changed it, or an attempt whose answer was lost.
                Ok(()) => return Ok(()),
                Err(StoreError::ConditionFailed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MetadataError::Unavailable("the folder is being changed by others".to_owned()))
    }
}

/// What is to be done about an account.
enum Step {
    Leave(AccountPut),
    Put { over: Option<Account>, written: Written },
}

/// Decides about an account where its address is taken.
fn next_step(wanted: &Account, item: &Item, import: &str, overwrite: bool) -> Result<Step, MetadataError> {
    let Entry::User(known) = Entry::from_item(&wanted.email, item)? else {
        return Err(MetadataError::AlreadyExists(format!("{} is an alias", wanted.email)));
    };
    let state = Import::of(item);
    let is_filling = matches!(state, Import::Filling(_));
    let differences = differences(wanted, &known, is_filling);
    if !differences.is_empty() {
        if overwrite {
            return Ok(Step::Put { over: Some(known), written: Written::Replaced });
        }
        let what = differences.join(", ");
        return Err(MetadataError::AlreadyExists(format!("the user {}, with another {what}", wanted.email)));
    }
    Ok(match state {
        Import::Filling(by) if by == import => {
            Step::Leave(AccountPut { written: Written::Same, mail: MailState::Filling })
        }
        // An import that was given up.
        Import::Filling(_) => Step::Put { over: Some(known), written: Written::Same },
        Import::Done(by) if by == import => {
            Step::Leave(AccountPut { written: Written::Same, mail: MailState::Done })
        }
        Import::Done(_) | Import::None => {
            Step::Leave(AccountPut { written: Written::Same, mail: MailState::InUse })
        }
    })
}

/// Names what differs. A closed account's status is not its own.
fn differences(wanted: &Account, known: &Account, is_filling: bool) -> Vec<&'static str> {
    let pairs = [
        ("mailbox", wanted.mailbox == known.mailbox),
        ("password", is_same(&wanted.password, &known.password)),
        ("name", wanted.first_name == known.first_name && wanted.last_name == known.last_name),
        ("quota", wanted.quota_bytes == known.quota_bytes),
        ("status", is_filling || wanted.status == known.status),
    ];
    pairs.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

/// Checks a record and returns the account that it tells of.
fn wanted(record: &AccountRecord) -> Result<Account, MetadataError> {
    if !is_hash(&record.password_hash) {
        return Err(MetadataError::Invalid(format!("{}: the password hash is no PHC string", record.email)));
    }
    if record.first_name.len() > NAME_MAX || record.last_name.len() > NAME_MAX {
        return Err(MetadataError::Invalid(format!("a name has at most {NAME_MAX} octets")));
    }
    Ok(Account {
        email: record.email.key(),
        password: record.password_hash.clone(),
        first_name: record.first_name.clone(),
        last_name: record.last_name.clone(),
        mailbox: record.mailbox.clone(),
        quota_bytes: record.quota.map_or(0, |quota| quota.0),
        status: stored_status(record.status),
        updated_ms: record.updated_ms,
    })
}

fn stored_status(status: UserStatus) -> Status {
    match status {
        UserStatus::Active => Status::Active,
        UserStatus::Disabled => Status::Disabled,
    }
}

fn absent() -> Condition {
    Condition(vec![Check::Absent])
}

/// Holds while the account is as it was read, in all that is not written by its own later use.
fn unchanged(item: &Item) -> Condition {
    let names = [attribute::FOLDER, attribute::PASSWORD, attribute::STATUS, attribute::IMPORT];
    let check = |name: &str| match item.get(name) {
        Some(value) => Check::Equals(name.to_owned(), value.clone()),
        None => Check::Lacks(name.to_owned()),
    };
    Condition(names.map(check).into())
}
