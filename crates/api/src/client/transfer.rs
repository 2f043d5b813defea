//! Taking a whole system out, and putting it in.

use puro_types::{EmailAddress, Location, MailboxId, MessageId};

use super::client;
use crate::{
    channel::Call,
    failure::Failure,
    model::{
        AccountPut, AccountRecord, Alias, Domain, Malformed, MessageOutcome, Page, StoredMessage, UserStatus,
        Written, each,
    },
    pb::metadata::v1 as pb,
    pb::metadata::v1::transfer_service_client::TransferServiceClient,
};

client! {
    /// Exports and imports accounts and messages.
    ///
    /// All calls fail with [`Failure::Unavailable`] where the service cannot answer, puts also with
    /// [`Failure::OutcomeUnknown`]; all of them may be repeated. Puts fail with [`Failure::AlreadyExists`] where
    /// something different is there, unless told to overwrite it.
    TransferClient
}

/// Makes a unary call of this service.
macro_rules! ask {
    ($self:ident, $call:ident, $method:ident, $request:expr) => {
        $self
            .backend
            .unary(
                &Call::$call(stringify!($method), $self.backend.deadlines().admin),
                $request,
                |channel, request| async move { TransferServiceClient::new(channel).$method(request).await },
            )
            .await
    };
}

impl TransferClient {
    /// Lists accounts with their password hashes, a page at a time; `after` is the last page's `next`.
    ///
    /// # Errors
    /// As above.
    pub async fn accounts(&self, after: Option<&str>) -> Result<Page<AccountRecord>, Failure> {
        let request = pb::ListAccountsRequest {
            page_token: after.unwrap_or_default().to_owned(),
            page_size: 0,
            email: String::new(),
        };
        let answer = ask!(self, read, list_accounts, request)?;
        Ok(Page::new(each(answer.accounts).map_err(Malformed::in_answer)?, answer.next_page_token))
    }

    /// Returns one account with its password hash.
    ///
    /// # Errors
    /// [`Failure::NotFound`].
    pub async fn account(&self, email: &EmailAddress) -> Result<AccountRecord, Failure> {
        let request = pb::ListAccountsRequest { email: email.to_string(), ..Default::default() };
        let answer = ask!(self, read, list_accounts, request)?;
        let account = answer.accounts.into_iter().next().ok_or_else(|| Malformed::new("accounts", "missing"));
        account.and_then(TryInto::try_into).map_err(Malformed::in_answer)
    }

    /// Lists messages of a mailbox, the deleted ones of the last day among them, a page at a time: those with ids
    /// behind `after`, up to `until` if that is given. At most `page_size`, or 0 for the service's choice.
    ///
    /// # Errors
    /// As above.
    pub async fn stored(
        &self,
        mailbox: &MailboxId,
        after: &str,
        until: Option<&MessageId>,
        page_size: u32,
    ) -> Result<Page<StoredMessage>, Failure> {
        let request = pb::ListStoredRequest {
            mailbox: mailbox.to_string(),
            after: after.to_owned(),
            until: until.map(ToString::to_string).unwrap_or_default(),
            page_size,
        };
        let answer = ask!(self, read, list_stored, request)?;
        Ok(Page::new(each(answer.messages).map_err(Malformed::in_answer)?, answer.next))
    }

    /// Makes a domain served.
    ///
    /// # Errors
    /// As above.
    pub async fn put_domain(&self, domain: Domain, overwrite: bool) -> Result<Written, Failure> {
        let request = pb::PutDomainRequest { domain: Some(domain.into()), overwrite };
        let answer = ask!(self, idempotent_write, put_domain, request)?;
        answer.written().try_into().map_err(Malformed::in_answer)
    }

    /// Makes an alias with exactly these targets.
    ///
    /// # Errors
    /// [`Failure::FailedPrecondition`] where its domain is not served.
    pub async fn put_alias(&self, alias: Alias, overwrite: bool) -> Result<Written, Failure> {
        let request = pb::PutAliasRequest { alias: Some(alias.into()), overwrite };
        let answer = ask!(self, idempotent_write, put_alias, request)?;
        answer.written().try_into().map_err(Malformed::in_answer)
    }

    /// Makes an account that is closed until its mail is in, or finds it. `import_id` names the export.
    ///
    /// # Errors
    /// [`Failure::FailedPrecondition`] where its domain is not served.
    pub async fn put_account(
        &self,
        account: AccountRecord,
        import_id: &str,
        overwrite: bool,
    ) -> Result<AccountPut, Failure> {
        let request = pb::PutAccountRequest {
            account: Some(account.into()),
            import_id: import_id.to_owned(),
            overwrite,
        };
        let answer = ask!(self, idempotent_write, put_account, request)?;
        let put = || -> Result<_, Malformed> {
            Ok(AccountPut { written: answer.written().try_into()?, mail: answer.mail().try_into()? })
        };
        put().map_err(Malformed::in_answer)
    }

    /// Puts messages, at most 500, whose bytes are stored; tells of each what became of it, in their order.
    ///
    /// # Errors
    /// Any: some may have been put. [`Failure::NotFound`] where the mailbox was removed.
    pub async fn put_messages(
        &self,
        mailbox: &MailboxId,
        messages: Vec<(MessageId, Location)>,
        undelete: bool,
    ) -> Result<Vec<MessageOutcome>, Failure> {
        let count = messages.len();
        let stored = |(id, location)| StoredMessage { id, location: Some(location) }.into();
        let request = pb::PutMessagesRequest {
            mailbox: mailbox.to_string(),
            messages: messages.into_iter().map(stored).collect(),
            undelete,
        };
        let answer = ask!(self, idempotent_write, put_messages, request)?;
        let outcomes: Result<Vec<MessageOutcome>, Malformed> =
            answer.outcomes().map(MessageOutcome::try_from).collect();
        match outcomes {
            Ok(outcomes) if outcomes.len() == count => Ok(outcomes),
            Ok(_) => Err(Malformed::new("outcomes", "not one for each message").in_answer()),
            Err(malformed) => Err(malformed.in_answer()),
        }
    }

    /// Opens an account whose mail is in; a closed one gets this status.
    ///
    /// # Errors
    /// [`Failure::NotFound`] where the account or this mailbox of it is no more.
    pub async fn open_account(
        &self,
        email: &EmailAddress,
        mailbox: &MailboxId,
        import_id: &str,
        status: UserStatus,
    ) -> Result<(), Failure> {
        let request = pb::OpenAccountRequest {
            email: email.to_string(),
            mailbox: mailbox.to_string(),
            import_id: import_id.to_owned(),
            status: pb::UserStatus::from(status).into(),
        };
        ask!(self, idempotent_write, open_account, request).map(drop)
    }
}
