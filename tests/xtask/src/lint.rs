//! What can be judged without running the code.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell::{Workspace, output, run};
use crate::steps::Steps;
use crate::tools;

/// A source file longer than this is refused, …
const MOST_LINES: usize = 500;
/// … and one longer than this is named.
const MANY_LINES: usize = 450;

/// Crates without I/O, and what none of them may reach.
const PURE: &[&str] = &["puro-types", "puro-session", "puro-smtp-session", "puro-pop3-session"];
const IMPURE: &[&str] = &["tokio", "mio", "socket2", "rustls", "hyper", "tonic", "puro-serve", "puro-api"];

#[derive(Debug, Default, clap::Args)]
pub(crate) struct LintArgs {
    /// Also look for advisories against dependencies (needs the network).
    #[arg(long)]
    pub(crate) advisories: bool,
}

pub(crate) fn lint(workspace: &Workspace, steps: &mut Steps, args: &LintArgs) -> Result<()> {
    steps.run("files are short", || file_lengths(workspace))?;
    steps.run("formatting", || run(&mut workspace.cargo(["fmt", "--all", "--check"])))?;
    steps.run("protobuf", || {
        run(workspace.command(tools::buf(workspace)?).arg("lint").current_dir(workspace.root.join("proto")))
    })?;
    steps.run("dependencies: licences, bans, sources", || {
        let mut checks = vec!["deny", "--log-level", "error", "check", "bans", "licenses", "sources"];
        if args.advisories {
            checks.push("advisories");
        }
        run(&mut workspace.cargo(checks))
    })?;
    steps.run("dependencies: none unused", || run(&mut workspace.cargo(["machete"])))?;
    steps.run("dependencies: session crates know no I/O", || purity(workspace))?;
    steps.run("clippy", || {
        run(&mut workspace.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.run("documentation", || {
        run(workspace.cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })
}

fn file_lengths(workspace: &Workspace) -> Result<()> {
    let mut sources = Vec::new();
    for folder in ["crates", "services", "tests"] {
        rust_files(&workspace.root.join(folder), &mut sources)?;
    }
    if sources.is_empty() {
        bail!("no source file was found below {}", workspace.root.display());
    }
    let mut too_long = 0;
    for file in sources {
        let lines = fs::read_to_string(&file).with_context(|| file.display().to_string())?.lines().count();
        if lines > MANY_LINES {
            eprintln!("   {}: {lines} lines", file.strip_prefix(&workspace.root).unwrap_or(&file).display());
        }
        too_long += usize::from(lines > MOST_LINES);
    }
    if too_long > 0 {
        bail!("{too_long} files have more than {MOST_LINES} lines: split them by topic");
    }
    Ok(())
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn purity(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    for krate in PURE {
        let tree = output(&mut workspace.cargo([
            "tree",
            "-q",
            "-p",
            krate,
            "-e",
            "normal,build",
            "--prefix",
            "none",
        ]))?;
        let reached = tree.lines().filter_map(|line| line.split(' ').next());
        faults.extend(
            reached.filter(|name| IMPURE.contains(name)).map(|name| format!("{krate} reaches {name}")),
        );
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}
