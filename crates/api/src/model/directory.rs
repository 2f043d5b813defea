//! Accounts and addresses, as front ends see them.

use puro_types::{EmailAddress, MailboxId};

use super::{Malformed, each, parse};
use crate::pb::metadata::v1 as pb;

/// Who logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's address.
    pub email: EmailAddress,
    /// Its mail.
    pub mailbox: MailboxId,
}

/// Where mail for an address goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// To these mailboxes.
    Targets(Targets),
    /// Nowhere here.
    Refusal(Refusal),
}

/// The mailboxes that mail for an address goes to, after aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// At least one.
    pub targets: Vec<Target>,
    /// Members of an alias that the mail does not reach, though it reaches others.
    pub left_out: Vec<LeftOut>,
}

/// A member of an alias that takes no mail now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its mailbox, if it stands for one.
    pub mailbox: Option<MailboxId>,
    /// Why.
    pub reason: Refusal,
}

/// One mailbox that mail for an address goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The account's address.
    pub email: EmailAddress,
}

/// Why an address takes no mail here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The domain is ours, the user is not (550 5.1.1).
    UnknownUser,
    /// The domain is not ours (550 5.7.1).
    NotLocal,
    /// Over quota (452 4.2.2).
    OverQuota,
    /// Disabled account (450 4.2.1).
    Disabled,
    /// Aliases in a loop, or too many (550 5.4.6).
    AliasLoop,
}

impl TryFrom<pb::AuthenticateResponse> for Account {
    type Error = Malformed;

    fn try_from(wire: pb::AuthenticateResponse) -> Result<Self, Malformed> {
        Ok(Self { email: parse("email", &wire.email)?, mailbox: parse("mailbox", &wire.mailbox)? })
    }
}

impl From<Account> for pb::AuthenticateResponse {
    fn from(account: Account) -> Self {
        Self { email: account.email.to_string(), mailbox: account.mailbox.to_string() }
    }
}

impl TryFrom<pb::Target> for Target {
    type Error = Malformed;

    fn try_from(wire: pb::Target) -> Result<Self, Malformed> {
        Ok(Self { mailbox: parse("mailbox", &wire.mailbox)?, email: parse("email", &wire.email)? })
    }
}

impl From<Target> for pb::Target {
    fn from(target: Target) -> Self {
        Self { mailbox: target.mailbox.to_string(), email: target.email.to_string() }
    }
}

impl TryFrom<pb::LeftOut> for LeftOut {
    type Error = Malformed;

    fn try_from(wire: pb::LeftOut) -> Result<Self, Malformed> {
        let mailbox = (!wire.mailbox.is_empty()).then(|| parse("mailbox", &wire.mailbox)).transpose()?;
        Ok(Self { mailbox, reason: wire.reason().try_into()? })
    }
}

impl From<LeftOut> for pb::LeftOut {
    fn from(left_out: LeftOut) -> Self {
        let mailbox = left_out.mailbox.map(|mailbox| mailbox.to_string()).unwrap_or_default();
        Self { mailbox, reason: pb::Refusal::from(left_out.reason).into() }
    }
}

impl TryFrom<pb::Targets> for Targets {
    type Error = Malformed;

    fn try_from(wire: pb::Targets) -> Result<Self, Malformed> {
        if wire.targets.is_empty() {
            return Err(Malformed::new("targets", "there is none"));
        }
        Ok(Self { targets: each(wire.targets)?, left_out: each(wire.left_out)? })
    }
}

impl From<Targets> for pb::Targets {
    fn from(Targets { targets, left_out }: Targets) -> Self {
        Self {
            targets: targets.into_iter().map(Into::into).collect(),
            left_out: left_out.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Refusal> for Refusal {
    type Error = Malformed;

    fn try_from(wire: pb::Refusal) -> Result<Self, Malformed> {
        match wire {
            pb::Refusal::Unspecified => Err(Malformed::new("refusal", "missing or unknown")),
            pb::Refusal::UnknownUser => Ok(Self::UnknownUser),
            pb::Refusal::NotLocal => Ok(Self::NotLocal),
            pb::Refusal::OverQuota => Ok(Self::OverQuota),
            pb::Refusal::Disabled => Ok(Self::Disabled),
            pb::Refusal::AliasLoop => Ok(Self::AliasLoop),
        }
    }
}

impl From<Refusal> for pb::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownUser => Self::UnknownUser,
            Refusal::NotLocal => Self::NotLocal,
            Refusal::OverQuota => Self::OverQuota,
            Refusal::Disabled => Self::Disabled,
            Refusal::AliasLoop => Self::AliasLoop,
        }
    }
}

impl TryFrom<pb::ResolveResponse> for Resolution {
    type Error = Malformed;

    fn try_from(wire: pb::ResolveResponse) -> Result<Self, Malformed> {
        use pb::resolve_response::Outcome;
        match wire.outcome.ok_or_else(|| Malformed::new("outcome", "missing"))? {
            Outcome::Targets(targets) => Ok(Self::Targets(targets.try_into()?)),
            Outcome::Refusal(refusal) => {
                let known = pb::Refusal::try_from(refusal).unwrap_or(pb::Refusal::Unspecified);
                Ok(Self::Refusal(known.try_into()?))
            }
        }
    }
}

impl From<Resolution> for pb::ResolveResponse {
    fn from(resolution: Resolution) -> Self {
        use pb::resolve_response::Outcome;
        let outcome = match resolution {
            Resolution::Targets(targets) => Outcome::Targets(targets.into()),
            Resolution::Refusal(refusal) => Outcome::Refusal(pb::Refusal::from(refusal).into()),
        };
        Self { outcome: Some(outcome) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_comes_back_as_it_went() {
        use Refusal::{AliasLoop, Disabled, NotLocal, OverQuota, UnknownUser};
        for refusal in [UnknownUser, NotLocal, OverQuota, Disabled, AliasLoop] {
            let resolution = Resolution::Refusal(refusal);
            assert_eq!(Resolution::try_from(pb::ResolveResponse::from(resolution.clone())), Ok(resolution));
        }
    }

    #[test]
    fn targets_come_back_as_they_went() {
        let target = Target { mailbox: MailboxId::new([3; 12]), email: "me@example.org".parse().unwrap() };
        let left_out = vec![
            LeftOut { mailbox: Some(MailboxId::new([4; 12])), reason: Refusal::OverQuota },
            LeftOut { mailbox: None, reason: Refusal::UnknownUser },
        ];
        let resolution = Resolution::Targets(Targets { targets: vec![target], left_out });
        assert_eq!(Resolution::try_from(pb::ResolveResponse::from(resolution.clone())), Ok(resolution));
    }

    #[test]
    fn an_empty_resolution_is_malformed() {
        use pb::resolve_response::Outcome;
        let outcomes = [
            None,
            Some(Outcome::Targets(pb::Targets { targets: Vec::new(), left_out: Vec::new() })),
            Some(Outcome::Refusal(0)),
            Some(Outcome::Refusal(77)),
        ];
        for outcome in outcomes {
            let wire = pb::ResolveResponse { outcome };
            assert!(Resolution::try_from(wire.clone()).is_err(), "{wire:?}");
        }
    }
}
