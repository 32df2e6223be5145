//! What entries take on disk.

use super::{Scale, host};
use crate::client::Client;
use crate::limit;
use crate::report::Figure;

/// Of a key, a nonce, a tag and what names the operation.
const BESIDE_THE_VALUE: usize = 120;

/// Bytes of the store for each entry of 1 KiB, once the daemon has stopped.
#[tokio::main]
pub(super) async fn bytes(Scale { entries, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let host = host("full");
    let client = Client::of(&host).await?;
    let session = client.session().await?;
    client.fill(&session, 0, entries, 1024, 32).await?;
    drop(client);
    host.stop();
    let ours = std::fs::metadata(host.state().join("store"))?.len();
    let dir = tempfile::tempdir()?;
    let limit = limit::store::file_bytes(dir.path(), entries, 1024 + BESIDE_THE_VALUE)?;
    let each = |bytes: u64| bytes as f64 / entries as f64;
    let what = format!("disk for each of {entries} entries of 1 KiB");
    Ok(vec![Figure {
        what,
        unit: "B",
        ours: each(ours),
        limit: Some(each(limit)),
        goal: Some(1.15),
        ..Figure::default()
    }])
}
