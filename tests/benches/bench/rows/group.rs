//! Devices of one account, each connected to each.

use futures_util::future::try_join_all;
use kinlink_tests::harness::Host;

use super::{host, linking};
use crate::client::Client;

/// A device of a group.
pub(super) struct Member {
    pub(super) client: Client,
    /// Its path, on each of them.
    pub(super) path: String,
    _host: Host,
}

impl Member {
    pub(super) async fn new(name: &str) -> anyhow::Result<Self> {
        let host = host(name);
        let client = Client::of(&host).await?;
        Ok(Self { path: client.device().await?, client, _host: host })
    }
}

/// So many, linked by the first of them.
pub(super) async fn of(count: usize) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for number in 0..count {
        members.push(Member::new(&format!("device {number}")).await?);
    }
    for member in &members[1..] {
        linking::link(&members[0].client, &member.client).await?;
    }
    try_join_all(members.iter().map(|member| all_meet(&members, member))).await?;
    Ok(members)
}

/// Waits until each but itself is connected to `newcomer`.
pub(super) async fn all_meet(members: &[Member], newcomer: &Member) -> anyhow::Result<()> {
    for member in members.iter().filter(|member| member.path != newcomer.path) {
        member.client.meets(&newcomer.path).await;
    }
    Ok(())
}
