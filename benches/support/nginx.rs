//! nginx as a proxy that does not buffer: what a proxy costs that only passes bytes on.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::until;

/// Where it may be, besides the search path: `tests/run.sh` unpacks it, and Debian's is for administrators.
const PLACES: [&str; 2] = ["target/tools/nginx/usr/sbin", "/usr/sbin"];

/// One of its processes; ended with this value.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: String,
}

impl Nginx {
    /// Before this provider, with its files in `dir`; `None` where it is not installed.
    pub(crate) fn start(dir: &Path, provider: &str) -> Option<Self> {
        let program = find()?;
        // It cannot say which port it got: it is given one that was free just now.
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let address = listener.local_addr().expect("has an address").to_string();
        drop(listener);
        fs::write(dir.join("nginx.conf"), configuration(&address, provider)).expect("written");
        let mut command = Command::new(program);
        command.arg("-p").arg(dir).args(["-c", "nginx.conf", "-e", "nginx.log"]);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        let nginx = Self { child, address };
        until("nginx listens", || TcpStream::connect(&nginx.address).is_ok(), |listens| *listens);
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    places.map(|place| place.join("nginx")).find(|program| program.is_file())
}

fn configuration(address: &str, provider: &str) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log nginx.log;
events {{ worker_connections 256; }}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi; keepalive_requests 1000000;
    upstream provider {{ server {provider}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection \"\";
            proxy_buffering off; proxy_request_buffering off;
        }}
    }}
}}
"
    )
}
