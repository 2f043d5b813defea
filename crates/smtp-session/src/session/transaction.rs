//! MAIL and RCPT: a transaction's envelope (RFC 5321 section 3.3).

use puro_types::EmailAddress;

use super::{Asked, Session, greeting::Hello};
use crate::{
    Answer, Envelope, Listener, Question, RecipientVerdict, SenderVerdict,
    parameters::MailParameters,
    reply::{self, Reply},
};

/// Recipients that every server must take (RFC 5321 section 4.5.3.1.8).
const RECIPIENTS_MIN: usize = 100;

/// What MAIL and RCPT have said.
#[derive(Debug)]
pub(super) struct Transaction {
    sender: Option<EmailAddress>,
    parameters: MailParameters,
    recipients: Vec<String>,
    /// Some recipient was refused.
    refused: bool,
    /// Its place among the session's, from 1.
    number: u32,
}

impl Session {
    pub(super) fn mail(&mut self, sender: Option<EmailAddress>, parameters: MailParameters) {
        // RFC 5321 section 4.1.4.
        if self.hello.is_none() {
            return self.refuse(reply::SAY_HELLO_FIRST);
        }
        // Section 4.1.4 too: no nesting.
        if self.transaction.is_some() {
            return self.refuse(reply::NESTED_MAIL);
        }
        // RFC 6409 section 4.3.
        if self.config.listener == Listener::Submission && self.account.is_none() {
            let tls_first = !self.may_log_in_here() && self.config.tls_available;
            return self.refuse(if tls_first { reply::TLS_REQUIRED } else { reply::LOGIN_REQUIRED });
        }
        let limit = self.config.limits.transactions;
        if limit != 0 && self.patience.transactions >= limit {
            return self.close_with(reply::TOO_MANY_TRANSACTIONS);
        }
        // RFC 1870 section 6.1.
        if parameters.size_bytes.is_some_and(|size| !self.config.allows_size(size)) {
            return self.refuse(reply::TOO_LARGE);
        }
        self.transactions = self.transactions.wrapping_add(1);
        let number = self.transactions;
        let transaction = Transaction { sender, parameters, recipients: Vec::new(), refused: false, number };
        match (&self.account, &transaction.sender) {
            (Some(account), Some(sender)) => {
                let (account, sender) = (account.clone(), sender.clone());
                let question = Question::Sender { account, sender, transaction: number };
                self.ask(question, Asked::Sender(transaction));
            }
            _ => self.open(transaction),
        }
    }

    pub(super) fn sender_answered(&mut self, transaction: Transaction, answer: Answer) {
        match answer {
            Answer::Sender(SenderVerdict::Allowed) => self.open(transaction),
            Answer::Sender(SenderVerdict::NotOwned) => self.refuse(reply::NOT_YOUR_ADDRESS),
            Answer::Rejected { code, status, text } => self.refuse(Reply::refusal(code, status, text)),
            _ => self.reply(reply::UNAVAILABLE),
        }
    }

    fn open(&mut self, transaction: Transaction) {
        self.transaction = Some(transaction);
        self.patience.transactions = self.patience.transactions.saturating_add(1);
        self.reply(reply::SENDER_OK);
    }

    pub(super) fn rcpt(&mut self, address: &str) {
        let Some(transaction) = &self.transaction else {
            return self.refuse(reply::MAIL_FIRST);
        };
        // RFC 5321 section 4.5.3.1.10: 452, no error of the client's.
        if transaction.recipients.len() >= self.config.max_recipients.max(RECIPIENTS_MIN) {
            return self.reply(reply::TOO_MANY_RECIPIENTS);
        }
        let question = Question::Recipient {
            address: address.to_owned(),
            size_bytes: transaction.parameters.size_bytes.unwrap_or(0),
            first: transaction.recipients.is_empty(),
            transaction: transaction.number,
        };
        self.ask(question, Asked::Recipient(address.to_owned()));
    }

    pub(super) fn recipient_answered(&mut self, address: String, answer: Answer) {
        let verdict = match answer {
            Answer::Recipient(RecipientVerdict::Accepted) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.recipients.push(address);
                }
                self.patience.forgive();
                return self.reply(reply::RECIPIENT_OK);
            }
            Answer::Recipient(verdict) => recipient_refusal(verdict),
            Answer::Rejected { code, status, text } => Reply::refusal(code, status, text),
            _ => reply::UNAVAILABLE,
        };
        if let Some(transaction) = &mut self.transaction {
            transaction.refused = true;
        }
        // What may work later says nothing against the client.
        if verdict.code >= 500 { self.refuse_recipient(verdict) } else { self.reply(verdict) }
    }

    /// The envelope for DATA, or the reason why there can be no message now.
    pub(super) fn envelope(&self) -> Result<Envelope, Reply> {
        let (Some(transaction), Some(hello)) = (&self.transaction, &self.hello) else {
            return Err(reply::RCPT_FIRST);
        };
        if transaction.recipients.is_empty() {
            // RFC 5321 section 3.3: 503, or 554 after recipients that were all refused.
            return Err(if transaction.refused { reply::NO_VALID_RECIPIENTS } else { reply::RCPT_FIRST });
        }
        Ok(Envelope {
            helo: hello.name.clone(),
            protocol: protocol(hello, self.tls.is_some(), self.account.is_some()),
            account: self.account.clone(),
            tls: self.tls.clone(),
            sender: transaction.sender.clone(),
            recipients: transaction.recipients.clone(),
            size_bytes: transaction.parameters.size_bytes,
            eight_bit: transaction.parameters.eight_bit,
        })
    }

    /// Ends the transaction, with so many recipients served.
    pub(super) fn message_accepted(&mut self) {
        let served = self.transaction.take().map_or(0, |transaction| transaction.recipients.len());
        self.messages = self.messages.saturating_add(1);
        self.recipients = self.recipients.saturating_add(u32::try_from(served).unwrap_or(u32::MAX));
    }
}

fn recipient_refusal(verdict: RecipientVerdict) -> Reply {
    match verdict {
        RecipientVerdict::Accepted => reply::RECIPIENT_OK,
        RecipientVerdict::UnknownUser => reply::UNKNOWN_USER,
        RecipientVerdict::NotLocal => reply::RELAY_DENIED,
        RecipientVerdict::OverQuota => reply::MAILBOX_FULL,
        RecipientVerdict::Disabled => reply::MAILBOX_DISABLED,
        RecipientVerdict::AliasLoop => reply::ALIAS_LOOP,
        RecipientVerdict::Invalid => reply::BAD_RECIPIENT,
    }
}

/// The word behind `with` in the Received field (RFC 3848). The variants that tell of TLS and AUTH presuppose EHLO.
fn protocol(hello: &Hello, tls: bool, authenticated: bool) -> &'static str {
    match (hello.extended, tls, authenticated) {
        (false, _, _) => "SMTP",
        (true, false, false) => "ESMTP",
        (true, true, false) => "ESMTPS",
        (true, false, true) => "ESMTPA",
        (true, true, true) => "ESMTPSA",
    }
}
