mod tls;
mod toy;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::*;
use toy::{Log, PATIENCE, Toy};

struct Rig {
    client: DuplexStream,
    log: Log,
    drain: CancellationToken,
    server: JoinHandle<End>,
}

fn rig(buffer: usize) -> Rig {
    let (client, server) = duplex(buffer);
    rig_with(client, server, None)
}

fn rig_with<S: Transport + 'static>(client: DuplexStream, server: S, tls: Option<TlsAcceptor>) -> Rig {
    let (log, drain) = (Log::default(), CancellationToken::new());
    let (handler, token) = (log.clone(), drain.clone());
    let server = tokio::spawn(async move {
        let context = Context { tls: tls.as_ref(), drain: &token, limits: Limits::default() };
        run(Toy::default(), handler, Stream::plain(server), context).await
    });
    Rig { client, log, drain, server }
}

impl Rig {
    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads exactly this text.
    async fn expect(&mut self, text: &str) {
        let mut got = vec![0; text.len()];
        self.client.read_exact(&mut got).await.unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), text);
    }

    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.client.read_to_string(&mut rest).await.unwrap();
        rest
    }
}

#[tokio::test(start_paused = true)]
async fn the_handler_hears_that_it_is_the_peers_turn_before_the_peer_does() {
    let mut rig = rig(4096);
    rig.send("ASK a\r\nECHO b\r\n").await;
    rig.expect("answer a\r\nb\r\n").await;
    // With nothing to say, and with two replies in hand: never between commands that were sent ahead.
    assert_eq!(*rig.log.waits.lock().unwrap(), [0, "answer a\r\nb\r\n".len()]);
}

#[tokio::test(start_paused = true)]
async fn pipelined_commands_are_answered_in_order_in_any_pieces() {
    let text = "ECHO a\r\nASK b\r\nECHO c\r\nBODY 4\r\n1\r\n2ECHO d\r\nASK e\r\nQUIT\r\n";
    let expected = "a\r\nanswer b\r\nc\r\nbody taken\r\nd\r\nanswer e\r\nbye\r\n";
    for size in [1, 2, 3, 7, text.len()] {
        let mut rig = rig(4096);
        for piece in text.as_bytes().chunks(size) {
            rig.client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.rest().await, expected, "pieces of {size}");
        drop(rig.client);
        assert_eq!(rig.server.await.unwrap(), End::Closed);
        assert_eq!(rig.log.asked(), ["b", "e", "closed: closed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn input_left_over_is_offered_again_after_an_answer() {
    let mut rig = rig(4096);
    let begin = Instant::now();
    // The question is asked before the line is consumed.
    rig.send("PEEK\r\nQUIT\r\n").await;
    assert_eq!(rig.rest().await, "answer peek\r\nwhat?\r\nbye\r\n");
    assert_eq!(begin.elapsed(), Duration::ZERO, "nothing was waited for");
}

#[derive(Clone, Default)]
struct Counts {
    writes: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
}

/// Counts writes and acknowledgements.
struct Counting(DuplexStream, Counts);

impl Transport for Counting {
    fn acknowledge(&self) {
        self.1.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, octets);
        if written.is_ready() {
            self.1.writes.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn the_replies_of_one_batch_are_one_write() {
    let (client, server) = duplex(4096);
    let counts = Counts::default();
    let mut rig = rig_with(client, Counting(server, counts.clone()), None);
    rig.send("ECHO a\r\nASK b\r\nECHO c\r\nASK d\r\n").await;
    rig.expect("a\r\nanswer b\r\nc\r\nanswer d\r\n").await;
    assert_eq!(counts.writes.load(Ordering::Relaxed), 1);
}

/// A sender with Nagle's algorithm on waits for the acknowledgement before it sends the rest of a message; a command's
/// acknowledgement goes with its reply.
#[tokio::test(start_paused = true)]
async fn what_comes_in_bulk_is_acknowledged_at_once_and_commands_are_not() {
    let (client, server) = duplex(4096);
    let counts = Counts::default();
    let mut rig = rig_with(client, Counting(server, counts.clone()), None);
    for _ in 0..3 {
        rig.send("ECHO a\r\n").await;
        rig.expect("a\r\n").await;
    }
    assert_eq!(counts.acknowledged.load(Ordering::Relaxed), 0);
    rig.send("BODY 6\r\n").await;
    tokio::task::yield_now().await;
    for (sent, piece) in (1..).zip(["12", "34", "56"]) {
        rig.send(piece).await;
        // The server's turn: it reads until there is no more.
        tokio::task::yield_now().await;
        assert_eq!(counts.acknowledged.load(Ordering::Relaxed), sent);
    }
    rig.expect("body taken\r\n").await;
    rig.send("ECHO b\r\n").await;
    rig.expect("b\r\n").await;
    assert_eq!(counts.acknowledged.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn silence_expires_at_the_machines_deadline() {
    let mut rig = rig(4096);
    let begin = Instant::now();
    // Half a command does not buy time.
    rig.send("ECHO a\r\n").await;
    rig.expect("a\r\n").await;
    tokio::time::sleep(PATIENCE / 2).await;
    rig.send("ECH").await;
    assert_eq!(rig.rest().await, "too slow\r\n");
    assert_eq!(begin.elapsed().as_secs(), PATIENCE.as_secs());
    drop(rig.client);
    assert_eq!(rig.server.await.unwrap(), End::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_pauses_expires_too() {
    let mut rig = rig(64 * 1024);
    let endless = "x".repeat(32 * 1024);
    rig.send(&format!("LATE\r\nECHO {endless}\r\n")).await;
    assert_eq!(rig.rest().await, "too slow\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_given_up_and_costs_little() {
    let mut rig = rig(1024);
    rig.send("FLOOD 1000\r\n").await;
    let begin = Instant::now();
    assert_eq!(rig.server.await.unwrap(), End::NeverReads);
    assert_eq!(begin.elapsed(), Limits::default().write_stall);
    let asked = rig.log.asked();
    // 16 KiB a chunk: the first batch stops at the high-water mark; then the peer is lost and the rest is thrown away,
    // and the machine was told.
    assert_eq!(asked.last().map(String::as_str), Some("closed: peer never reads"));
    assert!(asked.contains(&"end".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn output_stops_at_the_high_water_mark_until_the_peer_reads() {
    let mut rig = rig(1024);
    rig.send("FLOOD 100\r\nQUIT\r\n").await;
    // Until the write is stuck.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let produced = rig.log.asked().len() * 16 * 1024;
    assert!(produced <= Toy::OUTPUT_HIGH_WATER + 16 * 1024, "{produced} octets were made for a full pipe");
    let all = rig.rest().await;
    assert_eq!(all.len(), 100 * (16 * 1024 + 2) + "bye\r\n".len(), "a slow reader gets everything");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_makes_progress_is_waited_for() {
    let mut rig = rig(1024);
    rig.send("FLOOD 2\r\nQUIT\r\n").await;
    let mut total = 0;
    let mut piece = [0; 512];
    loop {
        tokio::time::sleep(Limits::default().write_stall * 9 / 10).await;
        match rig.client.read(&mut piece).await.unwrap() {
            0 => break,
            count => total += count,
        }
    }
    assert_eq!(total, 2 * (16 * 1024 + 2) + "bye\r\n".len());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_while_a_question_is_open() {
    let mut rig = rig(1024);
    rig.send("ASK wait\r\n").await;
    // The driver is in the question now, so the pipe takes its 1024 octets and no more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let flood = [b'x'; 1024];
    rig.client.write_all(&flood).await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(600), rig.client.write_all(b"\r\n")).await;
    assert!(more.is_err(), "a client that pipelines is held back");
    rig.log.gate.add_permits(1);
    rig.expect("answer wait\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_leaves_does_not_cancel_its_question() {
    let mut rig = rig(1024);
    rig.send("ASK wait\r\nASK never\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(rig.client);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!rig.server.is_finished());
    rig.log.gate.add_permits(1);
    assert_eq!(rig.server.await.unwrap(), End::PeerGone);
    // "never" was received too, and runs: whether its sender still hears is not known before the first write.
    let asked = rig.log.asked();
    assert_eq!(asked.first().map(String::as_str), Some("wait"));
    assert_eq!(asked[asked.len() - 2..], ["end", "closed: peer gone"]);
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_peer_gets_its_replies() {
    let mut rig = rig(4096);
    rig.send("ECHO a\r\nASK b\r\nECHO unfinished").await;
    rig.client.shutdown().await.unwrap();
    assert_eq!(rig.rest().await, "a\r\nanswer b\r\nanswer end\r\n");
    assert_eq!(rig.server.await.unwrap(), End::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_pause_delays_what_follows_but_not_what_went_before() {
    let mut rig = rig(4096);
    let begin = Instant::now();
    rig.send("ECHO a\r\nPAUSE 30\r\nECHO b\r\n").await;
    rig.expect("a\r\n").await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    rig.expect("b\r\n").await;
    assert_eq!(begin.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn drain_interrupts_waiting_and_pausing() {
    for command in ["", "ECHO half", "PAUSE 1000\r\n"] {
        let mut rig = rig(4096);
        rig.send(command).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begin = Instant::now();
        rig.drain.cancel();
        assert_eq!(rig.rest().await, "draining\r\n", "{command:?}");
        assert_eq!(begin.elapsed(), Duration::ZERO);
        drop(rig.client);
        assert_eq!(rig.server.await.unwrap(), End::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_the_answer_in_hand() {
    let mut rig = rig(4096);
    rig.send("ASK wait\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.drain.cancel();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!rig.server.is_finished());
    rig.log.gate.add_permits(1);
    assert_eq!(rig.rest().await, "answer wait\r\ndraining\r\n");
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_the_peer_but_not_for_ever() {
    let mut rig = rig(4096);
    rig.send("QUIT\r\n").await;
    assert_eq!(rig.rest().await, "bye\r\n");
    let begin = Instant::now();
    // The client keeps its side open.
    assert_eq!(rig.server.await.unwrap(), End::Closed);
    assert_eq!(begin.elapsed(), Limits::default().linger);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_is_small() {
    let (_client, server) = duplex(64);
    let (drain, log) = (CancellationToken::new(), Log::default());
    let context = Context { tls: None, drain: &drain, limits: Limits::default() };
    let session = run(Toy::default(), log, Stream::plain(server), context);
    let size = std::mem::size_of_val(&session);
    assert!(size < 3072, "the future of a session takes {size} octets");
}
