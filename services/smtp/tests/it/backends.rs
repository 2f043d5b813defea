//! Stand-ins for the metadata and the blob service.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use puro_api::{
    Backend, Connector, Deadlines, Failure, Settings, in_process,
    pb::{blob::v1 as blob, metadata::v1 as metadata},
    server_builder,
};
use puro_smtp::Clients;
use puro_types::MailboxId;
use tokio::sync::Notify;
use tonic::{Request, Response, Status, Streaming};

/// What the services hold, and what a test wants of them.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Whole messages, in order.
    pub(crate) stored: Vec<Stored>,
    /// Uploads that ended without a finish.
    pub(crate) given_up: usize,
    pub(crate) delivered: Vec<metadata::DeliverRequest>,
    pub(crate) resolved: Vec<(String, u64)>,
    /// Each call and the `traceparent` that it came with.
    pub(crate) traces: Vec<(&'static str, Option<String>)>,
    /// What a method fails with, until it is taken out.
    pub(crate) failures: HashMap<&'static str, Failure>,
}

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) transaction_id: String,
    pub(crate) octets: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Services {
    state: Arc<Mutex<State>>,
    uploads_ended: Arc<Notify>,
}

/// The mailbox of the account with this letter.
pub(crate) fn mailbox(letter: char) -> MailboxId {
    MailboxId::new([u8::try_from(letter).unwrap(); 12])
}

impl Services {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn fail(&self, method: &'static str, failure: Failure) {
        self.state().failures.insert(method, failure);
    }

    /// Waits until an upload has been given up.
    pub(crate) async fn upload_given_up(&self) {
        while self.state().given_up == 0 {
            self.uploads_ended.notified().await;
        }
    }

    fn fails(&self, method: &str) -> Result<(), Status> {
        match self.state().failures.get(method) {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(()),
        }
    }

    /// Notes a call; it may have to fail.
    fn called<T>(&self, method: &'static str, request: &Request<T>) -> Result<(), Status> {
        self.state().traces.push((method, traceparent(request)));
        self.fails(method)
    }

    /// Serves, and returns clients.
    pub(crate) fn clients(&self) -> Clients {
        let (connector, incoming) = in_process();
        let server = server_builder()
            .add_service(metadata::directory_service_server::DirectoryServiceServer::new(self.clone()))
            .add_service(metadata::delivery_service_server::DeliveryServiceServer::new(self.clone()))
            .add_service(blob::blob_service_server::BlobServiceServer::new(self.clone()))
            .serve_with_incoming(incoming);
        drop(tokio::spawn(server));
        let backend = |connector: Connector| {
            let deadlines = Deadlines::all(std::time::Duration::from_secs(10));
            Backend::new(connector.into(), Settings { deadlines, ..Settings::default() })
        };
        Clients::new(backend(connector.clone()), backend(connector))
    }

    /// Takes an upload; `None` where it ends without a finish.
    async fn take(mut upload: Streaming<blob::StoreRequest>) -> Option<(Stored, u64)> {
        let mut stored = Stored { transaction_id: String::new(), octets: Vec::new() };
        loop {
            let request = upload.message().await.ok().flatten()?;
            stored.transaction_id.push_str(&request.transaction_id);
            stored.octets.extend_from_slice(&request.chunk);
            if let Some(finish) = request.finish {
                return Some((stored, finish.size_bytes));
            }
        }
    }
}

fn location(stored: &Stored) -> blob::Location {
    let frame = |length: u64| blob::Frame {
        stored_length: length,
        length,
        codec: blob::Codec::Plain.into(),
        checksum: 0,
    };
    blob::Location {
        bucket: String::new(),
        object_name: format!("segment-{}", stored.transaction_id),
        offset: 0,
        header: Some(frame(0)),
        body: Some(frame(stored.octets.len() as u64)),
        slot: 0,
        slots: 1,
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
        let email = "me@local.example".to_owned();
        Ok(Response::new(metadata::AuthenticateResponse { email, mailbox: mailbox('m').to_string() }))
    }

    /// Addresses of local.example: `user-abc` are the mailboxes a, b and c.
    async fn resolve(
        &self,
        request: Request<metadata::ResolveRequest>,
    ) -> Result<Response<metadata::ResolveResponse>, Status> {
        use metadata::{Refusal, resolve_response::Outcome};
        self.called("resolve", &request)?;
        let metadata::ResolveRequest { address, size_bytes } = request.into_inner();
        self.state().resolved.push((address.clone(), size_bytes));
        let (local, domain) = address.split_once('@').unwrap_or((&address, "local.example"));
        let outcome = match (local, domain) {
            (_, "broken.example") => return Err(Failure::Invalid("no address".to_owned()).into()),
            ("full", _) => Outcome::Refusal(Refusal::OverQuota.into()),
            ("away", _) => Outcome::Refusal(Refusal::Disabled.into()),
            ("circle", _) => Outcome::Refusal(Refusal::AliasLoop.into()),
            (local, "local.example") => match local.strip_prefix("user-") {
                Some(letters) => Outcome::Targets(metadata::Targets {
                    targets: letters
                        .chars()
                        .map(|letter| metadata::Target {
                            mailbox: mailbox(letter).to_string(),
                            email: format!("{letter}@local.example"),
                        })
                        .collect(),
                }),
                None => Outcome::Refusal(Refusal::UnknownUser.into()),
            },
            _ => Outcome::Refusal(Refusal::NotLocal.into()),
        };
        Ok(Response::new(metadata::ResolveResponse { outcome: Some(outcome) }))
    }

    async fn check_sender(
        &self,
        request: Request<metadata::CheckSenderRequest>,
    ) -> Result<Response<metadata::CheckSenderResponse>, Status> {
        self.called("check_sender", &request)?;
        let metadata::CheckSenderRequest { email, sender } = request.into_inner();
        Ok(Response::new(metadata::CheckSenderResponse { allowed: email == sender }))
    }
}

#[tonic::async_trait]
impl metadata::delivery_service_server::DeliveryService for Services {
    async fn deliver(
        &self,
        request: Request<metadata::DeliverRequest>,
    ) -> Result<Response<metadata::DeliverResponse>, Status> {
        self.called("deliver", &request)?;
        let request = request.into_inner();
        let delivered = u32::try_from(request.mailboxes.len()).unwrap();
        self.state().delivered.push(request);
        Ok(Response::new(metadata::DeliverResponse { delivered, queued: 0 }))
    }
}

#[tonic::async_trait]
impl blob::blob_service_server::BlobService for Services {
    type ReadStream = std::pin::Pin<
        Box<dyn tonic::codegen::tokio_stream::Stream<Item = Result<blob::ReadResponse, Status>> + Send>,
    >;

    async fn store(
        &self,
        request: Request<Streaming<blob::StoreRequest>>,
    ) -> Result<Response<blob::StoreResponse>, Status> {
        self.called("store", &request)?;
        // In a task of its own: a call that is reset drops its handler.
        let services = self.clone();
        let taken = tokio::spawn(async move {
            let taken = Self::take(request.into_inner()).await;
            services.state().given_up += usize::from(taken.is_none());
            services.uploads_ended.notify_one();
            taken
        });
        let Some((stored, size_bytes)) = taken.await.unwrap() else {
            return Err(Status::cancelled("given up"));
        };
        if stored.octets.len() as u64 != size_bytes {
            return Err(Failure::Invalid("another size".to_owned()).into());
        }
        self.fails("store at the end")?;
        let location = location(&stored);
        self.state().stored.push(stored);
        Ok(Response::new(blob::StoreResponse { location: Some(location) }))
    }

    async fn read(&self, _: Request<blob::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Err(Status::unimplemented("not for SMTP"))
    }

    async fn delete_segments(
        &self,
        _: Request<blob::DeleteSegmentsRequest>,
    ) -> Result<Response<blob::DeleteSegmentsResponse>, Status> {
        Err(Status::unimplemented("not for SMTP"))
    }

    async fn list_segments(
        &self,
        _: Request<blob::ListSegmentsRequest>,
    ) -> Result<Response<blob::ListSegmentsResponse>, Status> {
        Err(Status::unimplemented("not for SMTP"))
    }
}
