//! Reading a message.

use bytes::Bytes;
use puro_types::Location;
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use crate::{
    channel::{Backend, Busy, Call, stamp},
    failure::{Effect, Failure},
    model::Part,
    pb::blob::v1 as pb,
    pb::blob::v1::blob_service_client::BlobServiceClient,
};

/// A message, or a part of it, on its way here. Dropping it ends the call; octets that were not asked for are not
/// read ahead beyond the stream's window.
#[derive(Debug)]
pub struct ReadStream {
    first: Option<Bytes>,
    /// `None` once the end was seen.
    stream: Option<Streaming<pb::ReadResponse>>,
    call: Call,
    _busy: Busy,
}

impl ReadStream {
    pub(super) async fn open(backend: &Backend, location: &Location, part: Part) -> Result<Self, Failure> {
        let call = Call::read("read", backend.deadlines().read);
        let deadline = Instant::now() + call.within;
        let message =
            pb::ReadRequest { location: Some(location.clone().into()), part: pb::Part::from(part).into() };
        backend
            .attempts(&call, deadline, |lane| {
                // No deadline in the request: a reader may take its time over a large message.
                let request = stamp(message.clone(), None);
                let stall = Call::read("read", backend.deadlines().stall);
                async move {
                    let busy = lane.busy();
                    let answer = BlobServiceClient::new(lane.channel()).read(request).await?;
                    let mut stream = answer.into_inner();
                    let first = stream.message().await?.map(|answer| answer.chunk);
                    let stream = first.is_some().then_some(stream);
                    Ok(Self { first, stream, call: stall, _busy: busy })
                }
            })
            .await
    }

    /// Returns the next octets, or `None` after the last ones: then the part is complete and its checksum was right.
    /// Not cancel-safe: octets may be lost with a dropped future.
    ///
    /// # Errors
    /// [`Failure::DataLoss`] where the bytes are damaged; [`Failure::Unavailable`] where the rest does not come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let outcome = match timeout(self.call.within, stream.message()).await {
            Ok(Ok(Some(answer))) => return Ok(Some(answer.chunk)),
            Ok(Ok(None)) => Ok(None),
            Ok(Err(status)) => Err(Failure::from_status(&status, Effect::Read)),
            Err(_) => Err(self.call.late()),
        };
        self.stream = None;
        outcome
    }
}
