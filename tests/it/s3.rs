//! A server of Amazon's S3 protocol, which keeps its objects in a directory.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub const KEY: &str = "millstream";
pub const SECRET: &str = "a secret of the tests";

/// A store with one bucket, `plant`.
pub struct S3 {
    pub root: PathBuf,
    pub address: SocketAddr,
    /// Its threads are its own: it answers also while a test waits for the program.
    runtime: Option<Runtime>,
}

impl S3 {
    pub fn start(root: &Path) -> Self {
        std::fs::create_dir_all(root.join("plant")).unwrap();
        let mut this =
            Self { root: root.into(), address: ([127, 0, 0, 1], 0).into(), runtime: None };
        this.go_on();
        this
    }

    /// Ends it: connections break, and nobody listens.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it again where it was.
    pub fn go_on(&mut self) {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(&self.root).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let (address, (send, listening)) = (self.address, std::sync::mpsc::channel());
        runtime.spawn(async move {
            let listener = loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => break listener,
                    // The one before has not let go yet.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            send.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let service = service.clone();
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        self.address = listening.recv().unwrap();
        self.runtime = Some(runtime);
    }

    /// A program that knows where it is and has its key.
    pub fn known_to(&self, mut program: Command) -> Command {
        program
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
        program
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
    }
}
