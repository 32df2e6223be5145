//! Entries from one process to another: moved, checked, opened and stored.
//!
//! The sender has them in memory, sealed with XChaCha20-Poly1305, and signs a chain of their hashes every 1,000. The
//! receiver checks the chain and the signature, opens each, and commits each 1,000 durably, keys rising.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::Context as _;
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _};
use redb::Database;
use sha2::{Digest as _, Sha256};

use super::{again, quic, store};

/// Entries under one signature and in one commit.
const BATCH: u64 = 1000;
/// Of a nonce and a tag.
const SEALED: usize = 24 + 16;
const SIGNATURE: usize = 64;
const SEED: [u8; 32] = [7; 32];

/// Seconds that the receiver took from the connection until all was durable.
pub(crate) fn seconds(count: u64, size: usize) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().to_str().context("a path that is no text")?;
    let (count, size) = (count.to_string(), size.to_string());
    let mut sender = again(&["send", &count, &size, path])?.stdout(Stdio::piped()).spawn()?;
    // It says where it listens once it is ready.
    let mut line = String::new();
    BufReader::new(sender.stdout.take().context("no output")?).read_line(&mut line)?;
    std::fs::write(dir.path().join("port"), line.trim())?;
    let received = again(&["receive", &count, &size, path])?.output()?;
    anyhow::ensure!(sender.wait()?.success() && received.status.success(), "a limit failed");
    Ok(String::from_utf8(received.stdout)?.trim().parse()?)
}

fn cipher() -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(SEED))
}

/// One batch as it is sent: entries, then the signature over their chained hashes.
fn batch(chain: &mut [u8; 32], from: u64, to: u64, size: usize) -> anyhow::Result<Vec<u8>> {
    let (cipher, key) = (cipher(), SigningKey::from_bytes(&SEED));
    let mut out = Vec::with_capacity((to - from) as usize * (size + SEALED) + SIGNATURE);
    for number in from..to {
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        let plain = crate::client::value(number, size);
        let sealed = cipher.encrypt(&XNonce::from(nonce), plain.as_slice()).map_err(|_| anyhow::anyhow!("sealing"))?;
        let at = out.len();
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        *chain = link(chain, &out[at..]);
    }
    out.extend_from_slice(&key.sign(chain).to_bytes());
    Ok(out)
}

fn link(chain: &[u8; 32], entry: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(chain).chain_update(Sha256::digest(entry)).finalize().into()
}

/// The sender: prints its port, and sends to whoever connects first.
#[tokio::main]
pub(super) async fn send(count: u64, size: usize, dir: &Path) -> anyhow::Result<()> {
    let mut chain = [0; 32];
    let batches: Vec<Vec<u8>> = (0..count)
        .step_by(BATCH as usize)
        .map(|from| batch(&mut chain, from, count.min(from + BATCH), size))
        .collect::<anyhow::Result<_>>()?;
    let (endpoint, certificate) = quic::listen()?;
    std::fs::write(dir.join("certificate"), certificate)?;
    println!("{}", endpoint.local_addr()?.port());
    let connection = endpoint.accept().await.context("the endpoint was closed")?.await?;
    let mut stream = connection.open_uni().await?;
    for batch in batches {
        stream.write_chunk(batch.into()).await?;
    }
    stream.finish()?;
    connection.closed().await;
    Ok(())
}

/// The receiver: prints the seconds that it took.
#[tokio::main]
pub(super) async fn receive(count: u64, size: usize, dir: &Path) -> anyhow::Result<()> {
    let port: u16 = std::fs::read_to_string(dir.join("port"))?.parse()?;
    let certificate = std::fs::read(dir.join("certificate"))?;
    let db = Database::create(dir.join("received"))?;
    let begun = Instant::now();
    let (endpoint, connection) = quic::connect(([127, 0, 0, 1], port).into(), certificate).await?;
    let mut stream = connection.accept_uni().await?;
    let (batches, waiting) = mpsc::sync_channel::<(u64, Vec<u8>)>(4);
    let storing = std::thread::spawn(move || take_in(&db, waiting, size));
    for from in (0..count).step_by(BATCH as usize) {
        let entries = (count.min(from + BATCH) - from) as usize;
        let mut batch = vec![0; entries * (size + SEALED) + SIGNATURE];
        stream.read_exact(&mut batch).await?;
        batches.send((from, batch)).context("storing failed")?;
    }
    drop(batches);
    storing.join().map_err(|_| anyhow::anyhow!("storing failed"))??;
    println!("{}", begun.elapsed().as_secs_f64());
    connection.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    Ok(())
}

fn take_in(db: &Database, batches: mpsc::Receiver<(u64, Vec<u8>)>, size: usize) -> anyhow::Result<()> {
    let (cipher, key) = (cipher(), SigningKey::from_bytes(&SEED).verifying_key());
    let mut chain = [0; 32];
    for (from, batch) in batches {
        let (entries, signature) = batch.split_at(batch.len() - SIGNATURE);
        for entry in entries.chunks_exact(size + SEALED) {
            chain = link(&chain, entry);
            let (nonce, sealed) = entry.split_first_chunk::<24>().context("short")?;
            let opened = cipher.decrypt(&XNonce::from(*nonce), sealed).map_err(|_| anyhow::anyhow!("opening"))?;
            std::hint::black_box(opened);
        }
        key.verify(&chain, &Signature::from_slice(signature)?)?;
        store::commit(db, from, entries.chunks_exact(size + SEALED))?;
    }
    Ok(())
}
