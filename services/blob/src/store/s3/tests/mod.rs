//! Against a real S3 server, and with a proxy before it that makes its bad days.

mod contract;
mod faults;
mod large;
mod reading;
mod setup;

use std::time::Duration;

use aws_sdk_s3::Client;
use bytes::Bytes;
use puro_aws::Source;
use puro_stand_ins::{FaultProxy, StandIn, fresh_name};

use super::{S3Config, S3Store, connect::connect, init_bucket};
use crate::store::{SegmentStore, contract::octets};

/// A part as small as S3 takes one.
const PART: usize = 5 << 20;

/// Returns the settings of a bucket of its own, which is not there yet.
fn config() -> S3Config {
    let StandIn { endpoint, region, access_key_id, secret_access_key, .. } = puro_stand_ins::s3();
    S3Config {
        bucket: fresh_name(),
        path_style: true,
        source: Source::Given {
            endpoint,
            region: region.to_owned(),
            keys: (access_key_id.to_owned(), secret_access_key.to_owned()),
        },
        part_bytes: PART,
        // Nothing here waits for longer than a busy machine takes.
        patience: Duration::from_secs(60),
        ..S3Config::default()
    }
}

/// A bucket of its own.
async fn bucket() -> S3Config {
    let config = config();
    init_bucket(&config).await.unwrap();
    config
}

async fn store() -> S3Store {
    S3Store::open(bucket().await).await.unwrap()
}

/// A bucket of its own behind a proxy.
async fn behind_proxy() -> (S3Store, FaultProxy) {
    let mut config = bucket().await;
    let proxy = FaultProxy::before_s3();
    if let Source::Given { endpoint, .. } = &mut config.source {
        *endpoint = proxy.endpoint();
    }
    let store = S3Store::open(config).await.unwrap();
    proxy.forget_counts();
    (store, proxy)
}

/// The SDK's client, for what the store does not do.
async fn client(config: &S3Config) -> Client {
    connect(config).await.unwrap().client
}

/// Returns how many uploads are unfinished.
async fn uploads(store: &S3Store) -> usize {
    store.unfinished_uploads().await.unwrap()
}

/// Returns how many segments there are.
async fn segments(store: &S3Store) -> usize {
    store.list(None, 1000).await.unwrap().segments.len()
}

/// Writes a large segment in pieces such as come from compression.
async fn stream(store: &S3Store, whole: &Bytes) -> Result<String, crate::store::StoreError> {
    let mut writer = store.begin().await?;
    for chunk in whole.chunks(200_000) {
        writer.write(whole.slice_ref(chunk)).await?;
    }
    Ok(writer.finish().await?.object_name)
}

fn some(length: usize) -> Bytes {
    octets(length, 42)
}
