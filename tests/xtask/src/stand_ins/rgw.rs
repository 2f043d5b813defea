//! Ceph's RGW, a real and durable S3 server, with the smallest cluster behind it: one monitor, one OSD on a sparse file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use puro_stand_ins::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

use super::free_port;
use super::server::{Server, answers_http};

const PATIENCE: Duration = Duration::from_secs(60);

/// Dropped from the top to the bottom of the cluster.
pub(super) struct Rgw {
    rgw: Server,
    osd: Server,
    monitor: Server,
    port: u16,
}

impl Rgw {
    /// Makes a cluster in `folder` and returns when the gateway answers and knows the account of the tests.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let cluster = Cluster::new(folder)?;
        let monitor = cluster.start_monitor()?;
        let osd = cluster.start_osd()?;
        let (rgw, port) = cluster.start_rgw()?;
        Ok(Self { rgw, osd, monitor, port })
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Fails when a part of the cluster has ended by itself.
    pub(super) fn check(&mut self) -> Result<()> {
        [&mut self.monitor, &mut self.osd, &mut self.rgw].into_iter().try_for_each(Server::check)
    }
}

struct Cluster {
    folder: PathBuf,
    id: String,
    monitor_port: u16,
}

impl Cluster {
    fn new(folder: &Path) -> Result<Self> {
        let folder = folder.join("ceph");
        for part in ["mon", "osd"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid").context("a UUID")?.trim().to_owned();
        let cluster = Self { folder, id, monitor_port: free_port()? };
        fs::write(cluster.path("ceph.conf"), cluster.settings())?;
        Ok(cluster)
    }

    fn settings(&self) -> String {
        let (folder, id, port) = (self.folder.display(), &self.id, self.monitor_port);
        // One OSD is all there is: no copies, and no warning that there are none. radosgw does not come up without cephx.
        // It deletes one object after the other, for 16.2 dies now and then of deleting several at once: their tasks
        // share a map without a lock.
        format!(
            "[global]
fsid = {id}
mon host = [v2:127.0.0.1:{port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
run dir = {folder}
admin socket =
pid file =
log file =
log to file = false
log to stderr = true
err to stderr = true
mon cluster log to file = false
mon allow pool size one = true
mon data avail warn = 0
mon data avail crit = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = bluestore
osd memory target = 939524096
bluestore block size = 17179869184
rgw override bucket index max shards = 1
rgw multi obj del max aio = 1
debug rgw = 0/0
debug osd = 0/0
debug ms = 0/0
debug mon = 0/0
debug paxos = 0/0
debug rocksdb = 0/0
debug bluestore = 0/0
debug bdev = 0/0
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
"
        )
    }

    fn start_monitor(&self) -> Result<Server> {
        let (keyring, map) = (self.path("keyring"), self.path("monmap"));
        self.quiet(
            "ceph-authtool",
            &["--create-keyring", &keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"],
        )?;
        let caps = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
        self.quiet("ceph-authtool", &[&[&keyring, "--gen-key", "-n", "client.admin"][..], &caps].concat())?;
        self.quiet("ceph-authtool", &[&[&keyring, "--gen-key", "-n", "osd.0"][..], &caps].concat())?;
        let address = format!("[v2:127.0.0.1:{}]", self.monitor_port);
        self.quiet("monmaptool", &["--create", "--fsid", &self.id, "--addv", "a", &address, &map])?;
        self.quiet("ceph-mon", &["--mkfs", "-i", "a", "--monmap", &map, "--keyring", &keyring])?;
        let mut monitor =
            Server::start("ceph-mon", &self.command("ceph-mon", &["-f", "-i", "a"]), &self.folder)?;
        monitor.wait_until(PATIENCE, || self.ceph(&["osd", "new", &self.id, "0"]).is_ok())?;
        Ok(monitor)
    }

    fn start_osd(&self) -> Result<Server> {
        self.quiet("ceph-osd", &["-i", "0", "--mkfs", "--osd-uuid", &self.id])?;
        let mut osd = Server::start("ceph-osd", &self.command("ceph-osd", &["-f", "-i", "0"]), &self.folder)?;
        osd.wait_until(PATIENCE, || self.ceph(&["osd", "stat"]).is_ok_and(|said| said.contains("1 up")))?;
        Ok(osd)
    }

    fn start_rgw(&self) -> Result<(Server, u16)> {
        let port = free_port()?;
        // Without tcp_nodelay small answers wait 40 ms for the client's delayed ACK.
        let frontend = format!("--rgw-frontends=beast endpoint=127.0.0.1:{port} tcp_nodelay=1");
        let rgw = self.command("radosgw", &["-f", "-n", "client.admin", &frontend]);
        let mut rgw = Server::start("radosgw", &rgw, &self.folder)?;
        rgw.wait_until(PATIENCE, || answers_http(port))?;
        // Each test has a bucket of its own, so there is to be no limit to their number.
        self.quiet(
            "radosgw-admin",
            &[
                "user",
                "create",
                "--uid=tests",
                "--display-name=tests",
                "--max-buckets=1000000",
                &format!("--access-key={ACCESS_KEY_ID}"),
                &format!("--secret-key={SECRET_ACCESS_KEY}"),
            ],
        )?;
        Ok((rgw, port))
    }

    fn ceph(&self, arguments: &[&str]) -> Result<String> {
        self.quiet("ceph", &[&["--connect-timeout", "5"], arguments].concat())
    }

    /// Runs one of Ceph's programs to its end; returns what it says.
    fn quiet(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output =
            self.command(program, arguments).output().with_context(|| format!("cannot run {program}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {} ended with {}: {said}{complaint}", arguments.join(" "), output.status);
        }
        Ok(said)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        // The tools that make keys read no settings.
        if !program.ends_with("tool") {
            command.args(["-c", &self.path("ceph.conf")]);
        }
        command.args(arguments).current_dir(&self.folder);
        command
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}
