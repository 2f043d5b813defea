//! The core behind gRPC.

use futures_util::{StreamExt, stream::BoxStream};
use puro_api::{
    Failure,
    model::Part,
    pb::blob::v1::{
        CopyMessagesRequest, CopyMessagesResponse, DeleteSegmentsRequest, DeleteSegmentsResponse, Label,
        ListLabelsRequest, ListLabelsResponse, ListSegmentsRequest, ListSegmentsResponse, ReadRequest,
        ReadResponse, Segment, StoreRequest, StoreResponse,
        blob_service_server::{BlobService, BlobServiceServer},
    },
};
use puro_types::Location;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::{Blobs, Labelled, Piece, store::now_ms};

/// Octets of the largest request: a chunk of 256 KiB, or a thousand names, and what is around it.
const REQUEST_MAX: usize = 1 << 20;
/// Segments on a page, and in a delete request.
const PAGE_MAX: u32 = 1000;

/// Returns the gRPC service.
pub fn routes(blobs: Blobs) -> Routes {
    Routes::new(BlobServiceServer::new(Server { blobs }).max_decoding_message_size(REQUEST_MAX))
}

#[derive(Debug)]
struct Server {
    blobs: Blobs,
}

#[tonic::async_trait]
impl BlobService for Server {
    async fn store(
        &self,
        request: Request<Streaming<StoreRequest>>,
    ) -> Result<Response<StoreResponse>, Status> {
        let pieces = request.into_inner().map(|request| match request {
            Ok(StoreRequest { chunk, finish, transaction_id, label }) => {
                if !transaction_id.is_empty() {
                    tracing::debug!(transaction_id, "storing");
                }
                Ok(Piece { chunk, finish: finish.map(|finish| finish.size_bytes), label })
            }
            // The client went away, or its stream is not gRPC: nobody reads the answer.
            Err(status) => Err(Failure::Invalid(format!("the stream broke off: {}", status.message()))),
        });
        let location = self.blobs.store(pieces).await?;
        Ok(Response::new(StoreResponse { location: Some(location.into()) }))
    }

    type ReadStream = BoxStream<'static, Result<ReadResponse, Status>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let (location, part): (Location, Part) = request.into_inner().try_into().map_err(invalid)?;
        let chunks = self.blobs.read(&location, part).await?;
        // Pulled as the client's window allows: nothing piles up here.
        let answers = chunks.map(|chunk| Ok(ReadResponse { chunk: chunk? }));
        Ok(Response::new(answers.boxed()))
    }

    async fn delete_segments(
        &self,
        request: Request<DeleteSegmentsRequest>,
    ) -> Result<Response<DeleteSegmentsResponse>, Status> {
        let names = request.into_inner().object_names;
        if names.len() > PAGE_MAX as usize {
            return Err(invalid(format!("at most {PAGE_MAX} segments at a time")));
        }
        self.blobs.delete(&names).await?;
        Ok(Response::new(DeleteSegmentsResponse {}))
    }

    async fn list_segments(
        &self,
        request: Request<ListSegmentsRequest>,
    ) -> Result<Response<ListSegmentsResponse>, Status> {
        let ListSegmentsRequest { page_token, page_size } = request.into_inner();
        let after = (!page_token.is_empty()).then_some(page_token);
        let limit = if page_size == 0 { PAGE_MAX } else { page_size.min(PAGE_MAX) };
        let page = self.blobs.list(after.as_deref(), limit as usize).await?;
        let segments = page.segments.into_iter().map(|segment| Segment {
            object_name: segment.object_name,
            size_bytes: segment.size_bytes,
            created_ms: segment.created_ms,
        });
        let next_page_token = page.next.unwrap_or_default();
        let segments = segments.collect();
        Ok(Response::new(ListSegmentsResponse { segments, next_page_token, now_ms: now_ms() }))
    }

    async fn list_labels(
        &self,
        request: Request<ListLabelsRequest>,
    ) -> Result<Response<ListLabelsResponse>, Status> {
        let ListLabelsRequest { object_name, size_bytes } = request.into_inner();
        let labels = self.blobs.labels(&object_name, size_bytes).await?;
        let label = |message: Labelled| Label { label: message.label, stored_length: message.stored_length };
        let labels = labels.unwrap_or_default().into_iter().map(label).collect();
        Ok(Response::new(ListLabelsResponse { labels }))
    }

    async fn copy_messages(
        &self,
        request: Request<CopyMessagesRequest>,
    ) -> Result<Response<CopyMessagesResponse>, Status> {
        let wire = request.into_inner().locations.into_iter();
        let locations: Vec<Location> = wire.map(Location::try_from).collect::<Result<_, _>>()?;
        let copies = self.blobs.copy(&locations).await?;
        Ok(Response::new(CopyMessagesResponse { locations: copies.into_iter().map(Into::into).collect() }))
    }
}

fn invalid(why: impl ToString) -> Status {
    Failure::Invalid(why.to_string()).into()
}
