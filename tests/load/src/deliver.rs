//! Delivers messages over SMTP on many connections.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ledger::{Fate, Ledger};
use crate::message::{Content, Generator, dot_stuffed};
use crate::pace::{Limits, Pace, Turn};
use crate::report::Tally;
use crate::smtp::SmtpClient;
use crate::target::{Target, User};
use crate::wire::Failure;

/// What to deliver, where, and how fast.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The SMTP listener.
    pub target: Target,
    /// Whose maildrops, in turn.
    pub users: Vec<User>,
    /// Log in first (submission), as the first recipient of the connection.
    pub login: bool,
    /// The envelope sender; when none is given, the account that is logged in, or else the recipient itself.
    pub sender: Option<String>,
    /// Connections at once.
    pub connections: usize,
    /// Messages a connection carries before the next one is opened; 0 = any number.
    pub per_connection: u64,
    /// Octets of a message.
    pub octets: usize,
    /// What bodies are made of.
    pub content: Content,
    /// Makes messages differ from run to run, or be the same.
    pub seed: u64,
    /// How much and how fast.
    pub limits: Limits,
    /// Wait this long before a new connection when one could not be made: a server may be restarting.
    pub reconnect_after: Duration,
}

struct Shared {
    delivery: Delivery,
    generator: Generator,
    pace: Pace,
    ledger: Option<Ledger>,
}

/// A connection and what it has done.
struct Carrier {
    smtp: SmtpClient,
    /// Who is logged in: a server lets an account send as itself only.
    account: Option<String>,
    carried: u64,
}

/// Runs a delivery to its end.
///
/// Returns what was counted and the time up to the last acknowledgement.
///
/// # Errors
/// The ledger cannot be written. What the server refuses is counted, not an error.
pub async fn run(delivery: Delivery, ledger: Option<Ledger>) -> anyhow::Result<(Tally, Duration)> {
    let shared = Arc::new(Shared {
        generator: Generator::new(delivery.seed, delivery.content),
        pace: Pace::start(delivery.limits),
        delivery,
        ledger,
    });
    let mut connections = JoinSet::new();
    for _ in 0..shared.delivery.connections {
        connections.spawn(connection(shared.clone()));
    }
    let mut sum = Tally::new();
    while let Some(tally) = connections.join_next().await {
        sum.add(&tally.context("a connection's task failed")??);
    }
    Ok((sum, shared.pace.elapsed()))
}

async fn connection(shared: Arc<Shared>) -> anyhow::Result<Tally> {
    let mut tally = Tally::new();
    let mut client: Option<Carrier> = None;
    while let Some(turn) = shared.pace.turn().await {
        let mut carrier = match client.take() {
            Some(open) => open,
            None => match open(&shared, turn).await {
                Ok(carrier) => {
                    tally.connections += 1;
                    carrier
                }
                Err(failure) => {
                    tally.failure(&failure);
                    tokio::time::sleep(shared.delivery.reconnect_after).await;
                    continue;
                }
            },
        };
        let usable = one(&shared, turn, &mut carrier, &mut tally).await?;
        carrier.carried += 1;
        let limit = shared.delivery.per_connection;
        if usable && (limit == 0 || carrier.carried < limit) {
            client = Some(carrier);
        } else if usable {
            carrier.smtp.quit().await;
        }
    }
    if let Some(carrier) = client {
        carrier.smtp.quit().await;
    }
    Ok(tally)
}

fn recipient(shared: &Shared, turn: Turn) -> &User {
    let users = &shared.delivery.users;
    &users[usize::try_from(turn.number % users.len() as u64).unwrap_or(0)]
}

async fn open(shared: &Shared, turn: Turn) -> Result<Carrier, Failure> {
    let login = shared.delivery.login.then(|| recipient(shared, turn));
    let smtp = SmtpClient::connect(&shared.delivery.target, login).await?;
    Ok(Carrier { smtp, account: login.map(|user| user.address.clone()), carried: 0 })
}

/// Sends one message. Returns whether the connection can carry another.
async fn one(shared: &Shared, turn: Turn, carrier: &mut Carrier, tally: &mut Tally) -> anyhow::Result<bool> {
    let smtp = &mut carrier.smtp;
    let user = recipient(shared, turn);
    let given = shared.delivery.sender.as_deref().or(carrier.account.as_deref());
    let sender = given.unwrap_or(&user.address);
    let message = shared.generator.message(turn.number, shared.delivery.octets, sender, &user.address);
    let stuffed = dot_stuffed(&message.octets);
    if let Some(ledger) = &shared.ledger {
        ledger.attempt(&message.tag, &user.address)?;
    }
    // A closed loop measures the server, not the making of the message.
    let from = if shared.delivery.limits.rate.is_some() { turn.due } else { Instant::now() };
    let outcome = smtp.deliver(sender, &user.address, &stuffed).await;
    let (fate, code, usable) = match &outcome {
        Ok(_) => {
            tally.success(from.elapsed(), message.octets.len());
            (Fate::Acknowledged, String::new(), true)
        }
        Err(failure) => {
            tally.failure(failure);
            match failure {
                Failure::Refused { code, .. } => (Fate::Refused, code.clone(), smtp.reset().await.is_ok()),
                Failure::ReplyLost => (Fate::ReplyLost, String::new(), false),
                other => (Fate::Refused, other.kind(), false),
            }
        }
    };
    if let Some(ledger) = &shared.ledger {
        ledger.fate(&message.tag, fate, &code)?;
    }
    Ok(usable)
}
