//! The examples of `docs/plugins/`: each page's document is served, and its commands print what the page says.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Backend, Gateway};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins")
}

/// The text of the first block of that language.
fn block<'p>(page: &'p str, language: &str) -> Option<&'p str> {
    let open = format!("```{language}\n");
    let start = page.find(&open)? + open.len();
    let length = page[start..].find("```")?;
    Some(&page[start..start + length])
}

/// Commands and what each prints: lines behind `$ `, continued after a backslash, and the lines below.
fn steps(console: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut is_continued = false;
    for line in console.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), String::new())),
            (None, Some((command, _))) if is_continued => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, printed))) => {
                printed.push_str(line);
                printed.push('\n');
            }
            (None, None) => panic!("a block begins with a command: {line}"),
        }
        is_continued = steps.last().is_some_and(|(command, _)| command.ends_with('\\'));
    }
    steps
}

fn run_page(name: &str) {
    let text = std::fs::read_to_string(folder().join(name)).expect("a page");
    let (Some(document), Some(console)) = (block(&text, "yaml"), block(&text, "console")) else {
        panic!("docs/plugins/{name} has no example: a ```yaml block with a document and a ```console block");
    };
    let backend = Backend::saying("ok");
    let document = document.replace("127.0.0.1:8080", &format!("127.0.0.1:{}", backend.port()));
    let document = document.replace("backend_port: 8080", &format!("backend_port: {}", backend.port()));
    let gateway = Gateway::builder().document_text(&document).start();
    for (command, expected) in steps(console) {
        let local = command.replace("localhost:8000", &format!("127.0.0.1:{}", gateway.port()));
        let local = local.replace("localhost:9000", &format!("127.0.0.1:{}", gateway.admin_port()));
        let output = Command::new("sh").args(["-c", &local]).output().expect("a shell");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            printed.trim_end(),
            expected.trim_end(),
            "docs/plugins/{name}: {command}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn every_page_has_an_example_that_does_what_it_says() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .expect("the pages")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md") && name != "README.md")
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    names.iter().for_each(|name| run_page(name));
}

#[test]
fn a_command_may_go_on_in_the_next_line() {
    let steps = steps("$ one \\\n  two\nprinted\n\n$ three\n");
    assert_eq!(steps, [("one \\\n  two".into(), "printed\n\n".into()), ("three".into(), String::new())]);
}
