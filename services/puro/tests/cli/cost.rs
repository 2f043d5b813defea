//! `puro cost` as a script and a person see it.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::system::System;

#[tokio::test]
async fn profiles_are_priced_without_any_service() {
    let mut system = System::start().await;
    system.metadata_url = "http://127.0.0.1:1".into();
    system.blob_url = "http://127.0.0.1:1".into();
    let all = system.run("cost --json").await.json();
    let names: Vec<&str> =
        all["bills"].as_array().unwrap().iter().map(|bill| bill["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["seed", "seed30", "mixed", "small"]);
    let one = system.run("cost --json --profile seed").await.json();
    assert_eq!(one["bills"][0], all["bills"][0]);
    let total = |value: &serde_json::Value| value["bills"][0]["total_usd"].as_f64().unwrap();
    let lines = one["bills"][0]["lines"].as_array().unwrap();
    let sum: f64 = lines.iter().map(|line| line["usd"].as_f64().unwrap()).sum();
    assert!((sum - total(&one)).abs() < 1e-6);
    let alone = system.run("cost --json --profile seed --no-group-commit").await.json();
    let provisioned = system.run("cost --json --profile seed --provisioned").await.json();
    assert!(total(&provisioned) < total(&one) && total(&one) < total(&alone));
    let text = system.run("cost --profile mixed").await.done();
    for word in ["2013", "mixed", "DynamoDB", "884.50", "left out by the slide", "What it rests on"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[tokio::test]
async fn prices_and_profiles_may_be_ones_own() {
    let system = System::start().await;
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data/cost");
    let folder = system.folder.path();
    let prices = std::fs::read_to_string(format!("{data}/prices.toml")).unwrap();
    std::fs::write(folder.join("dear.toml"), prices.replacen("usd = 0.50", "usd = 1000.50", 1)).unwrap();
    let profile = std::fs::read_to_string(format!("{data}/profiles/seed.toml")).unwrap();
    std::fs::write(folder.join("few.toml"), profile.replacen("users = 100_000", "users = 100", 1)).unwrap();
    let total = |value: serde_json::Value| value["bills"][0]["total_usd"].as_f64().unwrap();
    let built_in = total(system.run("cost --json --profile seed").await.json());
    let dear = total(system.run("cost --json --profile seed --prices dear.toml").await.json());
    assert!((dear - built_in - 1_000.0).abs() < 1e-6, "{built_in} {dear}");
    let few = total(system.run("cost --json --profile few.toml").await.json());
    assert!(few < built_in / 4.0, "{few}");
}

#[tokio::test]
async fn what_cannot_be_priced_ends_with_its_code() {
    let system = System::start().await;
    std::fs::write(system.folder.path().join("bad.toml"), "users = 1\n").unwrap();
    system.run("cost --profile sed").await.refused(2, &["sed", "seed, seed30, mixed, small"]);
    system.run("cost --profile absent.toml").await.refused(64, &["absent.toml"]);
    system.run("cost --profile bad.toml").await.refused(64, &["bad.toml", "missing field"]);
    system.run("cost --prices bad.toml").await.refused(64, &["bad.toml", "users"]);
    system.run("cost --linger 1001").await.refused(2, &["1001"]);
    system.run("cost --linger 5 --no-group-commit").await.refused(2, &["--no-group-commit"]);
    system.run("cost --metrics http://127.0.0.1:1/metrics").await.refused(2, &["--measured"]);
    system.run("cost --measured --metrics ftp://x").await.refused(2, &["http://"]);
    let gone = "cost --measured --metrics http://127.0.0.1:1/metrics";
    system.run(gone).await.refused(69, &["http://127.0.0.1:1/metrics"]);
}

/// Publishes counters that have grown each time they are read, or something that is none of ours.
async fn metrics(of_puro: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for times in 1_u32.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /metrics HTTP/1.0\r\n"));
            let count = times * 1_000;
            let body = match of_puro {
                true => format!(
                    "# TYPE puro_metadata_write_units_total counter\n\
                     puro_metadata_write_units_total{{table=\"folder\"}} {count}\n\
                     puro_blob_store_requests_total{{verb=\"put\"}} {count}\n"
                ),
                false => "up 1\n".to_owned(),
            };
            let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/metrics")
}

#[tokio::test]
async fn a_running_system_is_priced_by_what_it_counts() {
    let system = System::start().await;
    let (one, two) = (metrics(true).await, metrics(true).await);
    let line = format!("cost --json --measured --watch 1 --metrics {one} --metrics {two}");
    let measured = system.run(&line).await.json();
    let bill = &measured["bills"][0];
    assert_eq!(bill["name"], "measured");
    let part = |line: &str, what: &str| {
        let lines = bill["lines"].as_array().unwrap();
        let line = lines.iter().find(|candidate| candidate["name"] == line).unwrap();
        let parts = line["parts"].as_array().unwrap();
        parts.iter().find(|part| part["what"] == what).unwrap()["quantity"].as_f64().unwrap()
    };
    // 2,000 in a second or a little more, and a month has 2.6 million of them.
    let (writes, puts) = (part("DynamoDB", "folder"), part("S3", "writing"));
    assert!((1e9..5.2e9).contains(&writes), "{writes}");
    assert!((writes / puts - 1.0).abs() < 1e-9);
    let other = metrics(false).await;
    let line = format!("cost --measured --watch 1 --metrics {other}");
    system.run(&line).await.refused(1, &["no metrics of PuRo Mail", &other]);
}
