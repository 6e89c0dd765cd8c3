//! Connections that prove who they are: TLS with certificates of both ends.
//!
//! A handshake that fails is told with the peer's address and the reason, as nothing else would say why an agent
//! does not get through; no more of them than [`TOLD_PER_MINUTE`].

use futures::Stream;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

/// How long a peer may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a refused peer is heard out.
const PARTING: Duration = Duration::from_secs(1);

/// Handshakes at a time. A peer that says nothing holds one for [`HANDSHAKE`].
const HANDSHAKES: usize = 256;

/// Failures that are told in a minute, so that nobody can fill the log.
const TOLD_PER_MINUTE: u32 = 60;

/// Wait after the system could not accept, which is mostly for want of descriptors.
const AGAIN: Duration = Duration::from_millis(100);

/// Accepts until the stream is dropped.
pub(crate) fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let (connections, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        let (failures, mut told) = mpsc::channel(HANDSHAKES);
        let mut minute = (Instant::now(), 0);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, peer)) => {
                        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else { continue };
                        let (acceptor, connections, failures) = (acceptor.clone(), connections.clone(), failures.clone());
                        tokio::spawn(async move {
                            match handshake(acceptor, tcp).await {
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

async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    tcp.set_nodelay(true)?;
    match timeout(HANDSHAKE, acceptor.accept(tcp).into_fallible()).await? {
        Ok(stream) => Ok(stream),
        Err((error, tcp)) => {
            // Whether it listens is its own affair.
            let _ = timeout(PARTING, part(tcp)).await;
            Err(error)
        }
    }
}

/// Hears a refused peer out. To close while it is still sending would reset the connection, and it would lose
/// the alert that tells it why.
async fn part(mut tcp: TcpStream) -> io::Result<()> {
    tcp.shutdown().await?;
    let mut ignored = [0; 1_024];
    while tcp.read(&mut ignored).await? > 0 {}
    Ok(())
}

fn tell(peer: SocketAddr, error: &io::Error, (since, told): &mut (Instant, u32)) {
    if since.elapsed() > Duration::from_secs(60) {
        (*since, *told) = (Instant::now(), 0);
    }
    *told += 1;
    if *told <= TOLD_PER_MINUTE {
        tracing::warn!(%peer, "refused a connection: {error}");
    }
}
