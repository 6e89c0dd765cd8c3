//! One volume server.

use super::address::Address;
use super::index::Needle;
use super::rpc::{Fault, ask, channel, found};
use super::wire::volume_server as wire;
use crate::contract::Refusal;
use std::time::Duration;
use tonic::Streaming;
use tonic::transport::Channel;
use wire::volume_server_client::VolumeServerClient;

/// The longest that a look or a mark may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest that mounting may take, for which the index is read, and deleting.
const MOUNT_LIMIT: Duration = Duration::from_secs(120);

/// The longest message: an object with what belongs to it.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// Whatever its compaction revision is.
const ANY_REVISION: u32 = u32::MAX;

/// A volume, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Volume(pub(super) u32);

impl std::fmt::Display for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The end of a volume's log. It only grows within a revision; compaction begins another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) revision: u32,
    pub(super) dat_bytes: u64,
    pub(super) idx_bytes: u64,
}

/// A volume that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) end: End,
    /// Writes are refused, for whatever reason.
    pub(super) read_only: bool,
    /// Objects, with those that are removed.
    pub(super) files: u64,
    pub(super) deleted: u64,
    pub(super) collection: String,
    pub(super) place_bytes: u32,
    /// Its data is in another store.
    pub(super) remote: bool,
}

/// What there is of a volume on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Presence {
    Nothing,
    /// A copy is being made.
    Copying,
    /// Files that nobody serves.
    Unmounted,
    Mounted(Mounted),
}

/// How long a mark holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// Until the server starts again.
    UntilRestart,
    /// It is kept on disk.
    PastRestarts,
}

/// A folder of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: String,
    pub(super) free_bytes: u64,
}

/// One volume server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) address: Address,
    client: VolumeServerClient<Channel>,
}

impl Server {
    pub(super) fn new(address: Address) -> Result<Self, Refusal> {
        let client = VolumeServerClient::new(channel(&address)?).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { address, client })
    }

    /// By which it is known.
    pub(super) fn name(&self) -> &str {
        self.address.http()
    }

    /// The volume if it is mounted.
    pub(super) async fn mounted(&self, volume: Volume) -> Result<Option<Mounted>, Refusal> {
        let mut client = self.client.clone();
        let status = ask(self.name(), "VolumeStatus", LIMIT, client.volume_status(request(volume))).await;
        let Some(status) = found(status)? else { return Ok(None) };
        let file = client.read_volume_file_status(request(volume));
        let Some(file) = found(ask(self.name(), "ReadVolumeFileStatus", LIMIT, file).await)? else {
            return Ok(None);
        };
        let info = file.volume_info.unwrap_or_default();
        Ok(Some(Mounted {
            end: End {
                revision: file.compaction_revision,
                dat_bytes: file.dat_file_size,
                idx_bytes: file.idx_file_size,
            },
            read_only: status.is_read_only,
            files: file.file_count,
            deleted: status.file_deleted_count,
            collection: file.collection,
            place_bytes: info.bytes_offset,
            remote: !info.files.is_empty(),
        }))
    }

    /// The volume, which has to be mounted.
    pub(super) async fn status(&self, volume: Volume) -> Result<Mounted, Refusal> {
        let mounted = self.mounted(volume).await?;
        mounted.ok_or_else(|| Refusal::conflict(format!("volume {volume} is not mounted on {}", self.name())))
    }

    /// What there is of a volume. The file of a copy's origin is there for as long as a copy runs; a server that was
    /// killed removes it with all of the copy when it starts.
    pub(super) async fn presence(&self, volume: Volume, collection: &str) -> Result<Presence, Refusal> {
        if let Some(mounted) = self.mounted(volume).await? {
            return Ok(Presence::Mounted(mounted));
        }
        if self.has_file(volume, collection, ".note").await? {
            return Ok(Presence::Copying);
        }
        let unmounted = self.has_file(volume, collection, ".dat").await?;
        Ok(if unmounted { Presence::Unmounted } else { Presence::Nothing })
    }

    async fn has_file(&self, volume: Volume, collection: &str, ext: &str) -> Result<bool, Refusal> {
        let request = wire::CopyFileRequest {
            volume_id: volume.0,
            ext: ext.to_owned(),
            compaction_revision: ANY_REVISION,
            stop_offset: 0,
            collection: collection.to_owned(),
            is_ec_volume: true,
        };
        let mut client = self.client.clone();
        let Some(mut stream) = found(ask(self.name(), "CopyFile", LIMIT, client.copy_file(request)).await)?
        else {
            return Ok(false);
        };
        let first = async { stream.message().await.map(tonic::Response::new) };
        let first = found(ask(self.name(), "CopyFile", LIMIT, first).await)?;
        Ok(first.flatten().is_some())
    }

    /// The index of a mounted volume, `bytes` of it.
    pub(super) async fn index(&self, volume: Volume, bytes: u64) -> Result<Vec<u8>, Refusal> {
        let request = wire::CopyFileRequest {
            volume_id: volume.0,
            ext: ".idx".to_owned(),
            compaction_revision: ANY_REVISION,
            stop_offset: bytes,
            ..wire::CopyFileRequest::default()
        };
        let mut client = self.client.clone();
        let mut stream = ask(self.name(), "CopyFile", LIMIT, client.copy_file(request)).await?;
        let mut index = Vec::new();
        loop {
            let next = async { stream.message().await.map(tonic::Response::new) };
            let Some(part) = ask(self.name(), "CopyFile", LIMIT, next).await? else { return Ok(index) };
            index.extend(part.file_content);
        }
    }

    /// An object as it lies in the volume's file, with its checksum and all that belongs to it.
    pub(super) async fn needle(&self, volume: Volume, needle: Needle) -> Result<Vec<u8>, Refusal> {
        let Needle { offset, size, .. } = needle;
        let request = wire::ReadNeedleBlobRequest { volume_id: volume.0, offset, size };
        let mut client = self.client.clone();
        let blob = ask(self.name(), "ReadNeedleBlob", LIMIT, client.read_needle_blob(request)).await?;
        Ok(blob.needle_blob)
    }

    /// Replication and lifetime of a mounted volume, as it says itself.
    pub(super) async fn terms(&self, volume: Volume) -> Result<(String, String), Refusal> {
        let mut client = self.client.clone();
        let status = client.volume_sync_status(request(volume));
        let status = ask(self.name(), "VolumeSyncStatus", LIMIT, status).await?;
        Ok((status.replication, status.ttl))
    }

    /// Refuses writes and removals from now on.
    pub(super) async fn mark_read_only(&self, volume: Volume, lasts: Lasts) -> Result<(), Refusal> {
        let request =
            wire::VolumeMarkReadonlyRequest { volume_id: volume.0, persist: lasts == Lasts::PastRestarts };
        let mut client = self.client.clone();
        ask(self.name(), "VolumeMarkReadonly", LIMIT, client.volume_mark_readonly(request)).await?;
        Ok(())
    }

    /// Takes writes again.
    pub(super) async fn mark_writable(&self, volume: Volume) -> Result<(), Refusal> {
        let mut client = self.client.clone();
        let answer = client.volume_mark_writable(request(volume));
        ask(self.name(), "VolumeMarkWritable", LIMIT, answer).await?;
        Ok(())
    }

    /// Serves what lies on its disk.
    pub(super) async fn mount(&self, volume: Volume) -> Result<(), Refusal> {
        let mut client = self.client.clone();
        ask(self.name(), "VolumeMount", MOUNT_LIMIT, client.volume_mount(request(volume))).await?;
        Ok(())
    }

    /// Does not serve it any more, and keeps it. Requests that still come are passed on to those that do.
    pub(super) async fn unmount(&self, volume: Volume) -> Result<(), Refusal> {
        let mut client = self.client.clone();
        ask(self.name(), "VolumeUnmount", LIMIT, client.volume_unmount(request(volume))).await?;
        Ok(())
    }

    /// Removes its files. What is not mounted cannot be removed, so it is mounted for that moment.
    pub(super) async fn delete(&self, volume: Volume, collection: &str) -> Result<(), Refusal> {
        if self.presence(volume, collection).await? == Presence::Unmounted {
            self.mount(volume).await?;
        }
        let mut client = self.client.clone();
        let answer = client.volume_delete(request(volume));
        found(ask(self.name(), "VolumeDelete", MOUNT_LIMIT, answer).await)?;
        match self.presence(volume, collection).await? {
            Presence::Nothing => Ok(()),
            Presence::Copying | Presence::Unmounted | Presence::Mounted(_) => Err(Refusal::not_now(format!(
                "{} has files of volume {volume} still, though it was told to delete it",
                self.name()
            ))),
        }
    }

    /// Begins to copy a volume from another server to this one. Whatever it has of it is lost.
    pub(super) async fn copy(
        &self,
        volume: Volume,
        collection: &str,
        source: &Address,
        bytes_per_s: Option<u64>,
    ) -> Result<Streaming<wire::VolumeCopyResponse>, Refusal> {
        let request = wire::VolumeCopyRequest {
            volume_id: volume.0,
            collection: collection.to_owned(),
            source_data_node: source.to_string(),
            io_byte_per_second: bytes_per_s.map_or(0, |rate| i64::try_from(rate.max(1)).unwrap_or(i64::MAX)),
        };
        // Headers come with the first message, so at the end of a small volume's copy: waiting has no limit.
        let mut client = self.client.clone();
        let answer = client.volume_copy(request).await;
        let stream = answer.map_err(|status| Fault::of(self.name(), "VolumeCopy", &status))?;
        Ok(stream.into_inner())
    }

    /// Appends an object as another server has it.
    pub(super) async fn put_needle(
        &self,
        volume: Volume,
        needle: Needle,
        blob: Vec<u8>,
    ) -> Result<(), Refusal> {
        let request = wire::WriteNeedleBlobRequest {
            volume_id: volume.0,
            needle_id: needle.key,
            size: needle.size,
            needle_blob: blob,
        };
        let mut client = self.client.clone();
        ask(self.name(), "WriteNeedleBlob", LIMIT, client.write_needle_blob(request)).await?;
        Ok(())
    }

    /// What a copy tells next; `None` when it is whole.
    pub(super) async fn next_of_copy(
        &self,
        stream: &mut Streaming<wire::VolumeCopyResponse>,
    ) -> Result<Option<wire::VolumeCopyResponse>, Refusal> {
        let next = stream.message().await;
        next.map_err(|status| Fault::of(self.name(), "VolumeCopy", &status).into())
    }

    /// Where it keeps volumes.
    pub(super) async fn folders(&self) -> Result<Vec<Folder>, Refusal> {
        let mut client = self.client.clone();
        let answer = client.volume_server_status(wire::Empty {});
        let status = ask(self.name(), "VolumeServerStatus", LIMIT, answer).await?;
        let folder = |disk: wire::DiskStatus| Folder { path: disk.dir, free_bytes: disk.free };
        Ok(status.disk_statuses.into_iter().map(folder).collect())
    }
}

fn request(volume: Volume) -> wire::VolumeRequest {
    wire::VolumeRequest { volume_id: volume.0 }
}

/// In notes and positions: revision, bytes of the data file, bytes of the index.
impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.revision, self.dat_bytes, self.idx_bytes)
    }
}

impl std::str::FromStr for End {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let parsed = (|| {
            let mut parts = text.split(':');
            let revision = parts.next()?.parse().ok()?;
            let [dat_bytes, idx_bytes] = [parts.next()?.parse().ok()?, parts.next()?.parse().ok()?];
            parts.next().is_none().then_some(Self { revision, dat_bytes, idx_bytes })
        })();
        parsed.ok_or_else(|| {
            Refusal::unsupported(format!("{text:?} is no position: wanted revision:data bytes:index bytes"))
        })
    }
}
