//! Metadata and blob service for one test, and the program.

use std::{net::Ipv4Addr, process::Stdio, sync::Arc, time::Duration};

use puro_api::{
    AdminClient, Backend, BlobClient, DeliveryClient, DirectoryClient, MaildropClient, Settings,
    model::{Delivery, Listing, Owners},
};
use puro_blob::{BlobConfig, Blobs};
use puro_metadata::{BlobSegments, Metadata, MetadataConfig, SystemClock, SystemRandom};
use puro_types::TransactionId;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpListener, process::Command};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{service::Routes, transport::Server};

/// The system under test. It ends with the test's runtime.
pub(crate) struct System {
    pub(crate) metadata_url: String,
    pub(crate) blob_url: String,
    pub(crate) folder: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) talk: String,
}

impl Ended {
    /// Insists on success; returns the data.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Insists on success; returns the data as JSON.
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// Insists on this exit code, no data, and talk that has these words.
    pub(crate) fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        assert!(words.iter().all(|word| self.talk.contains(word)), "{words:?} in {self:?}");
    }
}

impl System {
    pub(crate) async fn start() -> Self {
        let segments = Arc::new(puro_blob::store::MemoryStore::new());
        let blob = puro_blob::routes(Blobs::new(segments, BlobConfig::default()));
        let blob_url = serve(blob).await;
        let store = Arc::new(puro_metadata::store::memory::MemoryStore::new());
        let segments = BlobSegments::new(BlobClient::new(backend(&blob_url)));
        // What nobody owns is an orphan at once, and nobody waits for anything.
        let config = MetadataConfig {
            orphan_age: Duration::ZERO,
            audit_pause: Duration::from_millis(10),
            ..MetadataConfig::default()
        };
        let metadata =
            Metadata::new(store, Arc::new(segments), Arc::new(SystemClock), Arc::new(SystemRandom), config);
        let metadata = puro_metadata::routes(Arc::new(metadata.unwrap()));
        Self { metadata_url: serve(metadata).await, blob_url, folder: tempfile::tempdir().unwrap() }
    }

    /// A system with a domain and an account.
    pub(crate) async fn with_account(email: &str) -> Self {
        let system = Self::start().await;
        let domain = email.split_once('@').unwrap().1;
        system.run(&format!("domain add {domain}")).await.done();
        system.run_with(&format!("user add {email} --password-stdin"), "secret\n").await.done();
        system
    }

    /// Runs a command whose words have no spaces.
    pub(crate) async fn run(&self, line: &str) -> Ended {
        self.run_with(line, "").await
    }

    /// Runs a command with this on standard input.
    pub(crate) async fn run_with(&self, line: &str, input: &str) -> Ended {
        let mut child = self.command(line).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read its input may be gone before it is written.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        Ended {
            code: output.status.code().expect("an exit code, no signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            talk: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The program in a folder and an environment of its own.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_puro"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("PURO_METADATA_URL", &self.metadata_url)
            .env("PURO_BLOB_URL", &self.blob_url)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) fn admin(&self) -> AdminClient {
        AdminClient::new(backend(&self.metadata_url))
    }

    pub(crate) fn blob(&self) -> BlobClient {
        BlobClient::new(backend(&self.blob_url))
    }

    /// Says whether these credentials are good.
    pub(crate) async fn logs_in(&self, login: &str, password: &str) -> bool {
        let directory = DirectoryClient::new(backend(&self.metadata_url));
        directory.authenticate(login, &password.to_owned().into()).await.unwrap().is_some()
    }

    /// Removes the first message of a mailbox as the POP3 service does.
    pub(crate) async fn delete_first(&self, email: &str) {
        let user = self.admin().user(&email.parse().unwrap()).await.unwrap();
        let maildrop = MaildropClient::new(backend(&self.metadata_url));
        let Listing::Current { messages, .. } = maildrop.list(&user.mailbox, 0).await.unwrap() else {
            panic!("unchanged")
        };
        assert_eq!(maildrop.remove(&user.mailbox, &messages[..1]).await.unwrap(), 1);
    }

    /// Puts a message into a mailbox as the SMTP service does; returns the segment that it is in.
    pub(crate) async fn deliver(&self, email: &str, accepted_ms: u64, message: &str) -> String {
        let user = self.admin().user(&email.parse().unwrap()).await.unwrap();
        let transaction = TransactionId::new(accepted_ms, [7; 11]);
        let mut stream = self.blob().store(&transaction);
        stream.send(message.to_owned().into()).await.unwrap();
        let owners = Owners::of_delivery(&transaction, accepted_ms, [&user.mailbox]);
        let location = stream.finish_for(&owners, message.len() as u64).await.unwrap();
        let segment = location.object_name.clone();
        let delivery = Delivery { transaction, accepted_ms, mailboxes: vec![user.mailbox], location };
        let client = DeliveryClient::new(backend(&self.metadata_url));
        assert_eq!(client.deliver(delivery).await.unwrap().delivered, 1);
        segment
    }
}

pub(crate) fn backend(url: &str) -> Backend {
    Backend::new(url.parse().unwrap(), Settings::default())
}

pub(crate) async fn serve(routes: Routes) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder().add_routes(routes).serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    url
}
