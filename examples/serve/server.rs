//! The server: two routes over a model that is on its way, there, or cannot be had.

use crate::progress::Progress;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use candle_core::Device;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wcodec_eval::{Checkpoint, Llama, Result, Tensors, generate};

/// The most tokens that one request may ask for: a text takes a thread for as long as it is generated.
const MAX_TOKENS: usize = 512;
/// How many when it does not say.
const DEFAULT_TOKENS: usize = 32;

/// What the routes share.
struct Server {
    checkpoint: Checkpoint,
    progress: Progress,
    started: Instant,
    /// Empty while the weights stream in.
    outcome: OnceLock<Outcome>,
    /// Requests generate one after another: each uses all cores, and side by side both would be late.
    turn: tokio::sync::Mutex<()>,
}

/// How the load ended.
enum Outcome {
    Ready { model: Llama, after: Duration },
    Failed(String),
}

/// Answers of every kind: a status and JSON.
type Answer = (StatusCode, Json<Value>);

/// The routes, at once; `load` goes to work on a thread of its own and reports its progress as it goes.
pub(crate) fn start(checkpoint: Checkpoint, load: impl FnOnce(&Progress) -> Result<Tensors> + Send + 'static) -> Router {
    let (progress, outcome, turn) = (Progress::default(), OnceLock::new(), tokio::sync::Mutex::new(()));
    let server = Arc::new(Server { checkpoint, progress, started: Instant::now(), outcome, turn });
    let loading = Arc::clone(&server);
    // A load reads and computes for seconds: on the runtime's own threads it would hold up the answers.
    std::thread::spawn(move || loading.load(load));
    Router::new().route("/health", get(health)).route("/generate", post(text)).with_state(server)
}

impl Server {
    fn load(&self, load: impl FnOnce(&Progress) -> Result<Tensors>) {
        let built = || -> Result<Llama> {
            let tensors = load(&self.progress)?;
            Ok(Llama::from_tensors(&self.checkpoint.config, tensors, &Device::Cpu)?)
        };
        // A panic is a failed load too, or the server would say for ever that it is loading.
        let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(built));
        let outcome = match built {
            Ok(Ok(model)) => Outcome::Ready { model, after: self.started.elapsed() },
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Failed("the loader panicked".to_owned()),
        };
        // Only this thread sets it, once.
        let _ = self.outcome.set(outcome);
    }

    /// What to say of the model as it is: 200 when it stands, 503 until then, 500 when it never will.
    fn health(&self) -> Answer {
        let (done, total) = self.progress.get();
        let share = if total == 0 { 0.0 } else { done as f64 / total as f64 };
        let (status, mut said) = match self.outcome.get() {
            None => (StatusCode::SERVICE_UNAVAILABLE, json!({"state": "loading"})),
            Some(Outcome::Ready { after, .. }) => {
                (StatusCode::OK, json!({"state": "ready", "ready_after_s": after.as_secs_f64()}))
            }
            Some(Outcome::Failed(error)) => (StatusCode::INTERNAL_SERVER_ERROR, json!({"state": "failed", "error": error})),
        };
        said["progress"] = json!(share);
        said["loaded_bytes"] = json!(done);
        said["total_bytes"] = json!(total);
        (status, Json(said))
    }
}

async fn health(State(server): State<Arc<Server>>) -> Answer {
    server.health()
}

/// A request for text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    prompt: String,
    max_tokens: Option<usize>,
}

async fn text(State(server): State<Arc<Server>>, Json(request): Json<Request>) -> Answer {
    if !matches!(server.outcome.get(), Some(Outcome::Ready { .. })) {
        return server.health();
    }
    let _turn = server.turn.lock().await;
    let working = Arc::clone(&server);
    let generated = tokio::task::spawn_blocking(move || {
        let Some(Outcome::Ready { model, .. }) = working.outcome.get() else {
            return Err("the model is not there".into());
        };
        let Checkpoint { config, tokenizer, .. } = &working.checkpoint;
        let limit = request.max_tokens.unwrap_or(DEFAULT_TOKENS).min(MAX_TOKENS);
        generate(model, config, tokenizer, &request.prompt, limit)
    });
    match generated.await {
        Ok(Ok(told)) => (
            StatusCode::OK,
            Json(json!({
                "text": told.text,
                "tokens": told.tokens.len(),
                "first_token_s": told.first.as_secs_f64(),
                "per_token_s": told.per_token().map(|each| each.as_secs_f64()),
            })),
        ),
        // What can go wrong now is the request: an empty prompt, or one too long.
        Ok(Err(error)) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"error": error.to_string()}))),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "the generation was cut off"}))),
    }
}
