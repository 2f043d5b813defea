use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;

fn settings(folder: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.general.data_dir = folder.to_owned();
    settings.general.hostname = "mail.example".to_owned();
    settings
}

fn in_use(store: &CertificateStore) -> Vec<u8> {
    store.resolver.0.load().cert[0].to_vec()
}

/// A certificate and key of somebody else, as files.
fn write_pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let paths = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&paths.0, cert.pem()).unwrap();
    fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

#[test]
fn the_first_start_makes_a_certificate_and_the_second_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = CertificateStore::open(&settings(folder.path())).unwrap();
    for (name, mode) in [("tls", 0o700), ("tls/self-signed.key", 0o600), ("tls/self-signed.pem", 0o600)] {
        let metadata = fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
    let second = CertificateStore::open(&settings(folder.path())).unwrap();
    assert_eq!(in_use(&first), in_use(&second));
}

#[test]
fn the_certificate_is_for_every_name_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let store = CertificateStore::open(&settings(folder.path())).unwrap();
    let cert = in_use(&store);
    let cert = rustls_pki_types::CertificateDer::from(cert);
    let parsed = rustls::server::ParsedCertificate::try_from(&cert).unwrap();
    for name in ["mail.example", "localhost", "127.0.0.1", "::1"] {
        let name = rustls_pki_types::ServerName::try_from(name).unwrap();
        rustls::client::verify_server_name(&parsed, &name).unwrap();
    }
}

#[test]
fn a_self_signed_certificate_near_its_end_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let first = CertificateStore::open(&settings(folder.path())).unwrap();
    let path = first.certificate_path().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().next().unwrap();
    assert!(line.starts_with("Expires"), "{line}");
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 86_400;
    fs::write(&path, text.replace(line, &format!("Expires (Unix time): {soon}"))).unwrap();
    let renewed = CertificateStore::open(&settings(folder.path())).unwrap();
    assert_ne!(in_use(&first), in_use(&renewed));
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    let (cert, key) = write_pair(folder.path(), "a.example");
    let error = |settings: &Settings| CertificateStore::open(settings).map(|_| ()).unwrap_err().to_string();

    settings.tls.cert = Some(folder.path().join("absent.pem"));
    settings.tls.key = Some(key.clone());
    assert!(error(&settings).contains("absent.pem: cannot be read"));

    settings.tls.cert = Some(cert.clone());
    fs::write(&key, "not a key").unwrap();
    assert!(error(&settings).contains("key.pem: no private key in it"));

    let other = rcgen::KeyPair::generate().unwrap();
    fs::write(&key, other.serialize_pem()).unwrap();
    let text = error(&settings);
    assert!(text.contains("key.pem: is not the key of") && text.contains("cert.pem"), "{text}");

    fs::write(&cert, "").unwrap();
    assert!(error(&settings).contains("cert.pem: there is no certificate in it"));
}

#[tokio::test(start_paused = true)]
async fn changed_files_are_reread_and_bad_ones_leave_the_last_good() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    let (cert, key) = write_pair(folder.path(), "a.example");
    (settings.tls.cert, settings.tls.key) = (Some(cert.clone()), Some(key));
    let store = Arc::new(CertificateStore::open(&settings).unwrap());
    let first = in_use(&store);
    let stop = CancellationToken::new();
    let (watched, token) = (store.clone(), stop.clone());
    let task = tokio::spawn(async move { watched.watch(WATCH_EVERY, &token).await });
    // The watcher takes its first look.
    tokio::task::yield_now().await;

    fs::write(&cert, "half written").unwrap();
    tokio::time::sleep(3 * WATCH_EVERY).await;
    assert_eq!(in_use(&store), first, "the last good one stays");

    write_pair(folder.path(), "a-much-longer-name.example");
    tokio::time::sleep(2 * WATCH_EVERY).await;
    assert_ne!(in_use(&store), first, "the new one is in use");
    stop.cancel();
    task.await.unwrap();
}
