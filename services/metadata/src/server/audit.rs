//! AuditService.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use puro_api::{
    model::AuditEvent,
    pb::metadata::v1::{AuditRequest, AuditResponse, audit_service_server::AuditService},
};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

use super::{Server, refuse};
use crate::MetadataError;

/// Events that wait for a slow reader; then the audit waits.
const WAITING: usize = 64;

/// An audit at work. Dropping it ends the audit.
pub(super) struct Audit {
    events: mpsc::Receiver<AuditEvent>,
    work: Option<AbortOnDropHandle<Result<(), MetadataError>>>,
}

#[tonic::async_trait]
impl AuditService for Server {
    type AuditStream = Audit;

    async fn audit(&self, request: Request<AuditRequest>) -> Result<Response<Audit>, Status> {
        let repair = request.into_inner().repair;
        let (sender, events) = mpsc::channel(WAITING);
        let metadata = Arc::clone(&self.0);
        let work = tokio::spawn(async move { metadata.audit(repair, sender).await });
        Ok(Response::new(Audit { events, work: Some(AbortOnDropHandle::new(work)) }))
    }
}

impl Stream for Audit {
    type Item = Result<AuditResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.events.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(event)) => return Poll::Ready(Some(Ok(event.into()))),
            Poll::Ready(None) => {}
        }
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        let Poll::Ready(outcome) = Pin::new(work).poll(context) else { return Poll::Pending };
        self.work = None;
        Poll::Ready(ended(outcome).err().map(Err))
    }
}

fn ended(outcome: Result<Result<(), MetadataError>, tokio::task::JoinError>) -> Result<(), Status> {
    match outcome {
        Ok(result) => result.map_err(refuse),
        Err(error) => Err(refuse(MetadataError::Internal(format!("the audit broke off: {error}")))),
    }
}
