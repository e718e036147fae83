//! A small inference server that answers while its weights stream in.
//!
//! ```text
//! cargo run --release --example serve                                   # SmolLM2-135M from its archive, port 8080
//! cargo run --release --example serve -- model.wcodec --model path/to/a/hugging-face/directory --listen 0.0.0.0:80
//! curl localhost:8080/health
//! curl localhost:8080/generate --json '{"prompt": "The capital of France is", "max_tokens": 16}'
//! ```
//!
//! A server that opened its port only once it could generate would look dead to whatever watches over it for as long as a
//! large model takes to load. This one listens at once: `/health` says how far the weights are (503 until the model
//! stands, which is what load balancers wait for), and `/generate` asks to come back.

mod progress;
mod server;
#[cfg(test)]
mod tests;
mod weights;

use std::path::PathBuf;
use wcodec_eval::{Checkpoint, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let (mut archive, mut model, mut listen) = (None, None, "127.0.0.1:8080".to_owned());
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--model") => model = Some(PathBuf::from(args.next().ok_or("--model needs a directory")?)),
            Some("--listen") => {
                listen = args.next().and_then(|a| a.into_string().ok()).ok_or("--listen needs an address")?;
            }
            Some(option) if option.starts_with("--") => return Err(format!("there is no option {option}").into()),
            _ => archive = Some(PathBuf::from(arg)),
        }
    }
    let checkpoint = model.as_deref().map_or_else(Checkpoint::default_model, Checkpoint::open)?;
    let source = archive.map_or_else(|| weights::Source::of(&checkpoint), |path| weights::Source::Archives(vec![path]));
    let listener = tokio::net::TcpListener::bind(listen).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let config = checkpoint.config.clone();
    let app = server::start(checkpoint, move |progress| source.load(&config, progress));
    axum::serve(listener, app).await?;
    Ok(())
}
