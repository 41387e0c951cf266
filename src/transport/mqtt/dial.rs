//! TCP and TLS, up to the first byte of MQTT.
//!
//! Done here and not by the client library, so that its own TLS, with the roots of the system
//! and a choice of cryptography, stays out, and so that each failure keeps its cause.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
    },
};

use super::{LinkOptions, Lost, TlsFiles, Url, reason, stream::Stream};
use crate::domain::limits;

/// A stream to the broker that is ready for CONNECT. Whoever calls bounds the whole in time.
pub(super) async fn dial(options: &LinkOptions) -> Result<Box<dyn Stream>, Lost> {
    let url = &options.url;
    // Before the network: files that are wrong are wrong without it as well.
    let tls = url.tls.then(|| configuration(&options.tls)).transpose().map_err(Lost::permanent)?;
    let tcp = connect(url, options.connect_timeout).await.map_err(|e| reason::io(url, &e, true))?;
    let Some(tls) = tls else {
        return Ok(Box::new(tcp));
    };
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| Lost::permanent(format!("`mqtt.url`: TLS knows no host `{}`", url.host)))?;
    let tls =
        TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.map_err(|e| reason::io(url, &e, true))?;
    Ok(Box::new(tls))
}

/// Every address of the host in turn. Each gets an equal part of the time, so that one that
/// swallows packets does not use up what its neighbour needs.
async fn connect(url: &Url, patience: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((url.host.as_str(), url.port)).await?.collect();
    let part = patience / (addresses.len() as u32).max(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in addresses {
        match timeout(part, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(e)) => last = e,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn configuration(files: &TlsFiles) -> Result<ClientConfig, String> {
    let ca = files
        .ca
        .as_deref()
        .ok_or("`mqtt.ca` is not set: TLS needs the certificate of the authority that signed the broker's")?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates("mqtt.ca", ca)? {
        roots.add(certificate).map_err(|e| {
            format!("`mqtt.ca` {} holds a certificate that cannot be used: {e}", ca.display())
        })?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    match (&files.cert, &files.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => Err("`mqtt.cert` is set, `mqtt.key` is not".into()),
        (None, Some(_)) => Err("`mqtt.key` is set, `mqtt.cert` is not".into()),
        (Some(cert), Some(key)) => {
            let key_pem = read("mqtt.key", key)?;
            let private = PrivateKeyDer::from_pem_slice(&key_pem)
                .map_err(|e| format!("`mqtt.key` {}: {}", key.display(), pem_words(&e, "private key")))?;
            builder
                .with_client_auth_cert(certificates("mqtt.cert", cert)?, private)
                .map_err(|e| format!("`mqtt.cert` {} and `mqtt.key` {}: {e}", cert.display(), key.display()))
        }
    }
}

fn certificates(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(name, path)?;
    let say = |e: &pem::Error| format!("`{name}` {}: {}", path.display(), pem_words(e, "certificate"));
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|e| say(&e))?;
    if found.is_empty() { Err(say(&pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn pem_words(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("holds no {what} in PEM form"),
        other => format!("is not sound PEM: {other}"),
    }
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, String> {
    let say = |why: String| format!("`{name}` {}: {why}", path.display());
    let meta = fs::metadata(path).map_err(|e| say(e.to_string()))?;
    if meta.len() > limits::TLS_FILE_BYTES_MAX {
        return Err(say(format!("has more than {} bytes", limits::TLS_FILE_BYTES_MAX)));
    }
    fs::read(path).map_err(|e| say(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_named_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            Some(path)
        };
        let say = |files: &TlsFiles| configuration(files).unwrap_err();
        let empty = file("empty.pem", "nothing");
        let broken = file("broken.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
        let no_certificate =
            file("odd.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
        assert!(say(&TlsFiles::default()).contains("`mqtt.ca` is not set"));
        for (ca, why) in [
            (empty, "holds no certificate"),
            (broken, "not sound PEM"),
            (no_certificate, "cannot be used"),
            (Some("/does/not/exist".into()), "No such file"),
        ] {
            let said = say(&TlsFiles { ca, ..TlsFiles::default() });
            assert!(said.contains("`mqtt.ca`") && said.contains(why), "{said}");
        }
    }
}
