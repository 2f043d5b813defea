//! Waits until messages that were acknowledged are delivered.
//!
//! A server which queues says 250 long before the message can be fetched. A benchmark counts a message
//! when it is delivered, so the clock runs on until all have arrived.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use crate::pop3::Pop3Client;
use crate::target::{Target, User};

/// How often to look: often enough not to matter in a run of seconds, rarely enough not to load the server.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Where to see what has arrived.
#[derive(Clone, Debug)]
pub enum Arrivals {
    /// The folders `new` and `cur` of every Maildir one level below this folder.
    Maildirs(PathBuf),
    /// STAT of every account over POP3.
    Maildrops(Target, Vec<User>),
}

impl Arrivals {
    /// Messages that have arrived so far.
    ///
    /// # Errors
    /// A maildrop cannot be asked.
    pub async fn count(&self) -> anyhow::Result<u64> {
        match self {
            Self::Maildirs(root) => Ok(count_maildirs(root)),
            Self::Maildrops(target, users) => {
                let mut sum = 0;
                for user in users {
                    let mut client = Pop3Client::login(target, user).await?;
                    sum += client.stat().await?.0;
                    client.quit().await?;
                }
                Ok(sum)
            }
        }
    }

    /// Waits until there are `wanted` messages.
    ///
    /// # Errors
    /// Nothing arrived for `patience`, or a maildrop cannot be asked.
    pub async fn wait_for(&self, wanted: u64, patience: Duration) -> anyhow::Result<()> {
        let (mut last, mut since) = (self.count().await?, Instant::now());
        while last < wanted {
            if since.elapsed() > patience {
                bail!("{last} of {wanted} messages have arrived and no more came for {patience:?}");
            }
            sleep(LOOK_EVERY).await;
            let now = self.count().await?;
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }
}

fn count_maildirs(root: &Path) -> u64 {
    let Ok(users) = fs::read_dir(root) else { return 0 };
    let folders = users.flatten().flat_map(|user| [user.path().join("new"), user.path().join("cur")]);
    folders.filter_map(|folder| fs::read_dir(folder).ok()).map(|files| files.count() as u64).sum()
}
