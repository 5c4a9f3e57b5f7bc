//! The examples of `docs/plugins/`: each page's document is served, and its commands print what the page says. A block
//! `sh setup` is run before, for files and settings that the example needs.

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

/// Where the commands of one page run. Goes away with what they made.
struct Folder(PathBuf);

impl Folder {
    fn new(page: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ferrum-edge-docs-{}-{page}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).current_dir(&self.0);
        shell
    }

    /// Runs what a reader runs before the gateway is started, in the same shell: files are made here, and settings that are
    /// exported are the gateway's.
    fn set_up(&self, script: &str) -> Vec<(String, String)> {
        let output = self.shell(&format!("exec 3>&1 1>&2\n{script}\nenv >&3")).output().expect("a shell");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8_lossy(&output.stdout);
        let exported = printed.lines().filter_map(|line| line.split_once('='));
        let settings = exported.filter(|(name, _)| name.starts_with("FERRUM_") && std::env::var_os(name).is_none());
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn run_page(name: &str) {
    let text = std::fs::read_to_string(folder().join(name)).expect("a page");
    let (Some(document), Some(console)) = (block(&text, "yaml"), block(&text, "console")) else {
        panic!("docs/plugins/{name} has no example: a ```yaml block with a document and a ```console block");
    };
    let backend = Backend::saying("ok");
    let document = document.replace("127.0.0.1:8080", &format!("127.0.0.1:{}", backend.port()));
    let document = document.replace("backend_port: 8080", &format!("backend_port: {}", backend.port()));
    let folder = Folder::new(name);
    let settings = block(&text, "sh setup").map(|script| folder.set_up(script)).unwrap_or_default();
    let builder = Gateway::builder().document_text(&document);
    let gateway = settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start();
    for (command, expected) in steps(console) {
        let local = command.replace("localhost:8000", &format!("127.0.0.1:{}", gateway.port()));
        let local = local.replace("localhost:9000", &format!("127.0.0.1:{}", gateway.admin_port()));
        // A certificate is for a name.
        let local = local.replace("localhost:8443", &format!("localhost:{}", gateway.https_port()));
        let output = folder.shell(&local).envs(settings.iter().cloned()).output().expect("a shell");
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

#[test]
fn a_setup_makes_files_and_gives_settings() {
    let folder = Folder::new("setup");
    let script = "echo said\necho text >file\nexport FERRUM_ONE=\"$PWD/file\" FERRUM_TWO='a b' OTHER=1";
    let path = folder.0.join("file");
    let expected = [("FERRUM_ONE", path.to_str().unwrap()), ("FERRUM_TWO", "a b")];
    let mut settings = folder.set_up(script);
    settings.sort();
    assert_eq!(settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "text\n");
}
