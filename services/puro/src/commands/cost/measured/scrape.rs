//! Reads the metrics of a process: HTTP, and Prometheus' text format as far as counters go.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::exit::Fault;

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of an answer at most.
const ANSWER_MAX: u64 = 4 << 20;

/// Where metrics are: an `http://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    host: String,
    path: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("http://").ok_or_else(|| "begins with http://".to_owned())?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() || !text.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err("has a host and a port, as in http://127.0.0.1:12600/metrics".to_owned());
        }
        let path = if path.is_empty() { "metrics" } else { path };
        Ok(Self { host: host.to_owned(), path: format!("/{path}") })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

/// Values of counters, by name and the value of their one label. Names are without `_total`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample(pub(super) BTreeMap<(String, String), f64>);

impl Sample {
    /// Reads the lines that are understood; a counter with several labels goes by the first.
    pub(super) fn parse(text: &str) -> Self {
        let mut sample = Self::default();
        for line in text.lines().filter(|line| line.starts_with("puro_")) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let label = labels.split('"').nth(1).unwrap_or_default();
            let name = name.strip_suffix("_total").unwrap_or(name);
            if name.ends_with("_bucket") || !value.is_finite() {
                continue;
            }
            *sample.0.entry((name.to_owned(), label.to_owned())).or_default() += value;
        }
        sample
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (key, value) in &other.0 {
            *self.0.entry(key.clone()).or_default() += value;
        }
    }

    pub(super) fn is_of_puro(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Reads what a process publishes now.
pub(super) async fn read(place: &Place) -> Result<Sample, Fault> {
    let unreachable = |why: String| Fault::Unreachable(format!("{place} does not answer: {why}"));
    let answer = match timeout(PATIENCE, ask(place)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable(format!("not within {} seconds", PATIENCE.as_secs()))),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(Fault::Refused(format!("{place} answers {status:?}")));
    }
    Ok(Sample::parse(body))
}

/// RFC 1945: an HTTP/1.0 answer ends with the connection.
async fn ask(place: &Place) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(&place.host).await?;
    let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", place.path, place.host);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_name_and_label() {
        let text = "# HELP puro_x_total of x\n# TYPE puro_x_total counter\n\
                    puro_x_total{table=\"user\"} 1\npuro_x_total{table=\"folder\"} 2.5\n\
                    puro_y_count{end=\"quit\"} 3\npuro_y_bucket{end=\"quit\",le=\"0.1\"} 9\n\
                    other_total 7\npuro_z_total NaN\npuro_odd\n";
        let sample = Sample::parse(text);
        let expected = [("puro_x", "folder", 2.5), ("puro_x", "user", 1.0), ("puro_y_count", "quit", 3.0)];
        let expected = expected.map(|(name, label, value)| ((name.to_owned(), label.to_owned()), value));
        assert_eq!(sample, Sample(expected.into()));
        let mut sum = sample.clone();
        sum.add(&sample);
        assert!((sum.0[&("puro_x".to_owned(), "folder".to_owned())] - 5.0).abs() < 1e-12);
        assert!(!Sample::parse("hello").is_of_puro());
    }

    #[test]
    fn places_are_urls_with_a_port() {
        for (text, shown) in [
            ("http://127.0.0.1:12600", "http://127.0.0.1:12600/metrics"),
            ("http://127.0.0.1:12600/", "http://127.0.0.1:12600/metrics"),
            ("http://[::1]:9/a/b", "http://[::1]:9/a/b"),
            ("http://mail.example.org:80/metrics", "http://mail.example.org:80/metrics"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), shown);
        }
        for text in ["127.0.0.1:12600", "https://h:1/", "http://h/metrics", "http://h:1/a b", "http://h:x/"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
