//! The very first start: a domain, an account, and lines to paste.

use std::net::SocketAddr;

use puro_api::{
    AdminClient, Backend, Failure,
    model::{Alias, Domain, NewUser},
};
use puro_serve::process::{Process, StartError};
use puro_types::EmailAddress;
use secrecy::{ExposeSecret, SecretString};

/// The domain of the first start. `localhost` and all below it never leave the machine (RFC 6761 section 6.3).
const DOMAIN: &str = "puro.localhost";
/// The account of the first start.
const ADDRESS: &str = "me@puro.localhost";
/// Takes what is sent to the postmaster (RFC 5321 section 4.5.1).
const POSTMASTER: &str = "postmaster@puro.localhost";

/// The account made at the first start.
pub(crate) struct Account {
    address: EmailAddress,
    password: SecretString,
}

/// Makes domain and account, unless there are users, or domains of the operator's own.
///
/// A crash behind the domain is made good at the next start.
pub(crate) async fn account(metadata: &Backend) -> Result<Option<Account>, StartError> {
    let admin = AdminClient::new(metadata.clone());
    let fault = |failure: Failure| StartError::Other(Box::new(failure));
    let status = admin.check().await.map_err(fault)?;
    let domains = admin.list_domains().await.map_err(fault)?;
    if status.users > 0 || domains.iter().any(|domain| domain.name.as_str() != DOMAIN) {
        return Ok(None);
    }
    let address: EmailAddress = ADDRESS.parse().map_err(other)?;
    let password = crate::password::generate().map_err(other)?;
    if domains.is_empty() {
        let domain = Domain { name: DOMAIN.parse().map_err(other)?, catch_all: None };
        admin.add_domain(domain).await.map_err(fault)?;
    }
    let user = NewUser {
        email: address.clone(),
        password: password.clone(),
        first_name: String::new(),
        last_name: String::new(),
        quota: None,
    };
    admin.add_user(user).await.map_err(fault)?;
    let alias = Alias { email: POSTMASTER.parse().map_err(other)?, targets: vec![address.clone()] };
    admin.add_alias(alias).await.map_err(fault)?;
    Ok(Some(Account { address, password }))
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> StartError {
    StartError::Other(Box::new(error))
}

/// Prints address and password, this once, with lines to paste.
pub(crate) fn tell(account: &Account, process: &Process) {
    println!("{}", text(account, process.address("submission"), process.address("pop3s")));
}

fn text(account: &Account, submission: Option<SocketAddr>, pop3s: Option<SocketAddr>) -> String {
    let Account { address, password } = account;
    let password = password.expose_secret();
    let mut text = format!(
        "\nThe first start made an account. Its password is shown this once:\n\n  address   {address}\n  password  {password}\n"
    );
    if let Some(at) = submission {
        text.push_str(&format!(
            "\nSend a message:\n\n  printf 'From: {address}\\r\\nTo: {address}\\r\\nSubject: Hello\\r\\n\\r\\nIt works.\\r\\n' | \\\n    \
             curl -sS --ssl-reqd --insecure --url smtp://{at} --user '{address}:{password}' \\\n    \
             --mail-from {address} --mail-rcpt {address} --upload-file -\n"
        ));
    }
    if let Some(at) = pop3s {
        text.push_str(&format!(
            "\nFetch it:\n\n  curl -sS --insecure --url pop3s://{at}/1 --user '{address}:{password}'\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_name_what_is_bound() {
        let account = Account { address: ADDRESS.parse().unwrap(), password: "secret".into() };
        let text = text(&account, Some(([127, 0, 0, 1], 12367).into()), None);
        assert!(
            text.contains("smtp://127.0.0.1:12367") && text.contains("me@puro.localhost:secret"),
            "{text}"
        );
        assert!(!text.contains("pop3s://"), "a listener that is off is not advertised");
    }
}
