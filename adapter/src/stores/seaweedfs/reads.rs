//! Reads are moved off a replica: it is unmounted, and its server passes requests on to the others.
//!
//! Writes to the volume stop meanwhile. SeaweedFS refuses them anyway while replicas lack, except by a server that does
//! not hold the volume, and what is written by that way would lack on the drained replica. So the others are marked
//! read-only first. The drained one is not, and so remembers on its disk, until it is restored, that the volume takes
//! writes.

use super::SeaweedFs;
use super::server::{Lasts, Presence, Server, Volume};
use crate::contract::Refusal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A master hears of what is mounted within some milliseconds.
const HEARD: Duration = Duration::from_secs(20);

impl SeaweedFs {
    /// Drains a replica. Whether it has, now or by an attempt before this one.
    pub(super) async fn drain(&self, volume: Volume, name: &str) -> Result<(), Refusal> {
        let listed = self.mounted_on(volume).await?;
        let drained = self.server(name)?;
        let mut others = Vec::new();
        for other in listed.iter().filter(|other| *other != name) {
            let server = self.server(other)?;
            // A server may be dead that the master still lists.
            others.extend(server.status(volume).await.ok().map(|status| (server, status)));
        }
        let Some((_, status)) = others.first() else {
            let words = format!("volume {volume} has no other replica that serves: {name} has to");
            return Err(Refusal::conflict(words));
        };
        let collection = status.collection.clone();
        match drained.presence(volume, &collection).await? {
            Presence::Mounted(mounted) => {
                if !mounted.read_only {
                    for (server, _) in others.iter().filter(|(_, status)| !status.read_only) {
                        server.mark_read_only(volume, Lasts::PastRestarts).await?;
                    }
                }
                self.set_drained(volume, name, true);
                drained.unmount(volume).await?;
            }
            Presence::Unmounted => self.set_drained(volume, name, true),
            Presence::Copying | Presence::Nothing => {
                return Err(Refusal::conflict(format!("{name} does not hold volume {volume}")));
            }
        }
        self.until(volume, name, false).await
    }

    /// Restores a replica, and writes to the volume, unless it was read-only before. Whether it was drained.
    pub(super) async fn restore(&self, volume: Volume, name: &str) -> Result<bool, Refusal> {
        // Nobody may unmount it any more as one that is served though it is drained.
        self.set_drained(volume, name, false);
        let restored = self.served_again(volume, name).await;
        if restored.is_err() {
            self.set_drained(volume, name, true);
        }
        restored
    }

    async fn served_again(&self, volume: Volume, name: &str) -> Result<bool, Refusal> {
        let restored = self.server(name)?;
        let drained = restored.mounted(volume).await?.is_none();
        if drained {
            restored.mount(volume).await?;
        }
        self.until(volume, name, true).await?;
        if !restored.status(volume).await?.read_only {
            for other in self.mounted_on(volume).await? {
                let server: Server = self.server(&other)?;
                if server.status(volume).await?.read_only {
                    server.mark_writable(volume).await?;
                }
            }
        }
        Ok(drained)
    }

    async fn mounted_on(&self, volume: Volume) -> Result<BTreeSet<String>, Refusal> {
        let listing = self.list(&[volume]).await?;
        Ok(listing.holders(volume).into_keys().map(str::to_owned).collect())
    }

    async fn until(&self, volume: Volume, name: &str, listed: bool) -> Result<(), Refusal> {
        let start = Instant::now();
        while self.mounted_on(volume).await?.contains(name) != listed {
            if start.elapsed() >= HEARD {
                let words = format!("the master has not heard of volume {volume} on {name} yet");
                return Err(Refusal::not_now(words));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}
