//! What the machine allows: as many connections as there are descriptors for, and no more.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use puro_e2e::{Mode, OPEN_FILES, PASSWORD, Raw, System, message};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Clients of this test at one time; each takes a descriptor here, too.
const CLIENTS: usize = 1_100;

fn raise_own_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    assert!(maximum.is_none_or(|most| most > 2_000), "the hard limit of open files is too low for this test");
}

/// Connects as one of many clients; returns what the server says first.
fn come(number: usize, to: std::net::SocketAddr) -> (Raw, String) {
    let from = [127, 0, 2, u8::try_from(number % 250).unwrap() + 1];
    let mut raw = Raw::connect_from(from.into(), to);
    let line = raw.line().expect("a greeting or a refusal");
    (raw, line)
}

/// More clients than descriptors: the surplus is told so, at once, and nothing else comes short.
#[test]
fn clients_leave_descriptors_to_everything_else() {
    raise_own_limit();
    let mut system = System::start_with(Mode::Single, &[(OPEN_FILES, "1024")]);
    assert!(
        system.process("puro").log().contains("more than the limit of open files"),
        "the operator is told"
    );
    let (mut inside, mut refused) = ([Vec::new(), Vec::new()], [0, 0]);
    for number in 0..CLIENTS {
        let (port, welcome, refusal) = match number % 2 {
            0 => (system.ports.smtp, "220 ", "421 4.3.2"),
            _ => (system.ports.pop3, "+OK", "-ERR [SYS/TEMP]"),
        };
        let (raw, line) = come(number, port);
        if line.starts_with(welcome) {
            inside[number % 2].push(raw);
        } else {
            assert!(line.starts_with(refusal), "{line}");
            refused[number % 2] += 1;
        }
    }
    // 1,024 less 200, in two halves.
    assert_eq!((inside[0].len(), inside[1].len(), refused), (412, 412, [138, 138]));

    let [smtp, pop3] = &mut inside;
    for (number, smtp) in smtp.iter_mut().enumerate() {
        smtp.command("EHLO client.example.net", "250");
        if number % 100 == 0 {
            let reply = smtp.send_message("<>", &["alice@example.test"], &message("crowd", "x\r\n"));
            assert!(reply.starts_with("250 "), "{reply}");
        }
    }
    let pop3 = pop3.last_mut().unwrap();
    pop3.command("USER alice@example.test", "+OK");
    pop3.command(&format!("PASS {PASSWORD}"), "+OK");
    pop3.command("STAT", "+OK 5 ");
    pop3.command("RETR 5", "+OK");
    assert!(pop3.multi_line().ends_with(b"x\r\n"));
    let mut http = Raw::connect(system.process("puro").port("admin"));
    http.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(String::from_utf8(http.rest()).unwrap().contains("200"));
    system.operator(&["user", "list"]).ok();

    drop(inside);
    puro_e2e::wait_until("there is room again", || {
        system.try_deliver("bob@example.test", b"A: 1\r\n\r\nx\r\n").ok()
    });
}
