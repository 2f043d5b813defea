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
async fn a_failure_ends_the_process_and_the_first_reason_counts() {
    let process = Process::new();
    process.fail("the store is gone");
    process.fail("and then more");
    process.stop_requested().await;
    assert_eq!(process.failure().as_deref(), Some("the store is gone"));
}
