//! Makes the certificate of the proxies' TLS listeners: self-signed, for `localhost`, with an ECDSA P-256 key.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Parser;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

/// Writes `server.crt`, `server.key` and, for haproxy, both in `server.pem`.
#[derive(Parser)]
struct Options {
    /// Where the files go.
    #[arg(long)]
    directory: PathBuf,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate =
        CertificateParams::new(names).and_then(|params| params.self_signed(&key)).map_err(io::Error::other)?;
    fs::write(options.directory.join("server.crt"), certificate.pem())?;
    fs::write(options.directory.join("server.key"), key.serialize_pem())?;
    fs::write(options.directory.join("server.pem"), format!("{}{}", certificate.pem(), key.serialize_pem()))
}
