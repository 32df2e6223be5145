//! Short exchanges between two processes, each on a connection of its own: what linking takes at least, and what
//! bringing over a few entries does.
//!
//! One end listens and answers, the other one asks and takes the time. Proofs are hashes, approvals Ed25519 signatures.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quinn::{RecvStream, SendStream};
use redb::Database;
use sha2::{Digest as _, Sha256};

use super::sync::{self, Batch};
use super::{again, quic, store};

/// Bytes that say what one has: a few vectors.
const VECTORS: usize = 256;
/// Bytes of a message of linking: names, addresses, nonces.
const WORDS: usize = 320;
/// Bytes of a proof.
const PROOF: usize = 32;
/// Bytes of the statement that links: it carries a post-quantum key, and what is sealed to it.
const STATEMENT: usize = 1600;
/// How often the listening end is asked on a connection that stands.
const TRIPS: u64 = 500;

/// Seconds until what differs, `entries` of `size` bytes, has come over and is durable, from connecting on.
pub(crate) fn differing(rounds: u64, entries: u64, size: usize) -> anyhow::Result<Vec<f64>> {
    let lines = run(&["differing", &rounds.to_string(), &entries.to_string(), &size.to_string()])?;
    Ok(lines.into_iter().map(|line| line[0]).collect())
}

/// Seconds of linking: from connecting on, and of that from the approval on.
pub(crate) fn linking(rounds: u64) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let lines = run(&["linking", &rounds.to_string(), "1", "0"])?;
    Ok(lines.into_iter().map(|line| (line[0], line[1])).unzip())
}

/// Seconds of a few bytes there and back.
pub(crate) fn round_trips() -> anyhow::Result<Vec<f64>> {
    let lines = run(&["trips", &TRIPS.to_string(), "1", "0"])?;
    Ok(lines.into_iter().map(|line| line[0]).collect())
}

/// Runs both ends; what the asking one printed, line by line.
fn run(what: &[&str]) -> anyhow::Result<Vec<Vec<f64>>> {
    let dir = tempfile::tempdir()?;
    quic::make_identity(dir.path())?;
    let path = dir.path().to_str().context("a path that is no text")?;
    let mut answering = again(&[&["answer"], what, &[path]].concat())?.stdout(Stdio::piped()).spawn()?;
    let mut port = String::new();
    BufReader::new(answering.stdout.take().context("no output")?).read_line(&mut port)?;
    let asked = again(&[&["ask", port.trim()], what, &[path]].concat())?.output()?;
    anyhow::ensure!(asked.status.success() && answering.wait()?.success(), "a limit failed");
    let numbers = |line: &str| line.split(' ').map(|number| Ok(number.parse()?)).collect();
    String::from_utf8(asked.stdout)?.lines().map(numbers).collect()
}

/// One end of a connection.
struct End {
    send: SendStream,
    receive: RecvStream,
    db: Database,
}

impl End {
    async fn say(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.send.write_all(bytes).await?)
    }

    async fn hear(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.receive.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    fn store(&self, round: u64, bytes: &[u8]) -> anyhow::Result<()> {
        store::commit(&self.db, round, std::iter::once(bytes))
    }
}

/// The listening end: prints its port, and answers one connection after another.
#[tokio::main]
pub(super) async fn answer(what: &str, rounds: u64, entries: u64, size: usize, dir: &Path) -> anyhow::Result<()> {
    let endpoint = quic::listen(dir)?;
    let mut db = Database::create(dir.join("answering"))?;
    println!("{}", endpoint.local_addr()?.port());
    let batch = sync::batch(&mut [0; 32], 0, entries, size)?;
    let connections = if what == "trips" { 1 } else { rounds };
    for round in 0..connections {
        let connection = endpoint.accept().await.context("the endpoint was closed")?.await?;
        let (send, receive) = connection.accept_bi().await?;
        let mut end = End { send, receive, db };
        match what {
            "differing" => {
                end.hear(VECTORS).await?;
                end.say(&batch).await?;
            }
            "linking" => show(&mut end, round).await?,
            _ => {
                for _ in 0..rounds {
                    let heard = end.hear(PROOF).await?;
                    end.say(&heard).await?;
                }
            }
        }
        db = end.db;
        connection.closed().await;
    }
    Ok(())
}

/// The asking end: prints the seconds of each round.
#[tokio::main]
pub(super) async fn ask(
    port: u16,
    what: &str,
    rounds: u64,
    entries: u64,
    size: usize,
    dir: &Path,
) -> anyhow::Result<()> {
    let client = quic::Client::new(dir)?;
    let mut db = Database::create(dir.join("asking"))?;
    let connections = if what == "trips" { 1 } else { rounds };
    for round in 0..connections {
        let begun = Instant::now();
        let connection = client.connect(port).await?;
        let (send, receive) = connection.open_bi().await?;
        let mut end = End { send, receive, db };
        match what {
            "differing" => {
                end.say(&[7; VECTORS]).await?;
                let batch = Batch(end.hear(sync::batch_bytes(entries as usize, size)).await?);
                batch.check(&mut [0; 32], size)?;
                store::commit(&end.db, round * entries, batch.entries(size))?;
                println!("{}", begun.elapsed().as_secs_f64());
            }
            "linking" => {
                let approved = join(&mut end, round).await?;
                println!("{} {}", begun.elapsed().as_secs_f64(), approved.as_secs_f64());
            }
            _ => {
                for _ in 0..rounds {
                    let begun = Instant::now();
                    end.say(&[7; PROOF]).await?;
                    end.hear(PROOF).await?;
                    println!("{}", begun.elapsed().as_secs_f64());
                }
            }
        }
        db = end.db;
        connection.close(0_u32.into(), b"");
    }
    client.endpoint.wait_idle().await;
    Ok(())
}

/// Links whoever connects: it is proved to have seen the challenge, offered a place, and approved.
async fn show(end: &mut End, round: u64) -> anyhow::Result<()> {
    let claim = end.hear(WORDS + PROOF).await?;
    anyhow::ensure!(claim[WORDS..] == proof(&claim[..WORDS]), "a proof");
    end.say(&signed(&[7; WORDS])).await?;
    let accepted = end.hear(STATEMENT + sync::SIGNATURE).await?;
    check(&accepted)?;
    let link = signed(&[7; STATEMENT]);
    end.store(round, &link)?;
    end.say(&link).await
}

/// The other side of it; how long it took from the approval until the link was durable here.
async fn join(end: &mut End, round: u64) -> anyhow::Result<Duration> {
    let words = [7; WORDS];
    end.say(&[&words[..], &proof(&words)].concat()).await?;
    check(&end.hear(WORDS + sync::SIGNATURE).await?)?;
    let begun = Instant::now();
    end.say(&signed(&[7; STATEMENT])).await?;
    let link = end.hear(STATEMENT + sync::SIGNATURE).await?;
    check(&link)?;
    end.store(round, &link)?;
    Ok(begun.elapsed())
}

fn proof(words: &[u8]) -> [u8; PROOF] {
    Sha256::new().chain_update(sync::SEED).chain_update(words).finalize().into()
}

fn signed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &sync::sign(bytes)].concat()
}

fn check(signed: &[u8]) -> anyhow::Result<()> {
    let (bytes, signature) = signed.split_at(signed.len() - sync::SIGNATURE);
    sync::verify(bytes, signature)
}
