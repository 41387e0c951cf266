//! A server on the premises that is not ours, `tests/python/site_server.py`: started on a port of its
//! own choice, killed, and started again where it was.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::harness::{cached, python};

/// The token that daemons send it.
pub(crate) const TOKEN: &str = "premises-0123456789abcdef";
/// What the site is called, and what it calls its model.
pub(crate) const NAME: &str = "hq";
pub(crate) const MODEL: &str = "smollm-at-hq";
/// Tokens of prompt and answer together.
pub(crate) const CONTEXT: usize = 2048;

/// The server; dropping it ends it.
pub(crate) struct Server {
    /// Its standard input is open for as long as it is to live.
    child: Child,
    address: String,
    files: TempDir,
}

impl Server {
    /// On a free port.
    pub(crate) fn start() -> Self {
        Self::start_with(TOKEN)
    }

    /// The same, taking another token than the one that daemons send.
    pub(crate) fn start_with(token: &str) -> Self {
        let files = TempDir::new().unwrap();
        write_token(files.path());
        let (child, address) = launch("0", token);
        Self { child, address, files }
    }

    /// `host:port`
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its entry in the configuration; `more`: further lines of it.
    pub(crate) fn entry(&self, more: &str) -> String {
        entry(&self.address, self.files.path(), more)
    }

    /// Kills it as it is.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where it was, with the right token.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        let (_, port) = self.address.rsplit_once(':').unwrap();
        (self.child, self.address) = launch(port, TOKEN);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Puts the file with the token into a folder.
pub(crate) fn write_token(folder: &Path) {
    let file = folder.join("site-token");
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The entry of a site at this address.
pub(crate) fn entry(address: &str, folder: &Path, more: &str) -> String {
    let token = folder.join("site-token");
    format!(
        "[[site]]\nname = \"{NAME}\"\nbase_url = \"http://{address}/v1\"\nmodel = \"{MODEL}\"\n\
         token_file = \"{}\"\n{more}\n",
        token.display()
    )
}

fn launch(port: &str, token: &str) -> (Child, String) {
    let module = cached("site/xllamacpp.abi3.so");
    let mut child = Command::new(python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/site_server.py"))
        .arg(module.parent().unwrap())
        .arg(cached("gguf/SmolLM2-135M-Instruct.Q4_1.gguf"))
        .args([port, MODEL, token])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").map(str::to_owned);
    let address = address.unwrap_or_else(|| panic!("the site does not start: {line:?}; see site_server.py"));
    (child, address)
}
