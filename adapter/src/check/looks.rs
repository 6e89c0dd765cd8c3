//! Stories that only look.

use super::bench::Bench;
use super::{Verdict, Why, failed, must};
use isotherm_migration::{Fate, Fenced, RequestId, Side, StepKind};
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::{Fence, Switch, TopologyMessage, capabilities_from_wire, topology_from_wire};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// What is asked for, and how much later a message may still come.
const HEARTBEAT_MS: u32 = 1_000;
const LATE: Duration = Duration::from_millis(1_500);

/// Heartbeats that are waited for.
const HEARTBEATS: usize = 3;

pub(super) async fn capabilities(bench: &mut Bench) -> Verdict {
    let again = bench.client.get_capabilities(wire::GetCapabilitiesRequest {}).await;
    let again = again.map_err(|status| Why::Failed(format!("GetCapabilities: {status}")))?.into_inner();
    let again = capabilities_from_wire(again).map_err(|malformed| Why::Failed(malformed.to_string()))?;
    let told = &bench.capabilities;
    must(again == *told, || format!("it said {told:?}, and then {again:?}"))?;
    if told.switch == Switch::None {
        return must(told.max_concurrent == 0, || "it moves nothing, and max_concurrent is not 0".to_owned());
    }
    must(told.max_concurrent > 0, || "it moves partitions, and max_concurrent is 0".to_owned())?;
    must(!told.verify.is_empty(), || "it moves partitions, and names no way to verify a copy".to_owned())?;
    let stops = told.switch == Switch::Gated && told.fence == Some(Fence::BeforeCopy);
    must(!(stops && told.online_copy), || {
        "writes are stopped before the copy, and yet clients write while it is made (online_copy)".to_owned()
    })
}

pub(super) async fn topology(bench: &mut Bench) -> Verdict {
    let status = |status| Why::Failed(format!("WatchTopology: {status}"));
    let request = wire::WatchTopologyRequest { heartbeat_ms: HEARTBEAT_MS };
    let mut stream = bench.client.watch_topology(request).await.map_err(status)?.into_inner();
    let (mut whole, mut first, mut incarnation) = (false, None, None);
    let mut last = 0;
    let mut nodes = BTreeSet::new();
    let mut beats = 0;
    let until = Instant::now() + Duration::from_secs(60);
    while beats < HEARTBEATS {
        let longest =
            if whole { Duration::from_millis(HEARTBEAT_MS.into()) + LATE } else { super::bench::CALL };
        let Ok(message) = timeout(longest, stream.message()).await else {
            return failed(format!(
                "no message within {longest:?}; a heartbeat of {HEARTBEAT_MS} ms was asked for"
            ));
        };
        let Some(raw) = message.map_err(status)? else { return failed("the stream ended") };
        must(Instant::now() < until, || "the cluster never rests: no heartbeat within a minute".to_owned())?;
        let parsed = topology_from_wire(&bench.capabilities.system, raw);
        match parsed.map_err(|malformed| Why::Failed(format!("a message cannot be read: {malformed}")))? {
            TopologyMessage::Part(part) => {
                must(!whole, || "a snapshot came after the first one was whole".to_owned())?;
                let same = *first.get_or_insert(part.revision) == part.revision
                    && *incarnation.get_or_insert_with(|| part.incarnation.clone()) == part.incarnation;
                must(same, || "parts of one snapshot have several revisions or incarnations".to_owned())?;
                nodes.extend(part.nodes.into_keys());
                for (partition, facts) in part.partitions {
                    if let Some(node) = facts.nodes.iter().find(|node| !nodes.contains(node)) {
                        return failed(format!(
                            "{partition} lies on {node}, which is not in the snapshot before it"
                        ));
                    }
                }
                (whole, last) = (!part.more, part.revision);
            }
            TopologyMessage::Changes(changes) => {
                must(whole, || "changes came before the snapshot was whole".to_owned())?;
                let rises = changes.revision > last || changes.is_empty() && changes.revision == last;
                must(rises, || {
                    format!("after revision {last} came changes of revision {}", changes.revision)
                })?;
                last = changes.revision;
                beats += usize::from(changes.is_empty());
            }
        }
    }
    Ok(())
}

pub(super) async fn unknown(bench: &mut Bench) -> Verdict {
    bench.lead().await?;
    let mut trial = bench.trial().await?;
    let id = RequestId {
        migration: trial.migration.id.clone(),
        step: StepKind::PrepareTarget,
        epoch: Some(trial.new),
        attempt: 1_000,
    };
    let (seen, _) = trial.state(Some(&id)).await?;
    must(seen.fate == Some(Fate::Unheard), || {
        format!("a request that nobody made has the fate {:?}", seen.fate)
    })?;
    must(seen.serves == Side::Source, || format!("{:?} serves, and nothing was moved", seen.serves))?;
    must(seen.fenced == Fenced::No, || "writes are stopped for a migration that nobody began".to_owned())?;
    must(seen.progress.is_none(), || "a migration that nobody began makes progress".to_owned())?;
    must(seen.serving == trial.serving, || {
        format!("epoch {} serves, and a validation said {}", seen.serving, trial.serving)
    })
}

pub(super) async fn validation(bench: &mut Bench) -> Verdict {
    let before = bench.holders().await?;
    let mut trial = bench.trial().await?;
    let (serving, new) = (trial.serving, trial.new);
    trial.learn().await?;
    must((trial.serving, trial.new) == (serving, new), || {
        format!("epochs were {serving} and {new}, and after a validation {} and {}", trial.serving, trial.new)
    })?;
    bench.clean(&before, "after a validation").await
}

pub(super) async fn leftovers(bench: &mut Bench) -> Verdict {
    let subject = bench.subject().await?;
    bench.clean(&subject.holders, "at the end").await
}
