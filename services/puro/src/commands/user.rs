//! Accounts.

use clap::{Args, Subcommand};
use puro_api::model::{NewUser, User, UserStatus};
use puro_types::{ByteSize, EmailAddress};
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{Session, mail::time};
use crate::{
    ask::{Password, PasswordSource, confirm},
    exit::Fault,
    output::{Row, say},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Make an account
    Add(Add),
    /// List the accounts
    List,
    /// Show an account and how full its mailbox is
    Show { email: EmailAddress },
    /// Set a password
    Passwd {
        email: EmailAddress,
        #[command(flatten)]
        source: PasswordSource,
    },
    /// Refuse logins, and put mail off
    Disable { email: EmailAddress },
    /// Undo disable
    Enable { email: EmailAddress },
    /// Remove an account and its mail
    Remove {
        email: EmailAddress,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The address; its domain must be served
    email: EmailAddress,
    #[command(flatten)]
    source: PasswordSource,
    /// For lists only
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    first_name: String,
    /// For lists only
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    last_name: String,
    /// The most that the mailbox holds, such as 500MB or 2GiB
    #[arg(long, value_name = "SIZE")]
    quota: Option<ByteSize>,
}

/// An account in a list.
#[derive(Serialize)]
struct Listed {
    email: String,
    first_name: String,
    last_name: String,
    status: &'static str,
    quota_bytes: Option<u64>,
}

impl Row for Listed {
    const HEADINGS: &'static [&'static str] = &["EMAIL", "FIRST NAME", "LAST NAME", "STATUS", "QUOTA"];

    fn cells(&self) -> Vec<String> {
        let status = self.status.to_owned();
        let names = [self.first_name.clone(), self.last_name.clone()];
        [vec![self.email.clone()], names.to_vec(), vec![status, quota(self.quota_bytes)]].concat()
    }
}

/// An account by itself.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    account: Listed,
    mailbox: String,
    messages: u64,
    bytes: u64,
    updated: String,
}

impl Row for Shown {
    const HEADINGS: &'static [&'static str] =
        &["EMAIL", "FIRST NAME", "LAST NAME", "STATUS", "QUOTA", "MAILBOX", "MESSAGES", "BYTES", "UPDATED"];

    fn cells(&self) -> Vec<String> {
        let counters = [self.messages.to_string(), self.bytes.to_string()];
        let rest = [vec![self.mailbox.clone()], counters.to_vec(), vec![self.updated.clone()]];
        [self.account.cells(), rest.concat()].concat()
    }
}

/// What a program gets back that made a password.
#[derive(Serialize)]
struct WithPassword<'a> {
    #[serde(flatten)]
    account: Option<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

fn quota(octets: Option<u64>) -> String {
    octets.map(|octets| ByteSize(octets).to_string()).unwrap_or_default()
}

impl From<User> for Listed {
    fn from(user: User) -> Self {
        Self {
            email: user.email.to_string(),
            first_name: user.first_name,
            last_name: user.last_name,
            status: match user.status {
                UserStatus::Active => "active",
                UserStatus::Disabled => "disabled",
            },
            quota_bytes: user.quota.map(|quota| quota.0),
        }
    }
}

impl From<User> for Shown {
    fn from(user: User) -> Self {
        Self {
            mailbox: user.mailbox.to_string(),
            messages: user.messages,
            bytes: user.bytes,
            updated: time(user.updated_ms),
            account: user.into(),
        }
    }
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    match request {
        Request::Add(request) => add(session, request).await,
        Request::List => list(session).await,
        Request::Show { email } => {
            let user = session.metadata(session.admin.user(&email).await)?;
            session.output.record(&Shown::from(user))
        }
        Request::Passwd { email, source } => {
            let password = source.password()?;
            session.metadata(session.admin.set_password(&email, &password.secret).await)?;
            say(format_args!("The password of {email} is set."));
            tell(session, None, &password)
        }
        Request::Disable { email } => status(session, &email, UserStatus::Disabled).await,
        Request::Enable { email } => status(session, &email, UserStatus::Active).await,
        Request::Remove { email, yes } => remove(session, &email, yes).await,
    }
}

async fn add(session: &Session, request: Add) -> Result<(), Fault> {
    let password = request.source.password()?;
    let user = NewUser {
        email: request.email,
        password: password.secret.clone(),
        first_name: request.first_name,
        last_name: request.last_name,
        quota: request.quota,
    };
    let user = session.metadata(session.admin.add_user(user).await)?;
    say(format_args!("{} has an account now.", user.email));
    tell(session, Some(user.into()), &password)
}

/// Gives back what a caller cannot know: a password made here, and to a program the account.
fn tell(session: &Session, account: Option<Listed>, password: &Password) -> Result<(), Fault> {
    let made = password.is_made.then(|| password.secret.expose_secret());
    let json = WithPassword { account, password: made };
    match made {
        Some(made) => session.output.value(made, &json),
        None => session.output.changed(&json),
    }
}

async fn list(session: &Session) -> Result<(), Fault> {
    let mut users = Vec::new();
    let mut after = None;
    loop {
        let page = session.metadata(session.admin.list_users(after.as_deref()).await)?;
        users.extend(page.items.into_iter().map(Listed::from));
        after = page.next;
        if after.is_none() {
            return session.output.rows(&users);
        }
    }
}

async fn status(session: &Session, email: &EmailAddress, status: UserStatus) -> Result<(), Fault> {
    session.metadata(session.admin.set_user_status(email, status).await)?;
    match status {
        UserStatus::Active => say(format_args!("{email} may log in and gets mail.")),
        UserStatus::Disabled => say(format_args!("{email} may not log in; its mail is put off.")),
    }
    Ok(())
}

async fn remove(session: &Session, email: &EmailAddress, yes: bool) -> Result<(), Fault> {
    if !yes {
        let user = session.metadata(session.admin.user(email).await)?;
        confirm(format_args!("{email} and its {} messages will be removed.", user.messages))?;
    }
    session.metadata(session.admin.remove_user(email).await)?;
    say(format_args!("{email} is removed; its mail follows."));
    Ok(())
}
