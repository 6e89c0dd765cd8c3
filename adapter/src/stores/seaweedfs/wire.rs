//! The messages of SeaweedFS that are used, as compiled from `proto/seaweedfs`.

#![allow(missing_docs, unused_qualifications, clippy::all, unreachable_pub, reason = "generated")]

pub mod volume_server {
    tonic::include_proto!("volume_server_pb");
}

pub mod master {
    tonic::include_proto!("master_pb");
}
