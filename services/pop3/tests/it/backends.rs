//! Stand-ins for the metadata and the blob service.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use puro_api::{
    Backend, Connector, Deadlines, Failure, Settings, in_process,
    model::Message,
    pb::{blob::v1 as blob, metadata::v1 as metadata},
    server_builder,
};
use puro_pop3::Clients;
use puro_types::{Codec, Frame, Location, MailboxId, MessageId, TransactionId};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

type Pieces<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the services hold, and what a test wants of them.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) version: u64,
    /// Numbered, so that an id stays a message's own.
    pub(crate) messages: Vec<(u64, Vec<u8>)>,
    /// `known_version` of each List.
    pub(crate) listed: Vec<u64>,
    /// Ids of each Remove.
    pub(crate) removed: Vec<Vec<String>>,
    /// Each call and the `traceparent` that it came with.
    pub(crate) traces: Vec<(&'static str, Option<String>)>,
    /// What the next calls of any service fail with.
    pub(crate) failures: VecDeque<Option<Failure>>,
    /// After this many octets reading ends with this failure.
    pub(crate) breaks: Option<(usize, Failure)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Services(Arc<Mutex<State>>);

pub(crate) fn mailbox() -> MailboxId {
    MailboxId::new([5; 12])
}

fn id(number: u64) -> MessageId {
    MessageId::new(number, &TransactionId::new(number, [0; 11]), &mailbox())
}

fn header_length(octets: &[u8]) -> usize {
    octets.windows(4).position(|four| four == b"\r\n\r\n").map_or(octets.len(), |at| at + 4)
}

fn listed(number: u64, octets: &[u8]) -> Message {
    let frame = |length: usize| Frame {
        stored_length: length as u64,
        length: length as u64,
        codec: Codec::Plain,
        checksum: 0,
    };
    let header = header_length(octets);
    let location = Location {
        bucket: String::new(),
        object_name: number.to_string(),
        offset: 0,
        header: frame(header),
        body: frame(octets.len() - header),
        slot: 0,
        slots: 1,
    };
    Message { id: id(number), size_bytes: octets.len() as u64, location }
}

impl Services {
    pub(crate) fn with(messages: &[&str]) -> Self {
        let services = Self::default();
        {
            let mut state = services.state();
            state.version = 1;
            state.messages = (1..).zip(messages.iter().map(|message| message.as_bytes().to_vec())).collect();
        }
        services
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Notes a call; it may have to fail.
    fn called<T>(&self, method: &'static str, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.state();
        state.traces.push((method, traceparent(request)));
        match state.failures.pop_front().flatten() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    /// Serves, and returns clients.
    pub(crate) fn clients(&self) -> Clients {
        let (connector, incoming) = in_process();
        let server = server_builder()
            .add_service(metadata::directory_service_server::DirectoryServiceServer::new(self.clone()))
            .add_service(metadata::maildrop_service_server::MaildropServiceServer::new(self.clone()))
            .add_service(blob::blob_service_server::BlobServiceServer::new(self.clone()))
            .serve_with_incoming(incoming);
        drop(tokio::spawn(server));
        let backend = |connector: Connector| {
            let deadlines = Deadlines::all(std::time::Duration::from_secs(10));
            Backend::new(connector.into(), Settings { deadlines, ..Settings::default() })
        };
        Clients::new(backend(connector.clone()), backend(connector))
    }
}

fn traceparent<T>(request: &Request<T>) -> Option<String> {
    request.metadata().get("traceparent").map(|value| value.to_str().unwrap().to_owned())
}

#[tonic::async_trait]
impl metadata::directory_service_server::DirectoryService for Services {
    async fn authenticate(
        &self,
        request: Request<metadata::AuthenticateRequest>,
    ) -> Result<Response<metadata::AuthenticateResponse>, Status> {
        self.called("authenticate", &request)?;
        let request = request.into_inner();
        if (request.login.as_str(), request.password.as_str()) != ("me", "secret") {
            return Err(Failure::Unauthenticated("no".to_owned()).into());
        }
        let email = "me@example.org".to_owned();
        Ok(Response::new(metadata::AuthenticateResponse { email, mailbox: mailbox().to_string() }))
    }

    async fn resolve(
        &self,
        _: Request<metadata::ResolveRequest>,
    ) -> Result<Response<metadata::ResolveResponse>, Status> {
        Err(Status::unimplemented("not for POP3"))
    }

    async fn check_sender(
        &self,
        _: Request<metadata::CheckSenderRequest>,
    ) -> Result<Response<metadata::CheckSenderResponse>, Status> {
        Err(Status::unimplemented("not for POP3"))
    }
}

#[tonic::async_trait]
impl metadata::maildrop_service_server::MaildropService for Services {
    type ListStream = Pieces<metadata::ListResponse>;

    async fn list(
        &self,
        request: Request<metadata::ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        self.called("list", &request)?;
        let known = request.into_inner().known_version;
        let mut state = self.state();
        state.listed.push(known);
        let page =
            |unchanged, messages| metadata::ListResponse { version: state.version, unchanged, messages };
        let pages = if known == state.version {
            vec![page(true, Vec::new())]
        } else {
            let messages = state.messages.iter().map(|(number, octets)| listed(*number, octets).into());
            messages.collect::<Vec<_>>().chunks(2).map(|two| page(false, two.to_vec())).collect()
        };
        let pages = if pages.is_empty() { vec![page(false, Vec::new())] } else { pages };
        Ok(Response::new(Box::pin(tokio_stream::iter(pages.into_iter().map(Ok)))))
    }

    async fn remove(
        &self,
        request: Request<metadata::RemoveRequest>,
    ) -> Result<Response<metadata::RemoveResponse>, Status> {
        self.called("remove", &request)?;
        let request = request.into_inner();
        assert_eq!(request.mailbox, mailbox().to_string());
        let ids: Vec<String> = request.messages.into_iter().map(|message| message.id).collect();
        let mut state = self.state();
        state.version += 1;
        state.messages.retain(|(number, _)| !ids.contains(&id(*number).to_string()));
        let removed = u32::try_from(ids.len()).unwrap();
        state.removed.push(ids);
        Ok(Response::new(metadata::RemoveResponse { removed }))
    }
}

#[tonic::async_trait]
impl blob::blob_service_server::BlobService for Services {
    type ReadStream = Pieces<blob::ReadResponse>;

    async fn read(&self, request: Request<blob::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.called("read", &request)?;
        let request = request.into_inner();
        let part = request.part();
        let name = request.location.unwrap().object_name;
        let state = self.state();
        let (_, octets) = state.messages.iter().find(|(number, _)| number.to_string() == name).unwrap();
        let octets = match part {
            blob::Part::Header => &octets[..header_length(octets)],
            _ => octets,
        };
        let cut = state.breaks.as_ref().map_or(octets.len(), |(at, _)| *at);
        let mut pieces: Vec<Result<blob::ReadResponse, Status>> = octets[..cut]
            .chunks(16)
            .map(|piece| Ok(blob::ReadResponse { chunk: Bytes::copy_from_slice(piece) }))
            .collect();
        pieces.extend(state.breaks.clone().map(|(_, failure)| Err(failure.into())));
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn store(
        &self,
        _: Request<Streaming<blob::StoreRequest>>,
    ) -> Result<Response<blob::StoreResponse>, Status> {
        Err(Status::unimplemented("not for POP3"))
    }

    async fn delete_segments(
        &self,
        _: Request<blob::DeleteSegmentsRequest>,
    ) -> Result<Response<blob::DeleteSegmentsResponse>, Status> {
        Err(Status::unimplemented("not for POP3"))
    }

    async fn list_segments(
        &self,
        _: Request<blob::ListSegmentsRequest>,
    ) -> Result<Response<blob::ListSegmentsResponse>, Status> {
        Err(Status::unimplemented("not for POP3"))
    }
}
