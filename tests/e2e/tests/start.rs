//! Start-up as a newcomer and as a script sees it: the lines to paste, the settings, the certificate.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{fs, path::Path};

use puro_e2e::{Mode, Process, Ran, Raw, System, Tool, message, wait_until};

/// The very first start, of which nobody has told the server anything: what is printed, pasted as it stands, sends a
/// message and fetches it.
#[test]
fn the_lines_to_paste_work_and_are_printed_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = first_start(folder.path());
    let said = wait_until("the account is told", || {
        let log = server.log();
        log.contains("pop3s://").then_some(log)
    });
    let (_, rest) = said.split_once("Send a message:\n").unwrap();
    let (send, rest) = rest.split_once("\nFetch it:\n").unwrap();
    let fetch = rest.lines().take_while(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n");
    let paste = |text: &str| Tool::new("sh").input(text).run().ok();
    assert_eq!(paste(send).out, "");
    let fetched = paste(&fetch).out;
    let (header, body) = fetched.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "It works.\r\n");
    let address = said.lines().find_map(|line| line.trim().strip_prefix("address ")).unwrap().trim();
    for line in [&format!("From: {address}"), &format!("To: {address}"), "Subject: Hello"] {
        assert_eq!(header.lines().filter(|other| *other == line).count(), 1, "{line} in {header}");
    }

    // RFC 5321 section 4.5.1: every server takes mail for its postmaster, with no domain too.
    let mut smtp = Raw::connect(server.port("smtp"));
    smtp.expect("220 ");
    smtp.command("EHLO client.example.net", "250");
    for postmaster in ["postmaster", "Postmaster"] {
        let reply = smtp.send_message("<>", &[postmaster], &message("postmaster", "A complaint.\r\n"));
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert!(paste(&fetch.replace("/1 ", "/3 ")).out.ends_with("\r\n\r\nA complaint.\r\n"));

    server.kill();
    let again = first_start(folder.path());
    assert_eq!(again.log().matches("Send a message:").count(), 1, "the password is shown once");
}

/// Starts `puro serve` with nothing set but that its ports are free ones.
fn first_start(folder: &Path) -> Process {
    let listeners = ["SMTP", "SMTP_TLS", "SMTP_SUBMISSION", "POP3", "POP3_TLS", "METADATA", "BLOB", "ADMIN"];
    let settings =
        listeners.iter().map(|name| (format!("PURO_{name}_LISTEN"), "127.0.0.1:0".to_owned())).collect();
    Process::start("puro", &["serve"], &settings, folder)
}

/// Mail, password hashes and the private key are readable by their owner alone, and so is everything around them.
#[test]
fn the_data_is_private() {
    use std::os::unix::fs::PermissionsExt;
    for mode in [Mode::Single, Mode::Four] {
        let system = System::start(mode);
        system.deliver("alice@example.test", b"Subject: private\r\n\r\nA body.\r\n");
        let made = below(system.data());
        for folder in ["tls", "metadata", "blob"] {
            let folder = system.data().join(folder);
            let file = |path: &std::path::PathBuf| path.starts_with(&folder) && path.is_file();
            assert!(made.iter().any(file), "nothing in {}", folder.display());
        }
        for path in made {
            let bits = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(bits & 0o077, 0, "{mode:?} {}: {bits:o}", path.display());
        }
    }
}

/// What an older version left open, or a hand, the next start closes; and it finds everything in there.
#[test]
fn open_folders_are_closed_by_the_next_start() {
    use std::os::unix::fs::PermissionsExt;
    for mode in [Mode::Single, Mode::Four] {
        let mut system = System::start(mode);
        system.deliver("alice@example.test", &message("kept", "A body.\r\n"));
        let data = system.data().to_owned();
        let folders = ["", "tls", "metadata", "blob"].map(|name| data.join(name));
        for folder in &folders {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in system.names() {
            system.kill_and_restart(name);
        }
        for folder in &folders {
            let bits = fs::metadata(folder).unwrap().permissions().mode() & 0o777;
            assert_eq!(bits, 0o700, "{mode:?} {}: {bits:o}", folder.display());
        }
        assert_eq!(wait_until("mail is given out", || system.try_fetch("alice").ok()).len(), 1, "{mode:?}");
    }
}

/// All faults at once, before any port is bound, exit code 64; `--check-config` says the same.
#[test]
fn wrong_settings_are_all_told_and_nothing_starts() {
    for arguments in [&["serve"][..], &["serve", "--check-config"]] {
        let ran = Tool::binary("puro")
            .args(arguments)
            .env("PURO_SMTP_LISTEN", "not an address")
            .env("PURO_ALLOW_PLAINTEXT_AUTH", "sometimes")
            .env("PURO_METADATA_STORE", "paper")
            .run()
            .code(64);
        for named in ["PURO_SMTP_LISTEN", "PURO_ALLOW_PLAINTEXT_AUTH", "PURO_METADATA_STORE"] {
            let key = named.trim_start_matches("PURO_").to_lowercase().replacen('_', ".", 1);
            let told =
                ran.err.contains(named) || ran.err.contains(&key) || ran.err.contains(&key.replace('.', "_"));
            assert!(told, "{named} is not named in {}", ran.err);
        }
    }
}

/// A URL that no client can use is a fault of the settings, told before anything starts.
#[test]
fn a_back_end_without_a_port_is_refused() {
    for (binary, variable) in [
        ("puro", "PURO_METADATA_URL"),
        ("puro-smtp", "PURO_METADATA_URL"),
        ("puro-pop3", "PURO_BLOB_URL"),
        ("puro-metadata", "PURO_BLOB_URL"),
    ] {
        Tool::binary(binary).env(variable, "http://nowhere").run().code(64).says(variable);
    }
}

#[test]
fn an_unknown_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("puro.toml");
    fs::write(&file, "[smtp]\nlissen = \"127.0.0.1:0\"\n").unwrap();
    let file = file.to_str().unwrap();
    for binary in ["puro", "puro-smtp", "puro-pop3", "puro-metadata", "puro-blob"] {
        Tool::binary(binary).args(["--config", file, "--check-config"]).run().code(64).says("lissen");
    }
}

/// What `--print-config` prints is a file that gives the same settings.
#[test]
fn the_printed_settings_are_a_settings_file() {
    let folder = tempfile::tempdir().unwrap();
    let print = |arguments: &[&str]| -> Ran {
        Tool::binary("puro")
            .args(["serve", "--print-config"])
            .args(arguments)
            .folder(folder.path())
            .run()
            .ok()
    };
    let printed = print(&["--set", "smtp.max_message_bytes=123456"]).out;
    assert!(printed.contains("123456"), "{printed}");
    let file = folder.path().join("puro.toml");
    fs::write(&file, &printed).unwrap();
    assert_eq!(print(&["--config", file.to_str().unwrap()]).out, printed);
}

/// A port that is taken ends the start with a line that names it.
#[test]
fn a_taken_port_is_named() {
    let system = System::start(Mode::Single);
    let taken = system.ports.smtp.to_string();
    let folder = tempfile::tempdir().unwrap();
    let ran = Tool::binary("puro-smtp")
        .env("PURO_DATA_DIR", folder.path())
        .env("PURO_SMTP_LISTEN", &taken)
        .env("PURO_SMTP_TLS_LISTEN", "")
        .env("PURO_SMTP_SUBMISSION_LISTEN", "")
        .env("PURO_ADMIN_LISTEN", "127.0.0.1:0")
        .env("PURO_METADATA_URL", format!("http://{}", system.ports.metadata))
        .env("PURO_BLOB_URL", format!("http://{}", system.ports.blob))
        .run();
    assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
    ran.says(&taken);
}

/// A certificate that is renewed is shown to the next client, without a restart.
#[test]
fn a_renewed_certificate_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    certificate(&cert, &key, "first.example.test");
    let settings = [("PURO_TLS_CERT", cert.to_str().unwrap()), ("PURO_TLS_KEY", key.to_str().unwrap())];
    for mode in [Mode::Single, Mode::Four] {
        certificate(&cert, &key, "first.example.test");
        let system = System::start_with(mode, &settings);
        let shown = |port: std::net::SocketAddr| {
            let connect = port.to_string();
            Tool::new("openssl").args(["s_client", "-connect", &connect]).input("QUIT\r\n").run().out
        };
        for port in [system.ports.smtps, system.ports.pop3s] {
            assert!(shown(port).contains("first.example.test"));
        }
        certificate(&cert, &key, "second.example.test");
        for port in [system.ports.smtps, system.ports.pop3s] {
            wait_until("the new certificate is shown", || {
                shown(port).contains("second.example.test").then_some(())
            });
        }
    }
}

fn certificate(cert: &Path, key: &Path, name: &str) {
    Tool::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-keyout".as_ref(), key.as_os_str(), "-out".as_ref(), cert.as_os_str()])
        .run()
        .ok();
}

/// The folder and everything in it.
fn below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { paths.extend(below(&path)) } else { paths.push(path) }
    }
    paths
}
