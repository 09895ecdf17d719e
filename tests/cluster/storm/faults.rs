//! What breaks, for how long, and how it is mended.

use std::time::Duration;

use super::Storm;
use crate::support::{Cluster, NODES, Random, setting};

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    KillSequencer,
    KillNode,
    StopNode,
    KillNats,
    CutNats,
    CutDatabase,
    CutAllDatabases,
    CrashDatabase,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::KillSequencer,
        Self::KillNode,
        Self::StopNode,
        Self::KillNats,
        Self::CutNats,
        Self::CutDatabase,
        Self::CutAllDatabases,
        Self::CrashDatabase,
    ];

    /// Lets it happen, for 2 to 4 s or 10 s where a node is stopped in a long storm, and mends it. Answers with the
    /// node that it met.
    pub async fn strike(self, cluster: &mut Cluster, storm: &Storm, random: &mut Random) -> usize {
        let node = match self {
            Self::KillSequencer => cluster.sequencer().await,
            _ => random.index(NODES),
        };
        let length = match self {
            Self::StopNode if setting("STORM_SECONDS", 30) > 60 => Duration::from_secs(10),
            _ => Duration::from_millis(2_000 + random.below(2_000)),
        };
        match self {
            Self::KillSequencer | Self::KillNode => {
                cluster.kill(node);
                storm.nodes.replace(cluster.urls());
                tokio::time::sleep(length).await;
                cluster.start_node(node).await;
                storm.nodes.replace(cluster.urls());
            }
            Self::StopNode => {
                cluster.send(node, "STOP");
                tokio::time::sleep(length).await;
                cluster.send(node, "CONT");
            }
            Self::KillNats => {
                cluster.nats.kill();
                tokio::time::sleep(length).await;
                cluster.nats.restart();
            }
            Self::CutNats => {
                cluster.node(node).to_nats.cut();
                tokio::time::sleep(length).await;
                cluster.node(node).to_nats.mend();
            }
            Self::CutDatabase => {
                cluster.node(node).to_database.cut();
                tokio::time::sleep(length).await;
                cluster.node(node).to_database.mend();
            }
            Self::CutAllDatabases => {
                (0..NODES).for_each(|index| cluster.node(index).to_database.cut());
                tokio::time::sleep(length).await;
                (0..NODES).for_each(|index| cluster.node(index).to_database.mend());
            }
            Self::CrashDatabase => {
                cluster.postgres().crash().await;
                tokio::time::sleep(length).await;
                cluster.postgres().restart().await;
            }
        }
        node
    }
}
