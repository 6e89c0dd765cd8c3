//! Compiles the contracts with protox, so that no protoc is needed.

use std::{env, fs, path::PathBuf};

const CONTRACTS: [&str; 9] = [
    "isotherm/telemetry/v1/telemetry.proto",
    "isotherm/control/v1/control.proto",
    "isotherm/control/v1/risk.proto",
    "isotherm/control/v1/nodes.proto",
    "isotherm/control/v1/migrations.proto",
    "isotherm/control/v1/repairs.proto",
    "isotherm/control/v1/reads.proto",
    "isotherm/control/v1/plans.proto",
    "isotherm/control/v1/trust.proto",
];

/// What storage systems implement. What one of them does not answer is UNIMPLEMENTED.
const ADAPTER: [&str; 2] = ["isotherm/adapter/v1/adapter.proto", "isotherm/adapter/v1/migration.proto"];

/// Answers of the risk service, which commands also print as JSON, field by field.
const PRINTED: [&str; 43] = [
    "GetRepairsResponse",
    "SystemRepairs",
    "RepairBreaker",
    "FailedNode",
    "UnrepairedPartition",
    "Plan",
    "PlanRequest",
    "PlanApproval",
    "PlannedMove",
    "RejectedNodes",
    "RelievedNode",
    "NodeCapacity",
    "CordonState",
    "Migration",
    "Permission",
    "DiaryLine",
    "Orphan",
    "Shift",
    "Scorecard",
    "PredictedScore",
    "MeasuredScore",
    "Comparison",
    "Distrust",
    "Score",
    "SystemScore",
    "GetCycleResponse",
    "Cycle",
    "Stage",
    "SystemLoad",
    "ListRisksResponse",
    "DecisionRecord",
    "Habitual",
    "Foreseen",
    "Loss",
    "Holder",
    "DomainPart",
    "ExplainPartitionResponse",
    "ExplainNodeResponse",
    "NodeRecord",
    "NodeDownResponse",
    "NodeDown",
    "Survivor",
    "Responsible",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=isotherm");
    println!("cargo:rerun-if-changed=google");
    let mut all = protox::Compiler::new(["."])?;
    all.include_imports(true).include_source_info(true).open_files(CONTRACTS.iter().chain(&ADAPTER))?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // With the rules of HTTP, which the types of descriptors have no place for, and the comments.
    fs::write(out.join("descriptors.bin"), all.encode_file_descriptor_set())?;
    let mut build = tonic_prost_build::configure().build_transport(true);
    for message in PRINTED {
        build =
            build.message_attribute(format!("isotherm.control.v1.{message}"), "#[derive(serde::Serialize)]");
    }
    build.compile_fds(protox::compile(CONTRACTS, ["."])?)?;
    let adapter = tonic_prost_build::configure().build_transport(true).generate_default_stubs(true);
    adapter.compile_fds(protox::compile(ADAPTER, ["."])?)?;
    Ok(())
}
