//! `openssl s_client`: a TLS client nobody here wrote.

use std::io::Write;
use std::process::{Command, Stdio};

/// What it prints when it connects to that port, asks for that name, if for any, and says this.
pub fn openssl(port: u16, name: Option<&str>, arguments: &[&str], input: &str) -> String {
    let name = name.map_or(vec!["-noservername"], |name| vec!["-servername", name]);
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(name)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is needed: apt-get install openssl");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("openssl reads");
    let output = child.wait_with_output().expect("openssl ends");
    [output.stdout, output.stderr].concat().iter().map(|byte| char::from(*byte)).collect()
}
