//! What is loaded: addresses, encryption, accounts.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Encryption {
    /// Clear text.
    #[default]
    None,
    /// STARTTLS or STLS before anything else.
    Starttls,
    /// TLS from the first octet.
    Tls,
}

/// One listener of a server.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// How to talk to it.
    pub encryption: Encryption,
    /// The longest wait for one answer.
    pub patience: Duration,
}

impl Target {
    /// A listener without encryption and with 30 seconds of patience.
    #[must_use]
    pub fn clear(address: SocketAddr) -> Self {
        Self { address, encryption: Encryption::None, patience: Duration::from_secs(30) }
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its address, which is also the login name.
    pub address: String,
    /// Its password.
    pub password: String,
}

/// Reads accounts from a file: one a line, address, a space, password. Empty lines are left out.
///
/// # Errors
/// The file cannot be read, or a line has no password.
pub fn read_users(file: &Path) -> anyhow::Result<Vec<User>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut users = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match line.split_once(' ') {
            Some((address, password)) => {
                users.push(User { address: address.to_owned(), password: password.to_owned() });
            }
            None => bail!("{}:{}: no password", file.display(), number + 1),
        }
    }
    if users.is_empty() {
        bail!("{} names no account", file.display());
    }
    Ok(users)
}

/// Accounts `PREFIX1@DOMAIN` … `PREFIXn@DOMAIN` with one password.
#[must_use]
pub fn numbered_users(count: usize, prefix: &str, domain: &str, password: &str) -> Vec<User> {
    (1..=count)
        .map(|n| User { address: format!("{prefix}{n}@{domain}"), password: password.to_owned() })
        .collect()
}
