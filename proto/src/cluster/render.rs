//! A locator as it is sent, by adapters and to agents.

use super::Locator;
use crate::adapter::v1 as wire;

/// A locator as it is sent.
#[must_use]
pub fn locator_to_wire(of: &Locator) -> wire::Locator {
    let devices = of.devices.iter().map(|range| wire::DeviceRange {
        device: range.device.clone(),
        first_sector: range.first_sector,
        sectors: range.sectors,
    });
    let key_ranges = of.key_ranges.iter().map(|range| wire::KeyRange {
        first: range.first.clone(),
        end: range.end.clone().unwrap_or_default(),
    });
    let relations = of.relations.iter().map(|relation| wire::Relation {
        database: relation.database.clone(),
        schema: relation.schema.clone(),
        name: relation.name.clone(),
    });
    let slots = of
        .slots
        .iter()
        .map(|range| wire::SlotRange { first: u32::from(range.first), last: u32::from(range.last) });
    wire::Locator {
        node: of.node.as_ref().map(|node| node.name().to_owned()).unwrap_or_default(),
        files: of.files.clone(),
        devices: devices.collect(),
        ports: of.ports.iter().copied().map(u32::from).collect(),
        key_ranges: key_ranges.collect(),
        relations: relations.collect(),
        slots: slots.collect(),
    }
}
