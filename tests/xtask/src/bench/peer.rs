//! Postfix and Dovecot from Debian's packages, in a folder of their own, on loopback.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{DOMAIN, Endpoint, PASSWORD};
use crate::shell::run;

/// How Dovecot serves logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logins {
    /// A fresh process for each connection, as the package sets it up.
    AsInstalled,
    /// Processes that stay and serve many connections.
    HighPerformance,
}

/// Both servers, running; stopped when dropped.
pub(crate) struct Peer {
    folder: TempDir,
    dovecot: Child,
    postfix: u32,
    smtp: u16,
    pop3: u16,
}

impl Peer {
    /// Writes the configuration and starts both. Needs root, as these servers do.
    pub(crate) fn start(users: usize, logins: Logins) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!(
                "Postfix and Dovecot want to be started by root; --only puro measures the other side alone"
            );
        }
        let folder = tempfile::Builder::new().prefix("puro-bench-peer").tempdir()?;
        let root = folder.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
        let [smtp, pop3, lmtp] = free_ports()?;
        let dovecot = start_dovecot(root, users, logins, pop3, lmtp)?;
        let mut peer = Self { dovecot, postfix: 0, smtp, pop3, folder };
        peer.postfix = start_postfix(peer.folder.path(), smtp, lmtp)?;
        for port in [lmtp, pop3, smtp] {
            wait_for_port(port).with_context(|| peer.logs())?;
        }
        Ok(peer)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let mail = self.folder.path().join("mail").display().to_string();
        Endpoint {
            smtp: format!("127.0.0.1:{}", self.smtp),
            pop3: format!("127.0.0.1:{}", self.pop3),
            pids: vec![self.postfix, self.dovecot.id()],
            arrival: ["--arrival-maildirs".to_owned(), mail],
        }
    }

    fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("logs of Postfix:\n{}\nof Dovecot:\n{}", read("postfix.log"), read("dovecot.log"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let config = self.folder.path().join("postfix");
        if self.postfix != 0 {
            let mut stop = Command::new("/usr/sbin/postfix");
            let _ =
                stop.arg("-c").arg(config).arg("stop").stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        if let Some(pid) = i32::try_from(self.dovecot.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.dovecot.wait();
    }
}

fn start_dovecot(root: &Path, users: usize, logins: Logins, pop3: u16, lmtp: u16) -> Result<Child> {
    let accounts: String =
        (1..=users).map(|n| format!("user{n}@{DOMAIN}:{{PLAIN}}{PASSWORD}::::::\n")).collect();
    fs::write(root.join("passwd"), accounts)?;
    fs::create_dir(root.join("mail"))?;
    let mail = user_ids("mail")?;
    chown(root.join("mail"), Some(mail.0), Some(mail.1))?;
    let config = root.join("dovecot.conf");
    fs::write(&config, dovecot_config(root, mail, logins, pop3, lmtp))?;
    let log = fs::File::create(root.join("dovecot.err"))?;
    Command::new("/usr/sbin/dovecot")
        .arg("-F")
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start Dovecot")
}

fn dovecot_config(root: &Path, mail: (u32, u32), logins: Logins, pop3: u16, lmtp: u16) -> String {
    let root = root.display();
    let (uid, gid) = mail;
    let services = match logins {
        Logins::AsInstalled => "service pop3 {\n  process_limit = 4096\n}\n".to_owned(),
        // "High-performance mode" of Dovecot's documentation, and mail processes which are used again too.
        Logins::HighPerformance => {
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            format!(
                "service pop3-login {{\n  service_count = 0\n  process_min_avail = {cores}\n  \
                 client_limit = 4096\n}}\nservice pop3 {{\n  service_count = 0\n  process_min_avail = 16\n  \
                 process_limit = 4096\n}}\n"
            )
        }
    };
    format!(
        "base_dir = {root}/run\nstate_dir = {root}/state\ninstance_name = puro-bench\n\
         log_path = {root}/dovecot.log\nprotocols = lmtp pop3\nlisten = 127.0.0.1\nssl = no\n\
         disable_plaintext_auth = no\nmail_location = maildir:{root}/mail/%u\nmail_fsync = optimized\n\
         first_valid_uid = 1\nfirst_valid_gid = 1\ndefault_client_limit = 4096\n\
         passdb {{\n  driver = passwd-file\n  args = {root}/passwd\n}}\n\
         userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={root}/mail/%u allow_all_users=yes\n}}\n\
         service lmtp {{\n  inet_listener lmtp {{\n    address = 127.0.0.1\n    port = {lmtp}\n  }}\n}}\n\
         service pop3-login {{\n  inet_listener pop3 {{\n    port = {pop3}\n  }}\n  \
         inet_listener pop3s {{\n    port = 0\n  }}\n}}\n\
         protocol pop3 {{\n  mail_max_userip_connections = 4096\n}}\n{services}"
    )
}

fn start_postfix(root: &Path, smtp: u16, lmtp: u16) -> Result<u32> {
    let config = root.join("postfix");
    let (queue, data) = (root.join("queue"), root.join("data"));
    for folder in [&config, &queue, &data] {
        fs::create_dir(folder)?;
    }
    let postfix = user_ids("postfix")?;
    chown(&data, Some(postfix.0), Some(postfix.1))?;
    let log = root.join("postfix.log");
    fs::write(
        config.join("main.cf"),
        format!(
            "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\n\
             maillog_file = {}\nmaillog_file_prefixes = {}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = peer.localhost\n\
             mydestination =\nlocal_recipient_maps =\nalias_maps =\nmynetworks = 127.0.0.0/8\n\
             virtual_mailbox_domains = {DOMAIN}\nvirtual_mailbox_maps = static:accepted\n\
             virtual_transport = lmtp:inet:127.0.0.1:{lmtp}\n\
             message_size_limit = 52428800\nmailbox_size_limit = 0\nvirtual_mailbox_limit = 0\n\
             smtpd_tls_security_level = none\nsmtp_tls_security_level = none\n",
            queue.display(),
            data.display(),
            log.display(),
            root.display(),
        ),
    )?;
    fs::write(config.join("master.cf"), master(smtp))?;
    fs::write(config.join("dynamicmaps.cf"), "")?;
    run(Command::new("/usr/sbin/postfix").arg("-c").arg(&config).arg("start").stdout(Stdio::null()))
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let pid = fs::read_to_string(queue.join("pid/master.pid")).context("Postfix tells no process id")?;
    pid.trim().parse().context("Postfix's process id")
}

/// The services of Debian's master.cf which a delivery touches, with its limits.
fn master(smtp: u16) -> String {
    format!(
        "127.0.0.1:{smtp} inet n - n - - smtpd\n\
         pickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\nverify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\nproxywrite unix - - n - 1 proxymap\nsmtp unix - - n - - smtp\n\
         relay unix - - n - - smtp\nshowq unix n - n - - showq\nerror unix - - n - - error\n\
         retry unix - - n - - error\ndiscard unix - - n - - discard\nlocal unix - n n - - local\n\
         virtual unix - n n - - virtual\nlmtp unix - - n - - lmtp\nanvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\npostlog unix-dgram n - n - 1 postlogd\n"
    )
}

fn user_ids(name: &str) -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == name);
    let Some(fields) = fields else { bail!("there is no user {name}") };
    Ok((fields[2].parse()?, fields[3].parse()?))
}

fn free_ports() -> Result<[u16; 3]> {
    let bound = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(bound) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

fn wait_for_port(port: u16) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > end {
            bail!("nothing listens on port {port}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
