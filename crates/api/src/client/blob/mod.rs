//! Message bytes.

mod read;
mod store;

use puro_types::{Location, TransactionId};

pub use self::{read::ReadStream, store::StoreStream};
use super::client;
use crate::{
    channel::Call,
    failure::Failure,
    model::{Page, Part, Segment},
    pb::blob::v1::{DeleteSegmentsRequest, ListSegmentsRequest, blob_service_client::BlobServiceClient},
};

client! {
    /// Stores and reads message bytes.
    BlobClient
}

impl BlobClient {
    /// Begins to store a message. Nothing is sent before there is 64 KiB of it or it is complete. The transaction is
    /// for logs and traces.
    pub fn store(&self, transaction: &TransactionId) -> StoreStream {
        StoreStream::new(self.backend.clone(), transaction)
    }

    /// Reads a part of a message. Returns once the first octets are here, so that a failure is known before anything
    /// was passed on.
    ///
    /// # Errors
    /// [`Failure::DataLoss`] where the bytes are damaged; [`Failure::NotFound`] where the segment is gone, which for a
    /// live message is data loss too; [`Failure::Unavailable`] where the service cannot answer.
    pub async fn read(&self, location: &Location, part: Part) -> Result<ReadStream, Failure> {
        ReadStream::open(&self.backend, location, part).await
    }

    /// Deletes whole segments, at most 1,000; those that are not there count as deleted. May be repeated.
    ///
    /// # Errors
    /// Any: not all of them are gone.
    pub async fn delete_segments(&self, object_names: &[String]) -> Result<(), Failure> {
        let call = Call::idempotent_write("delete segments", self.backend.deadlines().admin);
        let request = DeleteSegmentsRequest { object_names: object_names.to_vec() };
        self.backend
            .unary(&call, request, |channel, request| async move {
                BlobServiceClient::new(channel).delete_segments(request).await
            })
            .await
            .map(drop)
    }

    /// Lists segments, a page at a time, in the store's own order; `after` is the last page's `next`. At most
    /// `page_size`, or 0 for the service's choice.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where the service cannot answer.
    pub async fn list_segments(&self, after: Option<&str>, page_size: u32) -> Result<Page<Segment>, Failure> {
        let call = Call::read("list segments", self.backend.deadlines().admin);
        let request = ListSegmentsRequest { page_token: after.unwrap_or_default().to_owned(), page_size };
        let answer = self
            .backend
            .unary(&call, request, |channel, request| async move {
                BlobServiceClient::new(channel).list_segments(request).await
            })
            .await?;
        Ok(Page::new(answer.segments.into_iter().map(Into::into).collect(), answer.next_page_token))
    }
}
