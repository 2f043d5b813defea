//! The service behind one session: it answers the machine's questions with the metadata and the blob service.

use std::{collections::HashMap, sync::Arc, time::Instant};

use bytes::Bytes;
use puro_api::{
    Failure,
    model::{LeftOut, MAILBOXES_MAX, Refusal, Resolution, Targets},
};
use puro_serve::driver::{End, Handler};
use puro_session::sasl::Credentials;
use puro_smtp_session::{Answer, Envelope, Question, RecipientVerdict, SenderVerdict, Session};
use puro_types::{EmailAddress, MailboxId, TransactionId};
use tracing::{Instrument, Span};

use crate::{
    Clients, Sources,
    header::{HeaderFilter, Rules},
    limits::Limits,
    message::{Message, Refused, now},
    record::{self, Login, Metrics, Outcome, Who},
    trace::Trace,
};

/// What all sessions of the service share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clients: Clients,
    pub(crate) sources: Sources,
    pub(crate) hostname: String,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
}

/// It may be tried again (RFC 3463 section 3.8: 4.7.1 is a matter of policy).
const TOO_MANY_MESSAGES: Answer =
    Answer::Rejected { code: 451, status: "4.7.1", text: "Too many messages of late, try again later" };

/// An alias makes many mailboxes of one recipient. As for too many recipients (RFC 5321 section 4.5.3.1.10) the client
/// sends the rest in another transaction.
const TOO_MANY_MAILBOXES: Answer =
    Answer::Rejected { code: 452, status: "4.5.3", text: "Too many recipients" };

/// The store's own limit; the machine knows what is set (RFC 1870 section 6.3).
const TOO_LARGE: Answer =
    Answer::Rejected { code: 552, status: "5.3.4", text: "Message size exceeds the limit" };

/// Where mail for a recipient goes, and where it does not.
#[derive(Debug)]
struct Route {
    mailboxes: Vec<MailboxId>,
    left_out: Vec<LeftOut>,
}

/// Answers one session's questions.
pub struct SessionHandler {
    shared: Arc<Shared>,
    who: Who,
    since: Instant,
    /// Where mail for the accepted recipients of the transaction goes, by the address as it stood in RCPT.
    routes: HashMap<String, Route>,
    message: Option<Message>,
    /// Who is logged in.
    account: Option<String>,
    /// The transaction's span, from its first question on: calls made inside it carry its trace. A message that is
    /// begun takes it over.
    transaction: Span,
    /// The transaction that was last asked about; 0: none.
    number: u32,
}

impl SessionHandler {
    pub(crate) fn new(shared: Arc<Shared>, who: Who) -> Self {
        Self {
            shared,
            who,
            since: now(),
            routes: HashMap::new(),
            message: None,
            account: None,
            transaction: Span::none(),
            number: 0,
        }
    }

    /// Returns the span for a question about a transaction; the first question begins it.
    fn span_of(&mut self, transaction: u32) -> Span {
        if self.number != transaction {
            self.number = transaction;
            self.transaction = tracing::info_span!("transaction", queue_id = tracing::field::Empty);
        }
        self.transaction.clone()
    }

    // `&mut self` throughout: the upload in a message cannot be shared between threads, only sent.
    async fn authenticate(&mut self, credentials: Credentials) -> Answer {
        let Credentials { login, password } = credentials;
        let Shared { limits, metrics, .. } = &*self.shared;
        if !limits.failed_logins.allows(self.who.client) {
            metrics.login(Login::PutOff);
            return Answer::Unavailable;
        }
        let (login, answer) = match self.shared.clients.directory.authenticate(&login, &password).await {
            Ok(Some(account)) => (Login::Good, Answer::Authenticated { account: account.email.key() }),
            // What is no login name at all is as wrong as a wrong one.
            Ok(None) | Err(Failure::Invalid(_)) => (Login::BadCredentials, Answer::BadCredentials),
            // The service that does so tells of it, and of how many there are.
            Err(Failure::Exhausted(_)) => (Login::PutOff, Answer::Unavailable),
            Err(failure) => (Login::Unavailable, self.unavailable("authenticate", None, &failure)),
        };
        if login == Login::BadCredentials {
            self.shared.limits.failed_logins.take(self.who.client);
        }
        if let Answer::Authenticated { account } = &answer {
            self.account = Some(account.clone());
        }
        self.shared.metrics.login(login);
        answer
    }

    async fn sender(&mut self, account: &str, sender: &EmailAddress) -> Answer {
        match self.shared.clients.directory.check_sender(account, sender).await {
            Ok(true) => Answer::Sender(SenderVerdict::Allowed),
            Ok(false) | Err(Failure::Invalid(_)) => Answer::Sender(SenderVerdict::NotOwned),
            Err(failure) => self.unavailable("check sender", None, &failure),
        }
    }

    async fn recipient(&mut self, address: String, size_bytes: u64, first: bool) -> Answer {
        if first {
            self.routes = HashMap::new();
            // Before the first recipient rather than at MAIL, which asks nothing of those who are not logged in.
            if !self.shared.limits.allow_message(self.who.client, self.account.as_ref()) {
                self.shared.metrics.too_many_messages();
                return TOO_MANY_MESSAGES;
            }
        }
        let verdict = match self.shared.clients.directory.resolve(&address, size_bytes).await {
            Ok(Resolution::Targets(Targets { targets, left_out })) => {
                let mailboxes: usize = self.routes.values().map(|route| route.mailboxes.len()).sum();
                // The first is taken whatever it is: 452 for it would be said again and again.
                if !first && mailboxes.saturating_add(targets.len()) > MAILBOXES_MAX {
                    return TOO_MANY_MAILBOXES;
                }
                let mailboxes = targets.into_iter().map(|target| target.mailbox).collect();
                self.routes.insert(address, Route { mailboxes, left_out });
                Some(RecipientVerdict::Accepted)
            }
            Ok(Resolution::Refusal(refusal)) => Some(verdict(refusal)),
            Err(Failure::Invalid(_)) => Some(RecipientVerdict::Invalid),
            Err(failure) => {
                self.report("resolve", None, &failure);
                None
            }
        };
        self.shared.metrics.recipient(verdict);
        verdict.map_or(Answer::Unavailable, Answer::Recipient)
    }

    fn begin(&mut self, envelope: &Envelope) -> Answer {
        let Sources { now, random } = self.shared.sources;
        let now = now();
        let Some(random) = random() else {
            let failure = Failure::Internal("the system gives no random octets".to_owned());
            return self.unavailable("begin", None, &failure);
        };
        let id = TransactionId::new(u64::try_from(now.as_millisecond()).unwrap_or(0), random);
        let routes: Option<Vec<_>> =
            envelope.recipients.iter().map(|recipient| self.routes.get(recipient)).collect();
        let Some(routes) = routes else {
            let failure = Failure::Internal("a recipient was never resolved".to_owned());
            return self.unavailable("begin", Some(&id), &failure);
        };
        let trace = Trace {
            envelope,
            ip: self.who.client,
            hostname: &self.shared.hostname,
            queue_id: id.as_str(),
            now,
        };
        self.shared.limits.take_message(self.who.client, self.account.as_ref());
        let submission = envelope.account.is_some().then(|| trace.submission());
        let filter = HeaderFilter::new(Rules { prepend: trace.fields(), submission });
        let upload = self.shared.clients.blob.store(&id);
        let mailboxes = routes.iter().flat_map(|route| &route.mailboxes).cloned();
        let left_out = routes.iter().flat_map(|route| &route.left_out).cloned();
        let span = std::mem::replace(&mut self.transaction, Span::none());
        self.message = Some(Message::begin(id, envelope, (mailboxes, left_out), filter, upload, span));
        Answer::Ready
    }

    async fn chunk(&mut self, octets: Bytes) -> Answer {
        let Some(message) = &mut self.message else { return Answer::Unavailable };
        let span = message.span.clone();
        match message.take(octets).instrument(span).await {
            Ok(()) => Answer::Taken,
            Err(Refused::Loop(_)) => {
                self.message_ended(Outcome::Loop);
                Answer::Rejected {
                    code: 554,
                    status: "5.4.6",
                    text: "Too many hops, this message goes round",
                }
            }
            Err(Refused::Failure(Failure::TooLarge(_))) => {
                self.message_ended(Outcome::TooLarge);
                TOO_LARGE
            }
            Err(Refused::Failure(failure)) => {
                let id = message.facts.id.clone();
                self.message_ended(Outcome::Unavailable);
                self.unavailable("store", Some(&id), &failure)
            }
        }
    }

    /// 250 is said for what is durable, and for nothing else (data invariant 1).
    async fn finish(&mut self) -> Answer {
        let Some(message) = self.message.take() else { return Answer::Unavailable };
        let Shared { clients, sources, metrics, .. } = &*self.shared;
        let begun = now();
        let span = message.span.clone();
        let size_bytes = message.size_bytes();
        let (facts, finished) = message.finish(&clients.delivery, (sources.now)()).instrument(span).await;
        match finished {
            Ok((delivered, size_bytes)) => {
                metrics.acceptance(now().saturating_duration_since(begun));
                record::message_ended(metrics, &self.who, &facts, size_bytes, Outcome::Accepted(delivered));
                Answer::Accepted { queue_id: facts.id.to_string() }
            }
            Err(Failure::TooLarge(_)) => {
                record::message_ended(metrics, &self.who, &facts, size_bytes, Outcome::TooLarge);
                TOO_LARGE
            }
            Err(failure) => {
                record::message_ended(metrics, &self.who, &facts, size_bytes, Outcome::Unavailable);
                self.unavailable("deliver", Some(&facts.id), &failure)
            }
        }
    }

    /// Forgets the message in hand, if any.
    fn message_ended(&mut self, outcome: Outcome) {
        if let Some(message) = self.message.take() {
            let size_bytes = message.size_bytes();
            record::message_ended(&self.shared.metrics, &self.who, &message.facts, size_bytes, outcome);
        }
    }

    /// Whatever fails on our side is temporary for the client: our own bug is no reason to bounce a message.
    fn unavailable(&self, call: &'static str, queue_id: Option<&TransactionId>, failure: &Failure) -> Answer {
        self.report(call, queue_id, failure);
        Answer::Unavailable
    }

    /// Tells of a failure, of whose message it befell, where there is one already, and of who met it.
    fn report(&self, call: &'static str, queue_id: Option<&TransactionId>, failure: &Failure) {
        let client = self.who.client;
        let queue_id = queue_id.map(tracing::field::display);
        if failure.is_transient() {
            tracing::warn!(queue_id, %client, call, error = %failure, "a service cannot answer");
        } else {
            tracing::error!(queue_id, %client, call, error = %failure, "a call failed");
        }
    }
}

impl Handler<Session> for SessionHandler {
    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Authenticate(credentials) => {
                self.authenticate(credentials).instrument(tracing::info_span!("login")).await
            }
            Question::Sender { account, sender, transaction } => {
                let span = self.span_of(transaction);
                self.sender(&account, &sender).instrument(span).await
            }
            Question::Recipient { address, size_bytes, first, transaction } => {
                let span = self.span_of(transaction);
                self.recipient(address, size_bytes, first).instrument(span).await
            }
            Question::Begin(envelope) => self.begin(&envelope),
            Question::Chunk(octets) => self.chunk(octets).await,
            Question::Finish => self.finish().await,
            Question::Abort(why) => {
                self.message_ended(why.into());
                Answer::Taken
            }
        }
    }

    /// A transaction may end with no word to its service: by RSET, by EHLO, by a DATA that cannot be.
    fn waits(&mut self, machine: &Session) {
        if !machine.in_transaction() {
            self.routes = HashMap::new();
            self.transaction = Span::none();
        }
    }

    fn ended(&mut self, machine: &Session, end: End) {
        self.message_ended(Outcome::Stuck);
        record::session_ended(&self.who, machine, end, now().saturating_duration_since(self.since));
    }
}

pub(crate) fn verdict(refusal: Refusal) -> RecipientVerdict {
    match refusal {
        Refusal::UnknownUser => RecipientVerdict::UnknownUser,
        Refusal::NotLocal => RecipientVerdict::NotLocal,
        Refusal::OverQuota => RecipientVerdict::OverQuota,
        Refusal::Disabled => RecipientVerdict::Disabled,
        Refusal::AliasLoop => RecipientVerdict::AliasLoop,
    }
}
