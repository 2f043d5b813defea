//! Deliveries and maildrops.

use puro_types::MailboxId;
use tokio::time::Instant;

use super::client;
use crate::{
    channel::{Call, stamp},
    failure::Failure,
    model::{Delivered, Delivery, Listing, Malformed, Message, Removal, each},
    pb::metadata::v1::{
        DeliverRequest, ListRequest, delivery_service_client::DeliveryServiceClient,
        maildrop_service_client::MaildropServiceClient,
    },
};

client! {
    /// Puts accepted messages into mailboxes.
    DeliveryClient
}

impl DeliveryClient {
    /// Delivers a message to its recipients. Once this is `Ok`, each has it or will have it, whatever dies: the 250 may
    /// go out. May be repeated with the same transaction.
    ///
    /// # Errors
    /// Any: the sender is told 451. Some recipients may have the message.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Delivered, Failure> {
        let call = Call::idempotent_write("deliver", self.backend.deadlines().deliver);
        let request = DeliverRequest::from(delivery);
        self.backend
            .unary(&call, request, |channel, request| async move {
                DeliveryServiceClient::new(channel).deliver(request).await
            })
            .await
            .map(Into::into)
    }
}

/// Messages of one request to remove: some 1 MB. Each request has a deadline of its own, so that a maildrop of any size
/// can be emptied.
const REMOVED_AT_ONCE: usize = 5_000;

client! {
    /// Lists and empties mailboxes.
    MaildropClient
}

impl MaildropClient {
    /// Lists a mailbox's INBOX. `known_version` is the version of a listing that the caller still has, 0 for none.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for a mailbox that is no more; [`Failure::Unavailable`] where the service cannot answer,
    /// never an empty or a partial listing.
    pub async fn list(&self, mailbox: &MailboxId, known_version: u64) -> Result<Listing, Failure> {
        let call = Call::read("list", self.backend.deadlines().list);
        let deadline = Instant::now() + call.within;
        let pages = self
            .backend
            .attempts(&call, deadline, |lane| {
                let message = ListRequest { mailbox: mailbox.to_string(), known_version };
                let request = stamp(message, Some(deadline));
                async move {
                    let mut pages = Vec::with_capacity(1);
                    let answer = MaildropServiceClient::new(lane.channel()).list(request).await?;
                    let mut stream = answer.into_inner();
                    while let Some(page) = stream.message().await? {
                        pages.push(page);
                    }
                    Ok(pages)
                }
            })
            .await?;
        let Some(version) = pages.first().map(|page| page.version) else {
            return Err(Malformed::new("list", "there is no page").in_answer());
        };
        if pages.iter().any(|page| page.unchanged) {
            return Ok(Listing::Unchanged);
        }
        let mut messages = Vec::with_capacity(pages.iter().map(|page| page.messages.len()).sum());
        for page in pages {
            messages.append(&mut each(page.messages).map_err(Malformed::in_answer)?);
        }
        Ok(Listing::Current { version, messages })
    }

    /// Removes messages, given as they were listed. Returns how many were live until now. May be repeated.
    ///
    /// Thousands are removed in several requests, one after the other, each within the deadline of a removal.
    ///
    /// # Errors
    /// Any: not all of them are gone.
    pub async fn remove(&self, mailbox: &MailboxId, messages: &[Message]) -> Result<u32, Failure> {
        let call = Call::idempotent_write("remove", self.backend.deadlines().remove);
        let mut removed = 0_u32;
        for messages in messages.chunks(REMOVED_AT_ONCE) {
            let removal = Removal { mailbox: mailbox.clone(), messages: messages.to_vec() };
            let answer = self
                .backend
                .unary(&call, removal.into(), |channel, request| async move {
                    MaildropServiceClient::new(channel).remove(request).await
                })
                .await?;
            removed = removed.saturating_add(answer.removed);
        }
        Ok(removed)
    }
}
