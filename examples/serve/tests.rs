//! The server is started on a port of its own and asked over TCP.

use crate::progress::Progress;
use crate::server;
use crate::weights::Source;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wcodec_eval::{Checkpoint, Result, SyntheticModel, Tensors, raw};

/// A server whose weights come from `load`.
async fn start(load: impl FnOnce(&Progress, &Checkpoint) -> Result<Tensors> + Send + 'static) -> SocketAddr {
    let directory = tempfile::tempdir().expect("a directory");
    SyntheticModel::SMALL.write(directory.path()).expect("written");
    let open = || Checkpoint::open(directory.path()).expect("opens");
    let (checkpoint, again) = (open(), open());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = server::start(checkpoint, move |progress| {
        let _held = directory;
        load(progress, &again)
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Sends a request, and gives back the status and the JSON of the answer.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all((head + &length).as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

async fn health(address: SocketAddr) -> (u16, Value) {
    ask(address, "GET", "/health", "").await
}

/// Asks until the state is no longer `loading`.
async fn settled(address: SocketAddr) -> (u16, Value) {
    for _ in 0..3000 {
        let (status, said) = health(address).await;
        if said["state"] != "loading" {
            return (status, said);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is still loading");
}

#[tokio::test]
async fn it_answers_while_weights_stream_in_and_generates_then() {
    // The load stops where the test wants to look.
    let (go, wait) = mpsc::channel::<()>();
    let (at, reached) = tokio::sync::oneshot::channel();
    let address = start(move |progress, checkpoint| {
        let mut at = Some(at);
        raw::load(&checkpoint.weights, |_, done, total| {
            progress.set(done, total);
            if done * 2 > total
                && let Some(at) = at.take()
            {
                at.send(()).expect("the test listens");
                wait.recv().expect("the test says when");
            }
        })
    })
    .await;
    reached.await.expect("half is loaded");
    let (status, said) = health(address).await;
    assert_eq!((status, &said["state"]), (503, &"loading".into()));
    let share = said["progress"].as_f64().expect("a number");
    assert!(share > 0.5 && share <= 1.0 && said["total_bytes"].as_u64() > Some(100_000), "{said}");
    let (status, said) = ask(address, "POST", "/generate", r#"{"prompt": "abc"}"#).await;
    assert_eq!((status, &said["state"]), (503, &"loading".into()));

    go.send(()).expect("the load waits");
    let (status, said) = settled(address).await;
    assert_eq!((status, &said["state"], said["progress"].as_f64()), (200, &"ready".into(), Some(1.0)), "{said}");
    let body = r#"{"prompt": "abc", "max_tokens": 5}"#;
    let (status, first) = ask(address, "POST", "/generate", body).await;
    assert_eq!((status, &first["tokens"]), (200, &5.into()), "{first}");
    let (_, again) = ask(address, "POST", "/generate", body).await;
    assert_eq!(first["text"], again["text"]);
}

#[tokio::test]
async fn an_archive_gives_the_same_text() {
    let generate = async |compressed: bool| {
        let address = start(move |progress, checkpoint| {
            let weights = checkpoint.weights[0].clone();
            let source = if compressed {
                let archive = weights.with_extension("wcodec");
                wcodec::Encoder::new().encode_file(&weights, &archive)?;
                Source::Archives(vec![archive])
            } else {
                Source::Safetensors(vec![weights])
            };
            source.load(&checkpoint.config, progress)
        })
        .await;
        let (status, said) = settled(address).await;
        assert_eq!((status, said["progress"].as_f64()), (200, Some(1.0)), "{said}");
        ask(address, "POST", "/generate", r#"{"prompt": "abc"}"#).await.1["text"].clone()
    };
    let text = generate(false).await;
    assert!(text.is_string() && text == generate(true).await, "{text}");
}

#[tokio::test]
async fn a_bad_request_is_the_client_s_fault() {
    let address = start(|_, checkpoint| raw::load(&checkpoint.weights, |_, _, _| {})).await;
    settled(address).await;
    for body in ["", "{", r#"{"max_tokens": 1}"#, r#"{"prompt": ""}"#, r#"{"prompt": "a", "max_tokens": 0}"#, r#"{"prompt": 1}"#]
    {
        let (status, _) = ask(address, "POST", "/generate", body).await;
        assert!((400..500).contains(&status), "{body:?}: {status}");
    }
    assert_eq!(ask(address, "GET", "/generate", "").await.0, 405);
    assert_eq!(ask(address, "GET", "/", "").await.0, 404);
    assert_eq!(health(address).await.0, 200);
}

#[tokio::test]
async fn a_load_that_fails_is_said() {
    let lacking = |checkpoint: &Checkpoint| {
        let mut tensors = raw::load(&checkpoint.weights, |_, _, _| {})?;
        tensors.remove("model.norm.weight");
        Ok(tensors)
    };
    let address = start(move |_, checkpoint| lacking(checkpoint)).await;
    let (status, said) = settled(address).await;
    assert_eq!((status, &said["state"]), (500, &"failed".into()));
    assert!(said["error"].as_str().is_some_and(|error| error.contains("model.norm.weight")), "{said}");
    assert_eq!(ask(address, "POST", "/generate", r#"{"prompt": "abc"}"#).await.0, 500);

    let address = start(|_, _| panic!("as a loader should not")).await;
    assert_eq!(settled(address).await.1["state"], "failed");
}
