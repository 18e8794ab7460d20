//! Proxies that people use, in front of a server. They listen at a Unix socket, which needs no port.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::UnixStream;

use super::{Http1, eventually, is_there};

/// A proxy, as a process. Dropped, it is killed.
pub(crate) struct TestProxy {
    child: Child,
    socket: PathBuf,
    folder: TempDir,
}

impl TestProxy {
    /// nginx that keeps connections to its upstream; none where nginx is missing.
    pub(crate) async fn nginx(upstream: SocketAddr) -> Option<Self> {
        if !is_there("nginx", "-v") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log {place}/log warn;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n access_log off;\n client_body_temp_path {place}/body;\n proxy_temp_path {place}/answers;\n\
             fastcgi_temp_path {place}/fastcgi;\n uwsgi_temp_path {place}/uwsgi;\n scgi_temp_path {place}/scgi;\n\
             client_max_body_size 16m;\n keepalive_requests 100000;\n\
             upstream linger {{ server {upstream}; keepalive 16; keepalive_requests 100000; }}\n\
             server {{\n  listen unix:{place}/socket;\n  location / {{\n   proxy_pass http://linger;\n\
             proxy_http_version 1.1;\n   proxy_set_header connection \"\";\n   proxy_set_header host $host;\n\
             proxy_buffering off;\n   proxy_read_timeout 75s;\n   proxy_next_upstream off;\n  }}\n }}\n}}\n"
        );
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("configuration"));
        Some(Self::spawn(command, folder, &text).await)
    }

    /// HAProxy as docs/listeners.md recommends it, with these lines more for its backend; none where HAProxy is missing.
    pub(crate) async fn haproxy(upstream: SocketAddr, backend: &str) -> Option<Self> {
        if !is_there("haproxy", "-v") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let text = format!(
            "global\n maxconn 500\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 75s\n timeout server 75s\n\
             option abortonclose\n\
             frontend clients\n bind unix@{place}/socket\n default_backend linger\n\
             backend linger\n {backend}\n server linger {upstream}\n"
        );
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(folder.path().join("configuration"));
        Some(Self::spawn(command, folder, &text).await)
    }

    async fn spawn(mut command: Command, folder: TempDir, text: &str) -> Self {
        std::fs::write(folder.path().join("configuration"), text).unwrap();
        let said = std::fs::File::create(folder.path().join("said")).unwrap();
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        // From here on it is killed whatever happens.
        let mut proxy = Self { child, socket: folder.path().join("socket"), folder };
        eventually("the proxy listens", async || {
            if let Some(ended) = proxy.child.try_wait().unwrap() {
                panic!("the proxy has ended, {ended}: {}", proxy.log());
            }
            UnixStream::connect(&proxy.socket).await.ok().map(drop)
        })
        .await;
        proxy
    }

    pub(crate) async fn connect(&self) -> Http1<UnixStream> {
        Http1::at(&self.socket).await
    }

    /// What it has to say.
    pub(crate) fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("{}{}", read("said"), read("log"))
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        // It may have exited.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
