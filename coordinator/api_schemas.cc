#include "coordinator/api_openapi.h"

namespace tephra::coordinator {

// Documents may gain fields; a reader passes over those that it does not know.
const std::string_view kApiSchemas = R"json({
"Error": {"type": "object", "required": ["error"], "properties": {"error": {
  "type": "object", "required": ["code", "message"], "properties": {
    "code": {"type": "string", "description": "a word for programs: not_found, invalid_argument, unauthorized ..."},
    "message": {"type": "string", "description": "a sentence for people"},
    "diagnostics": {"type": "array", "items": {"type": "object", "required": ["field", "message"], "properties": {
      "field": {"type": "string"}, "message": {"type": "string"}, "hint": {"type": "string"},
      "line": {"type": "integer"}, "column": {"type": "integer"}}}}}}}},
"Health": {"type": "object", "required": ["status"], "properties": {
  "status": {"const": "ok"}, "checks": {"type": "object", "additionalProperties": {"type": "string"}}}},
"Server": {"type": "object", "required": ["version", "slots", "role", "name", "token_required"], "properties": {
  "version": {"type": "string"}, "slots": {"type": "integer"}, "unix_ms": {"type": "integer"},
  "token_required": {"type": "boolean"},
  "name": {"type": "string", "description": "whose token the request had"},
  "role": {"enum": ["viewer", "submitter", "admin"]}}},
"Document": {"type": "object", "description": "an OpenAPI document"},
"Progress": {"type": ["object", "null"], "description": "the last step of the present stage", "properties": {
  "stage": {"type": "string"}, "step": {"type": "integer"}, "total_steps": {"type": "integer"},
  "loss": {"type": ["number", "null"]}, "gradient_norm": {"type": ["number", "null"]},
  "learning_rate": {"type": ["number", "null"]}, "tokens_per_second": {"type": ["number", "null"]},
  "step_seconds": {"type": ["number", "null"]}, "rss_bytes": {"type": "integer"}, "epoch": {"type": ["number", "null"]},
  "loss_tokens": {"type": "integer"}, "skipped": {"type": "boolean"}, "samples_hash": {"type": "string"}}},
"Rank": {"type": "object", "required": ["rank", "pid", "host", "connected", "heartbeat_age_ms"], "properties": {
  "rank": {"type": "integer"}, "pid": {"type": "integer"}, "host": {"type": "string"}, "connected": {"type": "boolean"},
  "heartbeat_age_ms": {"type": "integer", "description": "-1: none yet"}, "phase": {"type": "string"},
  "unit": {"type": "string"}, "step": {"type": "integer"}, "micro_batch": {"type": "integer"},
  "collective_sequence": {"type": "integer"}, "collective": {"type": "string"}, "collective_unit": {"type": "string"},
  "rss_bytes": {"type": "integer"}}},
"Stage": {"type": "object", "required": ["name", "init", "checkpoint", "step", "complete", "checkpoints", "gave_way", "benches"],
  "properties": {
  "name": {"type": "string"}, "init": {"type": "string"}, "checkpoint": {"type": "string"}, "step": {"type": "integer"},
  "complete": {"type": "boolean"}, "checkpoints": {"type": "array", "items": {"type": "string"}},
  "gave_way": {"type": "array", "items": {"type": "integer"}, "description": "steps whose checkpoints were due while an earlier one was written, and gave way (checkpoint.when_busy)"},
  "benches": {"type": "object", "additionalProperties": {"type": "boolean"}}}},
"Job": {"type": "object", "required": ["id", "user", "recipe_name", "phase", "gang", "stage", "stages", "attempt", "ranks",
  "restarts", "reason", "submitted_unix_ms", "started_unix_ms", "finished_unix_ms", "queue_position", "progress",
  "eta_seconds", "rank_states"], "properties": {
  "id": {"type": "string"}, "user": {"type": "string"}, "recipe_name": {"type": "string"},
  "phase": {"type": "string", "description": "queued, preparing, training, evaluating, reporting, done, failed, cancelled, paused"},
  "gang": {"type": "string"}, "stage": {"type": "string"}, "bench": {"type": "string"},
  "stages": {"type": "array", "items": {"$ref": "#/components/schemas/Stage"}},
  "attempt": {"type": "integer"}, "ranks": {"type": "integer"}, "threads_per_rank": {"type": "integer"},
  "ranks_min": {"type": "integer", "description": "of an elastic job; else ranks"},
  "ranks_max": {"type": "integer", "description": "gang.ranks"},
  "ranks_reason": {"type": "string", "description": "why it has fewer than ranks_max; empty: it has not"},
  "restarts": {"type": "integer"}, "max_restarts": {"type": "integer"}, "reason": {"type": "string"},
  "cancel_requested": {"type": "boolean"}, "submitted_unix_ms": {"type": "integer"},
  "started_unix_ms": {"type": "integer", "description": "0: not yet"},
  "finished_unix_ms": {"type": "integer", "description": "0: not yet"},
  "queue_position": {"type": "integer", "description": "1 is next; 0: not queued, or held back by a dependency"},
  "waits_for": {"type": "string", "description": "why a job does not run that is queued, or whose hosts are not there yet; for people"}, "answers": {"type": "integer"},
  "directory": {"type": "string"}, "report": {"type": "string", "description": "path of the report; empty: not written yet"},
  "eta_seconds": {"type": ["number", "null"]}, "progress": {"$ref": "#/components/schemas/Progress"},
  "rank_states": {"type": "array", "description": "of one job only; empty in lists", "items": {"$ref": "#/components/schemas/Rank"}},
  "recipe": {"description": "as resolved; of one job only"}}},
"JobList": {"type": "object", "required": ["jobs", "slots", "next"], "properties": {
  "jobs": {"type": "array", "items": {"$ref": "#/components/schemas/Job"}},
  "slots": {"type": "integer"}, "next": {"$ref": "#/components/schemas/Next"}}},
"Next": {"type": ["string", "null"], "description": "what to give as cursor for the page after this one; null: there is none"},
"Submission": {"type": "object", "description": "recipe_json, or recipe_yaml with base_dir", "properties": {
  "recipe_json": {"type": ["object", "string"], "description": "a resolved recipe"},
  "recipe_yaml": {"type": "string"},
  "base_dir": {"type": "string", "description": "absolute folder that the recipe's relative paths are joined to"},
  "user": {"type": "string", "maxLength": 256,
           "description": "whose job it is; a submitter's is always its token's name"}}},
"Submitted": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
"CancelRequest": {"type": "object", "properties": {"reason": {"type": "string", "maxLength": 1024}}},
"Cancelled": {"type": "object", "required": ["id", "cancel_requested"], "properties": {
  "id": {"type": "string"}, "cancel_requested": {"type": "boolean"}}},
"PauseRequested": {"type": "object", "required": ["id", "pause_requested"], "properties": {
  "id": {"type": "string"}, "pause_requested": {"type": "boolean"}}},
"ResumeRequested": {"type": "object", "required": ["id", "resume_requested"], "properties": {
  "id": {"type": "string"}, "resume_requested": {"type": "boolean"}}},
"HistoryEvent": {"type": "object", "required": ["number", "unix_ms", "name", "text", "attempt", "phase"], "properties": {
  "number": {"type": "integer"}, "unix_ms": {"type": "integer"}, "name": {"type": "string"}, "text": {"type": "string"},
  "attempt": {"type": "integer"}, "phase": {"type": "string", "description": "of the job after it"},
  "ranks": {"type": "integer", "description": "that the job has, or wants, after it; 0: not known"}}},
"History": {"type": "object", "required": ["events", "next"], "properties": {
  "events": {"type": "array", "items": {"$ref": "#/components/schemas/HistoryEvent"}},
  "next": {"$ref": "#/components/schemas/Next"}}},
"Checkpoint": {"type": "object", "required": ["name", "job", "stage", "step", "attempt", "parent", "created_unix_ms",
  "stage_complete", "content_hash", "logical_bytes", "new_bytes", "metrics", "handover", "tags"], "properties": {
  "name": {"type": "string"}, "job": {"type": "string"}, "stage": {"type": "string"}, "step": {"type": "integer"},
  "attempt": {"type": "integer"}, "parent": {"type": "string"}, "created_unix_ms": {"type": "integer"},
  "stage_complete": {"type": "boolean"}, "content_hash": {"type": "string"}, "logical_bytes": {"type": "integer"},
  "new_bytes": {"type": "integer"}, "metrics": {"type": "object"}, "handover": {"type": "object"},
  "tags": {"type": "array", "items": {"type": "string"}}, "pinned": {"type": "boolean"},
  "verified": {"type": ["object", "null"], "description": "null: not since the coordinator's start",
    "required": ["state", "unix_ms", "bytes_read", "problems"], "properties": {
    "state": {"enum": ["waiting", "reading", "whole", "damaged", "failed"]}, "unix_ms": {"type": "integer"},
    "bytes_read": {"type": "integer"}, "problems": {"type": "array", "items": {"type": "string"}}}}}},
"VerifyRequest": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
"VerifyRequested": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
"Results": {"type": "object", "required": ["results", "during"], "properties": {
  "results": {"type": "array", "items": {"$ref": "#/components/schemas/BenchResult"}},
  "during": {"type": "array", "description": "on checkpoints during a stage, by stage, bench and step",
    "items": {"$ref": "#/components/schemas/BenchResult"}}}},
"BenchResult": {
  "type": "object", "required": ["stage", "bench", "kind", "metrics", "counts", "columns"], "properties": {
  "stage": {"type": "string"}, "bench": {"type": "string"}, "kind": {"type": "string"},
  "step": {"type": "integer", "description": "of the checkpoint, during the stage; absent: after it"},
  "metrics": {"type": "object", "description": "shares in 0..1"}, "counts": {"type": "object"},
  "columns": {"type": "array", "items": {"type": "object", "properties": {
    "name": {"type": "string"}, "correct": {"type": "integer"}, "count": {"type": "integer"}}}}}},
"ReportLink": {"type": "object", "required": ["path", "until_unix_ms"], "properties": {
  "path": {"type": "string"}, "until_unix_ms": {"type": "integer"}}},
"TagRequest": {"type": "object", "required": ["name", "tag"], "properties": {
  "name": {"type": "string", "minLength": 1, "description": "a checkpoint: JOB/STAGE@STEP, JOB/STAGE@latest, or a tag"},
  "tag": {"type": "string", "minLength": 1}, "force": {"type": "boolean"}}},
"UntagRequest": {"type": "object", "required": ["tag"], "properties": {"tag": {"type": "string", "minLength": 1}}},
"PinRequest": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
"UnpinRequest": {"$ref": "#/components/schemas/PinRequest"},
"RmRequest": {"type": "object", "required": ["names"], "properties": {
  "names": {"type": "array", "minItems": 1, "items": {"type": "string"}}, "dry_run": {"type": "boolean"}}},
"PruneRequest": {"type": "object", "required": ["policy"], "properties": {
  "job": {"type": "string", "description": "only this job's"}, "dry_run": {"type": "boolean"},
  "policy": {"type": "object", "description": "one rule at least", "properties": {
    "last": {"type": "integer", "minimum": 0}, "best": {"type": "integer", "minimum": 0}, "metric": {"type": "string"},
    "mode": {"enum": ["min", "max"]}, "every": {"type": "integer", "minimum": 0},
    "max_age": {"type": "string"}, "max_bytes": {"type": "string"}}}}},
"GcRequest": {"type": "object", "properties": {"dry_run": {"type": "boolean"}}},
"Change": {"type": "object", "description": "what was done; docs/checkpoints.md"},
"CheckpointList": {"type": "object", "required": ["checkpoints", "next"], "properties": {
  "checkpoints": {"type": "array", "items": {"$ref": "#/components/schemas/Checkpoint"}},
  "next": {"$ref": "#/components/schemas/Next"}}},
"Flights": {"type": "object", "description": "what the ranks did last; docs/flight.md"},
"FlightReport": {"type": "object", "description": "which rank is behind, and the page that says so; docs/flight.md"}
})json";

}  // namespace tephra::coordinator
