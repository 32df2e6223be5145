//! The QR code as a camera sees it: on a real terminal, in a PNG, in an SVG, read by a reader that is not ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kinlink_tests::harness::{Ctl, Host, eventually, within};
use lab::Beside;

/// What the line below the code begins with.
const HINT: &str = "Waiting ";

/// An X server without a screen, and its display.
fn x_server() -> (Beside, String) {
    let mut command = Command::new("Xvfb");
    command.args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"]);
    let mut server = Beside::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut number = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut number).unwrap();
    (server, format!(":{}", number.trim()))
}

/// The one QR code in a picture, if it can be read.
fn scan(picture: &Path) -> Option<String> {
    let output = Command::new("zbarimg").args(["--quiet", "--raw"]).arg(picture).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.trim_end_matches('\n').to_owned()).filter(|text| !text.is_empty())
}

/// `kinctl link` in an xterm of 80 columns and 24 rows, in these colours and this font; what is read off the screen.
fn scan_xterm(host: &Host, display: &str, paper: &str, ink: &str, font: (&str, &str)) -> (Beside, String) {
    let mut xterm = Command::new("xterm");
    xterm.args(["-u8", "-geometry", "80x24+0+0", "-bg", paper, "-fg", ink, "-fa", font.0, "-fs", font.1]);
    xterm.arg("-e").arg(lab::kinctl()).arg("link");
    xterm.env("DISPLAY", display).env("LC_ALL", "C.UTF-8").env("KINLINK_SOCKET", host.socket());
    let xterm = Beside::start(&mut xterm);
    let shots = tempfile::tempdir().unwrap();
    let shot = shots.path().join("screen.png");
    let text = within(Duration::from_secs(20), &format!("{ink} on {paper} in {font:?} is read"), || {
        lab::succeed(Command::new("import").args(["-display", display, "-window", "root"]).arg(&shot));
        scan(&shot)
    });
    (xterm, text)
}

/// Whether `joiner` can answer what was read: it shows the account that it would join.
fn answers(joiner: &Host, text: &str) -> bool {
    let mut join: Ctl = joiner.spawn(&["--json", "join", text]);
    join.event("offer")["role"] == "owner"
}

#[test]
fn a_terminal_of_80x24_is_read_whatever_its_colours() {
    if !lab::have(&["Xvfb", "xterm", "import", "zbarimg"]) {
        return;
    }
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    let (_server, display) = x_server();
    // Sizes at which a character is an odd or even number of pixels high.
    for (paper, ink, font) in [("black", "white", "10"), ("white", "black", "10"), ("#fdf6e3", "#657b83", "12")] {
        eventually("no pairing is open", || (anna.ok(&["status"])["pairing_open"] == false).then_some(()));
        let (xterm, text) = scan_xterm(&anna, &display, paper, ink, ("DejaVu Sans Mono", font));
        assert!(text.starts_with("KL:"), "{text}");
        assert!(answers(&bert, &text), "{ink} on {paper}");
        drop(xterm);
    }
}

#[test]
fn the_code_and_what_to_do_fit_24_rows() {
    if !lab::have(&["tmux"]) {
        return;
    }
    let anna = Host::new("anna");
    let socket = anna.runtime().join("tmux");
    let tmux = |args: &[&str]| {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&socket).args(["-f", "/dev/null"]).args(args);
        lab::succeed(command.env("LC_ALL", "C.UTF-8").env("KINLINK_SOCKET", anna.socket()).env_remove("TMUX"))
    };
    let link = format!("exec {} link", lab::kinctl().display());
    tmux(&["new-session", "-d", "-x", "80", "-y", "24", &link, ";", "set-option", "status", "off"]);
    let screen = eventually("the line below the code", || {
        let screen = tmux(&["capture-pane", "-p", "-e"]);
        screen.contains(HINT).then_some(screen)
    });
    tmux(&["kill-server"]);
    let rows: Vec<&str> = screen.lines().collect();
    let code = rows.iter().take_while(|row| !row.contains(HINT)).count();
    assert_eq!(code, 23, "version 6 and a quiet zone of 2:\n{screen}");
    assert!(!rows[0].contains('▀') && rows[1].contains('▀'), "the quiet zone above has not scrolled away:\n{screen}");
    assert!(rows[23].contains("kinctl join") && rows[23].contains("Ctrl-C"), "{screen}");
}

/// `kinctl link` with its code in a PNG and an SVG; the text that both must hold.
fn pictures(host: &Host, png: &Path, svg: &Path) -> (Ctl, String) {
    let (png, svg) = (png.to_str().unwrap(), svg.to_str().unwrap());
    let mut show = host.spawn(&["--json", "link", "--png", png, "--svg", svg]);
    let text = show.event("open")["qr"].as_str().unwrap().to_owned();
    (show, text)
}

#[test]
fn png_and_svg_are_read() {
    if !lab::have(&["zbarimg", "rsvg-convert"]) {
        return;
    }
    let (anna, files) = (Host::new("anna"), tempfile::tempdir().unwrap());
    let [png, svg, drawn] = ["a.png", "a.svg", "drawn.png"].map(|name| files.path().join(name));
    let (_show, text) = pictures(&anna, &png, &svg);
    lab::succeed(Command::new("rsvg-convert").arg("-o").args([&drawn, &svg]));
    assert_eq!(scan(&png).as_ref(), Some(&text));
    assert_eq!(scan(&drawn).as_ref(), Some(&text));
}

#[test]
fn what_another_reader_reads_links() {
    if !lab::have(&["zbarimg"]) {
        return;
    }
    let (anna, bert, files) = (Host::new("anna"), Host::new("bert"), tempfile::tempdir().unwrap());
    let [png, svg] = ["a.png", "a.svg"].map(|name| files.path().join(name));
    let (mut show, _) = pictures(&anna, &png, &svg);
    let mut join = bert.spawn(&["--json", "join", "--yes", "-"]);
    join.type_line(&scan(&png).expect("the PNG is read"));
    join.close_input();
    let code = join.event("code")["code"].as_str().unwrap().to_owned();
    show.event("peer");
    show.type_line(&code);
    assert_eq!(show.end().ok()["event"], "linked");
    assert_eq!(join.end().ok()["event"], "linked");
    assert_eq!(anna.linked(), ["anna", "bert"]);
}
