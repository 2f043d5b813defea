//! Fetches maildrops over POP3 on many connections: whole ones, or just a look.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::message::{Damage, check};
use crate::pace::{Limits, Pace};
use crate::pop3::Pop3Client;
use crate::report::Tally;
use crate::target::{Target, User};
use crate::wire::Failure;

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Login, STAT, QUIT.
    Poll,
    /// Login, UIDL, LIST, RETR of all, QUIT.
    Retrieve,
    /// The same with DELE of all.
    RetrieveAndDelete,
}

/// What to fetch, where, and how fast.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The POP3 listener.
    pub target: Target,
    /// Whose maildrops, in turn.
    pub users: Vec<User>,
    /// What a session does.
    pub visit: Visit,
    /// Sessions at once.
    pub connections: usize,
    /// How many sessions and how fast.
    pub limits: Limits,
    /// Wait this long after a session that failed: a server may be restarting.
    pub reconnect_after: Duration,
}

struct Shared {
    fetch: Fetch,
    pace: Pace,
}

/// Runs to the end and returns what was counted and the time it took.
///
/// A poll counts as one piece of work, and so does each message retrieved.
///
/// # Errors
/// None for what the server does: that is counted.
pub async fn run(fetch: Fetch) -> anyhow::Result<(Tally, Duration)> {
    let shared = Arc::new(Shared { pace: Pace::start(fetch.limits), fetch });
    let mut sessions = JoinSet::new();
    for _ in 0..shared.fetch.connections {
        sessions.spawn(connection(shared.clone()));
    }
    let mut sum = Tally::new();
    while let Some(tally) = sessions.join_next().await {
        sum.add(&tally.context("a session's task failed")?);
    }
    Ok((sum, shared.pace.elapsed()))
}

async fn connection(shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::new();
    while let Some(turn) = shared.pace.turn().await {
        let users = &shared.fetch.users;
        let user = &users[usize::try_from(turn.number % users.len() as u64).unwrap_or(0)];
        let from = if shared.fetch.limits.rate.is_some() { turn.due } else { Instant::now() };
        tally.connections += 1;
        let result = match shared.fetch.visit {
            Visit::Poll => poll(&shared.fetch.target, user, from, &mut tally).await,
            Visit::Retrieve => retrieve(&shared.fetch.target, user, false, &mut tally).await,
            Visit::RetrieveAndDelete => retrieve(&shared.fetch.target, user, true, &mut tally).await,
        };
        if let Err(failure) = result {
            tally.failure(&failure);
            tokio::time::sleep(shared.fetch.reconnect_after).await;
        }
    }
    tally
}

async fn poll(target: &Target, user: &User, from: Instant, tally: &mut Tally) -> Result<(), Failure> {
    let mut client = Pop3Client::login(target, user).await?;
    client.stat().await?;
    client.quit().await?;
    tally.success(from.elapsed(), 0);
    Ok(())
}

async fn retrieve(target: &Target, user: &User, delete: bool, tally: &mut Tally) -> Result<(), Failure> {
    let mut client = Pop3Client::login(target, user).await?;
    let ids = client.uidl().await?;
    let sizes = client.list().await?;
    let mut seen = HashSet::new();
    for (listed, size) in ids.iter().zip(&sizes) {
        let from = Instant::now();
        let message = client.retr(listed.number).await?;
        tally.success(from.elapsed(), message.len());
        match check(&message) {
            // The size that was listed is part of what must be right (RFC 1939 section 11).
            Ok(_) if size.value != message.len().to_string() => tally.integrity.corrupted += 1,
            Ok(tag) => tally.integrity.duplicated += u64::from(!seen.insert(tag.id)),
            Err(Damage::Untagged) => tally.integrity.foreign += 1,
            Err(Damage::Body { .. }) => tally.integrity.corrupted += 1,
        }
        if delete {
            client.dele(listed.number).await?;
        }
    }
    client.quit().await
}
