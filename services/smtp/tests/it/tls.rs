//! STARTTLS and drain, over the driver.

use std::sync::Arc;

use puro_scripted::Services;
use puro_serve::{
    config::{PlaintextAuth, Settings},
    driver::End,
    tls::CertificateStore,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::client::{Front, ask};

const EHLO: &str = "EHLO client.example\r\n";

/// A certificate made for the test, and a client that trusts it.
fn certificate() -> (CertificateStore, TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.general.data_dir = folder.path().to_owned();
    settings.general.hostname = "mail.example".to_owned();
    let store = CertificateStore::open(&settings).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(store.certificate_path()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (store, TlsConnector::from(Arc::new(config)))
}

#[tokio::test]
async fn starttls_login_and_a_message() {
    let services = Services::default();
    let front = Front::with("smtp.submission_listen", &services, PlaintextAuth::Never, true);
    let (certificates, connector) = certificate();
    let (mut stream, session) = front.connect_with(Some(certificates.acceptor()));
    let plain = ask(&mut stream, EHLO, "250 ").await;
    assert!(plain.contains("250 STARTTLS\r\n") && !plain.contains("AUTH"), "{plain}");
    ask(&mut stream, "STARTTLS\r\n", "220 ").await;
    let mut stream = connector.connect(ServerName::try_from("mail.example").unwrap(), stream).await.unwrap();
    let secure = ask(&mut stream, EHLO, "250 ").await;
    assert!(secure.ends_with("250 AUTH PLAIN LOGIN\r\n") && !secure.contains("STARTTLS"), "{secure}");
    ask(&mut stream, "AUTH PLAIN AG1lAHNlY3JldA==\r\n", "235 ").await;
    let envelope = "MAIL FROM:<me@local.example>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\n";
    ask(&mut stream, envelope, "354 ").await;
    ask(&mut stream, "A: 1\r\n\r\nx\r\n.\r\n", "250 ").await;
    ask(&mut stream, "QUIT\r\n", "221 ").await;
    drop(stream);
    assert_eq!(session.await.unwrap(), End::Closed);
    let stored = String::from_utf8(services.state().stored[0].octets.clone()).unwrap();
    assert!(stored.contains("\r\n\tby mail.example with ESMTPSA id "), "{stored}");
    assert!(stored.contains("\r\n\tfor <user-a@local.example>\r\n\ttls TLS_AES_"), "{stored}");
}

#[tokio::test]
async fn what_stands_behind_starttls_is_never_obeyed() {
    let services = Services::default();
    let front = Front::with("smtp.listen", &services, PlaintextAuth::Never, true);
    let (certificates, _) = certificate();
    let (mut stream, session) = front.connect_with(Some(certificates.acceptor()));
    let injected = format!("{EHLO}STARTTLS\r\nMAIL FROM:<>\r\n");
    stream.write_all(injected.as_bytes()).await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    assert!(replies.ends_with("421 4.7.0 Commands behind STARTTLS, closing connection\r\n"), "{replies}");
    assert!(!replies.contains("220 2.0.0"), "{replies}");
    drop(stream);
    session.await.unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_the_transaction_in_hand() {
    let services = Services::default();
    let front = Front::new(&services);
    let (mut busy, busy_session) = front.connect();
    let (mut idle, idle_session) = front.connect();
    let envelope = format!("{EHLO}MAIL FROM:<>\r\nRCPT TO:<user-a@local.example>\r\nDATA\r\n");
    ask(&mut busy, &envelope, "354 ").await;
    ask(&mut idle, EHLO, "250 ").await;
    front.drain();
    assert_eq!(ask(&mut idle, "", "421 ").await, "421 4.3.2 Service shutting down, closing connection\r\n");
    drop(idle);
    idle_session.await.unwrap();
    let replies = ask(&mut busy, "x\r\n.\r\n", "421 ").await;
    assert!(replies.starts_with("250 2.0.0 Ok: queued as "), "{replies}");
    drop(busy);
    busy_session.await.unwrap();
    assert_eq!(services.state().delivered.len(), 1);
}
