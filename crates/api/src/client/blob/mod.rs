//! Message bytes.

mod read;
mod store;

use puro_types::{Location, TransactionId};

pub use self::{read::ReadStream, store::StoreStream};
use super::client;
use crate::{
    channel::Call,
    failure::Failure,
    model::{Labelled, Malformed, Page, Part, Segment, SegmentPage, each},
    pb::blob::v1::{
        CopyMessagesRequest, DeleteSegmentsRequest, ListLabelsRequest, ListSegmentsRequest,
        blob_service_client::BlobServiceClient,
    },
};

/// Octets of all labels of a segment at most: no segment that is put whole is larger.
const LABELS_MAX: usize = 16 << 20;

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
        let SegmentPage { segments, next, .. } = self.segment_page(after, page_size).await?;
        Ok(Page { items: segments, next })
    }

    /// As [`BlobClient::list_segments`], with the time of the service.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where the service cannot answer.
    pub async fn segment_page(&self, after: Option<&str>, page_size: u32) -> Result<SegmentPage, Failure> {
        let call = Call::read("list segments", self.backend.deadlines().admin);
        let request = ListSegmentsRequest { page_token: after.unwrap_or_default().to_owned(), page_size };
        let answer = self
            .backend
            .unary(&call, request, |channel, request| async move {
                BlobServiceClient::new(channel).list_segments(request).await
            })
            .await?;
        Ok(SegmentPage {
            segments: answer.segments.into_iter().map(Into::into).collect(),
            next: Some(answer.next_page_token).filter(|token| !token.is_empty()),
            now_ms: answer.now_ms,
        })
    }

    /// Returns the labels of a segment's messages, slot by slot; none where it has none or is not there. Its size, from
    /// its listing, is needed for a streamed message; 0 if it is not known.
    ///
    /// # Errors
    /// [`Failure::DataLoss`] where they are damaged; [`Failure::Unavailable`] where the service cannot answer.
    pub async fn labels(&self, object_name: &str, size_bytes: u64) -> Result<Vec<Labelled>, Failure> {
        let call = Call::read("list labels", self.backend.deadlines().admin);
        let request = ListLabelsRequest { object_name: object_name.to_owned(), size_bytes };
        let answer = self
            .backend
            .unary(&call, request, |channel, request| async move {
                let client = BlobServiceClient::new(channel);
                client.max_decoding_message_size(LABELS_MAX).list_labels(request).await
            })
            .await?;
        Ok(answer.labels.into_iter().map(Into::into).collect())
    }

    /// Copies messages of one segment into a new one, and returns where they are now, in the same order. A call that
    /// fails may leave an orphan.
    ///
    /// # Errors
    /// [`Failure::NotFound`] where the segment is gone; [`Failure::DataLoss`] where a message is damaged: nothing is
    /// copied then; [`Failure::Unavailable`] where the service cannot answer.
    pub async fn copy_messages(&self, locations: &[Location]) -> Result<Vec<Location>, Failure> {
        // What was changed nobody knows of: to the caller a lost answer is as if nothing had been done.
        let call = Call::read("copy messages", self.backend.deadlines().store);
        let request = CopyMessagesRequest { locations: locations.iter().cloned().map(Into::into).collect() };
        let answer = self
            .backend
            .unary(&call, request, |channel, request| async move {
                BlobServiceClient::new(channel).copy_messages(request).await
            })
            .await?;
        let copies: Vec<Location> = each(answer.locations).map_err(Malformed::in_answer)?;
        if copies.len() == locations.len() {
            Ok(copies)
        } else {
            Err(Malformed("copy messages: not as many as were asked for".to_owned()).in_answer())
        }
    }
}
