//! Layers and operations as messages have them.

use isotherm_model::{Counts, Layer, Operation};
use isotherm_proto::control::v1 as wire;
use tonic::Status;

/// The layer that is asked for; `None` when none is named.
pub(super) fn layer(raw: i32) -> Result<Option<Layer>, Status> {
    match wire::Layer::try_from(raw) {
        Ok(wire::Layer::Unspecified) => Ok(None),
        Ok(wire::Layer::Logical) => Ok(Some(Layer::Logical)),
        Ok(wire::Layer::Device) => Ok(Some(Layer::Device)),
        Ok(wire::Layer::Network) => Ok(Some(Layer::Network)),
        Err(_) => Err(Status::invalid_argument(format!("layer: {raw} is no layer"))),
    }
}

pub(super) fn layer_to_wire(layer: Layer) -> wire::Layer {
    match layer {
        Layer::Logical => wire::Layer::Logical,
        Layer::Device => wire::Layer::Device,
        Layer::Network => wire::Layer::Network,
    }
}

pub(super) fn operation_to_wire(operation: Operation) -> wire::Operation {
    match operation {
        Operation::Read => wire::Operation::Read,
        Operation::Write => wire::Operation::Write,
        Operation::Sync => wire::Operation::Sync,
        Operation::Discard => wire::Operation::Discard,
        Operation::Accept => wire::Operation::Accept,
        Operation::Connect => wire::Operation::Connect,
    }
}

pub(super) fn counts_to_wire(counts: Counts) -> wire::Counts {
    wire::Counts { ops: counts.ops, bytes: counts.bytes }
}
