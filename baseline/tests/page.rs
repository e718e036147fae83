//! The report's page in a browser. Without one (`chromium`, `chromium-browser`, `google-chrome`, or what `WCODEC_CHROMIUM` names) the test
//! says that it was skipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use wcodec_baseline::{Architecture, Finished, Options, Quant, Size, Source, run};

fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WCODEC_CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name))).find(|file| file.is_file())
}

fn report(directory: &Path, model: &str, quant: Quant, coders: &[&str]) -> Finished {
    let options = Options {
        source: Source::Synthetic(Architecture::find(model).expect("known"), Size::Tiny),
        quant: Some(quant),
        output: directory.to_owned(),
        runs: 1,
        keep: false,
        force: false,
        only: coders.iter().map(|&c| c.to_owned()).collect(),
        seed: 1,
    };
    run(&options, &|_, _| std::ops::ControlFlow::Continue(())).expect("runs")
}

/// The page's DOM once its script has run, and what the browser logged of it. A browser's window has a least width that is more than a
/// telephone's: the page is in a frame, and the frame's findings are copied to where they are dumped.
fn look(browser: &Path, page: &Path, width: u32) -> (String, String) {
    let frame = page.with_extension(format!("{width}.html"));
    let name = page.file_name().expect("a name").to_string_lossy();
    let wrapper = format!(
        "<!DOCTYPE html><title>frame</title><iframe id=\"f\" src=\"{name}\" style=\"width:{width}px;height:900px;border:0\"></iframe>\
         <pre id=\"p\"></pre><script>f.onload=function(){{setTimeout(function(){{var d=f.contentDocument;\
         Object.assign(document.documentElement.dataset,d.documentElement.dataset);\
         document.documentElement.dataset.shown=[].map.call(d.querySelectorAll('figure'),function(g){{\
         return g.dataset.chart+':'+[].reduce.call(g.querySelectorAll('svg'),function(n,s){{\
         return n+(s.getClientRects().length?s.querySelectorAll('.mark').length:0)}},0)}}).join(' ')}},300)}}</script>"
    );
    std::fs::write(&frame, wrapper).expect("writes");
    let profile = tempfile::tempdir().expect("directory");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--virtual-time-budget=2000",
            "--enable-logging=stderr",
        ])
        .arg("--allow-file-access-from-files")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={},900", width + 60))
        .arg(format!("file://{}", frame.display()))
        .output()
        .expect("starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The value of an attribute of the root element.
fn finding<'a>(dom: &'a str, name: &str) -> &'a str {
    let (_, rest) = dom.split_once(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("no {name} in {dom:.600}"));
    rest.split_once('"').expect("a quote").0
}

#[test]
fn nothing_overflows_and_every_chart_has_its_marks() {
    let Some(browser) = browser() else {
        println!("skipped: no Chromium");
        return;
    };
    let place = tempfile::tempdir().expect("directory");
    let coders = ["wcodec", "zstd", "lz4", "pco", "xz"];
    for (model, quant, planes) in [("llama3-8b", Quant::Int8, 3), ("gpt-oss", Quant::Mxfp4, 3)] {
        let Finished { report, files } = report(place.path(), model, quant, &coders);
        let page = files.iter().find(|f| f.extension().is_some_and(|e| e == "html")).expect("a page");
        for width in [360, 599, 600, 959, 960, 1200] {
            let (dom, log) = look(&browser, page, width);
            let what = format!("{model} at {width}");
            assert_eq!(finding(&dom, "width"), width.to_string(), "{what}");
            for fault in ["overflow", "outside", "collisions"] {
                assert_eq!(finding(&dom, fault), "0", "{fault}: {what}");
            }
            assert!(!log.contains("CONSOLE"), "{what}: {log}");
            let shown = finding(&dom, "shown");
            let marks: Vec<(&str, usize)> =
                shown.split(' ').filter_map(|s| s.split_once(':')).map(|(n, k)| (n, k.parse().expect("a number"))).collect();
            let of = |name: &str| marks.iter().filter(|m| m.0 == name).map(|m| m.1).collect::<Vec<_>>();
            let rows = 1 + report.dtypes.len() + report.kinds.len();
            let count = report.total.coders.len();
            assert_eq!(of("sizes"), [rows * count], "{what}");
            assert_eq!((of("speed-decode"), of("speed-encode")), (vec![count], vec![count]), "{what}");
            assert_eq!(of("heat"), [report.cells.len()], "{what}");
            assert!(of("plane").len() >= planes && of("plane").iter().all(|&n| n == 1), "{what}: {shown}");
        }
    }
}

#[test]
fn the_page_needs_nothing_else() {
    let place = tempfile::tempdir().expect("directory");
    let Finished { files, .. } = report(place.path(), "mistral", Quant::Bf16, &["lz4"]);
    let page = std::fs::read_to_string(&files[2]).expect("reads");
    for foreign in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(page.matches("<svg class=\"chart").count(), page.matches("<desc>").count());
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("synthetic weights"));
}
