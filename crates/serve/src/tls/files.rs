//! The certificate's files, and making them.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::TlsError;
use crate::config::Settings;

/// A self-signed certificate is good for ten years.
const VALID: Duration = Duration::from_secs(3650 * 86_400);

/// It is made anew at a start within this time before its end.
const RENEW_BEFORE: Duration = Duration::from_secs(90 * 86_400);

/// A line of ours in front of the certificate (RFC 7468 section 2 allows text there), so that its end can be told
/// without an X.509 parser.
const EXPIRES: &str = "Expires (Unix time): ";

/// A certificate chain and its key.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// What changes when files change.
pub(super) type Stamp = [Option<(SystemTime, u64)>; 2];

impl Files {
    /// The files of the settings, made where they are ours to make.
    pub(super) fn of(settings: &Settings) -> Result<Self, TlsError> {
        if let (Some(cert), Some(key)) = (&settings.tls.cert, &settings.tls.key) {
            return Ok(Self { cert: cert.clone(), key: key.clone() });
        }
        let folder = settings.general.data_dir.join("tls");
        let files = Self { cert: folder.join("self-signed.pem"), key: folder.join("self-signed.key") };
        if files.want_making(SystemTime::now()) {
            files.make(&settings.general.hostname, SystemTime::now())?;
        }
        Ok(files)
    }

    /// Reads and checks both files.
    pub(super) fn load(&self) -> Result<CertifiedKey, TlsError> {
        let content = |path: &Path, what: String| TlsError::Content { path: path.to_owned(), what };
        let chain = CertificateDer::pem_slice_iter(&read(&self.cert)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| content(&self.cert, error.to_string()))?;
        if chain.is_empty() {
            return Err(content(&self.cert, "there is no certificate in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|error| content(&self.key, format!("no private key in it: {error}")))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                content(&self.key, format!("is not the key of {}", self.cert.display()))
            }
            error => content(&self.key, error.to_string()),
        })
    }

    pub(super) fn stamp(&self) -> Stamp {
        [&self.cert, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    fn want_making(&self, now: SystemTime) -> bool {
        let (Ok(cert), true) = (fs::read_to_string(&self.cert), self.key.exists()) else { return true };
        let expires = cert.lines().find_map(|line| line.strip_prefix(EXPIRES)?.trim().parse().ok());
        // Without our line it is not ours: someone put a certificate of his own there.
        expires.is_some_and(|seconds| now + RENEW_BEFORE > UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn make(&self, hostname: &str, now: SystemTime) -> Result<(), TlsError> {
        let fault = |error: rcgen::Error| TlsError::SelfSigned(error.to_string());
        let mut names = vec![hostname.to_owned()];
        names.extend(
            ["localhost", "127.0.0.1", "::1"]
                .iter()
                .filter(|name| **name != hostname)
                .map(|&name| name.to_owned()),
        );
        let mut params = CertificateParams::new(names).map_err(fault)?;
        params.distinguished_name.push(DnType::CommonName, hostname);
        // A day back, for clients whose clock is behind.
        params.not_before = (now - Duration::from_secs(86_400)).into();
        params.not_after = (now + VALID).into();
        let key = KeyPair::generate().map_err(fault)?;
        let cert = params.self_signed(&key).map_err(fault)?;
        let expires = (now + VALID).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let folder = self.cert.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| TlsError::Write { path: folder.to_owned(), source })?;
        // The key first: a certificate without its key would look finished.
        write(&self.key, &key.serialize_pem())?;
        write(&self.cert, &format!("{EXPIRES}{expires}\n{}", cert.pem()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// Writes a file that only its owner can read, whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    let partial = path.with_extension("new");
    let written = || -> io::Result<()> {
        let _ = fs::remove_file(&partial);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    written().map_err(|source| TlsError::Write { path: path.to_owned(), source })
}
