//! AdminService.

use puro_api::{
    Failure, model,
    pb::metadata::v1::{
        AddAliasRequest, AddAliasResponse, AddDomainRequest, AddDomainResponse, AddUserRequest,
        AddUserResponse, Alias, CheckRequest, CheckResponse, GetConfigRequest, GetConfigResponse,
        GetUserRequest, GetUserResponse, ListAliasesRequest, ListAliasesResponse, ListDomainsRequest,
        ListDomainsResponse, ListUsersRequest, ListUsersResponse, RemoveAliasRequest, RemoveAliasResponse,
        RemoveDomainRequest, RemoveDomainResponse, RemoveUserRequest, RemoveUserResponse, SetConfigRequest,
        SetConfigResponse, SetPasswordRequest, SetPasswordResponse, SetUserStatusRequest,
        SetUserStatusResponse, admin_service_server::AdminService,
    },
};
use tonic::{Request, Response, Status};

use super::{Server, parse, refuse};

/// What a call answers.
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AdminService for Server {
    async fn add_domain(&self, request: Request<AddDomainRequest>) -> Answer<AddDomainResponse> {
        let domain = model::Domain::try_from(request.into_inner())?;
        self.0.add_domain(&domain).await.map_err(refuse)?;
        Ok(Response::new(AddDomainResponse {}))
    }

    async fn list_domains(&self, _: Request<ListDomainsRequest>) -> Answer<ListDomainsResponse> {
        let domains = self.0.list_domains().await.map_err(refuse)?;
        Ok(Response::new(ListDomainsResponse { domains: domains.into_iter().map(Into::into).collect() }))
    }

    async fn remove_domain(&self, request: Request<RemoveDomainRequest>) -> Answer<RemoveDomainResponse> {
        let name = parse("name", &request.into_inner().name)?;
        self.0.remove_domain(&name).await.map_err(refuse)?;
        Ok(Response::new(RemoveDomainResponse {}))
    }

    async fn add_user(&self, request: Request<AddUserRequest>) -> Answer<AddUserResponse> {
        let user = model::NewUser::try_from(request.into_inner())?;
        let user = self.0.add_user(&user).await.map_err(refuse)?;
        Ok(Response::new(AddUserResponse { user: Some(user.into()) }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Answer<ListUsersResponse> {
        let ListUsersRequest { page_token, page_size } = request.into_inner();
        let (users, next) = self.0.list_users(&page_token, page_size).await.map_err(refuse)?;
        Ok(Response::new(ListUsersResponse {
            users: users.into_iter().map(Into::into).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Answer<GetUserResponse> {
        let email = parse("email", &request.into_inner().email)?;
        let user = self.0.user(&email).await.map_err(refuse)?;
        Ok(Response::new(GetUserResponse { user: Some(user.into()) }))
    }

    async fn set_password(&self, request: Request<SetPasswordRequest>) -> Answer<SetPasswordResponse> {
        let SetPasswordRequest { email, password } = request.into_inner();
        let email = parse("email", &email)?;
        self.0.set_password(&email, &password.into()).await.map_err(refuse)?;
        Ok(Response::new(SetPasswordResponse {}))
    }

    async fn set_user_status(&self, request: Request<SetUserStatusRequest>) -> Answer<SetUserStatusResponse> {
        let request = request.into_inner();
        let status = model::UserStatus::try_from(request.status())?;
        let email = parse("email", &request.email)?;
        self.0.set_user_status(&email, status).await.map_err(refuse)?;
        Ok(Response::new(SetUserStatusResponse {}))
    }

    async fn remove_user(&self, request: Request<RemoveUserRequest>) -> Answer<RemoveUserResponse> {
        let email = parse("email", &request.into_inner().email)?;
        self.0.remove_user(&email).await.map_err(refuse)?;
        Ok(Response::new(RemoveUserResponse {}))
    }

    async fn add_alias(&self, request: Request<AddAliasRequest>) -> Answer<AddAliasResponse> {
        let AddAliasRequest { email, targets } = request.into_inner();
        let alias = model::Alias::try_from(Alias { email, targets })?;
        let alias = self.0.add_alias(&alias).await.map_err(refuse)?;
        Ok(Response::new(AddAliasResponse { alias: Some(alias.into()) }))
    }

    async fn list_aliases(&self, request: Request<ListAliasesRequest>) -> Answer<ListAliasesResponse> {
        let ListAliasesRequest { page_token, page_size } = request.into_inner();
        let (aliases, next) = self.0.list_aliases(&page_token, page_size).await.map_err(refuse)?;
        Ok(Response::new(ListAliasesResponse {
            aliases: aliases.into_iter().map(Into::into).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn remove_alias(&self, request: Request<RemoveAliasRequest>) -> Answer<RemoveAliasResponse> {
        let RemoveAliasRequest { email, targets } = request.into_inner();
        let alias = model::Alias::try_from(Alias { email, targets })?;
        self.0.remove_alias(&alias).await.map_err(refuse)?;
        Ok(Response::new(RemoveAliasResponse {}))
    }

    async fn get_config(&self, request: Request<GetConfigRequest>) -> Answer<GetConfigResponse> {
        let entries = self.0.config(&request.into_inner().name).await.map_err(refuse)?;
        Ok(Response::new(GetConfigResponse { entries: entries.into_iter().map(Into::into).collect() }))
    }

    async fn set_config(&self, request: Request<SetConfigRequest>) -> Answer<SetConfigResponse> {
        let entry = request.into_inner().entry;
        let entry = entry.ok_or_else(|| Failure::Invalid("entry: missing".to_owned()))?;
        self.0.set_config(&entry.into()).await.map_err(refuse)?;
        Ok(Response::new(SetConfigResponse {}))
    }

    async fn check(&self, _: Request<CheckRequest>) -> Answer<CheckResponse> {
        Ok(Response::new(self.0.check().await.map_err(refuse)?.into()))
    }
}
