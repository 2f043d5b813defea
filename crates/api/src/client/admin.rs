//! The operator's side of the directory.

use puro_types::{DomainName, EmailAddress};
use secrecy::{ExposeSecret, SecretString};

use super::client;
use crate::{
    channel::Call,
    failure::Failure,
    model::{Alias, ConfigEntry, Domain, Malformed, NewUser, Page, StoreStatus, User, UserStatus, each},
    pb::metadata::v1 as pb,
    pb::metadata::v1::admin_service_client::AdminServiceClient,
};

client! {
    /// Manages domains, users, aliases and configuration.
    ///
    /// All calls fail with [`Failure::Unavailable`] where the service cannot answer, writes also with
    /// [`Failure::OutcomeUnknown`]; [`Failure::Invalid`] where a value is not acceptable.
    AdminClient
}

/// Makes a unary call of this service.
macro_rules! ask {
    ($self:ident, $call:ident, $method:ident, $request:expr) => {
        $self
            .backend
            .unary(
                &Call::$call(stringify!($method), $self.backend.deadlines().admin),
                $request,
                |channel, request| async move { AdminServiceClient::new(channel).$method(request).await },
            )
            .await
    };
}

impl AdminClient {
    /// Makes a domain served.
    ///
    /// # Errors
    /// [`Failure::AlreadyExists`].
    pub async fn add_domain(&self, domain: Domain) -> Result<(), Failure> {
        let pb::Domain { name, catch_all } = domain.into();
        ask!(self, write, add_domain, pb::AddDomainRequest { name, catch_all }).map(drop)
    }

    /// Lists the domains served.
    ///
    /// # Errors
    /// As above.
    pub async fn list_domains(&self) -> Result<Vec<Domain>, Failure> {
        let answer = ask!(self, read, list_domains, pb::ListDomainsRequest {})?;
        each(answer.domains).map_err(Malformed::in_answer)
    }

    /// Makes a domain not served any more.
    ///
    /// # Errors
    /// [`Failure::NotFound`]; [`Failure::FailedPrecondition`] while it has users or aliases.
    pub async fn remove_domain(&self, name: &DomainName) -> Result<(), Failure> {
        ask!(self, write, remove_domain, pb::RemoveDomainRequest { name: name.to_string() }).map(drop)
    }

    /// Makes a user with an empty mailbox.
    ///
    /// # Errors
    /// [`Failure::AlreadyExists`]; [`Failure::FailedPrecondition`] where the domain is not served.
    pub async fn add_user(&self, user: NewUser) -> Result<User, Failure> {
        let request = pb::AddUserRequest {
            email: user.email.to_string(),
            password: user.password.expose_secret().to_owned(),
            first_name: user.first_name,
            last_name: user.last_name,
            quota_bytes: user.quota.map_or(0, |quota| quota.0),
        };
        required("user", ask!(self, write, add_user, request)?.user)
    }

    /// Lists users, a page at a time; `after` is the last page's `next`.
    ///
    /// # Errors
    /// As above.
    pub async fn list_users(&self, after: Option<&str>) -> Result<Page<User>, Failure> {
        let request = pb::ListUsersRequest { page_token: token(after), page_size: 0 };
        let answer = ask!(self, read, list_users, request)?;
        Ok(Page::new(each(answer.users).map_err(Malformed::in_answer)?, answer.next_page_token))
    }

    /// Returns a user, with the counters of the mailbox.
    ///
    /// # Errors
    /// [`Failure::NotFound`].
    pub async fn user(&self, email: &EmailAddress) -> Result<User, Failure> {
        required("user", ask!(self, read, get_user, pb::GetUserRequest { email: email.to_string() })?.user)
    }

    /// Sets a user's password.
    ///
    /// # Errors
    /// [`Failure::NotFound`].
    pub async fn set_password(&self, email: &EmailAddress, password: &SecretString) -> Result<(), Failure> {
        let request = pb::SetPasswordRequest {
            email: email.to_string(),
            password: password.expose_secret().to_owned(),
        };
        ask!(self, idempotent_write, set_password, request).map(drop)
    }

    /// Says what a user may do.
    ///
    /// # Errors
    /// [`Failure::NotFound`].
    pub async fn set_user_status(&self, email: &EmailAddress, status: UserStatus) -> Result<(), Failure> {
        let status = pb::UserStatus::from(status).into();
        let request = pb::SetUserStatusRequest { email: email.to_string(), status };
        ask!(self, idempotent_write, set_user_status, request).map(drop)
    }

    /// Removes an account and, by way of the clean-up queue, its mail.
    ///
    /// # Errors
    /// [`Failure::NotFound`].
    pub async fn remove_user(&self, email: &EmailAddress) -> Result<(), Failure> {
        ask!(self, write, remove_user, pb::RemoveUserRequest { email: email.to_string() }).map(drop)
    }

    /// Makes an alias, or adds targets to one. Returns it as it is now.
    ///
    /// # Errors
    /// [`Failure::AlreadyExists`] where the address is a user's; [`Failure::FailedPrecondition`] where the domain is
    /// not served.
    pub async fn add_alias(&self, alias: Alias) -> Result<Alias, Failure> {
        let pb::Alias { email, targets } = alias.into();
        let request = pb::AddAliasRequest { email, targets };
        required("alias", ask!(self, idempotent_write, add_alias, request)?.alias)
    }

    /// Lists aliases, a page at a time; `after` is the last page's `next`.
    ///
    /// # Errors
    /// As above.
    pub async fn list_aliases(&self, after: Option<&str>) -> Result<Page<Alias>, Failure> {
        let request = pb::ListAliasesRequest { page_token: token(after), page_size: 0 };
        let answer = ask!(self, read, list_aliases, request)?;
        Ok(Page::new(each(answer.aliases).map_err(Malformed::in_answer)?, answer.next_page_token))
    }

    /// Removes an alias, or only the targets named.
    ///
    /// # Errors
    /// [`Failure::NotFound`].
    pub async fn remove_alias(&self, alias: Alias) -> Result<(), Failure> {
        let pb::Alias { email, targets } = alias.into();
        ask!(self, write, remove_alias, pb::RemoveAliasRequest { email, targets }).map(drop)
    }

    /// Reads PuRoConfig: one entry, or all of them.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for a name that has no value.
    pub async fn config(&self, name: Option<&str>) -> Result<Vec<ConfigEntry>, Failure> {
        let answer = ask!(self, read, get_config, pb::GetConfigRequest { name: token(name) })?;
        Ok(answer.entries.into_iter().map(Into::into).collect())
    }

    /// Sets an entry of PuRoConfig.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for a name or a value that is not known.
    pub async fn set_config(&self, entry: ConfigEntry) -> Result<(), Failure> {
        let request = pb::SetConfigRequest { entry: Some(entry.into()) };
        ask!(self, idempotent_write, set_config, request).map(drop)
    }

    /// Asks whether the store answers and what it holds.
    ///
    /// # Errors
    /// As above.
    pub async fn check(&self) -> Result<StoreStatus, Failure> {
        Ok(ask!(self, read, check, pb::CheckRequest {})?.into())
    }
}

fn token(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn required<W, T>(field: &str, wire: Option<W>) -> Result<T, Failure>
where
    T: TryFrom<W, Error = Malformed>,
{
    wire.ok_or_else(|| Malformed::new(field, "missing")).and_then(T::try_from).map_err(Malformed::in_answer)
}
