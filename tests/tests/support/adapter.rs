//! A small cluster that exists in memory, and the real gRPC service that tells of it.

use anyhow::Result;
use isotherm_proto::adapter::v1::migration_adapter_server::{MigrationAdapter, MigrationAdapterServer};
use isotherm_proto::adapter::v1::watch_topology_response::Message;
use isotherm_proto::adapter::v1::{
    Changes, Fence, GetCapabilitiesRequest, GetCapabilitiesResponse, Health, Node, Partition, ShiftReads,
    Snapshot, Switch, WatchTopologyRequest, WatchTopologyResponse,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codegen::BoxStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The cluster. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    said: broadcast::Sender<WatchTopologyResponse>,
    /// Ends every stream.
    cut: Arc<Notify>,
}

struct State {
    system: String,
    incarnation: String,
    revision: u64,
    /// Whether the adapter can see it, and so sends heartbeats.
    seen: bool,
    nodes: BTreeMap<String, Node>,
    partitions: BTreeMap<String, Partition>,
}

/// A server that tells of a cluster; it stops when it is dropped.
pub(crate) struct Adapter {
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
    cut: Arc<Notify>,
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.server.abort();
        // Connections outlive what accepted them.
        self.cut.notify_waiters();
    }
}

pub(crate) fn node(name: &str, domains: &[&str]) -> Node {
    Node {
        node: name.to_owned(),
        addresses: name.parse::<SocketAddr>().iter().map(SocketAddr::to_string).collect(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        capacity_bytes: Some(1 << 40),
        load_capacity_ops_per_s: None,
        class: "hdd".to_owned(),
        health: Health::Up.into(),
    }
}

pub(crate) fn partition(name: &str, nodes: &[&str], epoch: u64) -> Partition {
    Partition {
        partition: name.to_owned(),
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        size_bytes: Some(7),
        epoch,
        locators: Vec::new(),
    }
}

impl Cluster {
    pub(crate) fn new(nodes: Vec<Node>, partitions: Vec<Partition>) -> Self {
        let state = State {
            system: "seaweedfs".to_owned(),
            incarnation: "first".to_owned(),
            revision: 10,
            seen: true,
            nodes: nodes.into_iter().map(|node| (node.node.clone(), node)).collect(),
            partitions: partitions.into_iter().map(|part| (part.partition.clone(), part)).collect(),
        };
        Self { state: Arc::new(Mutex::new(state)), said: broadcast::channel(64).0, cut: Arc::default() }
    }

    /// Serves on an address; port 0 takes a free one.
    pub(crate) async fn serve(&self, address: &str) -> Result<Adapter> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let service = MigrationAdapterServer::new(self.clone());
        let incoming = TcpListenerStream::new(listener);
        let server = tokio::spawn(async move {
            let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Ok(Adapter { address, server, cut: Arc::clone(&self.cut) })
    }

    /// Changes the cluster, and tells everybody who watches.
    pub(crate) fn change(&self, changes: Changes) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        changes.removed_partitions.iter().for_each(|name| drop(state.partitions.remove(name)));
        changes.removed_nodes.iter().for_each(|name| drop(state.nodes.remove(name)));
        for node in &changes.nodes {
            state.nodes.insert(node.node.clone(), node.clone());
        }
        for partition in &changes.partitions {
            state.partitions.insert(partition.partition.clone(), partition.clone());
        }
        let message = Some(Message::Changes(changes));
        let _ = self.said.send(WatchTopologyResponse { revision: state.revision, message });
    }

    pub(crate) fn set_health(&self, names: &[&str], health: Health) {
        let nodes = {
            let state = self.state.lock().unwrap();
            names.iter().map(|name| Node { health: health.into(), ..state.nodes[*name].clone() }).collect()
        };
        self.change(Changes { nodes, ..Changes::default() });
    }

    /// Says something whatever the cluster is.
    pub(crate) fn say(&self, message: WatchTopologyResponse) {
        let _ = self.said.send(message);
    }

    pub(crate) fn revision(&self) -> u64 {
        self.state.lock().unwrap().revision
    }

    /// Begins to count anew, or not.
    pub(crate) fn set_count(&self, incarnation: &str, revision: u64) {
        let mut state = self.state.lock().unwrap();
        state.incarnation = incarnation.to_owned();
        state.revision = revision;
    }

    pub(crate) fn set_system(&self, system: &str) {
        self.state.lock().unwrap().system = system.to_owned();
    }

    /// Without sight of its cluster an adapter is silent.
    pub(crate) fn set_seen(&self, seen: bool) {
        self.state.lock().unwrap().seen = seen;
    }

    fn snapshot(&self) -> WatchTopologyResponse {
        let state = self.state.lock().unwrap();
        let snapshot = Snapshot {
            incarnation: state.incarnation.clone(),
            nodes: state.nodes.values().cloned().collect(),
            partitions: state.partitions.values().cloned().collect(),
            more: false,
        };
        WatchTopologyResponse { revision: state.revision, message: Some(Message::Snapshot(snapshot)) }
    }

    fn heartbeat(&self) -> Option<WatchTopologyResponse> {
        let state = self.state.lock().unwrap();
        let message = Some(Message::Changes(Changes::default()));
        state.seen.then_some(WatchTopologyResponse { revision: state.revision, message })
    }
}

#[tonic::async_trait]
impl MigrationAdapter for Cluster {
    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        Ok(Response::new(GetCapabilitiesResponse {
            system: self.state.lock().unwrap().system.clone(),
            adapter: "memory 1".to_owned(),
            switch: Switch::Gated.into(),
            fence: Fence::AtSwitch.into(),
            shift_reads: ShiftReads::None.into(),
            ..GetCapabilitiesResponse::default()
        }))
    }

    async fn watch_topology(
        &self,
        request: Request<WatchTopologyRequest>,
    ) -> Result<Response<BoxStream<WatchTopologyResponse>>, Status> {
        let (answers, stream) = mpsc::channel(16);
        let mut said = self.said.subscribe();
        let cluster = self.clone();
        let heartbeat = Duration::from_millis(request.into_inner().heartbeat_ms.max(1).into());
        if !self.state.lock().unwrap().seen {
            return Err(Status::unavailable("the cluster cannot be seen"));
        }
        tokio::spawn(async move {
            let cut = cluster.cut.notified();
            tokio::pin!(cut);
            cut.as_mut().enable();
            let _ = answers.send(Ok(cluster.snapshot())).await;
            loop {
                let message = tokio::select! {
                    () = &mut cut => return,
                    said = said.recv() => match said {
                        Ok(message) => Some(message),
                        Err(_) => return,
                    },
                    () = tokio::time::sleep(heartbeat) => cluster.heartbeat(),
                };
                if let Some(message) = message
                    && answers.send(Ok(message)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
