//! Connections: no more than there is room for, and where the analyzer has certificates, only those that prove who
//! they are, by TLS with certificates of both ends.
//!
//! A connection past the limit is told so in its own language, HTTP/2, and closed; it never reaches a service. A
//! handshake that fails is told with the peer's address and the reason, as nothing else would say why an agent
//! does not get through; no more of all these than [`TOLD_PER_MINUTE`].

mod connection;

pub(crate) use connection::Connection;
use futures::Stream;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;

/// How long a peer may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a refused peer is heard out.
const PARTING: Duration = Duration::from_secs(1);

/// Handshakes, and connections that are told that there are too many, at a time. A peer that says nothing holds a
/// place for [`HANDSHAKE`].
const HANDSHAKES: usize = 256;

/// Failures that are told in a minute, so that nobody can fill the log.
const TOLD_PER_MINUTE: u32 = 60;

/// Wait after the system could not accept, which is mostly for want of descriptors.
const AGAIN: Duration = Duration::from_millis(100);

/// Descriptors beside those of connections: the catalog, segments that questions read, the listener.
const OTHER_FILES: u64 = 512;

/// The connections there may be.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    places: Arc<Semaphore>,
    limit: usize,
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Handshake(#[from] io::Error),
    #[error("this connection would be one more than ingest.max_connections = {0}")]
    Full(usize),
}

impl Room {
    pub(crate) fn new(limit: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(limit)), limit }
    }

    /// Connections that are open.
    pub(crate) fn taken(&self) -> usize {
        self.limit - self.places.available_permits()
    }

    /// Raises what the system allows to what is needed, and says so where it does not go.
    pub(crate) fn provide_files(&self) {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let need = self.limit as u64 + HANDSHAKES as u64 + OTHER_FILES;
        let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
        if soft >= need || setrlimit(Resource::RLIMIT_NOFILE, need.min(hard), hard).is_ok() && hard >= need {
            return;
        }
        tracing::warn!(
            "this process may have {} open files, and ingest.max_connections = {} needs {need}; raise LimitNOFILE",
            hard.max(soft),
            self.limit
        );
    }
}

/// Accepts until the stream is dropped.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    room: Room,
) -> impl Stream<Item = io::Result<Connection>> {
    let (connections, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        let acceptor = tls.map(TlsAcceptor::from);
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        let (failures, mut told) = mpsc::channel(HANDSHAKES);
        let mut minute = (Instant::now(), 0);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, peer)) => {
                        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else { continue };
                        let (acceptor, connections, failures) = (acceptor.clone(), connections.clone(), failures.clone());
                        let room = room.clone();
                        tokio::spawn(async move {
                            match admit(acceptor, tcp, &room).await {
                                Ok(stream) => drop(connections.send(Ok(stream)).await),
                                Err(error) => drop(failures.try_send((peer, error))),
                            }
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(AGAIN).await;
                    }
                },
                Some((peer, error)) = told.recv() => tell(peer, &error, &mut minute),
                () = connections.closed() => return,
            }
        }
    });
    ReceiverStream::new(stream)
}

async fn admit(acceptor: Option<TlsAcceptor>, tcp: TcpStream, room: &Room) -> Result<Connection, Refused> {
    tcp.set_nodelay(true)?;
    let mut stream = match acceptor {
        Some(acceptor) => {
            match timeout(HANDSHAKE, acceptor.accept(tcp).into_fallible()).await.map_err(io::Error::from)? {
                Ok(stream) => Either::Right(stream),
                Err((error, tcp)) => {
                    // Whether it listens is its own affair.
                    let _ = timeout(PARTING, part(tcp)).await;
                    return Err(error.into());
                }
            }
        }
        None => Either::Left(tcp),
    };
    match Arc::clone(&room.places).try_acquire_owned() {
        Ok(place) => Ok(Connection::new(stream, place)),
        Err(_) => {
            let refused = Refused::Full(room.limit);
            let goodbye = connection::goodbye(&refused.to_string());
            let _ = timeout(PARTING, async {
                stream.write_all(&goodbye).await?;
                part(stream).await
            })
            .await;
            Err(refused)
        }
    }
}

/// Hears a refused peer out. To close while it is still sending would reset the connection, and it would lose
/// what tells it why.
async fn part(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    let mut ignored = [0; 1_024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

fn tell(peer: SocketAddr, error: &Refused, (since, told): &mut (Instant, u32)) {
    if since.elapsed() > Duration::from_secs(60) {
        (*since, *told) = (Instant::now(), 0);
    }
    *told += 1;
    if *told <= TOLD_PER_MINUTE {
        tracing::warn!(%peer, "refused a connection: {error}");
    }
}
