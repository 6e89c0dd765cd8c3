//! Watches an adapter, and connects to it again for as long as the analyzer runs.
//!
//! A connection that says nothing for [`SILENT_HEARTBEATS`] heartbeats is given up, one whose message is malformed or
//! contradicts earlier ones too. The pause between attempts doubles up to [`LONGEST_PAUSE`] and is short again after a
//! message that was believed. Certificates are read for each attempt, so that renewed ones are used.

use super::Adapter;
use super::owner::{Event, What};
use crate::writer::with_causes;
use isotherm_proto::adapter::v1::migration_adapter_client::MigrationAdapterClient;
use isotherm_proto::adapter::v1::{GetCapabilitiesRequest, WatchTopologyRequest, WatchTopologyResponse};
use isotherm_proto::{MAX_MESSAGE_BYTES, capabilities_from_wire, topology_from_wire};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// How long a connection may take to come about, and its first answer.
const CONNECT: Duration = Duration::from_secs(5);

/// Heartbeats after which an adapter that says nothing is given up: one may be on its way.
const SILENT_HEARTBEATS: u32 = 3;

/// The first pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Watches until `stop`.
pub(super) async fn watch(adapter: Adapter, events: mpsc::Sender<Event>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let mut believed = false;
        let problem = tokio::select! {
            () = stop.cancelled() => return,
            problem = attempt(&adapter, &events, &mut believed) => problem,
        };
        if believed {
            pause = FIRST_PAUSE;
            told.clear();
        }
        if told != problem {
            tracing::warn!(
                system = %adapter.system, endpoint = %adapter.endpoint, %problem,
                "cannot watch the topology; trying again"
            );
            told.clone_from(&problem);
        }
        let event = Event { system: adapter.system.clone(), what: What::Lost(problem) };
        if events.send(event).await.is_err() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Connects and listens. Returns why that ended; it never ends well.
async fn attempt(adapter: &Adapter, events: &mpsc::Sender<Event>, believed: &mut bool) -> String {
    match try_attempt(adapter, events, believed).await {
        Ok(()) => "the analyzer is shutting down".to_owned(),
        Err(problem) => problem,
    }
}

async fn try_attempt(
    adapter: &Adapter,
    events: &mpsc::Sender<Event>,
    believed: &mut bool,
) -> Result<(), String> {
    let channel = timeout(CONNECT, connect(adapter)).await.map_err(|_| "it does not answer".to_owned())??;
    let mut client = MigrationAdapterClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let raw = timeout(CONNECT, client.get_capabilities(GetCapabilitiesRequest {}))
        .await
        .map_err(|_| "GetCapabilities was not answered".to_owned())?
        .map_err(|status| said("GetCapabilities", &status))?
        .into_inner();
    let capabilities = capabilities_from_wire(raw).map_err(|malformed| with_causes(&malformed))?;
    if capabilities.system != adapter.system {
        return Err(format!("it is an adapter of the system {:?}", capabilities.system.as_str()));
    }
    if !send(adapter, events, What::Connected(capabilities)).await {
        return Ok(());
    }
    let heartbeat_ms = u32::try_from(adapter.heartbeat.as_millis()).unwrap_or(u32::MAX);
    let patience = adapter.heartbeat * SILENT_HEARTBEATS;
    let mut stream =
        timeout(patience.max(CONNECT), client.watch_topology(WatchTopologyRequest { heartbeat_ms }))
            .await
            .map_err(|_| "WatchTopology was not answered".to_owned())?
            .map_err(|status| said("WatchTopology", &status))?
            .into_inner();
    loop {
        let raw = heard(&mut stream, patience).await?;
        let system = adapter.system.clone();
        // A snapshot may be large, and this thread has others to serve.
        let mut message = tokio::task::spawn_blocking(move || topology_from_wire(&system, raw))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|malformed| with_causes(&malformed))?;
        adapter.assumed.complete(&mut message);
        let (opinion, answer) = oneshot::channel();
        if !send(adapter, events, What::Message(message, opinion)).await {
            return Ok(());
        }
        match answer.await {
            Ok(Ok(())) => *believed = true,
            Ok(Err(refused)) => return Err(refused.to_string()),
            Err(_) => return Ok(()),
        }
    }
}

/// A connection to an adapter, or why there is none.
pub(crate) async fn connect(adapter: &Adapter) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(adapter.endpoint.clone()).map_err(|error| with_causes(&error))?;
    let mut endpoint = endpoint.connect_timeout(CONNECT).http2_keep_alive_interval(adapter.heartbeat);
    if let Some(files) = &adapter.tls {
        let config = files.read().map_err(|error| with_causes(&error))?;
        endpoint = endpoint.tls_config(config).map_err(|error| with_causes(&error))?;
    }
    endpoint.connect().await.map_err(|error| with_causes(&error))
}

async fn heard(
    stream: &mut Streaming<WatchTopologyResponse>,
    patience: Duration,
) -> Result<WatchTopologyResponse, String> {
    match timeout(patience, stream.message()).await {
        Ok(Ok(Some(raw))) => Ok(raw),
        Ok(Ok(None)) => Err("it ended the stream".to_owned()),
        Ok(Err(status)) => Err(said("WatchTopology", &status)),
        Err(_) => Err(format!("it said nothing for {}", humantime::format_duration(patience))),
    }
}

fn said(call: &str, status: &Status) -> String {
    format!("{call}: {}: {}", status.code().description(), status.message())
}

/// Whether the owner is still there.
async fn send(adapter: &Adapter, events: &mpsc::Sender<Event>, what: What) -> bool {
    events.send(Event { system: adapter.system.clone(), what }).await.is_ok()
}
