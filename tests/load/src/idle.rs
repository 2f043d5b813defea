//! Holds many sessions that are logged in and do nothing.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::pop3::Pop3Client;
use crate::report::Tally;
use crate::target::{Target, User};
use crate::wire::Failure;

/// How many logins go on at once: opening is not what is measured.
const OPENING: usize = 16;

/// Sessions which are logged in and held.
#[derive(Debug, Default)]
pub struct Held {
    clients: Vec<Pop3Client>,
    /// What went wrong while opening.
    pub tally: Tally,
}

impl Held {
    /// Sessions that are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Asks each session for its maildrop, to see that it still lives; returns how many answer.
    pub async fn alive(&mut self) -> usize {
        let mut alive = 0;
        for client in &mut self.clients {
            alive += usize::from(client.stat().await.is_ok());
        }
        alive
    }

    /// Ends all sessions.
    pub async fn quit(self) {
        for client in self.clients {
            let _ = client.quit().await;
        }
    }
}

/// Opens `count` sessions, users in turn, and returns when all are logged in or have failed.
pub async fn open(target: &Target, users: &[User], count: usize) -> Held {
    let mut held = Held::default();
    let mut opening: JoinSet<Result<Pop3Client, Failure>> = JoinSet::new();
    let mut next = 0;
    while next < count || !opening.is_empty() {
        while next < count && opening.len() < OPENING {
            let (target, user) = (target.clone(), users[next % users.len()].clone());
            opening.spawn(async move { Pop3Client::login(&target, &user).await });
            next += 1;
        }
        match opening.join_next().await {
            Some(Ok(Ok(client))) => {
                held.tally.success(Duration::from_micros(1), 0);
                held.clients.push(client);
            }
            Some(Ok(Err(failure))) => held.tally.failure(&failure),
            Some(Err(_)) | None => {}
        }
    }
    held
}
