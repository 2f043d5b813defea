//! The proxy between a client and a server of this test, fault by fault.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use puro_stand_ins::{Fault, FaultProxy, Plan, Rule, Service};

const PUT: &str = "PUT /bucket/key HTTP/1.1\r\nHost: s3.example.test\r\nContent-Length: 4\r\n\r\nbody";
const GET: &str = "GET /bucket/key HTTP/1.1\r\nHost: s3.example.test\r\n\r\n";
const ANSWER: &str = "0123456789";

#[test]
fn requests_pass_unchanged_and_are_counted() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    let mut client = Client::connect(&proxy);
    for _ in 0..3 {
        assert_eq!(client.ask(GET).unwrap().1, ANSWER);
    }
    client.ask(PUT).unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 4);
    assert!(
        seen.iter().all(|request| request.to_lowercase().contains("\r\nhost: s3.example.test\r\n")),
        "{seen:?}"
    );
    assert!(
        seen[3].starts_with("PUT /bucket/key HTTP/1.1\r\n") && seen[3].ends_with("\r\n\r\nbody"),
        "{seen:?}"
    );
    assert_eq!((proxy.requests_of("GetObject"), proxy.requests_of("PutObject"), proxy.faults()), (3, 1, 0));
    proxy.forget_counts();
    assert!(proxy.requests().is_empty());
}

/// An idle connection that the server has closed is no fault that the client should see.
#[test]
fn a_server_that_closes_idle_connections_is_asked_again() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    let mut client = Client::connect(&proxy);
    for _ in 0..5 {
        assert_eq!(client.ask("GET /bucket/last HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().0, 200);
    }
    assert_eq!(server.seen().len(), 5);
}

#[test]
fn refused_while_down_and_back_at_the_same_address() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    let mut open = Client::connect(&proxy);
    open.ask(GET).unwrap();
    for _ in 0..3 {
        proxy.take_down();
        let address = proxy.endpoint().replace("http://", "");
        assert_eq!(TcpStream::connect(&address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        open.ask(GET).unwrap_err();
        proxy.bring_up();
        open = Client::connect(&proxy);
        assert_eq!(open.ask(GET).unwrap().0, 200);
    }
}

/// Whether the server saw the request, and what the client sees.
#[test]
fn each_fault_is_what_it_says() {
    for service in [Service::S3, Service::DynamoDb] {
        for (fault, applied, answer) in [
            (Fault::ResetBefore, false, None),
            (Fault::ResetAfter, true, None),
            (Fault::Throttle, false, Some((throttled(service), throttle_name(service)))),
            (Fault::ErrorBefore, false, Some((500, error_name(service)))),
            (Fault::ErrorAfter, true, Some((500, error_name(service)))),
        ] {
            let server = Server::start();
            let proxy = FaultProxy::start(service, &server.url());
            let mut client = Client::connect(&proxy);
            client.ask(PUT).unwrap();
            proxy.set(fault);
            let met = client.ask(PUT);
            assert_eq!(server.seen().len(), 1 + usize::from(applied), "{fault:?}");
            match (met, answer) {
                (Ok((status, body)), Some((wanted, name))) => {
                    assert_eq!(status, wanted, "{fault:?}");
                    assert!(body.contains(name), "{fault:?}: {body}");
                }
                (Err(error), None) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{fault:?}"),
                (met, _) => panic!("{fault:?}: {met:?}"),
            }
            assert_eq!(proxy.faults(), 1);
            proxy.clear();
            assert_eq!(Client::connect(&proxy).ask(PUT).unwrap().0, 200, "after {fault:?}");
        }
    }
}

fn throttled(service: Service) -> u16 {
    if service == Service::S3 { 503 } else { 400 }
}

fn throttle_name(service: Service) -> &'static str {
    match service {
        Service::S3 => "<Code>SlowDown</Code>",
        Service::DynamoDb => "#ProvisionedThroughputExceededException\"",
    }
}

fn error_name(service: Service) -> &'static str {
    match service {
        Service::S3 => "<Code>InternalError</Code>",
        Service::DynamoDb => "#InternalServerError\"",
    }
}

#[test]
fn an_answer_is_cut_half_way() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    proxy.set(Fault::CutAnswer);
    let mut client = Client::connect(&proxy);
    client.stream.write_all(GET.as_bytes()).unwrap();
    let mut all = Vec::new();
    client.stream.read_to_end(&mut all).unwrap();
    let all = String::from_utf8(all).unwrap();
    assert!(all.to_lowercase().contains("content-length: 10\r\n"), "{all}");
    assert!(all.ends_with("\r\n\r\n01234"), "{all}");
    assert_eq!(server.seen().len(), 1);
}

/// A PUT is answered without a body: then it is the connection that ends.
#[test]
fn an_answer_without_a_body_is_cut_off() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    proxy.set(Fault::CutAnswer);
    Client::connect(&proxy)
        .ask("PUT /bucket/empty HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        .unwrap_err();
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_delay_takes_its_time() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    let delay = Duration::from_millis(200);
    proxy.set(Fault::Delay(delay));
    let began = Instant::now();
    assert_eq!(Client::connect(&proxy).ask(GET).unwrap().1, ANSWER);
    assert!(began.elapsed() >= delay);
}

/// The client is told nothing; the request comes to the server when another one has overtaken it.
#[test]
fn a_late_request_is_overtaken() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    proxy.set(Rule::new(Fault::Late(Duration::from_millis(300))).at_most(1));
    let error = Client::connect(&proxy).ask(PUT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    Client::connect(&proxy).ask(GET).unwrap();
    assert!(server.seen()[0].starts_with("GET "));
    let began = Instant::now();
    while server.seen().len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(10), "it never came");
        thread::yield_now();
    }
    assert!(server.seen()[1].ends_with("\r\n\r\nbody"), "{:?}", server.seen());
}

#[test]
fn faults_are_chosen_by_operation_and_end() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    proxy.set(Plan::seeded(1).with(Rule::new(Fault::Throttle).on(&["PutObject"]).at_most(2)));
    let mut client = Client::connect(&proxy);
    assert_eq!(client.ask(GET).unwrap().0, 200);
    let met: Vec<u16> = (0..3).map(|_| client.ask(PUT).unwrap().0).collect();
    assert_eq!(met, [503, 503, 200]);
    assert_eq!((proxy.requests_of("PutObject"), proxy.faults()), (3, 2));
}

/// A body of several megabytes goes through both ways.
#[test]
fn big_bodies_pass() {
    let server = Server::start();
    let proxy = FaultProxy::start(Service::S3, &server.url());
    let body = "x".repeat(5_000_000);
    let request =
        format!("PUT /bucket/echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(Client::connect(&proxy).ask(&request).unwrap().1, body);
}

/// A client with one connection, which it keeps.
struct Client {
    stream: TcpStream,
}

impl Client {
    fn connect(proxy: &FaultProxy) -> Self {
        let stream = TcpStream::connect(proxy.endpoint().replace("http://", "")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream }
    }

    /// Returns status and body of the answer.
    fn ask(&mut self, request: &str) -> std::io::Result<(u16, String)> {
        self.stream.write_all(request.as_bytes())?;
        let (head, body) = read_message(&mut self.stream)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
        Ok((status, body))
    }
}

/// Reads a head and as much body as it promises.
fn read_message(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut octets = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        let text = String::from_utf8_lossy(&octets);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let promised = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().expect("a number"))
            });
            if body.len() >= promised.unwrap_or(0) {
                return Ok((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => octets.extend_from_slice(&chunk[..count]),
        }
    }
}

/// A server that answers every request and remembers it.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = server.seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = seen.clone();
                thread::spawn(move || answer_all(stream.unwrap(), &seen));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer_all(mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
    while let Ok((head, body)) = read_message(&mut stream) {
        seen.lock().unwrap().push(format!("{head}\r\n\r\n{body}"));
        let said = match head.split(' ').nth(1) {
            Some("/bucket/empty") => String::new(),
            Some("/bucket/echo") => body,
            _ => ANSWER.to_owned(),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}", said.len());
        if stream.write_all(head.as_bytes()).is_err() || head.is_empty() {
            return;
        }
        // A server may close when it has nothing to do.
        if said == ANSWER && seen.lock().unwrap().last().is_some_and(|last| last.contains("/bucket/last")) {
            return;
        }
    }
}
