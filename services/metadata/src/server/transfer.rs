//! TransferService.

use puro_api::{
    Failure,
    model::{self, placed},
    pb::metadata::v1::{
        ListAccountsRequest, ListAccountsResponse, ListStoredRequest, ListStoredResponse, MailState,
        MessageOutcome, OpenAccountRequest, OpenAccountResponse, PutAccountRequest, PutAccountResponse,
        PutAliasRequest, PutAliasResponse, PutDomainRequest, PutDomainResponse, PutMessagesRequest,
        PutMessagesResponse, Written, transfer_service_server::TransferService,
    },
};
use tonic::{Request, Response, Status};

use super::{Server, parse, refuse};

/// What a call answers.
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl TransferService for Server {
    async fn list_accounts(&self, request: Request<ListAccountsRequest>) -> Answer<ListAccountsResponse> {
        let ListAccountsRequest { page_token, page_size, email } = request.into_inner();
        let (accounts, next) = match email.as_str() {
            "" => self.0.list_account_records(&page_token, page_size).await.map_err(refuse)?,
            email => (vec![self.0.account_record(&parse("email", email)?).await.map_err(refuse)?], None),
        };
        Ok(Response::new(ListAccountsResponse {
            accounts: accounts.into_iter().map(Into::into).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn list_stored(&self, request: Request<ListStoredRequest>) -> Answer<ListStoredResponse> {
        let ListStoredRequest { mailbox, after, until, page_size } = request.into_inner();
        let mailbox = parse("mailbox", &mailbox)?;
        let until = if until.is_empty() { None } else { Some(parse("until", &until)?) };
        let (messages, next) =
            self.0.list_stored(&mailbox, &after, until.as_ref(), page_size).await.map_err(refuse)?;
        Ok(Response::new(ListStoredResponse {
            messages: messages.into_iter().map(Into::into).collect(),
            next: next.unwrap_or_default(),
        }))
    }

    async fn put_domain(&self, request: Request<PutDomainRequest>) -> Answer<PutDomainResponse> {
        let PutDomainRequest { domain, overwrite } = request.into_inner();
        let domain = model::Domain::try_from(required("domain", domain)?)?;
        let written = self.0.put_domain(&domain, overwrite).await.map_err(refuse)?;
        Ok(Response::new(PutDomainResponse { written: Written::from(written).into() }))
    }

    async fn put_alias(&self, request: Request<PutAliasRequest>) -> Answer<PutAliasResponse> {
        let PutAliasRequest { alias, overwrite } = request.into_inner();
        let alias = model::Alias::try_from(required("alias", alias)?)?;
        let written = self.0.put_alias(&alias, overwrite).await.map_err(refuse)?;
        Ok(Response::new(PutAliasResponse { written: Written::from(written).into() }))
    }

    async fn put_account(&self, request: Request<PutAccountRequest>) -> Answer<PutAccountResponse> {
        let PutAccountRequest { account, import_id, overwrite } = request.into_inner();
        let account = model::AccountRecord::try_from(required("account", account)?)?;
        let put = self.0.put_account_record(&account, &import_id, overwrite).await.map_err(refuse)?;
        Ok(Response::new(PutAccountResponse {
            written: Written::from(put.written).into(),
            mail: MailState::from(put.mail).into(),
        }))
    }

    async fn put_messages(&self, request: Request<PutMessagesRequest>) -> Answer<PutMessagesResponse> {
        let PutMessagesRequest { mailbox, messages, undelete } = request.into_inner();
        let mailbox = parse("mailbox", &mailbox)?;
        let messages = placed(messages)?;
        let outcomes = self.0.put_messages(&mailbox, messages, undelete).await.map_err(refuse)?;
        let outcomes = outcomes.into_iter().map(|outcome| MessageOutcome::from(outcome).into()).collect();
        Ok(Response::new(PutMessagesResponse { outcomes }))
    }

    async fn open_account(&self, request: Request<OpenAccountRequest>) -> Answer<OpenAccountResponse> {
        let request = request.into_inner();
        let status = model::UserStatus::try_from(request.status())?;
        let email = parse("email", &request.email)?;
        let mailbox = parse("mailbox", &request.mailbox)?;
        self.0.open_account(&email, &mailbox, &request.import_id, status).await.map_err(refuse)?;
        Ok(Response::new(OpenAccountResponse {}))
    }
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Status> {
    value.ok_or_else(|| Failure::Invalid(format!("{field}: missing")).into())
}
