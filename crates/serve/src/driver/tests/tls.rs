//! STARTTLS, with a real handshake.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{config::Settings, tls::CertificateStore};

fn store(folder: &std::path::Path) -> CertificateStore {
    let mut settings = Settings::default();
    settings.general.data_dir = folder.to_owned();
    settings.general.hostname = "mail.example".to_owned();
    CertificateStore::open(&settings).unwrap()
}

fn connector(store: &CertificateStore) -> TlsConnector {
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(store.certificate_path()).unwrap();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[tokio::test(start_paused = true)]
async fn starttls_goes_on_inside_tls() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let (client, server) = duplex(16 * 1024);
    let mut rig = rig_with(client, server, Some(store.acceptor()));
    rig.send("ECHO clear\r\nTLS\r\n").await;
    rig.expect("clear\r\ngo\r\n").await;
    let name = ServerName::try_from("mail.example").unwrap();
    let mut inside = connector(&store).connect(name, rig.client).await.unwrap();
    inside.write_all(b"ECHO inside\r\nASK b\r\nQUIT\r\n").await.unwrap();
    let mut all = String::new();
    // An end without close_notify would be an error here.
    inside.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "secure TLSv1.3\r\ninside\r\nanswer b\r\nbye\r\n");
    drop(inside);
    assert_eq!(rig.server.await.unwrap(), End::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_bulk_is_acknowledged_below_tls() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let (client, server) = duplex(16 * 1024);
    let counts = Counts::default();
    let mut rig = rig_with(client, Counting(server, counts.clone()), Some(store.acceptor()));
    rig.send("TLS\r\n").await;
    rig.expect("go\r\n").await;
    let name = ServerName::try_from("mail.example").unwrap();
    let mut inside = connector(&store).connect(name, rig.client).await.unwrap();
    inside.write_all(b"BODY 2\r\n").await.unwrap();
    let mut all = vec![0; b"secure TLSv1.3\r\n".len()];
    inside.read_exact(&mut all).await.unwrap();
    assert_eq!(counts.acknowledged.load(Ordering::Relaxed), 0);
    inside.write_all(b"12QUIT\r\n").await.unwrap();
    inside.read_to_end(&mut all).await.unwrap();
    assert!(all.ends_with(b"body taken\r\nbye\r\n"));
    assert_eq!(counts.acknowledged.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn octets_behind_starttls_end_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for injected in ["ECHO injected\r\n", "E"] {
        let (client, server) = duplex(16 * 1024);
        let mut rig = rig_with(client, server, Some(store.acceptor()));
        rig.send(&format!("TLS\r\n{injected}")).await;
        assert_eq!(rig.rest().await, "go\r\n", "nothing is said after it, in clear or inside TLS");
        drop(rig.client);
        assert_eq!(rig.server.await.unwrap(), End::Injection);
        assert_eq!(rig.log.asked(), ["closed: octets behind STARTTLS"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_fails_or_stalls_ends_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for (after, time) in [("ECHO not a handshake\r\n", Duration::ZERO), ("", Limits::default().handshake)] {
        let (client, server) = duplex(16 * 1024);
        let mut rig = rig_with(client, server, Some(store.acceptor()));
        rig.send("TLS\r\n").await;
        rig.expect("go\r\n").await;
        let begin = Instant::now();
        rig.send(after).await;
        assert_eq!(rig.server.await.unwrap(), End::TlsFailed);
        assert_eq!(begin.elapsed(), time);
    }
}

#[tokio::test(start_paused = true)]
async fn implicit_tls_tells_version_cipher_and_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let (client, server) = duplex(16 * 1024);
    let acceptor = store.acceptor();
    let accepted = tokio::spawn(async move {
        Stream::accept(server, &acceptor, Duration::from_secs(5)).await.map(|(_, tls)| tls)
    });
    let name = ServerName::try_from("localhost").unwrap();
    let _inside = connector(&store).connect(name, client).await.unwrap();
    let tls = accepted.await.unwrap().unwrap();
    assert_eq!(tls.version, "TLSv1.3");
    assert!(tls.cipher.starts_with("TLS13_AES"), "{}", tls.cipher);
    assert_eq!(tls.server_name.as_deref(), Some("localhost"));
}

#[tokio::test(start_paused = true)]
async fn the_second_connection_of_a_client_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let connector = connector(&store);
    for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let (client, server) = duplex(16 * 1024);
        let mut rig = rig_with(client, server, Some(store.acceptor()));
        rig.send("TLS\r\n").await;
        rig.expect("go\r\n").await;
        let name = ServerName::try_from("localhost").unwrap();
        let mut inside = connector.connect(name, rig.client).await.unwrap();
        inside.write_all(b"QUIT\r\n").await.unwrap();
        // The ticket comes with the first octets.
        inside.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(inside.get_ref().1.handshake_kind(), Some(expected));
    }
}
