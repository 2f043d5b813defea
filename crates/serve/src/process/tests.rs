use std::sync::atomic::AtomicUsize;

use super::*;

const DRAIN: Drain = Drain { wait: Duration::from_secs(10), grace: Duration::from_secs(30) };

#[tokio::test(start_paused = true)]
async fn the_drain_goes_in_order() {
    let process = Process::new();
    process.readiness().set();
    assert!(process.readiness().is_set());
    let begin = Instant::now();
    let log = Arc::new(Mutex::new(Vec::new()));
    for (phase, name) in [(Phase::Front, "front"), (Phase::Back, "back")] {
        let (handle, log) = (process.clone(), log.clone());
        process.spawn(phase, async move {
            handle.stopped(phase).cancelled().await;
            assert!(!handle.readiness().is_set(), "not ready before anything ends");
            log.lock().unwrap().push((format!("{name} told"), begin.elapsed().as_secs()));
            tokio::time::sleep(Duration::from_secs(5)).await;
            log.lock().unwrap().push((format!("{name} ended"), begin.elapsed().as_secs()));
        });
    }
    assert!(process.drain(&DRAIN).await);
    let expected = [("front told", 10), ("front ended", 15), ("back told", 15), ("back ended", 20)];
    let expected: Vec<(String, u64)> = expected.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_grace_period_is_an_end() {
    let process = Process::new();
    process.spawn(Phase::Front, std::future::pending());
    let told = Arc::new(AtomicUsize::new(0));
    let (handle, count) = (process.clone(), told.clone());
    process.spawn(Phase::Back, async move {
        handle.stopped(Phase::Back).cancelled().await;
        count.fetch_add(1, Ordering::Relaxed);
    });
    let begin = Instant::now();
    assert!(!process.drain(&DRAIN).await);
    assert_eq!(begin.elapsed().as_secs(), 40);
    assert_eq!(told.load(Ordering::Relaxed), 1, "back ends still end in order");
}

#[tokio::test]
async fn readiness_does_not_come_back() {
    let process = Process::new();
    process.drain(&Drain { wait: Duration::ZERO, ..DRAIN }).await;
    process.readiness().set();
    assert!(!process.readiness().is_set());
}

#[tokio::test]
async fn a_process_is_ready_once_its_back_ends_are_reached_and_drains_without_them() {
    let drain = Drain { wait: Duration::ZERO, ..DRAIN };
    let process = Process::new();
    let (tell, told) = tokio::sync::oneshot::channel();
    process.ready_after(async move { told.await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!process.readiness().is_set());
    tell.send(()).unwrap();
    while !process.readiness().is_set() {
        tokio::task::yield_now().await;
    }
    assert!(process.drain(&drain).await);

    let waiting = Process::new();
    waiting.ready_after(std::future::pending());
    assert!(waiting.drain(&drain).await, "it does not wait for back ends that never come");
}

#[tokio::test]
async fn a_failure_ends_the_process_and_the_first_reason_counts() {
    let process = Process::new();
    process.fail("the store is gone");
    process.fail("and then more");
    process.stop_requested().await;
    assert_eq!(process.failure().as_deref(), Some("the store is gone"));
}

/// Runs a whole process: this test binary once more, with [`child`] as its only test.
mod whole {
    use std::{
        io::{BufRead, BufReader, Read},
        net::TcpListener,
        process::{Child, ChildStdout, Command, Stdio},
    };

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::{config::Service, listener};

    /// Not a test by itself: the process that the tests below start.
    #[test]
    fn child() {
        let Ok(arguments) = std::env::var("PURO_TEST_CHILD") else { return };
        let mut arguments = arguments.split_whitespace().map(str::to_owned);
        let mode = arguments.next().unwrap();
        let flags = Flags {
            check_config: mode == "check",
            print_config: mode == "print",
            overrides: arguments.collect(),
            ..Flags::default()
        };
        let code = main::exit_code(Service::Smtp, &flags, |settings, process| async move {
            let wanted =
                listener::Wanted { key: "smtp.listen", listen: settings.smtp.listen, implicit_tls: false };
            let _bound = listener::bind(&[wanted])?;
            // As a store's library does it: with no mode in mind.
            if mode == "make" {
                std::fs::create_dir_all(&settings.general.data_dir).unwrap();
                std::fs::write(settings.general.data_dir.join("file"), "mail").unwrap();
            }
            let handle = process.clone();
            process.spawn(Phase::Front, async move {
                handle.stopped(Phase::Front).cancelled().await;
                println!("\ndraining");
                if mode == "hang" {
                    std::future::pending::<()>().await;
                }
            });
            process.readiness().set();
            crate::telemetry::meter().u64_counter("puro_test_starts").build().add(1, &[]);
            tracing::info_span!("start").in_scope(|| tracing::info!("started"));
            println!("\nready");
            Ok(())
        });
        std::process::exit(i32::from(code));
    }

    /// A process that does not outlive its test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(arguments: &str, environment: &[(&str, &str)]) -> Running {
        // A wide umask, as a careless shell might leave; the shell becomes the process.
        let child = Command::new("/bin/sh")
            .args(["-c", "umask 0 && exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::whole::child", "--nocapture"])
            .env_clear()
            .env("PURO_TEST_CHILD", format!("{arguments} admin.listen=127.0.0.1:0"))
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running(child.unwrap())
    }

    fn wait_for(child: &mut Running, word: &str) -> BufReader<ChildStdout> {
        let mut lines = BufReader::new(child.0.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim_end() != word {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the process ended before {word:?}");
        }
        lines
    }

    fn signal(child: &Running, signal: Signal) {
        kill_process(Pid::from_child(&child.0), signal).unwrap();
    }

    /// Waits for the end; returns the exit code, and what was said on standard output and error.
    fn end(mut child: Running) -> (Option<i32>, String, String) {
        let (mut printed, mut told) = (String::new(), String::new());
        if let Some(mut stdout) = child.0.stdout.take() {
            stdout.read_to_string(&mut printed).unwrap();
        }
        child.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        (child.0.wait().unwrap().code(), printed, told)
    }

    #[test]
    fn wrong_settings_end_it_with_64_and_are_all_told() {
        let (code, _, told) = end(start("serve smtp.listen=nowhere", &[("PURO_POP3_COLOUR", "blue")]));
        assert_eq!(code, Some(64));
        assert!(told.contains("smtp.listen") && told.contains("PURO_POP3_COLOUR"), "{told}");
        let (code, ..) = end(start("check smtp.listen=nowhere", &[]));
        assert_eq!(code, Some(64));
    }

    #[test]
    fn check_and_print_bind_nothing() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = format!("smtp.listen={}", taken.local_addr().unwrap());
        assert_eq!(end(start(&format!("check {listen}"), &[])).0, Some(0));
        let (code, printed, _) = end(start(&format!("print {listen}"), &[]));
        assert_eq!(code, Some(0));
        assert!(printed.contains("[smtp]") && printed.contains(&listen[12..]), "{printed}");
    }

    #[test]
    fn a_port_that_is_taken_ends_it_with_71() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let (code, _, told) = end(start(&format!("serve smtp.listen={address}"), &[]));
        assert_eq!(code, Some(71));
        assert!(told.contains(&address.to_string()) && told.contains("smtp.listen"), "{told}");
    }

    #[test]
    fn a_signal_drains_it_and_it_ends_with_0() {
        for name in [Signal::TERM, Signal::INT] {
            let mut child = start("serve smtp.listen=127.0.0.1:0", &[]);
            let mut lines = wait_for(&mut child, "ready");
            signal(&child, name);
            let mut rest = String::new();
            lines.read_to_string(&mut rest).unwrap();
            assert!(rest.contains("draining"), "{rest}");
            assert_eq!(end(child).0, Some(0));
        }
    }

    #[test]
    fn what_it_makes_is_private_whatever_umask_it_got() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let ports = folder.path().join("ports.json");
        let data = folder.path().join("outer/data");
        let arguments = format!("make smtp.listen=127.0.0.1:0 data_dir={}", data.display());
        let mut child = start(&arguments, &[(PORTS_FILE, ports.to_str().unwrap())]);
        let _lines = wait_for(&mut child, "ready");
        signal(&child, Signal::TERM);
        assert_eq!(end(child).0, Some(0));
        for made in [ports, data.clone(), data.join("file")] {
            let mode = std::fs::metadata(&made).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", made.display());
        }
    }

    #[test]
    fn what_was_left_open_is_closed_and_told() {
        use std::os::unix::fs::PermissionsExt;
        let outer = tempfile::tempdir().unwrap();
        let data = outer.path().join("data");
        std::fs::create_dir_all(data.join("blob")).unwrap();
        for folder in [data.clone(), data.join("blob")] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut child = start(&format!("serve smtp.listen=127.0.0.1:0 data_dir={}", data.display()), &[]);
        let _lines = wait_for(&mut child, "ready");
        for folder in [data.clone(), data.join("blob")] {
            let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
        }
        signal(&child, Signal::TERM);
        let (code, _, told) = end(child);
        assert_eq!(code, Some(0));
        assert_eq!(told.matches("it is closed now").count(), 2, "{told}");
    }

    #[test]
    fn a_second_signal_ends_it_at_once() {
        let mut child = start("hang smtp.listen=127.0.0.1:0 drain.grace=1h", &[]);
        let mut lines = wait_for(&mut child, "ready");
        signal(&child, Signal::TERM);
        let mut line = String::new();
        while line.trim_end() != "draining" {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0);
        }
        signal(&child, Signal::TERM);
        assert_eq!(end(child).0, Some(70));
    }

    #[test]
    fn a_collector_that_never_answers_is_tried_and_does_not_keep_it() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let mut child =
            start("serve smtp.listen=127.0.0.1:0", &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]);
        let _lines = wait_for(&mut child, "ready");
        signal(&child, Signal::TERM);
        let begin = std::time::Instant::now();
        let mut preface = [0; 14];
        let (mut exporter, _) = silent.accept().unwrap();
        exporter.read_exact(&mut preface).unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0", "what is left is sent at the end");
        assert_eq!(end(child).0, Some(0));
        // The exporter alone would wait for 10 s.
        assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    }
}
