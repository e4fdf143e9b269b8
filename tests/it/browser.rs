//! The pages in a real browser: Chromium without a screen, asked over its DevTools protocol.

use crate::fold::PATIENCE;
use crate::support::*;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A page in a browser of its own. The browser goes with it.
struct Page {
    browser: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Value,
    sent: u64,
    /// What went wrong in the page, and where it asked beyond the server.
    complaints: Vec<String>,
    url: String,
    _profile: TempDir,
}

impl Page {
    async fn open(server: &Server, path: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Chromium, from the package chromium");
        let mut lines = BufReader::new(browser.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.split_once("DevTools listening on ").map(|(_, url)| url.trim().to_owned())
        });
        // Read on, or the browser blocks when it complains.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let (socket, _) = connect_async(address.expect("an address")).await.unwrap();
        let mut page = Self {
            browser,
            socket,
            session: Value::Null,
            sent: 0,
            complaints: Vec::new(),
            url: server.url.clone(),
            _profile: profile,
        };
        let target = page.ask("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        page.session = page.ask("Target.attachToTarget", attach).await["sessionId"].take();
        for domain in ["Runtime", "Log", "Network", "Page"] {
            page.ask(&format!("{domain}.enable"), json!({})).await;
        }
        let url = format!("{}{path}", server.url);
        page.ask("Page.navigate", json!({ "url": url })).await;
        page
    }

    /// Sends a command and returns its result; events before it are looked at.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut command = json!({"id": self.sent, "method": method, "params": params});
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect(method);
            let Message::Text(text) = next.unwrap().unwrap() else { continue };
            let mut message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == self.sent {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.watch(&message);
        }
    }

    fn watch(&mut self, event: &Value) {
        let params = &event["params"];
        let wrong = match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => params["type"] == "error" || params["type"] == "warning",
            "Log.entryAdded" => params["entry"]["level"] == "error",
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap();
                !url.starts_with(&self.url) && !url.starts_with("data:")
            }
            _ => false,
        };
        if wrong {
            self.complaints.push(params.to_string());
        }
    }

    /// The value of an expression in the page.
    async fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        self.ask("Runtime.evaluate", params).await["result"]["value"].take()
    }

    /// The text that a user sees.
    async fn text(&mut self) -> String {
        let text = self.value("document.body ? document.body.innerText : ''").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until all of this is to be seen, one behind the other.
    async fn shows(&mut self, parts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text().await;
            let mut rest = text.as_str();
            let missing = parts.iter().find(|part| match rest.split_once(**part) {
                Some((_, behind)) => {
                    rest = behind;
                    false
                }
                None => true,
            });
            let Some(missing) = missing else { return text };
            let late = begun.elapsed() > PATIENCE;
            assert!(!late, "no '{missing}' in\n{text}\n{:?}", self.complaints);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

#[tokio::test]
async fn the_page_is_live() {
    let plant = Plant::new();
    let server = plant.serve();
    let send = async |pump: u32, seconds: i64, metrics: Value| {
        let device = format!("PUMP-{pump}");
        let message = json!({"deviceId": device, "timestamp": BASE + seconds, "metrics": metrics});
        server.ingest(message).await;
    };
    let mut page = Page::open(&server, "/").await;
    page.shows(&["live, epoch", "No asset has sent anything", "Raised thresholds", "None."]).await;

    send(1, 0, json!({"TEMP": 50, "STATE": "running"})).await;
    send(2, 0, json!({"TEMP": 40, "STATE": "running"})).await;
    let calm = ["Assets 2", "\u{25cf} healthy 2", "100", "\u{25cf} healthy", "pump-1", "pump-2"];
    page.shows(&calm).await;
    assert!(!page.text().await.contains("No asset"));

    // Something happens: the worse asset comes first, with the reason, its threshold and its event.
    send(2, 60, json!({"TEMP": 80, "STATE": "tripped"})).await;
    let alarm = [
        "\u{25c6} degraded 1",
        "\u{25cf} healthy 1",
        "\u{25c6} degraded\tpump-2\tpump\thot 25.0, tripped 30.0\t2023-11-14 22:14:20",
        "pump-1",
        "Raised thresholds 2",
        "\u{25b2} critical\tpump-2\tis_tripped\t2023-11-14 22:14:20",
        "\u{25c6} warning\tpump-2\ttemperature_high",
        "Recent events 1",
        "\u{25b2} critical\tpump-2\tpump-2 tripped at 80.0 Cel",
    ];
    page.shows(&alarm).await;

    // The metrics of an asset, on a click, and their changes.
    let click = "[...document.querySelectorAll('button.asset')].find(b => b.textContent === 'pump-2').click()";
    page.value(click).await;
    page.shows(&["Metrics of pump-2", "state\ttripped", "temperature\t80\tCel\tGood"]).await;
    send(2, 70, json!({"TEMP": 62.5, "STATE": "running"})).await;
    page.shows(&["\u{25cf} healthy 2", "Metrics of pump-2", "state\trunning", "temperature\t62.5"])
        .await;
    page.shows(&["Raised thresholds", "None."]).await;
    page.value(&click.replace("pump-2", "pump-1")).await;
    let text = page.shows(&["Metrics of pump-1", "temperature\t50\tCel"]).await;
    assert!(!text.contains("62.5"), "{text}");

    // What devices and documents say is text, whatever it is.
    let hostile = json!({"key": "<img src=x onerror=alert(1)>", "asset_type": "pump"});
    let asset = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E";
    let put = format!("/api/v1/catalog/assets/{asset}");
    server
        .send(reqwest::Method::PUT, &put, &[("content-type", JSON)], hostile.to_string())
        .await
        .good();
    let device = json!({"key": "PUMP-9", "device_type": "pump_box"});
    server
        .send(
            reqwest::Method::PUT,
            "/api/v1/catalog/devices/PUMP-9",
            &[("content-type", JSON)],
            device.to_string(),
        )
        .await
        .good();
    let link = json!({"device": "PUMP-9", "asset": "<img src=x onerror=alert(1)>"});
    let put = format!("/api/v1/catalog/links/PUMP-9-%3E{asset}");
    server
        .send(reqwest::Method::PUT, &put, &[("content-type", JSON)], link.to_string())
        .await
        .good();
    send(9, 80, json!({"TEMP": 50})).await;
    page.shows(&["<img src=x onerror=alert(1)>"]).await;
    assert_eq!(page.value("document.images.length").await, 0);
    assert_eq!(page.complaints, Vec::<String>::new());

    // What may be old is grey, and says so.
    assert_eq!(page.value("document.querySelector('.stale') === null").await, true);
    drop(server);
    page.shows(&["connection lost: what is shown may be old"]).await;
    let filter = page.value("getComputedStyle(document.getElementById('plant')).filter").await;
    assert_eq!(filter, "grayscale(1)");
    page.shows(&["healthy", "pump-1"]).await;
}

#[tokio::test]
async fn the_page_comes_back_when_the_server_does() {
    let plant = Plant::new();
    let server = plant.serve();
    let message = |seconds: i64, temperature: f64| json!({"deviceId": "PUMP-1", "timestamp": BASE + seconds, "metrics": {"TEMP": temperature}});
    server.ingest(message(0, 50.0)).await;
    let mut page = Page::open(&server, "/").await;
    page.shows(&["healthy 1", "pump-1"]).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    assert_eq!(server.terminate(), 0);
    page.shows(&["connection lost"]).await;
    let catalog = plant.catalog();
    let server = plant.serve_at(&address, &["--catalog", text(&catalog)]);
    server.ingest(message(10, 80.0)).await;
    page.shows(&["live, epoch", "\u{25c6} degraded 1", "pump-1"]).await;
    assert_eq!(page.value("document.querySelectorAll('#assets tr').length").await, 1);
}

#[tokio::test]
async fn the_api_page_shows_every_route() {
    let plant = Plant::new();
    let server = plant.serve();
    let mut page = Page::open(&server, "/docs").await;
    page.shows(&["Millstream", "telemetry", "/api/v1/telemetry/ingest", "views"]).await;
    let text = page.text().await.replace('\u{200b}', "");
    let api = server.get("/api/v1/openapi.json").await.good();
    for path in api["paths"].as_object().unwrap().keys() {
        assert!(text.contains(path.as_str()), "no {path} in\n{text}");
    }
    assert_eq!(page.complaints, Vec::<String>::new());
}
