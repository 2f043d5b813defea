//! Accounts and addresses.

use puro_types::EmailAddress;
use secrecy::{ExposeSecret, SecretString};

use super::client;
use crate::{
    channel::Call,
    failure::Failure,
    model::{Account, Malformed, Resolution},
    pb::metadata::v1::{
        AuthenticateRequest, CheckSenderRequest, ResolveRequest,
        directory_service_client::DirectoryServiceClient,
    },
};

client! {
    /// Asks about accounts and addresses.
    DirectoryClient
}

impl DirectoryClient {
    /// Checks a password. `None` for any bad credential: who it was that does not exist is not told.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where the service cannot answer, which never means a wrong password.
    pub async fn authenticate(
        &self,
        login: &str,
        password: &SecretString,
    ) -> Result<Option<Account>, Failure> {
        let call = Call::read("authenticate", self.backend.deadlines().authenticate);
        let request =
            AuthenticateRequest { login: login.to_owned(), password: password.expose_secret().to_owned() };
        let answer = self
            .backend
            .unary(&call, request, |channel, request| async move {
                DirectoryServiceClient::new(channel).authenticate(request).await
            })
            .await;
        match answer {
            Ok(account) => account.try_into().map(Some).map_err(Malformed::in_answer),
            Err(Failure::Unauthenticated(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Finds where mail for a recipient goes. `address` is as it stood in RCPT, `size_bytes` what SIZE announced, or 0.
    ///
    /// # Errors
    /// [`Failure::Invalid`] where it is not an address; [`Failure::Unavailable`] where the service cannot answer.
    pub async fn resolve(&self, address: &str, size_bytes: u64) -> Result<Resolution, Failure> {
        let call = Call::read("resolve", self.backend.deadlines().lookup);
        let request = ResolveRequest { address: address.to_owned(), size_bytes };
        self.backend
            .unary(&call, request, |channel, request| async move {
                DirectoryServiceClient::new(channel).resolve(request).await
            })
            .await?
            .try_into()
            .map_err(Malformed::in_answer)
    }

    /// Says whether an account may use an address as envelope sender. `account` is the account's address.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where the service cannot answer.
    pub async fn check_sender(&self, account: &str, sender: &EmailAddress) -> Result<bool, Failure> {
        let call = Call::read("check sender", self.backend.deadlines().lookup);
        let request = CheckSenderRequest { email: account.to_owned(), sender: sender.to_string() };
        let answer = self
            .backend
            .unary(&call, request, |channel, request| async move {
                DirectoryServiceClient::new(channel).check_sender(request).await
            })
            .await?;
        Ok(answer.allowed)
    }
}
