//! Where an adapter listens, and to whom.

use super::Adapter;
use isotherm_proto::adapter::v1::migration_adapter_server::MigrationAdapterServer;
use isotherm_proto::tls::{ServerFiles, TlsError};
use isotherm_proto::{DESCRIPTORS, adapter::v1::migration_adapter_server::MigrationAdapter};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// How often idle callers are asked whether they are still there.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The largest message that is decoded. Calls are a few hundred bytes; a resume token may be longer.
const MESSAGE_BYTES: usize = 1 << 20;

/// Calls of one connection at a time.
const CALLS: usize = 128;

/// A bound address, and who may come.
pub struct Listen {
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
}

/// Why an adapter cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Certificates cannot be used.
    #[error("the certificates of [listen.tls]")]
    Tls(#[from] TlsError),
    /// A certificate's file vanished after it was checked.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server failed.
    #[error("the server failed")]
    Serve(#[from] tonic::transport::Error),
    /// Descriptions for reflection cannot be served.
    #[error("the descriptions of the contract cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl Listen {
    /// Binds the address, and reads the certificates.
    pub async fn bind(address: SocketAddr, tls: Option<&ServerFiles>) -> Result<Self, ListenError> {
        let tls = tls.map(certificates).transpose()?;
        let listener =
            TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { listener, tls })
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Checks the files, so that an error names one, and hands them on.
fn certificates(files: &ServerFiles) -> Result<ServerTlsConfig, ListenError> {
    files.read()?;
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| ListenError::Read { path: path.to_owned(), source })
    };
    let identity = Identity::from_pem(read(&files.identity.cert)?, read(&files.identity.key)?);
    let authority = Certificate::from_pem(read(&files.client_ca)?);
    Ok(ServerTlsConfig::new().identity(identity).client_ca_root(authority))
}

/// Serves an adapter, its health and the description of its contract until `closing` is cancelled.
pub async fn serve<A: MigrationAdapter>(
    adapter: A,
    listen: Listen,
    closing: CancellationToken,
) -> Result<(), ListenError> {
    let service = MigrationAdapterServer::new(adapter).max_decoding_message_size(MESSAGE_BYTES);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<MigrationAdapterServer<Adapter>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut server =
        Server::builder().http2_keepalive_interval(Some(KEEPALIVE)).concurrency_limit_per_connection(CALLS);
    if let Some(tls) = listen.tls {
        server = server.tls_config(tls)?;
    }
    let router = server
        .add_service(service)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let incoming = TcpIncoming::from(listen.listener).with_nodelay(Some(true));
    Ok(router.serve_with_incoming_shutdown(incoming, closing.cancelled_owned()).await?)
}
