//! One server process: its life, its log, the ports it tells.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ports: BTreeMap<String, SocketAddr>,
}

impl Process {
    /// Starts a binary with this environment and waits until it has told its ports.
    pub fn start(
        name: &str,
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
        folder: &Path,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        let ports_file = folder.join(format!("{name}.ports.json"));
        let _ = fs::remove_file(&ports_file);
        let out = File::options().create(true).append(true).open(&log).expect("log file");
        let child = command(name, environment)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(environment)
            .env("PURO_PORTS_FILE", &ports_file)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("log file"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let mut process = Self { name: name.to_owned(), child, log, ports: BTreeMap::new() };
        wait_until(&format!("{name} tells its ports"), || {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("{name} ended at once ({status}):\n{}", process.log());
            }
            let text = fs::read_to_string(&ports_file).ok()?;
            let ports: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
            process.ports =
                ports.into_iter().map(|(key, at)| (key, at.parse().expect("an address"))).collect();
            Some(())
        });
        process
    }

    /// Returns where the listener of this name is bound.
    pub fn port(&self, key: &str) -> SocketAddr {
        *self.ports.get(key).unwrap_or_else(|| panic!("{} told no port {key}: {:?}", self.name, self.ports))
    }

    /// Returns all listeners it told.
    pub fn ports(&self) -> &BTreeMap<String, SocketAddr> {
        &self.ports
    }

    /// Returns all that it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("a living process");
    }

    /// Waits for its end; returns the exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        let name = self.name.clone();
        let child = &mut self.child;
        wait_until(&format!("{name} ends"), || child.try_wait().expect("a child")).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the last lines of {}", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// The variable by which a test gives a process a hard limit of open files.
pub const OPEN_FILES: &str = "PURO_TEST_OPEN_FILES";

/// The command that runs a binary, under the limit that the environment asks for.
fn command(name: &str, environment: &BTreeMap<String, String>) -> Command {
    let Some(limit) = environment.get(OPEN_FILES) else { return Command::new(binary(name)) };
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]).arg(binary(name));
    shell
}

/// Polls until `check` gives a value; panics when patience ends.
pub fn wait_until<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    wait_longer(what, PATIENCE, check)
}

/// Polls until `check` gives a value; panics when so much time is over.
pub(crate) fn wait_longer<T>(what: &str, patience: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(began.elapsed() < patience, "waited {patience:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the path of a binary of the workspace: beside the folder of the running test, or in `PURO_TEST_BIN_DIR`.
pub(crate) fn binary(name: &str) -> PathBuf {
    let folder = match std::env::var_os("PURO_TEST_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let test = std::env::current_exe().expect("the path of this test");
            test.parent().and_then(Path::parent).expect("target/<profile>/deps").to_owned()
        }
    };
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace --bins` first", path.display());
    path
}
