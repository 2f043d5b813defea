//! DirectoryService.

use puro_api::pb::metadata::v1::{
    AuthenticateRequest, AuthenticateResponse, CheckSenderRequest, CheckSenderResponse, ResolveRequest,
    ResolveResponse, directory_service_server::DirectoryService,
};
use tonic::{Request, Response, Status};

use super::{Server, refuse};

#[tonic::async_trait]
impl DirectoryService for Server {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let AuthenticateRequest { login, password } = request.into_inner();
        let account = self.0.authenticate(&login, &password.into()).await.map_err(refuse)?;
        Ok(Response::new(account.into()))
    }

    async fn resolve(&self, request: Request<ResolveRequest>) -> Result<Response<ResolveResponse>, Status> {
        let ResolveRequest { address, size_bytes } = request.into_inner();
        let resolution = self.0.resolve(&address, size_bytes).await.map_err(refuse)?;
        Ok(Response::new(resolution.into()))
    }

    async fn check_sender(
        &self,
        request: Request<CheckSenderRequest>,
    ) -> Result<Response<CheckSenderResponse>, Status> {
        let CheckSenderRequest { email, sender } = request.into_inner();
        let allowed = self.0.check_sender(&email, &sender).await.map_err(refuse)?;
        Ok(Response::new(CheckSenderResponse { allowed }))
    }
}
