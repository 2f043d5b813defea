//! Accounts.

use puro_api::model::{self, NewUser, UserStatus};
use puro_types::{ByteSize, EmailAddress, MailboxId};
use secrecy::{ExposeSecret as _, SecretString};

use super::on_condition;
use crate::{
    Metadata, MetadataError,
    clock::random_octets,
    directory::stored_address,
    passwords::PASSWORD_MAX,
    retry::persist,
    schema::{
        Account, Emptying, Entry, Folder, Job, JobKind, LAST_UPDATE, Status, folder_key, number, text,
        user::{attribute, kind_user},
        user_key,
    },
    settings::{self, VALUE, config_item, config_key},
    store::{Check, Condition, Consistency, Item, StoreError, Table, Update, Value},
};

/// Octets of a name at most.
pub(crate) const NAME_MAX: usize = 256;

impl Metadata {
    /// Makes a user with an empty mailbox. The first one takes the mail for `postmaster` until a setting says otherwise.
    ///
    /// The folder comes before the account: a crash between leaves a folder that belongs to nobody.
    ///
    /// # Errors
    /// `AlreadyExists`; `Refused` where the domain is not served; `Invalid`.
    pub async fn add_user(&self, user: &NewUser) -> Result<model::User, MetadataError> {
        check_password(&user.password)?;
        if user.first_name.len() > NAME_MAX || user.last_name.len() > NAME_MAX {
            return Err(MetadataError::Invalid(format!("a name has at most {NAME_MAX} octets")));
        }
        self.require_domain(user.email.domain()).await?;
        let email = user.email.key();
        if self.entry(&email, Consistency::Strong).await?.is_some() {
            return Err(MetadataError::AlreadyExists(email));
        }
        let now_ms = self.clock.now_ms();
        let account = Account {
            password: self.passwords.hash(&user.password, self.random.as_ref()).await?,
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            mailbox: MailboxId::new(random_octets(self.random.as_ref())?),
            quota_bytes: user.quota.map_or(0, |quota| quota.0),
            status: Status::Active,
            updated_ms: now_ms,
            email,
        };
        self.put_folder(&account.mailbox).await?;
        if let Err(error) = self.put_account(&account).await {
            self.drop_folder_unless_owned(&account).await;
            return Err(error);
        }
        // Somebody may have removed the domain while the account was made.
        if let Err(error) = self.require_domain(user.email.domain()).await {
            if matches!(error, MetadataError::Refused(_)) {
                self.delete_account(&account).await?;
            }
            return Err(error);
        }
        self.offer_as_postmaster(&account.email).await;
        as_seen(&account, &Folder::default())
    }

    /// Returns a page of users, in the store's order, and where the next page begins. A page may be short or empty.
    ///
    /// # Errors
    /// `Unavailable` where the store cannot answer.
    pub async fn list_users(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<model::User>, Option<String>), MetadataError> {
        let (items, next) = self.user_page(after, limit).await?;
        let mut users = Vec::new();
        for (key, item) in items {
            if let Entry::User(account) = Entry::from_item(&key.partition, &item)? {
                users.push(as_seen(&account, &Folder::default())?);
            }
        }
        Ok((users, next))
    }

    /// Returns a user with the counters of the mailbox.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn user(&self, email: &EmailAddress) -> Result<model::User, MetadataError> {
        let account = self.account(email).await?;
        let folder = self.folder(&account.mailbox, Consistency::Strong).await?;
        as_seen(&account, &folder)
    }

    /// Sets a password.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`.
    pub async fn set_password(
        &self,
        email: &EmailAddress,
        password: &SecretString,
    ) -> Result<(), MetadataError> {
        check_password(password)?;
        self.account(email).await?;
        let hash = self.passwords.hash(password, self.random.as_ref()).await?;
        self.change_account(email, attribute::PASSWORD, text(hash.expose_secret())).await
    }

    /// Says what a user may do.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_user_status(
        &self,
        email: &EmailAddress,
        status: UserStatus,
    ) -> Result<(), MetadataError> {
        let status = match status {
            UserStatus::Active => Status::Active,
            UserStatus::Disabled => Status::Disabled,
        };
        self.change_account(email, attribute::STATUS, text(status.as_str())).await
    }

    /// Removes an account and, by way of the queue, its mail. The address is free at once; the mailbox id never comes
    /// back.
    ///
    /// The job that empties the mailbox is put first: were it the other way round, a crash between would leave mail that
    /// nobody removes. The job makes sure that the account is gone before it touches anything.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_user(&self, email: &EmailAddress) -> Result<(), MetadataError> {
        let account = self.account(email).await?;
        self.queue_emptying(&account).await?;
        self.delete_account(&account).await?;
        self.withdraw_as_postmaster(&account.email).await;
        Ok(())
    }

    /// Puts the job that empties the mailbox of an account which is about to go, or to get another mailbox.
    pub(crate) async fn queue_emptying(&self, account: &Account) -> Result<(), MetadataError> {
        let now_ms = self.clock.now_ms();
        let job = Job {
            id: self.job_id()?,
            created_ms: now_ms,
            attempts: 0,
            mailbox: account.mailbox.clone(),
            kind: JobKind::Empty { email: account.email.clone(), step: Emptying::Messages },
        };
        Ok(self.enqueue(&job, now_ms + self.config.grace_ms(), self.patience()).await?)
    }

    pub(crate) async fn account(&self, email: &EmailAddress) -> Result<Account, MetadataError> {
        match self.entry(&email.key(), Consistency::Strong).await? {
            Some(Entry::User(account)) => Ok(account),
            Some(Entry::Alias(_)) => {
                Err(MetadataError::NotFound(format!("the user {}: that is an alias", email.key())))
            }
            None => Err(no_user(email)),
        }
    }

    async fn put_folder(&self, mailbox: &MailboxId) -> Result<(), MetadataError> {
        let item = Folder::new_item(self.clock.now_ms());
        let put = persist(self.patience(), self.random.as_ref(), |_| {
            let absent = Condition(vec![Check::Absent]);
            self.store.put(Table::Folder, folder_key(mailbox), item.clone(), absent)
        });
        match put.await {
            Ok(()) | Err(StoreError::ConditionFailed(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn put_account(&self, account: &Account) -> Result<(), MetadataError> {
        let item = account.to_item();
        let put = persist(self.patience(), self.random.as_ref(), |_| {
            let absent = Condition(vec![Check::Absent]);
            self.store.put(Table::User, user_key(&account.email), item.clone(), absent)
        });
        match put.await {
            Ok(()) => Ok(()),
            // An attempt of this call whose answer was lost: nobody else draws the same mailbox id.
            Err(StoreError::ConditionFailed(Some(found))) if is_of(&found, &account.mailbox) => Ok(()),
            Err(StoreError::ConditionFailed(_)) => Err(MetadataError::AlreadyExists(account.email.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the folder of an account that was not made away. Only where it is sure that it was not: else the folder
    /// stays, at worst for nobody.
    async fn drop_folder_unless_owned(&self, account: &Account) {
        let is_owned = match self.entry(&account.email, Consistency::Strong).await {
            Ok(Some(Entry::User(found))) => found.mailbox == account.mailbox,
            // A write whose outcome is unknown may still come.
            Ok(None) | Err(_) => true,
            Ok(Some(Entry::Alias(_))) => false,
        };
        if !is_owned {
            let key = folder_key(&account.mailbox);
            let dropped = self.store.delete(Table::Folder, key, Condition::default()).await;
            tracing::debug!(mailbox = %account.mailbox, ok = dropped.is_ok(), "dropped an unused folder");
        }
    }

    async fn delete_account(&self, account: &Account) -> Result<(), MetadataError> {
        let deleted = persist(self.patience(), self.random.as_ref(), |_| {
            // Not a new account that took the address meanwhile.
            let same = Check::Equals(attribute::FOLDER.to_owned(), text(account.mailbox.as_str()));
            self.store.delete(Table::User, user_key(&account.email), Condition(vec![same]))
        });
        match deleted.await {
            Ok(()) | Err(StoreError::ConditionFailed(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn change_account(
        &self,
        email: &EmailAddress,
        name: &str,
        value: Value,
    ) -> Result<(), MetadataError> {
        let now_ms = self.clock.now_ms();
        let changed = persist(self.patience(), self.random.as_ref(), |_| {
            let set = vec![(name.to_owned(), value.clone()), (LAST_UPDATE.to_owned(), number(now_ms))];
            let is_user = Check::Equals(attribute::KIND.to_owned(), kind_user());
            let update = Update { set, ..Update::default() };
            self.store.update(Table::User, user_key(&email.key()), update, Condition(vec![is_user]))
        });
        on_condition(changed.await, |_| no_user(email)).map(drop)
    }

    /// Makes the account the postmaster if there is none. It works without, so a failure is only logged.
    async fn offer_as_postmaster(&self, email: &str) {
        let is_taken = match self.settings().await {
            Ok(settings) => settings.value(settings::POSTMASTER).is_some(),
            Err(_) => true,
        };
        if is_taken {
            return;
        }
        let absent = Condition(vec![Check::Absent]);
        let key = config_key(settings::POSTMASTER);
        let put = self.store.put(Table::Config, key, config_item(email), absent).await;
        tracing::debug!(ok = put.is_ok(), "offered the account as postmaster");
        self.forget_settings();
    }

    /// Ends that an account which is gone is the postmaster.
    async fn withdraw_as_postmaster(&self, email: &str) {
        let named = match self.settings().await {
            Ok(settings) => settings.value(settings::POSTMASTER) == Some(email),
            Err(_) => true,
        };
        if named {
            let same = Condition(vec![Check::Equals(VALUE.to_owned(), text(email))]);
            let gone = self.store.delete(Table::Config, config_key(settings::POSTMASTER), same).await;
            tracing::debug!(ok = gone.is_ok(), "withdrew the account as postmaster");
            self.forget_settings();
        }
    }
}

fn is_of(item: &Item, mailbox: &MailboxId) -> bool {
    item.get(attribute::FOLDER) == Some(&text(mailbox.as_str()))
}

fn no_user(email: &EmailAddress) -> MetadataError {
    MetadataError::NotFound(format!("the user {}", email.key()))
}

fn check_password(password: &SecretString) -> Result<(), MetadataError> {
    if (1..=PASSWORD_MAX).contains(&password.expose_secret().len()) {
        return Ok(());
    }
    Err(MetadataError::Invalid(format!("a password has 1 to {PASSWORD_MAX} octets")))
}

/// Returns an account as operators see it.
fn as_seen(account: &Account, folder: &Folder) -> Result<model::User, MetadataError> {
    Ok(model::User {
        email: stored_address(&account.email)?,
        first_name: account.first_name.clone(),
        last_name: account.last_name.clone(),
        mailbox: account.mailbox.clone(),
        quota: (account.quota_bytes != 0).then_some(ByteSize(account.quota_bytes)),
        status: match account.status {
            Status::Active => UserStatus::Active,
            Status::Disabled => UserStatus::Disabled,
        },
        messages: u64::try_from(folder.messages).unwrap_or(0),
        bytes: u64::try_from(folder.bytes).unwrap_or(0),
        updated_ms: account.updated_ms,
    })
}
