//! DynamoDB Local, Amazon's own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::free_port;
use super::server::{Server, answers_http};

pub(super) struct DynamoDbLocal {
    server: Server,
    port: u16,
}

impl DynamoDbLocal {
    /// Starts it with everything in memory. It is not ready yet.
    pub(super) fn start(jar: &Path, folder: &Path) -> Result<Self> {
        let home = jar.parent().context("a jar in a folder")?;
        let port = free_port()?;
        let mut java = Command::new("java");
        // The native library is looked for beside the jar.
        java.current_dir(home)
            .args(["-Xmx1g", "-Djava.library.path=./DynamoDBLocal_lib", "-jar"])
            .arg(jar)
            .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()]);
        Ok(Self { server: Server::start("dynamodb-local", &java, folder)?, port })
    }

    pub(super) fn wait_until_ready(&mut self) -> Result<()> {
        let port = self.port;
        self.server.wait_until(Duration::from_secs(60), || answers_http(port))
    }

    /// Fails when it has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        self.server.check()
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
