//! Where listeners are bound, told by a file: with port 0 a script or a test learns the ports in no other way.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::SocketAddr,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// The environment variable that names the file.
pub const PORTS_FILE: &str = "PURO_PORTS_FILE";

/// The listeners bound so far.
#[derive(Debug, Default)]
pub(super) struct Ports(Mutex<BTreeMap<&'static str, SocketAddr>>);

impl Ports {
    /// Notes a listener by its setting's path.
    pub(super) fn note(&self, key: &'static str, address: SocketAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(service_name(key), address);
    }

    /// Where a listener is bound, by its name in the file.
    pub(super) fn address(&self, name: &str) -> Option<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Writes the listeners as a JSON object, `{"smtp":"127.0.0.1:12365",…}`; a reader sees all of it or nothing.
    ///
    /// # Errors
    /// The file could not be written.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = String::from("{");
        for (name, address) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let comma = if text.len() > 1 { "," } else { "" };
            // Names and addresses hold nothing that JSON would escape.
            let _ = write!(text, "{comma}\"{name}\":\"{address}\"");
        }
        text.push_str("}\n");
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        std::fs::write(&temporary, text)?;
        std::fs::rename(&temporary, path)
    }
}

/// The name that scripts know: `smtp.tls_listen` is `smtps`.
fn service_name(key: &'static str) -> &'static str {
    match key {
        "smtp.listen" => "smtp",
        "smtp.tls_listen" => "smtps",
        "smtp.submission_listen" => "submission",
        "pop3.listen" => "pop3",
        "pop3.tls_listen" => "pop3s",
        "metadata.listen" => "metadata",
        "blob.listen" => "blob",
        "admin.listen" => "admin",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ports.json");
        let ports = Ports::default();
        ports.note("smtp.tls_listen", ([127, 0, 0, 1], 465).into());
        ports.note("admin.listen", ([127, 0, 0, 1], 80).into());
        ports.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"admin\":\"127.0.0.1:80\",\"smtps\":\"127.0.0.1:465\"}\n");
    }
}
