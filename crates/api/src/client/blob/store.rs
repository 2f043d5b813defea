//! Storing a message.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use puro_types::{Location, TransactionId};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    channel::{Backend, Busy, Call, Lane, stamp, was_not_sent},
    failure::Failure,
    model::{Malformed, Owners},
    pb::blob::v1::{StoreFinish, StoreRequest, StoreResponse, blob_service_client::BlobServiceClient},
};

/// Octets of a piece: smaller chunks are gathered, larger ones are cut.
const PIECE: usize = 64 * 1024;
/// Pieces that wait to be sent: with the windows of HTTP/2 this bounds what one message holds in memory.
const WAITING: usize = 4;
/// Times a message is begun when it could not be sent at all.
const ATTEMPTS: u32 = 3;

/// A message on its way to the blob service. Dropping it before [`StoreStream::finish`] stores nothing.
pub struct StoreStream {
    backend: Backend,
    transaction_id: String,
    held: Held,
    octets: u64,
    upload: Option<Upload>,
    attempts: u32,
    failed: Option<Failure>,
}

impl StoreStream {
    pub(super) fn new(backend: Backend, transaction: &TransactionId) -> Self {
        Self {
            backend,
            transaction_id: transaction.to_string(),
            held: Held::default(),
            octets: 0,
            upload: None,
            attempts: 0,
            failed: None,
        }
    }

    /// Takes the next octets of the message. Waits while enough others wait to be sent: whoever produces them is slowed
    /// to the speed of the store. Not cancel-safe: when you drop this future, drop the whole stream.
    ///
    /// # Errors
    /// Any: the message is not stored, and later calls fail alike.
    pub async fn send(&mut self, mut octets: Bytes) -> Result<(), Failure> {
        self.octets += octets.len() as u64;
        while self.held.len() + octets.len() > PIECE {
            let piece = self.held.fill(&mut octets);
            self.push(piece, None).await?;
        }
        self.held.add(octets);
        Ok(())
    }

    /// Ends the message and waits until it is durable. `size_bytes` are the octets of the whole message.
    ///
    /// # Errors
    /// [`Failure::Invalid`] where the size is not what was sent; any: treat the message as not stored. At worst its
    /// bytes are an orphan for the audit.
    pub async fn finish(self, size_bytes: u64) -> Result<Location, Failure> {
        self.end(size_bytes, Bytes::new()).await
    }

    /// As [`StoreStream::finish`], and has the segment say whose the message is: exactly the items that will be put for
    /// it. Without that its segment is never compacted, and as an orphan not reclaimed.
    ///
    /// # Errors
    /// As [`StoreStream::finish`].
    pub async fn finish_for(self, owners: &Owners, size_bytes: u64) -> Result<Location, Failure> {
        self.end(size_bytes, owners.label()).await
    }

    async fn end(mut self, size_bytes: u64, label: Bytes) -> Result<Location, Failure> {
        let last = self.held.take();
        self.push(last, Some((StoreFinish { size_bytes }, label))).await?;
        let call = Call::read("store", self.backend.deadlines().store);
        let deadline = Instant::now() + call.within;
        loop {
            let Some(upload) = &mut self.upload else { return Err(no_upload()) };
            match timeout_at(deadline, &mut upload.answer).await {
                Ok(Ok(answer)) => {
                    upload.lane.answered();
                    return answer.try_into().map_err(Malformed::in_answer);
                }
                Ok(Err(status)) => self.begin_anew(&call, &status, deadline).await?,
                Err(_) => return Err(call.late()),
            }
        }
    }

    /// Returns the octets given so far.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Hands a piece over, beginning the call if there is none.
    async fn push(&mut self, chunk: Bytes, finish: Option<(StoreFinish, Bytes)>) -> Result<(), Failure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        // Only the first request names the transaction.
        let transaction_id = std::mem::take(&mut self.transaction_id);
        let (finish, label) = finish.unzip();
        let label = label.unwrap_or_default();
        let outcome = self.try_push(StoreRequest { transaction_id, chunk, finish, label }).await;
        match &outcome {
            Ok(()) if finish.is_none() => {}
            Ok(()) => self.upload.iter_mut().for_each(|upload| upload.pieces = None),
            Err(failure) => {
                self.upload = None;
                self.failed = Some(failure.clone());
            }
        }
        outcome
    }

    async fn try_push(&mut self, request: StoreRequest) -> Result<(), Failure> {
        let call = Call::read("store", self.backend.deadlines().stall);
        let deadline = Instant::now() + call.within;
        if self.upload.is_none() {
            self.upload = Some(self.begin(None, Vec::new(), deadline).await?);
        }
        loop {
            let Some(upload) = &mut self.upload else { return Err(no_upload()) };
            let Some(pieces) = &upload.pieces else { return Err(no_upload()) };
            // The answer is polled first: that moves the call along, and an early one means that no more is wanted.
            let early = tokio::select! {
                biased;
                early = &mut upload.answer => early,
                Ok(permit) = pieces.reserve() => {
                    remember(&mut upload.replay, &request);
                    permit.send(request);
                    return Ok(());
                }
                () = sleep_until(deadline) => return Err(call.late()),
            };
            match early {
                Ok(_) => return Err(Failure::Internal("store: answered before the end".to_owned())),
                Err(status) => self.begin_anew(&call, &status, deadline).await?,
            }
        }
    }

    /// Begins the call again where none of it was sent; else returns why it failed.
    async fn begin_anew(&mut self, call: &Call, status: &Status, deadline: Instant) -> Result<(), Failure> {
        let failure = call.failure(status);
        let Some(upload) = self.upload.take() else { return Err(failure) };
        self.backend.judge(&upload.lane, status);
        let Some(replay) = upload.replay.filter(|_| was_not_sent(status) && self.attempts < ATTEMPTS) else {
            return Err(failure);
        };
        if !self.backend.pause_before_repeat(status, self.attempts, deadline).await {
            return Err(failure);
        }
        self.upload = Some(self.begin(Some(&upload.lane), replay, deadline).await?);
        Ok(())
    }

    async fn begin(
        &mut self,
        avoid: Option<&Lane>,
        replay: Vec<StoreRequest>,
        deadline: Instant,
    ) -> Result<Upload, Failure> {
        self.attempts += 1;
        let lane = self.backend.lane(avoid, deadline).await?;
        let busy = lane.busy();
        let (pieces, waiting) = mpsc::channel(WAITING);
        for request in &replay {
            pieces.try_send(request.clone()).map_err(|_| no_upload())?;
        }
        let ended = replay.last().is_some_and(|request| request.finish.is_some());
        let pieces = (!ended).then_some(pieces);
        let channel = lane.channel();
        // No deadline in the request: a message takes as long as its sender takes.
        let request = stamp(ReceiverStream::new(waiting), None);
        let answer = Box::pin(async move {
            BlobServiceClient::new(channel).store(request).await.map(tonic::Response::into_inner)
        });
        Ok(Upload { answer, pieces, replay: Some(replay), lane, _busy: busy })
    }
}

impl fmt::Debug for StoreStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreStream").field("octets", &self.octets).finish_non_exhaustive()
    }
}

/// A state that the code above does not reach.
fn no_upload() -> Failure {
    Failure::Internal("store: there is no call under way".to_owned())
}

/// The call under way. The answer stands first: dropped first, it ends the call before its request can seem complete.
struct Upload {
    answer: BoxFuture<'static, Result<StoreResponse, Status>>,
    /// `None` once the last piece was handed over, which ends the request's stream.
    pieces: Option<mpsc::Sender<StoreRequest>>,
    /// All that was handed over, while none of it need have been sent: what a failed connect begins anew with.
    replay: Option<Vec<StoreRequest>>,
    lane: Arc<Lane>,
    _busy: Busy,
}

/// Notes a piece that is handed over. When one more than can wait has been, some were sent.
fn remember(replay: &mut Option<Vec<StoreRequest>>, request: &StoreRequest) {
    match replay {
        Some(pieces) if pieces.len() < WAITING => pieces.push(request.clone()),
        _ => *replay = None,
    }
}

/// Octets gathered for the next piece, which is held back until more comes or the end, so that a small message goes as
/// one request. One chunk alone is not copied.
#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    One(Bytes),
    Several(BytesMut),
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(octets) => octets.len(),
            Self::Several(octets) => octets.len(),
        }
    }

    fn add(&mut self, more: Bytes) {
        if more.is_empty() {
            return;
        }
        *self = match std::mem::take(self) {
            Self::Nothing => Self::One(more),
            Self::One(octets) => {
                let mut several = BytesMut::with_capacity((octets.len() + more.len()).next_power_of_two());
                several.extend_from_slice(&octets);
                several.extend_from_slice(&more);
                Self::Several(several)
            }
            Self::Several(mut octets) => {
                octets.extend_from_slice(&more);
                Self::Several(octets)
            }
        };
    }

    fn take(&mut self) -> Bytes {
        match std::mem::take(self) {
            Self::Nothing => Bytes::new(),
            Self::One(octets) => octets,
            Self::Several(octets) => octets.freeze(),
        }
    }

    /// Takes a full piece, moving what is missing from `more`.
    fn fill(&mut self, more: &mut Bytes) -> Bytes {
        let missing = PIECE.saturating_sub(self.len()).min(more.len());
        self.add(more.split_to(missing));
        self.take()
    }
}
