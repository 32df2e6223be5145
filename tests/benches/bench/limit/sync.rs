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
pub(super) const SIGNATURE: usize = 64;
/// Of every key.
pub(super) const SEED: [u8; 32] = [7; 32];

/// Seconds that the receiver took from the connection until all was durable.
pub(crate) fn seconds(count: u64, size: usize) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    quic::make_identity(dir.path())?;
    let path = dir.path().to_str().context("a path that is no text")?;
    let (count, size) = (count.to_string(), size.to_string());
    let mut sender = again(&["send", &count, &size, path])?.stdout(Stdio::piped()).spawn()?;
    // It says where it listens once it is ready.
    let mut line = String::new();
    BufReader::new(sender.stdout.take().context("no output")?).read_line(&mut line)?;
    let received = again(&["receive", line.trim(), &count, &size, path])?.output()?;
    anyhow::ensure!(sender.wait()?.success() && received.status.success(), "a limit failed");
    Ok(String::from_utf8(received.stdout)?.trim().parse()?)
}

fn cipher() -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(SEED))
}

pub(super) fn sign(bytes: &[u8]) -> [u8; SIGNATURE] {
    SigningKey::from_bytes(&SEED).sign(bytes).to_bytes()
}

pub(super) fn verify(bytes: &[u8], signature: &[u8]) -> anyhow::Result<()> {
    Ok(SigningKey::from_bytes(&SEED).verifying_key().verify(bytes, &Signature::from_slice(signature)?)?)
}

/// One batch as it is sent: entries, then the signature over their chained hashes.
pub(super) fn batch(chain: &mut [u8; 32], from: u64, to: u64, size: usize) -> anyhow::Result<Vec<u8>> {
    let cipher = cipher();
    let mut out = Vec::with_capacity(batch_bytes((to - from) as usize, size));
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
    out.extend_from_slice(&sign(chain));
    Ok(out)
}

/// Bytes of a batch of so many entries.
pub(super) fn batch_bytes(entries: usize, size: usize) -> usize {
    entries * (size + SEALED) + SIGNATURE
}

/// A batch as it came.
pub(super) struct Batch(pub(super) Vec<u8>);

impl Batch {
    fn parts(&self) -> (&[u8], &[u8]) {
        self.0.split_at(self.0.len() - SIGNATURE)
    }

    pub(super) fn entries(&self, size: usize) -> impl Iterator<Item = &[u8]> {
        self.parts().0.chunks_exact(size + SEALED)
    }

    /// Checks that it continues the chain, and opens each entry.
    pub(super) fn check(&self, chain: &mut [u8; 32], size: usize) -> anyhow::Result<()> {
        let cipher = cipher();
        for entry in self.entries(size) {
            *chain = link(chain, entry);
            let (nonce, sealed) = entry.split_first_chunk::<24>().context("short")?;
            let opened = cipher.decrypt(&XNonce::from(*nonce), sealed).map_err(|_| anyhow::anyhow!("opening"))?;
            std::hint::black_box(opened);
        }
        verify(chain, self.parts().1)
    }
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
    let endpoint = quic::listen(dir)?;
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
pub(super) async fn receive(port: u16, count: u64, size: usize, dir: &Path) -> anyhow::Result<()> {
    let db = Database::create(dir.join("received"))?;
    let begun = Instant::now();
    let client = quic::Client::new(dir)?;
    let connection = client.connect(port).await?;
    let mut stream = connection.accept_uni().await?;
    let (batches, waiting) = mpsc::sync_channel::<(u64, Batch)>(4);
    let storing = std::thread::spawn(move || take_in(&db, waiting, size));
    for from in (0..count).step_by(BATCH as usize) {
        let mut batch = vec![0; batch_bytes((count.min(from + BATCH) - from) as usize, size)];
        stream.read_exact(&mut batch).await?;
        batches.send((from, Batch(batch))).context("storing failed")?;
    }
    drop(batches);
    storing.join().map_err(|_| anyhow::anyhow!("storing failed"))??;
    println!("{}", begun.elapsed().as_secs_f64());
    connection.close(0_u32.into(), b"");
    client.endpoint.wait_idle().await;
    Ok(())
}

fn take_in(db: &Database, batches: mpsc::Receiver<(u64, Batch)>, size: usize) -> anyhow::Result<()> {
    let mut chain = [0; 32];
    for (from, batch) in batches {
        batch.check(&mut chain, size)?;
        store::commit(db, from, batch.entries(size))?;
    }
    Ok(())
}
