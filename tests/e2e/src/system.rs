//! The whole system, as one process or as four, on either kind of stores.

use std::{
    collections::BTreeMap,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    Ran, Raw, Stores, Tool,
    process::{Process, binary},
    raw::stuffed,
};

/// The name that it tells the world, and a port of its own for each listener.
const LISTENERS: [(&str, &str); 9] = [
    ("PURO_HOSTNAME", "mail.example.test"),
    ("PURO_SMTP_LISTEN", "127.0.0.1:0"),
    ("PURO_SMTP_TLS_LISTEN", "127.0.0.1:0"),
    ("PURO_SMTP_SUBMISSION_LISTEN", "127.0.0.1:0"),
    ("PURO_POP3_LISTEN", "127.0.0.1:0"),
    ("PURO_POP3_TLS_LISTEN", "127.0.0.1:0"),
    ("PURO_METADATA_LISTEN", "127.0.0.1:0"),
    ("PURO_BLOB_LISTEN", "127.0.0.1:0"),
    ("PURO_ADMIN_LISTEN", "127.0.0.1:0"),
];

/// The password of every account that [`System::add_user`] makes.
pub const PASSWORD: &str = "correct horse battery";

/// How many processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `puro serve`.
    Single,
    /// `puro-blob`, `puro-metadata`, `puro-smtp`, `puro-pop3`.
    Four,
}

/// Where the listeners are.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// SMTP with STARTTLS, the MX port.
    pub smtp: SocketAddr,
    /// Submission with implicit TLS.
    pub smtps: SocketAddr,
    /// Submission with STARTTLS.
    pub submission: SocketAddr,
    /// POP3 with STLS.
    pub pop3: SocketAddr,
    /// POP3 with implicit TLS.
    pub pop3s: SocketAddr,
    /// gRPC of the metadata service.
    pub metadata: SocketAddr,
    /// gRPC of the blob service.
    pub blob: SocketAddr,
}

/// A running system with the domain `example.test` and the users `alice@` and `bob@` in it.
#[derive(Debug)]
pub struct System {
    mode: Mode,
    stores: Stores,
    folder: TempDir,
    data: PathBuf,
    environment: BTreeMap<String, String>,
    processes: BTreeMap<&'static str, Process>,
    /// Where the listeners are; the same after a restart.
    pub ports: Ports,
}

impl System {
    /// Starts with the default settings: on embedded stores.
    pub fn start(mode: Mode) -> Self {
        Self::start_on(mode, Stores::Embedded, &[])
    }

    /// Starts on embedded stores, with settings given as environment variables.
    pub fn start_with(mode: Mode, settings: &[(&str, &str)]) -> Self {
        Self::start_on(mode, Stores::Embedded, settings)
    }

    /// Starts on embedded stores in a given folder, which may be a file system of its own.
    pub fn start_in(mode: Mode, settings: &[(&str, &str)], folder: TempDir, data: PathBuf) -> Self {
        Self::start_all_told(mode, Stores::Embedded, settings, folder, data)
    }

    /// Starts on the given stores, with settings that go before those of the stores.
    pub fn start_on(mode: Mode, stores: Stores, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("puro-e2e-").tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        Self::start_all_told(mode, stores, settings, folder, data)
    }

    fn start_all_told(
        mode: Mode,
        stores: Stores,
        settings: &[(&str, &str)],
        folder: TempDir,
        data: PathBuf,
    ) -> Self {
        let mut environment = stores.settings();
        if stores == Stores::Aws {
            init_store(&environment, folder.path());
        }
        for (name, value) in LISTENERS.iter().chain(settings) {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        environment.insert("PURO_DATA_DIR".to_owned(), data.display().to_string());
        let processes = start_all(mode, &mut environment, folder.path());
        let ports = ports(&processes);
        let system = Self { mode, stores, folder, data, environment, processes, ports };
        system.operator(&["domain", "add", "example.test"]).ok();
        system.add_user("alice@example.test");
        system.add_user("bob@example.test");
        system
    }

    /// Runs `puro serve` on a data folder that it is expected to refuse.
    pub fn try_serve(data: &Path) -> Ran {
        Tool::binary("puro")
            .args(["serve"])
            .env("PURO_DATA_DIR", data)
            .env("PURO_SMTP_LISTEN", "127.0.0.1:0")
            .env("PURO_SMTP_TLS_LISTEN", "")
            .env("PURO_SMTP_SUBMISSION_LISTEN", "")
            .env("PURO_POP3_LISTEN", "127.0.0.1:0")
            .env("PURO_POP3_TLS_LISTEN", "")
            .env("PURO_METADATA_LISTEN", "127.0.0.1:0")
            .env("PURO_BLOB_LISTEN", "127.0.0.1:0")
            .env("PURO_ADMIN_LISTEN", "127.0.0.1:0")
            .run()
    }

    /// Returns one process or four.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns which stores it keeps its mail in.
    pub fn stores(&self) -> Stores {
        self.stores
    }

    /// Returns the names of the processes.
    pub fn names(&self) -> Vec<&'static str> {
        self.processes.keys().copied().collect()
    }

    /// Returns the process that runs a service: `puro-smtp` and so on, or the only one.
    pub fn process(&mut self, service: &str) -> &mut Process {
        let name = if self.mode == Mode::Single { "puro" } else { service };
        self.processes.get_mut(name).unwrap_or_else(|| panic!("no process {name}"))
    }

    /// Returns the data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns a folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills one process with SIGKILL and starts it again on the same ports.
    pub fn kill_and_restart(&mut self, name: &'static str) {
        self.processes.get_mut(name).expect("a process").kill();
        self.restart(name);
    }

    /// Starts a process again that has ended.
    pub fn restart(&mut self, name: &'static str) {
        let old = self.processes.remove(name).expect("a process");
        let process = start_one(name, &self.environment, old.ports(), self.folder.path());
        self.processes.insert(name, process);
    }

    /// Ends one process and starts it again with settings that the others do not have.
    pub fn restart_with(&mut self, name: &'static str, settings: &[(&str, &str)]) {
        let mut old = self.processes.remove(name).expect("a process");
        old.kill();
        let mut environment = self.environment.clone();
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let process = start_one(name, &environment, old.ports(), self.folder.path());
        self.processes.insert(name, process);
    }

    /// Makes an account with [`PASSWORD`].
    pub fn add_user(&self, email: &str) {
        self.add_user_with(email, PASSWORD);
    }

    /// Makes an account.
    pub fn add_user_with(&self, email: &str, password: &str) {
        self.operator_with(&["user", "add", email, "--password-stdin"], password).ok();
    }

    /// Runs a command of the operator against the running system.
    pub fn operator(&self, arguments: &[&str]) -> Ran {
        self.operator_with(arguments, "")
    }

    /// Runs a command of the operator with something on its standard input.
    pub fn operator_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = Command::new(binary("puro"))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PURO_METADATA_URL", format!("http://{}", self.ports.metadata))
            .env("PURO_BLOB_URL", format!("http://{}", self.ports.blob))
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("puro starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("puro reads its input");
        Ran::new(format!("puro {}", arguments.join(" ")), &child.wait_with_output().expect("puro ends"))
    }

    /// Connects to the SMTP port and reads the greeting.
    pub fn smtp(&self) -> Raw {
        let mut raw = Raw::connect(self.ports.smtp);
        raw.expect("220 ");
        raw
    }

    /// Connects to the POP3 port and reads the greeting.
    pub fn pop3(&self) -> Raw {
        let mut raw = Raw::connect(self.ports.pop3);
        raw.expect("+OK");
        raw
    }

    /// Connects to the POP3 port and logs in.
    pub fn pop3_as(&self, user: &str) -> Raw {
        self.pop3_with(&format!("{user}@example.test"), PASSWORD)
    }

    /// Connects to the POP3 port and logs in to an account.
    pub fn pop3_with(&self, email: &str, password: &str) -> Raw {
        let mut raw = self.pop3();
        raw.command(&format!("USER {email}"), "+OK");
        raw.command(&format!("PASS {password}"), "+OK");
        raw
    }

    /// Sends a message from outside to one user, and asserts the 250.
    pub fn deliver(&self, to: &str, text: &[u8]) {
        let mut smtp = self.smtp();
        smtp.command("EHLO client.example.net", "250");
        assert!(smtp.send_message("<sender@example.net>", &[to], text).starts_with("250 "));
        smtp.command("QUIT", "221");
    }

    /// Sends a message from outside to one user.
    ///
    /// # Errors
    /// The first reply that is not good.
    pub fn try_deliver(&self, to: &str, text: &[u8]) -> Result<(), String> {
        self.try_deliver_to(&[to], text)
    }

    /// Sends a message from outside to several users in one transaction: to all of them or to none.
    ///
    /// # Errors
    /// The first reply that is not good.
    pub fn try_deliver_to(&self, recipients: &[&str], text: &[u8]) -> Result<(), String> {
        let mut smtp = Raw::try_connect(self.ports.smtp).ok_or("421 not there")?;
        for (command, good) in [("", "220"), ("HELO client.example.net", "250"), ("MAIL FROM:<>", "250")] {
            smtp.ask(command, good)?;
        }
        for recipient in recipients {
            smtp.ask(&format!("RCPT TO:<{recipient}>"), "250")?;
        }
        smtp.ask("DATA", "354")?;
        smtp.try_send(stuffed(text));
        smtp.ask(".", "250").map(drop)
    }

    /// Returns the messages of a user's maildrop, whole, by POP3.
    ///
    /// # Errors
    /// The first answer that is not good.
    pub fn try_fetch(&self, user: &str) -> Result<Vec<Vec<u8>>, String> {
        let mut pop3 = Raw::try_connect(self.ports.pop3).ok_or("-ERR not there")?;
        pop3.ask("", "+OK")?;
        pop3.ask(&format!("USER {user}@example.test"), "+OK")?;
        pop3.ask(&format!("PASS {PASSWORD}"), "+OK")?;
        let stat = pop3.ask("STAT", "+OK")?;
        let count: usize = stat.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("STAT tells a number");
        (1..=count)
            .map(|number| pop3.ask(&format!("RETR {number}"), "+OK").map(|_| pop3.multi_line()))
            .collect()
    }

    /// Returns the messages of a user's maildrop, whole, by POP3.
    pub fn fetch(&self, user: &str) -> Vec<Vec<u8>> {
        self.fetch_with(&format!("{user}@example.test"), PASSWORD)
    }

    /// Returns the messages of an account's maildrop, whole, by POP3.
    pub fn fetch_with(&self, email: &str, password: &str) -> Vec<Vec<u8>> {
        let mut pop3 = self.pop3_with(email, password);
        let stat = pop3.command("STAT", "+OK");
        let count: usize = stat.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("STAT tells a number");
        (1..=count)
            .map(|number| {
                pop3.command(&format!("RETR {number}"), "+OK");
                pop3.multi_line()
            })
            .collect()
    }
}

/// Makes tables and bucket as an operator does, before any process runs.
fn init_store(settings: &BTreeMap<String, String>, folder: &Path) {
    let mut init = Tool::binary("puro").args(["store", "init"]).folder(folder);
    for (name, value) in settings {
        init = init.env(name, value);
    }
    init.run().ok();
}

fn start_all(
    mode: Mode,
    environment: &mut BTreeMap<String, String>,
    folder: &Path,
) -> BTreeMap<&'static str, Process> {
    let none = BTreeMap::new();
    let mut processes = BTreeMap::new();
    match mode {
        Mode::Single => {
            processes.insert("puro", start_one("puro", environment, &none, folder));
        }
        Mode::Four => {
            let blob = start_one("puro-blob", environment, &none, folder);
            environment.insert("PURO_BLOB_URL".to_owned(), format!("http://{}", blob.port("blob")));
            let metadata = start_one("puro-metadata", environment, &none, folder);
            environment
                .insert("PURO_METADATA_URL".to_owned(), format!("http://{}", metadata.port("metadata")));
            processes.insert("puro-blob", blob);
            processes.insert("puro-metadata", metadata);
            for name in ["puro-smtp", "puro-pop3"] {
                processes.insert(name, start_one(name, environment, &none, folder));
            }
        }
    }
    processes
}

/// Starts one process; after a restart the listeners are bound where they were.
fn start_one(
    name: &'static str,
    environment: &BTreeMap<String, String>,
    bound: &BTreeMap<String, SocketAddr>,
    folder: &Path,
) -> Process {
    let mut environment = environment.clone();
    for (key, address) in bound {
        let variable = match key.as_str() {
            "smtp" => "PURO_SMTP_LISTEN",
            "smtps" => "PURO_SMTP_TLS_LISTEN",
            "submission" => "PURO_SMTP_SUBMISSION_LISTEN",
            "pop3" => "PURO_POP3_LISTEN",
            "pop3s" => "PURO_POP3_TLS_LISTEN",
            "metadata" => "PURO_METADATA_LISTEN",
            "blob" => "PURO_BLOB_LISTEN",
            "admin" => "PURO_ADMIN_LISTEN",
            other => panic!("{name} told an unknown port {other}"),
        };
        environment.insert(variable.to_owned(), address.to_string());
    }
    let arguments: &[&str] = if name == "puro" { &["serve"] } else { &[] };
    Process::start(name, arguments, &environment, folder)
}

fn ports(processes: &BTreeMap<&'static str, Process>) -> Ports {
    let of = |service: &str, key: &str| {
        processes.get(service).or_else(|| processes.get("puro")).expect("a process").port(key)
    };
    Ports {
        smtp: of("puro-smtp", "smtp"),
        smtps: of("puro-smtp", "smtps"),
        submission: of("puro-smtp", "submission"),
        pop3: of("puro-pop3", "pop3"),
        pop3s: of("puro-pop3", "pop3s"),
        metadata: of("puro-metadata", "metadata"),
        blob: of("puro-blob", "blob"),
    }
}
