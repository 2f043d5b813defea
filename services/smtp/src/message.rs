//! A message on its way from a client into the store and the mailboxes.

use std::{collections::HashSet, time::Instant};

use bytes::Bytes;
use jiff::Timestamp;
use puro_api::{
    DeliveryClient, Failure, StoreStream,
    model::{Delivered, Delivery, LeftOut, Owners},
};
use puro_smtp_session::Envelope;
use puro_types::{MailboxId, TransactionId};
use tracing::Span;

use crate::header::{HeaderFilter, Loop};

/// What a log may tell of a message: no address of a person.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) id: TransactionId,
    /// The domain of the sender; `None` for `<>`.
    pub(crate) sender_domain: Option<String>,
    pub(crate) authenticated: bool,
    pub(crate) protocol: &'static str,
    pub(crate) recipients: usize,
    pub(crate) mailboxes: usize,
    /// Members of aliases that it does not reach.
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) begun: Instant,
}

/// A message that is being stored. Dropping it stores nothing.
pub(crate) struct Message {
    pub(crate) facts: Facts,
    /// The transaction's span: calls made inside it carry its trace.
    pub(crate) span: Span,
    mailboxes: Vec<MailboxId>,
    filter: HeaderFilter,
    upload: StoreStream,
    pieces: Vec<Bytes>,
}

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It goes round in circles.
    #[error(transparent)]
    Loop(#[from] Loop),
    /// A service cannot take it.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Message {
    /// Begins a message to these mailboxes, and not to those members of aliases; doubles do not matter.
    pub(crate) fn begin(
        id: TransactionId,
        envelope: &Envelope,
        (mailboxes, left_out): (impl IntoIterator<Item = MailboxId>, impl IntoIterator<Item = LeftOut>),
        filter: HeaderFilter,
        upload: StoreStream,
        span: Span,
    ) -> Self {
        let mut seen = HashSet::new();
        let mailboxes: Vec<MailboxId> =
            mailboxes.into_iter().filter(|mailbox| seen.insert(mailbox.clone())).collect();
        // What one address does not reach another may.
        let is_missed =
            |member: &LeftOut| member.mailbox.as_ref().is_none_or(|mailbox| seen.insert(mailbox.clone()));
        let left_out = left_out.into_iter().filter(is_missed).collect();
        span.record("queue_id", tracing::field::display(&id));
        let facts = Facts {
            id,
            sender_domain: envelope.sender.as_ref().map(|sender| sender.domain().to_string()),
            authenticated: envelope.account.is_some(),
            protocol: envelope.protocol,
            recipients: envelope.recipients.len(),
            mailboxes: mailboxes.len(),
            left_out,
            begun: now(),
        };
        Self { facts, span, mailboxes, filter, upload, pieces: Vec::new() }
    }

    /// Octets as they are stored, so far.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.upload.octets()
    }

    /// Takes the next octets. Waits for the store where it is slower than the client.
    pub(crate) async fn take(&mut self, octets: Bytes) -> Result<(), Refused> {
        self.filter.pass(octets, &mut self.pieces)?;
        Ok(send(&mut self.upload, &mut self.pieces).await?)
    }

    /// Ends the message: once this is `Ok`, every recipient has it, or will have it, whatever dies. Returns the octets
    /// stored, too.
    pub(crate) async fn finish(
        self,
        delivery: &DeliveryClient,
        at: Timestamp,
    ) -> (Facts, Result<(Delivered, u64), Failure>) {
        let Self { facts, mailboxes, mut filter, mut upload, mut pieces, span: _ } = self;
        let transaction = facts.id.clone();
        let finished = async {
            filter.finish(&mut pieces);
            send(&mut upload, &mut pieces).await?;
            let size_bytes = upload.octets();
            let accepted_ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
            let owners = Owners::of_delivery(&transaction, accepted_ms, &mailboxes);
            let location = upload.finish_for(&owners, size_bytes).await?;
            let delivery = delivery.deliver(Delivery { transaction, accepted_ms, mailboxes, location });
            Ok((delivery.await?, size_bytes))
        };
        (facts, finished.await)
    }
}

async fn send(upload: &mut StoreStream, pieces: &mut Vec<Bytes>) -> Result<(), Failure> {
    for piece in pieces.drain(..) {
        upload.send(piece).await?;
    }
    Ok(())
}

/// Tokio's clock, so that tests can stop it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
