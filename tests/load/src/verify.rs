//! Compares maildrops with a ledger: what was acknowledged must be there, once, as it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use crate::ledger::{self, Fate};
use crate::message::{Damage, check};
use crate::pop3::Pop3Client;
use crate::target::{Target, User};

/// The result of a comparison. Ids are listed so that one can be looked for in the server's log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Messages that the server said 250 to.
    pub acknowledged: usize,
    /// Acknowledged, there once, and whole.
    pub intact: usize,
    /// Acknowledged and not there: data loss.
    pub lost: Vec<String>,
    /// There more than once.
    pub duplicated: Vec<String>,
    /// There with another body, or listed with another size.
    pub corrupted: Vec<String>,
    /// Sent without a reply, or never finished: either is right.
    pub open: usize,
    /// Those of them which are there.
    pub open_present: usize,
    /// Refused.
    pub refused: usize,
    /// Refused and yet there: a sender that tries again makes a duplicate.
    pub refused_present: Vec<String>,
    /// Messages in the maildrops that are not in the ledger.
    pub unknown: usize,
}

impl Verdict {
    /// Whether nothing was lost, duplicated or corrupted.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty() && self.corrupted.is_empty()
    }
}

/// Fetches the maildrops of all recipients in the ledger and compares.
///
/// # Errors
/// The ledger cannot be read, a recipient is not among `users`, or a maildrop cannot be fetched.
pub async fn run(target: &Target, users: &[User], ledger: &Path) -> anyhow::Result<Verdict> {
    let entries = ledger::read(ledger)?;
    let recipients: BTreeSet<&str> = entries.values().map(|entry| entry.recipient.as_str()).collect();
    let mut verdict = Verdict::default();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for recipient in recipients {
        let user = users
            .iter()
            .find(|user| user.address == recipient)
            .ok_or_else(|| anyhow!("{recipient} is in the ledger and has no password here"))?;
        maildrop(target, user, &entries, &mut found, &mut verdict)
            .await
            .with_context(|| format!("the maildrop of {recipient}"))?;
    }
    for (id, entry) in &entries {
        let times = found.get(id).copied().unwrap_or(0);
        if times > 1 {
            verdict.duplicated.push(id.clone());
        }
        match entry.fate {
            Fate::Acknowledged => {
                verdict.acknowledged += 1;
                match times {
                    0 if verdict.corrupted.contains(id) => {}
                    0 => verdict.lost.push(id.clone()),
                    1 => verdict.intact += 1,
                    _ => {}
                }
            }
            Fate::Refused => {
                verdict.refused += 1;
                if times > 0 {
                    verdict.refused_present.push(id.clone());
                }
            }
            Fate::ReplyLost | Fate::Open => {
                verdict.open += 1;
                verdict.open_present += usize::from(times > 0);
            }
        }
    }
    Ok(verdict)
}

async fn maildrop(
    target: &Target,
    user: &User,
    entries: &BTreeMap<String, ledger::Entry>,
    found: &mut BTreeMap<String, usize>,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let mut client = Pop3Client::login(target, user).await?;
    let (count, _) = client.stat().await?;
    let sizes = client.list().await?;
    if sizes.len() as u64 != count {
        return Err(anyhow!("STAT counts {count} messages and LIST {}", sizes.len()));
    }
    for listed in sizes {
        let message = client.retr(listed.number).await?;
        match check(&message) {
            Ok(tag) => match entries.get(&tag.id) {
                None => verdict.unknown += 1,
                Some(entry) if entry.tag != tag || entry.recipient != user.address => {
                    verdict.corrupted.push(tag.id);
                }
                Some(_) if listed.value != message.len().to_string() => verdict.corrupted.push(tag.id),
                Some(_) => *found.entry(tag.id).or_default() += 1,
            },
            Err(Damage::Untagged) => verdict.unknown += 1,
            Err(Damage::Body { id, .. }) => verdict.corrupted.push(id),
        }
    }
    client.quit().await?;
    Ok(())
}
