//! DeliveryService and MaildropService.

use std::{pin::Pin, sync::Arc};

use puro_api::{
    model::Delivery,
    pb::metadata::v1::{
        DeliverRequest, DeliverResponse, ListRequest, ListResponse, RemoveRequest, RemoveResponse,
        delivery_service_server::DeliveryService, maildrop_service_server::MaildropService,
    },
};
use puro_types::MessageId;
use tokio_stream::{Stream, iter};
use tonic::{Request, Response, Status};

use super::{Server, parse, refuse};
use crate::{Listing, Snapshot};

/// Messages in a page of a listing: some 60 KB.
const PAGE: usize = 500;

#[tonic::async_trait]
impl DeliveryService for Server {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        let delivery = Delivery::try_from(request.into_inner())?;
        let delivered = self.0.deliver(&delivery).await.map_err(refuse)?;
        Ok(Response::new(delivered.into()))
    }
}

#[tonic::async_trait]
impl MaildropService for Server {
    type ListStream = Pin<Box<dyn Stream<Item = Result<ListResponse, Status>> + Send>>;

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let ListRequest { mailbox, known_version } = request.into_inner();
        let mailbox = parse("mailbox", &mailbox)?;
        let pages: Self::ListStream = match self.0.list(&mailbox, known_version).await.map_err(refuse)? {
            Snapshot::Unchanged { version } => {
                Box::pin(iter([Ok(ListResponse { version, unchanged: true, messages: Vec::new() })]))
            }
            Snapshot::Current(listing) => Box::pin(iter(pages(listing))),
        };
        Ok(Response::new(pages))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        let RemoveRequest { mailbox, messages } = request.into_inner();
        let mailbox = parse("mailbox", &mailbox)?;
        // Where the bytes are is read from the items themselves, which a compaction may have changed since.
        let ids: Vec<MessageId> =
            messages.iter().map(|message| parse("id", &message.id)).collect::<Result<_, _>>()?;
        let removed = self.0.remove(&mailbox, &ids).await.map_err(refuse)?;
        Ok(Response::new(RemoveResponse { removed }))
    }
}

/// Returns the pages of a listing, each made when it is sent; an empty maildrop has one.
fn pages(listing: Arc<Listing>) -> impl Iterator<Item = Result<ListResponse, Status>> + Send {
    let count = listing.messages.len().div_ceil(PAGE).max(1);
    (0..count).map(move |page| {
        let messages = listing.messages.iter().skip(page * PAGE).take(PAGE);
        let messages = messages.map(|message| message.clone().into()).collect();
        Ok(ListResponse { version: listing.version, unchanged: false, messages })
    })
}
