//! Real mail programs, run with a time limit.

use std::{
    ffi::OsStr,
    fs::File,
    io::Write,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Seconds a program may run.
const LIMIT: &str = "120";

/// A program about to be run.
#[derive(Debug)]
pub struct Tool {
    name: String,
    command: Command,
    input: Vec<u8>,
}

impl Tool {
    /// Names a program from the system's packages.
    pub fn new(name: &str) -> Self {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", LIMIT, name]);
        Self { name: name.to_owned(), command, input: Vec::new() }
    }

    /// Names a binary of the workspace. It gets no setting from the environment of the tests.
    pub fn binary(name: &str) -> Self {
        let mut tool = Self::new(&crate::process::binary(name).display().to_string());
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PURO_") {
                tool.command.env_remove(variable);
            }
        }
        tool
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the folder it runs in.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Gives it something on its standard input.
    pub fn input(mut self, octets: impl Into<Vec<u8>>) -> Self {
        self.input = octets.into();
        self
    }

    /// Starts it, to run beside the test; what it says goes to a file in its folder.
    pub fn start(mut self, output: &Path) -> Running {
        let file = File::create(output).expect("a file for the output");
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file for the output"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        Running { name: self.name, child }
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ran {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        let mut pipe = child.stdin.take().expect("a pipe");
        let input = std::mem::take(&mut self.input);
        let writer = std::thread::spawn(move || {
            // A program that ends without reading all of its input is judged by its exit code.
            let _ = pipe.write_all(&input);
        });
        let output = child.wait_with_output().expect("the program ends");
        writer.join().expect("the writer ends");
        assert!(output.status.code() != Some(127), "{} is not installed", self.name);
        Ran::new(self.name, &output)
    }
}

/// A program that goes on until it is stopped; killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Ends it with SIGTERM and waits.
    pub fn stop(mut self) {
        // `timeout` passes the signal on.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.child.wait().unwrap_or_else(|error| panic!("{} cannot be waited for: {error}", self.name));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `timeout` leads a process group: what it started, and what that started, ends with it.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What was run.
    pub what: String,
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    pub(crate) fn new(what: String, output: &Output) -> Self {
        Self {
            what,
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that it succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{} failed\nout: {}\nerr: {}", self.what, self.out, self.err);
        self
    }

    /// Asserts that it ended with this code.
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\nout: {}\nerr: {}", self.what, self.out, self.err);
        self
    }

    /// Asserts that its output or its errors hold a text.
    pub fn says(self, text: &str) -> Self {
        let found = self.out.contains(text) || self.err.contains(text);
        assert!(found, "{} does not say {text:?}\nout: {}\nerr: {}", self.what, self.out, self.err);
        self
    }
}

/// Runs a Python script of `clients/` with arguments.
pub fn python<S: AsRef<OsStr>>(script: &str, arguments: impl IntoIterator<Item = S>) -> Ran {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    Tool::new("python3").args([path.as_os_str()]).args(arguments).run()
}

/// Returns a text in base64, on one line.
pub fn base64(text: &str) -> String {
    let ran = Tool::new("base64").args(["-w0"]).input(text).run().ok();
    ran.out.trim().to_owned()
}
