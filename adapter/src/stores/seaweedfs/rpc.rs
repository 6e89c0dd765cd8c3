//! Calls that cannot hang, and what their failures mean.

use super::address::Address;
use crate::contract::Refusal;
use std::error::Error as _;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// The longest that connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A channel that connects when it is used.
pub(super) fn channel(address: &Address) -> Result<Channel, Refusal> {
    let endpoint = Endpoint::from_shared(address.grpc())
        .map_err(|error| Refusal::unsupported(format!("{address} is no address: {error}")))?;
    Ok(endpoint.connect_timeout(CONNECT_LIMIT).connect_lazy())
}

/// Why a call gave nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server does not have what was asked for.
    Missing(Refusal),
    /// It refuses.
    Refused(Refusal),
    /// It is not reached, or did not answer in time: whether it did it is unknown.
    Unreached(Refusal),
}

impl Fault {
    pub(super) fn of(server: &str, call: &str, status: &Status) -> Self {
        let words = format!("{server}, {call}: {}", status.message());
        let silent = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled].contains(&status.code());
        // What has a source was made here: the connection broke.
        if silent || status.source().is_some() {
            Self::Unreached(Refusal::not_now(words))
        } else if status.message().contains("not found") {
            // SeaweedFS has words for it, and codes for some of its calls only.
            Self::Missing(Refusal::conflict(words))
        } else {
            Self::Refused(Refusal::conflict(words))
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Missing(refusal) | Fault::Refused(refusal) | Fault::Unreached(refusal) => refusal,
        }
    }
}

/// What was found, if anything.
pub(super) fn found<T>(result: Result<T, Fault>) -> Result<Option<T>, Refusal> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Missing(_)) => Ok(None),
        Err(fault @ (Fault::Refused(_) | Fault::Unreached(_))) => Err(fault.into()),
    }
}

/// Makes a call, for at most `limit`.
pub(super) async fn ask<T>(
    server: &str,
    call: &str,
    limit: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Fault> {
    match timeout(limit, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Fault::of(server, call, &status)),
        Err(_) => {
            let words = format!("{server}, {call}: no answer within {} s", limit.as_secs());
            Err(Fault::Unreached(Refusal::not_now(words)))
        }
    }
}
