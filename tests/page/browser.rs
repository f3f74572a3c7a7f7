//! Headless Chromium, driven over ChromeDriver's HTTP interface.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where Debian's packages chromium and chromium-driver put them.
const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";

/// Longest wait for an answer: the start of the browser on a busy machine.
const ANSWER: Duration = Duration::from_secs(120);

/// How the page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Light,
    Dark,
    Phone,
}

/// A running browser; dropping it ends it.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// `None` where there is no browser.
    pub(crate) fn start() -> Option<Self> {
        if ![CHROMIUM, DRIVER].iter().all(|path| std::path::Path::new(path).exists()) {
            return None;
        }
        let mut driver = Command::new(DRIVER)
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let rest = line.split_once("started successfully on port ")?.1;
            rest.trim_end_matches('.').parse().ok()
        });
        let profile = tempfile::tempdir().unwrap();
        let (port, session) = (port.unwrap(), String::new());
        let mut browser = Self { driver, port, session, _profile: profile };
        let started = browser.call("POST", "", &browser.wish());
        browser.session = started["sessionId"].as_str().unwrap().to_owned();
        Some(browser)
    }

    fn wish(&self) -> Value {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--window-size=1280,800",
            &profile,
        ];
        json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": CHROMIUM, "args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}})
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// Runs a script in the page; what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Pages that are opened from now on cannot run scripts.
    pub(crate) fn without_scripts(&self) {
        self.command("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
    }

    /// Lines of the console since the last look.
    pub(crate) fn console(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({"type": "browser"}));
        log.as_array().unwrap().iter().map(|line| line["message"].to_string()).collect()
    }

    /// The addresses that were asked for since the last look.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({"type": "performance"}));
        let messages = log.as_array().unwrap().iter().map(|line| {
            let message: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            message["message"].clone()
        });
        let sent = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        let urls =
            sent.map(|message| message["params"]["request"]["url"].as_str().unwrap().to_owned());
        // Its own first page is the browser's business.
        let urls: Vec<String> = urls.filter(|url| !url.starts_with("chrome")).collect();
        assert!(!urls.is_empty(), "the browser says nothing of its requests");
        urls
    }

    /// Looks at the page like this from now on.
    pub(crate) fn look(&self, look: Look) {
        let scheme = if look == Look::Dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.command("Emulation.setEmulatedMedia", &json!({"features": features}));
        let (width, height) = if look == Look::Phone { (390, 844) } else { (1280, 800) };
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": look == Look::Phone});
        self.command("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Pictures of the whole page, where they are wanted.
    pub(crate) fn pictures(&self, name: &str, looks: &[Look]) {
        let Some(dir) = std::env::var_os("MAINSTAY_SCREENSHOTS") else {
            return;
        };
        for look in looks {
            self.look(*look);
            std::thread::sleep(Duration::from_millis(1500));
            let shot = json!({"format": "png", "captureBeyondViewport": true});
            let shot = self.command("Page.captureScreenshot", &shot);
            let png = BASE64.decode(shot["data"].as_str().unwrap().as_bytes()).unwrap();
            let file = format!("{name}-{look:?}.png").to_lowercase();
            std::fs::write(std::path::Path::new(&dir).join(file), png).unwrap();
        }
        self.look(Look::Light);
    }

    /// A command of the browser's own protocol.
    fn command(&self, name: &str, params: &Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({"cmd": name, "params": params}))
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let session =
            if self.session.is_empty() { String::new() } else { format!("/{}", self.session) };
        let path = format!("/session{session}{path}");
        let answer = self.exchange(method, &path, &body.to_string());
        let value: Value = serde_json::from_str(&answer).unwrap();
        assert!(value["value"]["error"].is_null(), "{method} {path}: {answer}");
        value["value"].clone()
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        let (length, port) = (body.len(), self.port);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
                length = number.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of the session ends the browser; the driver alone would leave it behind.
        if !self.session.is_empty() {
            let path = format!("/session/{}", self.session);
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                stream.set_read_timeout(Some(Duration::from_secs(10))).ok();
                write!(stream, "DELETE {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n", self.port)
                    .ok();
                BufReader::new(stream).read_line(&mut String::new()).ok();
            }
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}
