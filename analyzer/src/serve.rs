//! `isotherm serve`: puts the store, its writer and the services together, and takes them apart again.

use crate::accept::{Room, accept};
use crate::api::{Control, Intake, Mending, Moves, Planning, Reads, Risk, Trusted};
use crate::config::Config;
use crate::cycle::{self, Cycle, Cycles};
use crate::http;
use crate::ingest::{Ingest, queue};
use crate::locators;
use crate::migrate::repair::{self, Repairs};
use crate::migrate::{self, Migrations};
use crate::plan::{self, Plans};
use crate::query::allocator::give_back_large;
use crate::topology::{self, Topologies};
use crate::writer;
use anyhow::{Context, anyhow};
use isotherm_proto::control::v1::control_service_server::ControlServiceServer;
use isotherm_proto::control::v1::migration_service_server::MigrationServiceServer;
use isotherm_proto::control::v1::node_service_server::NodeServiceServer;
use isotherm_proto::control::v1::plan_service_server::PlanServiceServer;
use isotherm_proto::control::v1::read_service_server::ReadServiceServer;
use isotherm_proto::control::v1::repair_service_server::RepairServiceServer;
use isotherm_proto::control::v1::risk_service_server::RiskServiceServer;
use isotherm_proto::control::v1::trust_service_server::TrustServiceServer;
use isotherm_proto::telemetry::v1::telemetry_service_server::TelemetryServiceServer;
use isotherm_proto::tls::ServerFiles;
use isotherm_proto::{DESCRIPTORS, MAX_MESSAGE_BYTES};
use isotherm_store::{Reader, Store};
use rustls::ServerConfig;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;

/// How long connections may take to end after the signal. What is queued is committed in any case, and agents
/// keep what was not acknowledged.
const GRACE: Duration = Duration::from_secs(1);

/// How long the cycle under way may take to end after the signal.
const CYCLE_GRACE: Duration = Duration::from_secs(10);

/// How often idle agents are asked whether they are still there.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What a peer may send before it is read, for a connection as for a stream. It is memory that each of thousands may
/// take at any time; a way of 100 ms still carries 2.5 MiB a second, and a batch is some ten KiB.
const WINDOW_BYTES: u32 = 256 << 10;

/// Serves until SIGINT or SIGTERM, then finishes the commit under way. Returns early only with an error.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    give_back_large();
    let mut signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let dir = config.data_dir.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&dir))
        .await?
        .with_context(|| format!("cannot open the data folder {}", config.data_dir.display()))?
        .with_upkeep(config.upkeep.clone());
    let tls =
        config.tls.as_ref().map(ServerFiles::read).transpose().context("the certificates of [listen.tls]")?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;

    let stop = CancellationToken::new();
    let streams = TaskTracker::new();
    let (jobs, queue) = queue();
    let reader = store.reader();
    let done = CancellationToken::new();
    let until = done.clone();
    let (keep, keeps) = mpsc::channel(1);
    let mut writer = tokio::task::spawn_blocking(move || writer::run(store, queue, keeps, &until));
    let mut servers = JoinSet::new();
    let room = Room::new(config.ingest.max_connections);
    room.provide_files();
    let topologies = topology::start(config.topology.clone(), config.adapters.clone(), &mut servers, &stop);
    let (witness, witnesses) = watch::channel(Arc::default());
    let indexes = locators::start(topologies.clone(), &mut servers, &stop);
    let limits = config.ingest.clone();
    let ingest = Ingest::new(jobs, reader.clone(), limits, indexes, streams.clone(), stop.clone());
    servers.spawn(topology::failure::run(
        reader.clone(),
        topologies.clone(),
        config.failure.clone(),
        witness,
        stop.clone(),
    ));
    let migrations = migrate::start(
        config.migrate.clone(),
        config.data_dir.clone(),
        config.adapters.clone(),
        topologies.clone(),
        &mut servers,
        &stop,
    );
    let (publish, cycles) = watch::channel(None);
    let plans = plan::start(migrations.clone(), topologies.clone(), cycles.clone(), &mut servers, &stop);
    let cycle = Cycle {
        cordoned: plans.cordoned(),
        reader: reader.clone(),
        topologies: topologies.clone(),
        keep,
        dir: config.data_dir.clone(),
        config: config.cycle.clone(),
    };
    let ending = stop.clone();
    let cycling = tokio::task::spawn_blocking(move || cycle::run(&cycle, &publish, &ending));
    servers.spawn(migrate::act_on(migrations.clone(), cycles.clone(), topologies.clone(), stop.clone()));
    let parts = repair::Parts {
        migrations: migrations.clone(),
        topologies: topologies.clone(),
        witnesses,
        cycles: cycles.clone(),
        reader: reader.clone(),
        dir: config.data_dir.clone(),
        hold_down: config.failure.hold_down,
    };
    let repairs = repair::start(parts, &mut servers, &stop);
    servers.spawn(migrate::shift_reads(migrations.clone(), cycles.clone(), topologies.clone(), stop.clone()));
    servers.spawn(migrate::judge(
        migrations.clone(),
        cycles.clone(),
        topologies.clone(),
        reader.clone(),
        stop.clone(),
    ));
    servers.spawn(services(
        listener,
        tls.clone(),
        Intake { ingest, room },
        reader,
        topologies,
        cycles,
        migrations,
        repairs,
        plans,
        config.step,
        streams.clone(),
        stop.clone(),
    ));

    let status = format!("listening on {address}");
    if tls.is_some() {
        tracing::info!("only clients with a certificate of the configured authority are let in");
    } else if !address.ip().is_loopback() {
        tracing::warn!("whoever reaches {address} can read and write: connections have no certificates");
    }
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)])
        .context("cannot tell the service manager that all is ready")?;
    tracing::info!(
        data_dir = %config.data_dir.display(), step = %humantime::format_duration(config.step),
        nodes = config.topology.nodes.len(), partitions = config.topology.subsets.len(),
        adapters = config.adapters.len(), "{status}"
    );

    let early = tokio::select! {
        name = stopped(&mut signals) => {
            tracing::info!(signal = name, "shutting down");
            None
        }
        ended = &mut writer => Some(ended),
        ended = servers.join_next() => {
            return Err(match ended {
                Some(Ok(Err(error))) => error,
                Some(Err(error)) => error.into(),
                Some(Ok(Ok(()))) | None => anyhow!("the server ended by itself"),
            });
        }
    };
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    stop.cancel();
    streams.close();
    let ended = async {
        streams.wait().await;
        while servers.join_next().await.is_some() {}
    };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::info!("ending connections that are still open");
        servers.shutdown().await;
    }
    // The cycle writes its state down, and needs the writer until then.
    if tokio::time::timeout(CYCLE_GRACE, cycling).await.is_err() {
        tracing::warn!("a cycle did not end in time; its state is that of the last checkpoint");
    }
    // A connection that outlives the server could keep the queue open, so the writer is told.
    done.cancel();
    let ended = match early {
        Some(ended) => ended,
        None => writer.await,
    };
    ended.context("the writer failed")?.context("the store cannot be written any more")
}

#[expect(clippy::too_many_arguments, reason = "each is a part that only meets the others here")]
async fn services(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    intake: Intake,
    reader: Reader,
    topologies: Topologies,
    cycles: Cycles,
    migrations: Migrations,
    repairs: Repairs,
    plans: Plans,
    step: Duration,
    streams: TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Intake { ingest, room } = intake.clone();
    let telemetry = TelemetryServiceServer::new(ingest).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let reads = Reads::new(migrations.clone(), topologies.clone(), cycles.clone());
    let reads = ReadServiceServer::new(reads).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let trusted = TrustServiceServer::new(Trusted::new(migrations.clone()));
    let moves = Moves::new(migrations, topologies.clone(), streams.clone());
    let moves = MigrationServiceServer::new(moves).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mending =
        RepairServiceServer::new(Mending::new(repairs)).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let plans = Planning::new(plans, streams.clone());
    let plans = PlanServiceServer::new(plans).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let control = Control::new(reader, intake, topologies, step, streams, stop.clone());
    let nodes = NodeServiceServer::new(control.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let control = ControlServiceServer::new(control);
    let risk = RiskServiceServer::new(Risk::new(cycles)).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<TelemetryServiceServer<Ingest>>().await;
    reporter.set_serving::<ControlServiceServer<Control>>().await;
    reporter.set_serving::<NodeServiceServer<Control>>().await;
    reporter.set_serving::<RiskServiceServer<Risk>>().await;
    reporter.set_serving::<MigrationServiceServer<Moves>>().await;
    reporter.set_serving::<RepairServiceServer<Mending>>().await;
    reporter.set_serving::<ReadServiceServer<Reads>>().await;
    reporter.set_serving::<PlanServiceServer<Planning>>().await;
    reporter.set_serving::<TrustServiceServer<Trusted>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes
        .add_service(telemetry)
        .add_service(control)
        .add_service(nodes)
        .add_service(risk)
        .add_service(moves)
        .add_service(mending)
        .add_service(reads)
        .add_service(plans)
        .add_service(trusted)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let address = listener.local_addr()?;
    let rebinding = tls.is_none() && address.ip().is_loopback();
    let router = Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_routes(http::router(routes.routes(), rebinding)?);
    let stopped = stop.cancelled_owned();
    let served = router.serve_with_incoming_shutdown(accept(listener, tls, room), stopped).await;
    served.context("the server failed")
}

async fn stopped((interrupt, terminate): &mut (Signal, Signal)) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
