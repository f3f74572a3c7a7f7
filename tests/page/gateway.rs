//! A TCP port before the admin socket of a balancer, since browsers cannot reach unix sockets. It
//! keeps what was asked for.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// The port; its threads end with the test's process.
pub(crate) struct Gateway {
    port: u16,
    socket: Arc<Mutex<PathBuf>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    pub(crate) fn to(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = Arc::new(Mutex::new(socket.to_owned()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let gateway = Self { port, socket: Arc::clone(&socket), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for browser in listener.incoming().map_while(Result::ok) {
                // A balancer that is gone closes the browser's connection.
                if let Ok(admin) = UnixStream::connect(&*socket.lock()) {
                    join(browser, admin, &asked);
                }
            }
        });
        gateway
    }

    /// From the next connection on it leads to another balancer.
    pub(crate) fn turn_to(&self, socket: &Path) {
        *self.socket.lock() = socket.to_owned();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The paths that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

fn join(browser: TcpStream, admin: UnixStream, asked: &Arc<Mutex<Vec<String>>>) {
    let asked = Arc::clone(asked);
    let (from, to) = (browser.try_clone().unwrap(), admin.try_clone().unwrap());
    std::thread::spawn(move || {
        copy(from, to, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let paths = text.lines().filter_map(|line| line.strip_prefix("GET "));
            asked.lock().extend(paths.filter_map(|rest| Some(rest.split_once(' ')?.0.to_owned())));
        });
    });
    std::thread::spawn(move || {
        let closing = browser.try_clone().unwrap();
        copy(admin, browser, |_| {});
        closing.shutdown(Shutdown::Both).ok();
    });
}

/// Copies until either side ends.
fn copy(mut from: impl Read, mut to: impl Write, mut see: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        see(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
