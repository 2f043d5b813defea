//! The service behind one session: it answers the machine's questions with the metadata and the blob service.

use std::{sync::Arc, time::Instant};

use puro_api::{
    Failure, ReadStream,
    model::{Account, Listing, Message, Part as FramePart},
};
use puro_pop3_session::{Answer, Entry, Maildrop, Part, Question, Session};
use puro_serve::{
    driver::{End, Handler},
    limit::AddressLimit,
};
use puro_session::sasl::Credentials;
use puro_types::{Location, MailboxId};
use tracing::{Instrument, Span};

use crate::{
    Clients,
    cache::Snapshots,
    record::{self, Login, Metrics, Who},
};

/// What all sessions of the service share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clients: Clients,
    pub(crate) snapshots: Snapshots,
    pub(crate) metrics: Metrics,
    pub(crate) failed_logins: AddressLimit,
}

/// Answers one session's questions.
#[derive(Debug)]
pub struct SessionHandler {
    shared: Arc<Shared>,
    who: Who,
    since: Instant,
    /// The snapshot that the machine has too.
    maildrop: Option<Arc<Maildrop>>,
    reading: Option<Reading>,
}

/// A message that is being read.
#[derive(Debug)]
struct Reading {
    index: usize,
    stream: ReadStream,
    /// Lasts until the message is sent, or given up.
    span: Span,
}

impl SessionHandler {
    pub(crate) fn new(shared: Arc<Shared>, who: Who) -> Self {
        Self { shared, who, since: now(), maildrop: None, reading: None }
    }

    async fn open(&mut self, credentials: Credentials) -> Answer {
        let Shared { failed_logins, metrics, .. } = &*self.shared;
        if !failed_logins.allows(self.who.client) {
            metrics.login(Login::PutOff);
            return Answer::Unavailable;
        }
        let (login, answer) = match self.maildrop_of(credentials).await {
            Ok(Some(maildrop)) => {
                self.maildrop = Some(maildrop.clone());
                (Login::Opened, Answer::Opened(maildrop))
            }
            Ok(None) => (Login::BadCredentials, Answer::BadCredentials),
            // The service that does so tells of it, and of how many there are.
            Err(Failure::Exhausted(_)) => (Login::PutOff, Answer::Unavailable),
            Err(failure) => match self.report("login", &failure) {
                Answer::Broken => (Login::Broken, Answer::Broken),
                answer => (Login::Unavailable, answer),
            },
        };
        if login == Login::BadCredentials {
            self.shared.failed_logins.take(self.who.client);
        }
        self.shared.metrics.login(login);
        answer
    }

    /// Returns the maildrop, or nothing if the credentials are not good.
    async fn maildrop_of(&mut self, credentials: Credentials) -> Result<Option<Arc<Maildrop>>, Failure> {
        let Credentials { login, password } = credentials;
        let Account { email, mailbox } =
            match self.shared.clients.directory.authenticate(&login, &password).await {
                Ok(Some(account)) => account,
                // What is no login name at all is as wrong as a wrong one.
                Ok(None) | Err(Failure::Invalid(_)) => return Ok(None),
                Err(failure) => return Err(failure),
            };
        let maildrop = self.list(&mailbox).await?;
        self.who.account = Some((email.domain().to_string(), mailbox));
        Ok(Some(maildrop))
    }

    async fn list(&self, mailbox: &MailboxId) -> Result<Arc<Maildrop>, Failure> {
        let Shared { clients, snapshots, metrics, .. } = &*self.shared;
        let mut known = snapshots.version(mailbox);
        loop {
            match clients.maildrop.list(mailbox, known).await? {
                Listing::Current { version, messages } => {
                    metrics.listing(false);
                    return Ok(snapshots.keep(mailbox.clone(), version, messages));
                }
                Listing::Unchanged => match snapshots.of_version(mailbox, known) {
                    Some(maildrop) => {
                        metrics.listing(true);
                        return Ok(maildrop);
                    }
                    // It was evicted, or replaced by a newer one, in between.
                    None if known != 0 => known = 0,
                    None => return Err(Failure::Internal("a listing unknown here is unchanged".to_owned())),
                },
            }
        }
    }

    async fn fetch(&mut self, index: usize, part: Part) -> Answer {
        let Some(location) = self.entry(index).map(|entry| entry.location.clone()) else {
            return Answer::Broken;
        };
        let part = match part {
            Part::Message => FramePart::Message,
            Part::Header => FramePart::Header,
        };
        match self.shared.clients.blob.read(&location, part).await {
            Ok(stream) => {
                self.reading = Some(Reading { index, stream, span: Span::current() });
                self.more().await
            }
            Err(failure) => self.unreadable(index, failure).await,
        }
    }

    async fn more(&mut self) -> Answer {
        let Some(reading) = &mut self.reading else { return Answer::Broken };
        let index = reading.index;
        match reading.stream.next().await {
            Ok(Some(chunk)) => Answer::Chunk(chunk),
            Ok(None) => {
                self.reading = None;
                Answer::End
            }
            Err(failure) => {
                self.reading = None;
                self.unreadable(index, failure).await
            }
        }
    }

    /// A message that cannot be read is either out of reach for now, removed by another session long enough ago, or
    /// lost, which a person has to know.
    async fn unreadable(&self, index: usize, failure: Failure) -> Answer {
        let (Some(entry), Some((_, mailbox))) = (self.entry(index), &self.who.account) else {
            return Answer::Broken;
        };
        if !matches!(failure, Failure::NotFound(_) | Failure::DataLoss(_)) {
            return self.report("read", &failure);
        }
        let Entry { id, location, .. } = entry;
        let Location { object_name, slot, .. } = location;
        let listed = self.shared.clients.maildrop.list(mailbox, 0).await;
        let gone = matches!(&listed, Ok(Listing::Current { messages, .. })
            if !messages.iter().any(|message| message.id == *id));
        if gone {
            tracing::debug!(%mailbox, message = %id, "message was removed by another session and cleaned up");
        } else {
            tracing::error!(%mailbox, message = %id, object_name, slot, error = %failure, "message is damaged or lost");
        }
        Answer::Broken
    }

    async fn remove(&mut self, indices: &[usize]) -> Answer {
        let Some((_, mailbox)) = &self.who.account else { return Answer::Broken };
        let messages: Vec<Message> = indices
            .iter()
            .filter_map(|index| self.entry(*index))
            .map(|Entry { id, size_bytes, location }| Message {
                id: id.clone(),
                size_bytes: *size_bytes,
                location: location.clone(),
            })
            .collect();
        match self.shared.clients.maildrop.remove(mailbox, &messages).await {
            Ok(_) => Answer::Done,
            Err(failure) => self.report("remove", &failure),
        }
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        self.maildrop.as_ref()?.entries.get(index)
    }

    /// Logs a failure and says what the peer is told. Our own bug is [SYS/TEMP] too: it will be mended.
    fn report(&self, call: &'static str, failure: &Failure) -> Answer {
        let Who { client, .. } = &self.who;
        let mailbox = self.who.account.as_ref().map(|(_, mailbox)| tracing::field::display(mailbox));
        match failure {
            Failure::DataLoss(_) => {
                tracing::error!(%client, mailbox, call, error = %failure, "data loss");
                Answer::Broken
            }
            failure if failure.is_transient() => {
                tracing::warn!(%client, mailbox, call, error = %failure, "a back end cannot answer");
                Answer::Unavailable
            }
            failure => {
                tracing::error!(%client, mailbox, call, error = %failure, "a back end refused what it should not");
                Answer::Unavailable
            }
        }
    }
}

impl Handler<Session> for SessionHandler {
    async fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Open(credentials) => {
                self.open(credentials).instrument(tracing::info_span!("login")).await
            }
            Question::Fetch { index, part } => {
                self.fetch(index, part).instrument(tracing::info_span!("retrieve")).await
            }
            Question::More => {
                let span = self.reading.as_ref().map_or_else(Span::none, |reading| reading.span.clone());
                self.more().instrument(span).await
            }
            Question::Stop => {
                // The stream's end tells the blob service.
                self.reading = None;
                Answer::Done
            }
            Question::Remove(indices) => {
                self.remove(&indices).instrument(tracing::info_span!("remove")).await
            }
        }
    }

    fn ended(&mut self, session: &Session, end: End) {
        record::session_ended(&self.shared.metrics, &self.who, session, end, now() - self.since);
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
