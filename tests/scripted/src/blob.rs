//! The blob service: keeps what is stored, and reads the messages of the maildrop.

use std::pin::Pin;

use bytes::Bytes;
use puro_api::{
    Failure,
    pb::blob::v1::{
        CopyMessagesRequest, CopyMessagesResponse, DeleteSegmentsRequest, DeleteSegmentsResponse,
        ListLabelsRequest, ListLabelsResponse, ListSegmentsRequest, ListSegmentsResponse, Part, ReadRequest,
        ReadResponse, StoreRequest, StoreResponse, blob_service_server::BlobService,
    },
};
use puro_types::{Codec, Frame, Location};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::Services;

/// Octets of each piece of a message that is read.
const PIECE: usize = 16;

/// A message that was stored.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Whose it is.
    pub transaction_id: String,
    /// All of it.
    pub octets: Vec<u8>,
    /// What its segment is to say of it.
    pub label: Bytes,
}

/// The location of a message in a segment of its own.
pub(crate) fn location(object_name: String, octets: &[u8]) -> Location {
    let frame = |length: usize| Frame {
        stored_length: length as u64,
        length: length as u64,
        codec: Codec::Plain,
        checksum: 0,
    };
    let header = header_length(octets);
    Location {
        bucket: String::new(),
        object_name,
        offset: 0,
        header: frame(header),
        body: frame(octets.len() - header),
        slot: 0,
        slots: 1,
    }
}

fn header_length(octets: &[u8]) -> usize {
    octets.windows(4).position(|four| four == b"\r\n\r\n").map_or(octets.len(), |at| at + 4)
}

/// Takes an upload; `None` where it ends without a finish.
async fn take(mut upload: Streaming<StoreRequest>) -> Option<(Stored, u64)> {
    let mut stored = Stored::default();
    loop {
        let request = upload.message().await.ok().flatten()?;
        stored.transaction_id.push_str(&request.transaction_id);
        stored.octets.extend_from_slice(&request.chunk);
        if let Some(finish) = request.finish {
            stored.label = request.label;
            return Some((stored, finish.size_bytes));
        }
    }
}

#[tonic::async_trait]
impl BlobService for Services {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

    async fn store(
        &self,
        request: Request<Streaming<StoreRequest>>,
    ) -> Result<Response<StoreResponse>, Status> {
        self.called("store", &request)?;
        // In a task of its own: a call that is reset drops its handler.
        let services = self.clone();
        let taken = tokio::spawn(async move {
            let taken = take(request.into_inner()).await;
            services.upload_ended(taken.is_some());
            taken
        });
        let Some((stored, size_bytes)) = taken.await.unwrap() else {
            return Err(Status::cancelled("given up"));
        };
        if stored.octets.len() as u64 != size_bytes {
            return Err(Failure::Invalid("another size".to_owned()).into());
        }
        self.fails("store at the end")?;
        let location = location(format!("segment-{}", stored.transaction_id), &stored.octets);
        self.state().stored.push(stored);
        Ok(Response::new(StoreResponse { location: Some(location.into()) }))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.called("read", &request)?;
        let request = request.into_inner();
        let part = request.part();
        let name = request.location.unwrap().object_name;
        let state = self.state();
        let (_, octets) = state.messages.iter().find(|(number, _)| number.to_string() == name).unwrap();
        let octets = match part {
            Part::Header => &octets[..header_length(octets)],
            _ => octets,
        };
        let cut = state.breaks.as_ref().map_or(octets.len(), |(at, _)| *at);
        let mut pieces: Vec<Result<ReadResponse, Status>> = octets[..cut]
            .chunks(PIECE)
            .map(|piece| Ok(ReadResponse { chunk: Bytes::copy_from_slice(piece) }))
            .collect();
        pieces.extend(state.breaks.clone().map(|(_, failure)| Err(failure.into())));
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn delete_segments(
        &self,
        _: Request<DeleteSegmentsRequest>,
    ) -> Result<Response<DeleteSegmentsResponse>, Status> {
        Err(Status::unimplemented("not for front ends"))
    }

    async fn list_segments(
        &self,
        _: Request<ListSegmentsRequest>,
    ) -> Result<Response<ListSegmentsResponse>, Status> {
        Err(Status::unimplemented("not for front ends"))
    }

    async fn list_labels(
        &self,
        _: Request<ListLabelsRequest>,
    ) -> Result<Response<ListLabelsResponse>, Status> {
        Err(Status::unimplemented("not for front ends"))
    }

    async fn copy_messages(
        &self,
        _: Request<CopyMessagesRequest>,
    ) -> Result<Response<CopyMessagesResponse>, Status> {
        Err(Status::unimplemented("not for front ends"))
    }
}
