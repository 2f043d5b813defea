//! What is logged.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use tracing::subscriber::DefaultGuard;

/// The log of this thread as JSON lines, from debug on.
#[derive(Debug)]
pub struct Log {
    octets: Octets,
    _guard: DefaultGuard,
}

#[derive(Debug, Clone, Default)]
struct Octets(Arc<Mutex<Vec<u8>>>);

impl Write for Octets {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Keeps what this thread logs, until it is dropped.
    #[must_use]
    pub fn begin() -> Self {
        let octets = Octets::default();
        let writer = octets.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        Self { octets, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Returns the lines that hold this.
    pub fn lines(&self, part: &str) -> Vec<String> {
        let log = String::from_utf8(self.octets.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}
