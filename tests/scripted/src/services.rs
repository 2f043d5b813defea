//! The services' state, and how they are reached.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use puro_api::{
    Backend, Deadlines, Failure, Settings, in_process,
    pb::{
        blob::v1::blob_service_server::BlobServiceServer,
        metadata::v1::{
            DeliverRequest, delivery_service_server::DeliveryServiceServer,
            directory_service_server::DirectoryServiceServer, maildrop_service_server::MaildropServiceServer,
        },
    },
    server_builder,
};
use tokio::sync::Notify;
use tonic::{Request, Status};

use crate::{Stored, trace::traceparent};

/// What the services hold, what they were asked, and what a test wants of them.
#[derive(Debug, Default)]
pub struct State {
    /// Whole messages that were stored, in order.
    pub stored: Vec<Stored>,
    /// Uploads that ended without a finish.
    pub given_up: usize,
    /// Each Deliver.
    pub delivered: Vec<DeliverRequest>,
    /// The address and the size of each Resolve.
    pub resolved: Vec<(String, u64)>,
    /// The folder's version.
    pub version: u64,
    /// What is in the maildrop. Numbered, so that an id stays a message's own.
    pub messages: Vec<(u64, Vec<u8>)>,
    /// `known_version` of each List.
    pub listed: Vec<u64>,
    /// Ids of each Remove.
    pub removed: Vec<Vec<String>>,
    /// After this many octets reading ends with this failure.
    pub breaks: Option<(usize, Failure)>,
    failures: HashMap<&'static str, (Failure, Times)>,
    /// Each call and the `traceparent` that it came with.
    calls: Vec<(&'static str, Option<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Once,
    Always,
}

/// A metadata and a blob service. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Services {
    state: Arc<Mutex<State>>,
    uploads_ended: Arc<Notify>,
}

impl Services {
    /// Services with these messages in the maildrop.
    pub fn with(messages: &[&str]) -> Self {
        let services = Self::default();
        {
            let mut state = services.state();
            state.version = 1;
            state.messages = (1..).zip(messages.iter().map(|message| message.as_bytes().to_vec())).collect();
        }
        services
    }

    /// Serves, and returns the way to both services.
    pub fn serve(&self) -> Backend {
        let (connector, incoming) = in_process();
        let server = server_builder()
            .add_service(DirectoryServiceServer::new(self.clone()))
            .add_service(DeliveryServiceServer::new(self.clone()))
            .add_service(MaildropServiceServer::new(self.clone()))
            .add_service(BlobServiceServer::new(self.clone()))
            .serve_with_incoming(incoming);
        drop(tokio::spawn(server));
        let deadlines = Deadlines::all(Duration::from_secs(10));
        Backend::new(connector.into(), Settings { deadlines, ..Settings::default() })
    }

    /// What the services hold.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Has all calls of a method fail: `authenticate`, `resolve`, `check_sender`, `deliver`, `list`, `remove`, `store`,
    /// `store at the end` (all octets were taken) or `read`.
    pub fn fail(&self, method: &'static str, failure: Failure) {
        self.state().failures.insert(method, (failure, Times::Always));
    }

    /// Has the next call of a method fail, and no other.
    pub fn fail_once(&self, method: &'static str, failure: Failure) {
        self.state().failures.insert(method, (failure, Times::Once));
    }

    /// Ends all failures.
    pub fn recover(&self) {
        self.state().failures.clear();
    }

    /// Waits until an upload has been given up.
    pub async fn upload_given_up(&self) {
        while self.state().given_up == 0 {
            self.uploads_ended.notified().await;
        }
    }

    /// The calls in order, each with the number of its trace, counted as they appear; `None`: it has no trace.
    pub fn calls(&self) -> Vec<(&'static str, Option<usize>)> {
        let mut known = Vec::new();
        let mut number = |header: &String| {
            // version-trace-span-flags
            let trace = header.split('-').nth(1).unwrap().to_owned();
            known.iter().position(|one| *one == trace).unwrap_or_else(|| {
                known.push(trace);
                known.len() - 1
            })
        };
        let state = self.state();
        state.calls.iter().map(|(method, header)| (*method, header.as_ref().map(&mut number))).collect()
    }

    /// Notes a call; it may have to fail.
    pub(crate) fn called<T>(&self, method: &'static str, request: &Request<T>) -> Result<(), Status> {
        self.state().calls.push((method, traceparent(request)));
        self.fails(method)
    }

    /// Fails as the test wants.
    pub(crate) fn fails(&self, method: &'static str) -> Result<(), Status> {
        let mut state = self.state();
        let Some((failure, times)) = state.failures.get(method).cloned() else { return Ok(()) };
        if times == Times::Once {
            state.failures.remove(method);
        }
        Err(failure.into())
    }

    /// Notes the end of an upload.
    pub(crate) fn upload_ended(&self, is_whole: bool) {
        self.state().given_up += usize::from(!is_whole);
        self.uploads_ended.notify_one();
    }
}
