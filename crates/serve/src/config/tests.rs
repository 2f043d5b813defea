use std::{collections::BTreeSet, io::Write, time::Duration};

use puro_types::ByteSize;

use super::{load::variable, *};

fn sources(
    file: Option<&str>,
    environment: &[(&str, &str)],
    flags: &[&str],
) -> (Sources, Option<tempfile::NamedTempFile>) {
    let file = file.map(|text| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    });
    let sources = Sources {
        file: file.as_ref().map(|file| file.path().to_owned()),
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        overrides: flags.iter().map(|&flag| flag.to_owned()).collect(),
    };
    (sources, file)
}

fn load(file: Option<&str>, environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, Vec<String>> {
    let (sources, _file) = sources(file, environment, flags);
    Settings::load(Service::Puro, &sources).map_err(|faults| faults.0)
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = load(None, &[], &[]).unwrap();
    let listen = |listen: Listen| listen.0.unwrap().to_string();
    assert_eq!(settings.general.data_dir.to_str(), Some("./puro-data"));
    assert_eq!(settings.general.allow_plaintext_auth, PlaintextAuth::Loopback);
    assert_eq!(listen(settings.smtp.listen), "127.0.0.1:12365");
    assert_eq!(listen(settings.smtp.tls_listen), "127.0.0.1:12366");
    assert_eq!(listen(settings.smtp.submission_listen), "127.0.0.1:12367");
    assert_eq!(listen(settings.pop3.listen), "127.0.0.1:12450");
    assert_eq!(listen(settings.pop3.tls_listen), "127.0.0.1:12451");
    assert_eq!(settings.metadata.url.to_string(), "http://127.0.0.1:12501");
    assert_eq!(settings.blob.url.to_string(), "http://127.0.0.1:12502");
    assert_eq!(settings.smtp.max_message_bytes, ByteSize(50_000_000));
    assert!(!settings.general.hostname.is_empty(), "the system's name stands in");
}

#[test]
fn the_admin_port_depends_on_the_service() {
    for (service, port) in [
        (Service::Puro, 12600),
        (Service::Smtp, 12600),
        (Service::Pop3, 12601),
        (Service::Metadata, 12602),
        (Service::Blob, 12603),
    ] {
        let settings = Settings::load(service, &Sources::default()).unwrap();
        assert_eq!(settings.admin.listen, Listen::loopback(port), "{}", service.binary());
    }
}

#[test]
fn each_source_beats_the_one_before() {
    let file = Some("[smtp]\nmax_recipients = 200\n");
    let environment = [("PURO_SMTP_MAX_RECIPIENTS", "300")];
    let flags = ["smtp.max_recipients=400"];
    let recipients = |settings: Result<Settings, _>| settings.unwrap().smtp.max_recipients;
    assert_eq!(recipients(load(None, &[], &[])), 1000);
    assert_eq!(recipients(load(file, &[], &[])), 200);
    assert_eq!(recipients(load(file, &environment, &[])), 300);
    assert_eq!(recipients(load(file, &environment, &flags)), 400);
}

#[test]
fn the_environment_may_name_the_file_and_the_flag_goes_before() {
    let (named, _keep) = sources(Some("hostname = \"named.example\""), &[], &[]);
    let named = named.file.unwrap();
    let environment = [("PURO_CONFIG", named.to_str().unwrap())];
    assert_eq!(load(None, &environment, &[]).unwrap().general.hostname, "named.example");
    let given = load(Some("hostname = \"given.example\""), &environment, &[]).unwrap();
    assert_eq!(given.general.hostname, "given.example");
}

#[test]
fn every_documented_variable_reaches_its_setting() {
    let settings = load(
        None,
        &[
            ("PURO_DATA_DIR", "/var/lib/puro"),
            ("PURO_SMTP_TLS_LISTEN", "[::]:465"),
            ("PURO_SMTP_SUBMISSION_LISTEN", ""),
            ("PURO_TLS_CERT", "/etc/cert.pem"),
            ("PURO_TLS_KEY", "/etc/key.pem"),
            ("PURO_ALLOW_PLAINTEXT_AUTH", "never"),
            ("PURO_PROXY_PROTOCOL_FROM", "10.0.0.0/8, 192.0.2.1"),
            ("PURO_METADATA_URL", "http://metadata:12501"),
            ("PURO_BLOB_STORE", "memory"),
            ("PURO_SMTP_MAX_MESSAGE_BYTES", "25 MiB"),
            ("PURO_SMTP_BARE_LINE_ENDS", "normalise"),
            ("PURO_DRAIN_GRACE", "90s"),
            ("PATH", "/bin"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(settings.general.data_dir.to_str(), Some("/var/lib/puro"));
    assert_eq!(settings.smtp.tls_listen.0.unwrap().to_string(), "[::]:465");
    assert_eq!(settings.smtp.submission_listen, Listen(None));
    assert_eq!(settings.tls.cert.unwrap().to_str(), Some("/etc/cert.pem"));
    assert_eq!(settings.general.allow_plaintext_auth, PlaintextAuth::Never);
    let networks: Vec<String> =
        settings.general.proxy_protocol_from.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32"]);
    assert_eq!(settings.metadata.url.to_string(), "http://metadata:12501");
    assert_eq!(settings.blob.store, BlobStore::Memory);
    assert_eq!(settings.smtp.max_message_bytes, ByteSize(25 << 20));
    assert_eq!(settings.smtp.bare_line_ends, BareLineEnds::Normalise);
    assert_eq!(settings.drain.grace, Duration::from_secs(90));
}

#[test]
fn every_key_has_a_variable_of_its_own() {
    let paths = Settings::default().paths();
    let variables: BTreeSet<String> = paths.iter().map(|path| variable(path)).collect();
    assert_eq!(variables.len(), paths.len());
    assert!(variables.contains("PURO_SMTP_TLS_LISTEN") && variables.contains("PURO_TLS_KEY"));
}

#[test]
fn all_faults_of_all_sources_are_told_at_once() {
    let faults = load(
        Some(concat!(
            "colour = \"blue\"\n[smtp]\nlisten = \"nowhere\"\nlistne = \"127.0.0.1:1\"\nmax_recipients = \"many\"\n",
            "max_message_bytes = -1\n[stmp]\nlisten = \"\"\n",
        )),
        &[
            ("PURO_SMTP_LISTNE", "x"),
            ("PURO_METADATA_STORE", "cassandra"),
            ("PURO_TLS_CERT", "/etc/cert.pem"),
            ("PURO_BLOB_URL", "http://user:hunter2@blob:1"),
        ],
        &["pop3.idle_timeout=9m", "smtp.colour=blue", "nonsense"],
    )
    .unwrap_err();
    for expected in [
        "colour: there is no such key",
        "smtp.listen: \"nowhere\" is not an address",
        "smtp.listne: there is no such key",
        "smtp.max_recipients: a whole number is wanted",
        "smtp.max_message_bytes: -1 is not a size",
        "[stmp]: there is no such section",
        "PURO_SMTP_LISTNE in the environment: there is no such setting",
        "PURO_METADATA_STORE in the environment: \"cassandra\" is not one of embedded, dynamodb, memory",
        "PURO_BLOB_URL in the environment: a URL with a user name",
        "tls.cert: tls.cert and tls.key go together",
        "pop3.idle_timeout: at least 10m",
        "--set smtp.colour=blue: there is no such setting",
        "--set nonsense: KEY=VALUE is wanted",
    ] {
        assert!(
            faults.iter().any(|fault| fault.contains(expected)),
            "{expected:?} is missing in {faults:#?}"
        );
    }
    assert_eq!(faults.len(), 13, "{faults:#?}");
    assert!(!faults.iter().any(|fault| fault.contains("hunter2")), "no password in a message");
}

/// What the clients would refuse is refused here, by name: one parser reads it for both.
#[test]
fn a_url_that_leads_nowhere_is_a_fault_of_the_settings() {
    for url in
        ["http://metadata", "http://metadata:0", "https://metadata:1", "http://metadata:1/path", "metadata:1"]
    {
        let faults = load(None, &[("PURO_METADATA_URL", url)], &[&format!("blob.url={url}")]).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:#?}");
        let why = "not a URL of the form http://host:port";
        assert!(
            faults[0].starts_with(&format!("PURO_METADATA_URL in the environment: {why}")),
            "{faults:#?}"
        );
        assert!(faults[1].starts_with(&format!("--set blob.url={url}: {why}")), "{faults:#?}");
    }
    let settings = load(None, &[("PURO_METADATA_URL", "http://[::1]:1/")], &[]).unwrap();
    assert_eq!(settings.metadata.url.to_string(), "http://[::1]:1");
}

#[test]
fn segments_in_s3_need_the_name_of_a_bucket() {
    let s3 = ("PURO_BLOB_STORE", "s3");
    let settings =
        load(Some("[s3]\npath_style = true\n"), &[s3, ("PURO_S3_BUCKET", "my-mail.1")], &[]).unwrap();
    assert_eq!((settings.blob.store, settings.s3.path_style), (BlobStore::S3, true));
    assert_eq!(load(None, &[s3], &[]).unwrap_err().len(), 1);
    for wrong in ["ab", "My-Mail", "my_mail", "my/mail", &"x".repeat(64)] {
        let faults = load(None, &[("PURO_S3_BUCKET", wrong)], &[]).unwrap_err();
        assert!(faults[0].contains("s3.bucket: 3 to 63"), "{wrong}: {faults:?}");
    }
    for (truth, fault) in [("yes", "\"yes\" is not true or false"), ("", "is not true or false")] {
        let faults = load(None, &[("PURO_S3_PATH_STYLE", truth)], &[]).unwrap_err();
        assert!(faults[0].contains(fault), "{truth}: {faults:?}");
    }
    assert!(load(Some("[s3]\npath_style = 1\n"), &[], &[]).unwrap_err()[0].contains("not integer"));
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_a_fault() {
    assert!(load(Some("smtp = ["), &[], &[]).unwrap_err()[0].contains("TOML parse error"));
    let missing = Sources { file: Some("/nonexistent/puro.toml".into()), ..Sources::default() };
    let faults = Settings::load(Service::Puro, &missing).unwrap_err();
    assert!(faults.0[0].contains("/nonexistent/puro.toml"), "{faults}");
}

#[test]
fn variables_that_kubernetes_makes_are_nobodys_mistake() {
    let links = [
        ("PURO_SMTP_SERVICE_HOST", "10.0.0.1"),
        ("PURO_SMTP_SERVICE_PORT_SUBMISSION", "587"),
        ("PURO_METADATA_PORT", "tcp://10.0.0.1:12501"),
        ("PURO_SMTP_PORT_25_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load(None, &links, &[]).is_ok());
}

#[test]
fn the_printed_settings_read_back_the_same() {
    let flags = [
        "smtp.listen=",
        "drain.wait=1500ms",
        "proxy_protocol_from=10.0.0.0/8",
        "smtp.max_message_bytes=123456",
    ];
    let settings = load(None, &[], &flags).unwrap();
    assert_eq!(load(Some(&print(&settings)), &[], &[]).unwrap(), settings);
}

#[test]
fn the_example_gives_the_defaults_and_names_every_variable() {
    let text = example();
    assert_eq!(load(Some(&text), &[], &[]), load(None, &[], &[]));
    for path in Settings::default().paths() {
        assert!(text.contains(&variable(&path)), "{path}");
    }
}

#[test]
fn the_example_file_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../puro.example.toml");
    if std::env::var_os("PURO_TEST_WRITE").is_some() {
        std::fs::write(path, example()).unwrap();
    }
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(file == example(), "write it anew: PURO_TEST_WRITE=1 cargo test -p puro-serve the_example_file");
}
