//! Results as JSON text: Python makes its dataclasses of them.

use hypercbt_engine::{BackupOutcome, RestoreStats, VerifyReport, VerifyScope};
use hypercbt_nbd::Stats;
use hypercbt_repo::{OpenLease, RecordKind, RunState, StandingBaseline};
use hypercbt_vhdx::{Layer, LogState};
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use serde_json::{Value, json};

pub(crate) fn layers(layers: &[Layer]) -> String {
    layers.iter().map(layer).collect::<Value>().to_string()
}

fn layer(layer: &Layer) -> Value {
    let (log, entries, sectors) = match layer.log {
        LogState::Clean => ("clean", 0, 0),
        LogState::Replayed { entries, sectors } => ("replayed", entries, sectors),
        _ => ("none", 0, 0),
    };
    json!({
        "path": layer.name,
        "format": layer.format.as_str(),
        "kind": layer.kind.as_str(),
        "file_bytes": layer.file_bytes.0,
        "disk_bytes": layer.size.0,
        "block_bytes": layer.block_bytes,
        "log": log,
        "log_entries": entries,
        "log_sectors": sectors,
        "present_blocks": layer.present_blocks,
        "partial_blocks": layer.partial_blocks,
        "missing_tail_bytes": layer.missing_tail.0,
        "footer_is_copy": layer.footer_is_copy,
        "disk_id": layer.disk_id.map(|guid| guid.to_string()),
        "data_write_guid": layer.data_write_guid.map(|guid| guid.to_string()),
        "file_write_guid": layer.file_write_guid.map(|guid| guid.to_string()),
        "creator": layer.creator,
    })
}

pub(crate) fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(no_json)
}

/// The restore point, and what could not be tidied up after it.
pub(crate) fn backup(outcome: &BackupOutcome) -> PyResult<String> {
    let point = serde_json::to_value(&outcome.point).map_err(no_json)?;
    let warnings: Vec<String> = outcome
        .unfinished
        .iter()
        .map(|error| crate::error::chain(error))
        .collect();
    Ok(json!({ "point": point, "warnings": warnings }).to_string())
}

/// What later incrementals can start from.
pub(crate) fn baselines(standing: &[StandingBaseline]) -> PyResult<String> {
    let baseline = |standing: &StandingBaseline| {
        let StandingBaseline {
            baseline,
            machine,
            sequence,
        } = standing;
        with(
            baseline,
            json!({ "machine": machine, "sequence": sequence }),
        )
    };
    let baselines: Result<Value, _> = standing.iter().map(baseline).collect();
    json(&baselines.map_err(no_json)?)
}

/// Leases of runs that nobody has closed.
pub(crate) fn leases(open: &[OpenLease]) -> PyResult<String> {
    let lease = |open: &OpenLease| with(&open.lease, json!({ "state": state(open.state) }));
    let leases: Result<Value, _> = open.iter().map(lease).collect();
    json(&leases.map_err(no_json)?)
}

/// The word for how far a run came.
pub(crate) fn state(state: RunState) -> &'static str {
    match state {
        RunState::Open => "open",
        RunState::Committed => "committed",
        RunState::Fenced => "fenced",
        RunState::Closed => "closed",
    }
}

/// The fields of a value and some others.
fn with(value: &impl serde::Serialize, others: Value) -> serde_json::Result<Value> {
    let mut fields = serde_json::to_value(value)?;
    if let (Value::Object(fields), Value::Object(others)) = (&mut fields, others) {
        fields.extend(others);
    }
    Ok(fields)
}

fn no_json(error: serde_json::Error) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

pub(crate) fn restore(stats: &RestoreStats) -> String {
    json!({
        "disk_bytes": stats.disk_bytes,
        "written_bytes": stats.written_bytes,
        "read_bytes": stats.read_bytes,
        "elapsed_micros": stats.elapsed_micros,
    })
    .to_string()
}

pub(crate) fn served(stats: &Stats) -> String {
    let failures = stats.failures.iter().map(|failure| {
        json!({
            "command": failure.command.as_str(),
            "offset": failure.extent.map(|extent| extent.start().0),
            "length": failure.extent.map(|extent| extent.len().0),
            "damaged": failure.is_damage(),
            "error": crate::error::chain(&failure.error),
        })
    });
    let violations = stats.first_violations.iter().map(ToString::to_string);
    json!({
        "connections": stats.connections,
        "refused": stats.refused,
        "requests": stats.requests,
        "read_bytes": stats.read_bytes,
        "written_bytes": stats.written_bytes,
        "failed_requests": stats.failed_requests,
        "damaged_requests": stats.damaged_requests,
        "failures": failures.collect::<Vec<_>>(),
        "violations": stats.violations,
        "first_violations": violations.collect::<Vec<_>>(),
    })
    .to_string()
}

pub(crate) fn verify(scope: &VerifyScope, report: &VerifyReport) -> String {
    let damaged = report.damaged.iter().map(|record| {
        json!({
            "kind": match record.kind { RecordKind::Chunk => "chunk", RecordKind::Node => "node" },
            "id": hex(&record.id),
            "reason": record.reason,
            "lost": record.lost,
            "healed": record.healed,
            "points": record.points.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    json!({
        "scope": match scope { VerifyScope::All => "all", VerifyScope::Since(_) => "since", VerifyScope::Sample { .. } => "sample" },
        "points": report.points,
        "packs": report.packs,
        "chunks": report.chunks,
        "nodes": report.nodes,
        "read_bytes": report.read_bytes,
        "damaged": damaged.collect::<Vec<_>>(),
        "damaged_objects": report.damaged_objects,
        "unlisted": report.unlisted.as_ref().map(|error| crate::error::chain(error)),
        "elapsed_micros": report.elapsed_micros,
    })
    .to_string()
}

fn hex(id: &[u8; 32]) -> String {
    hypercbt_repo::ChunkId(*id).to_string()
}
