//! The prose of an encyclopedia's article, from its source in MediaWiki's markup.
//!
//! No attempt is made at all of the markup: what stands for words but is not text (a template, a formula) leaves a hole,
//! and a paragraph with a hole is no prose. There are articles enough.

use quick_xml::escape::unescape;

/// What a hole is written as: no text has it.
const HOLE: char = '\0';

/// A paragraph shorter than this, in bytes, is rather a caption, an item or a heading.
const SHORTEST: usize = 200;

/// Templates that stand for no words, by how their names begin: references, and remarks on the text.
const SILENT: &[&str] = &[
    "cite",
    "citation",
    "sfn",
    "refn",
    "efn",
    "harv",
    "rp|",
    "ref",
    "cn",
    "fact",
    "page needed",
    "dead link",
    "clarify",
    "when",
    "who",
    "by whom",
    "according to whom",
    "verify",
    "dubious",
    "failed verification",
    "better source",
];

/// Elements whose content is not of the sentence around them, so that the sentence goes on without.
const ASIDE: &[&str] = &["ref"];

/// Elements whose content is no text.
const FOREIGN: &[&str] =
    &["math", "gallery", "timeline", "code", "pre", "syntaxhighlight", "source", "imagemap", "table", "score"];

/// The paragraphs of an article that are prose, in order.
pub(super) fn paragraphs(markup: &str) -> Vec<String> {
    let mut text = String::with_capacity(markup.len());
    plain(markup, &mut text);
    text.lines().filter_map(paragraph).collect()
}

/// A line as a paragraph, unless it is none.
fn paragraph(line: &str) -> Option<String> {
    let text = unescape(line).ok()?;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let begins = text.starts_with(|c: char| c.is_alphanumeric() || c == '"');
    let odd = text.contains([HOLE, '|', '{', '}', '[', ']', '<', '>'])
        || ["()", "( ", " )", " ,", " .", "(,", "(;"].iter().any(|s| text.contains(s));
    (begins && !odd && text.len() >= SHORTEST).then_some(text)
}

/// Writes what is text of some markup, with holes where something else stood for words.
fn plain(mut rest: &str, text: &mut String) {
    while let Some(at) = rest.find(['<', '{', '[', '\'']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((inner, after)) = balanced(rest, "{{", "}}") {
            if !is_silent(inner) {
                text.push(HOLE);
            }
            rest = after;
        } else if let Some((_, after)) = balanced(rest, "{|", "|}") {
            text.push(HOLE);
            rest = after;
        } else if let Some((inner, after)) = balanced(rest, "[[", "]]") {
            link(inner, text);
            rest = after;
        } else if let Some((_, after)) = rest.strip_prefix("<!--").and_then(|inner| inner.split_once("-->")) {
            rest = after;
        } else if rest.starts_with('<') {
            rest = element(rest, text);
        } else if rest.starts_with("[http") || rest.starts_with("[//") {
            // An address, and what it is called.
            let (inner, after) = rest[1..].split_once(']').unwrap_or((&rest[1..], ""));
            plain(inner.split_once(' ').map_or("", |(_, label)| label), text);
            rest = after;
        } else if rest.starts_with("''") {
            // Two quotes are italics, three are bold.
            rest = rest.trim_start_matches('\'');
        } else {
            let (one, after) = rest.split_at(1);
            text.push_str(one);
            rest = after;
        }
    }
    text.push_str(rest);
}

/// What is between `open`, with which `text` begins, and the `close` that belongs to it, and what comes after.
fn balanced<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    let inner = text.strip_prefix(open)?;
    let (mut depth, mut at) = (1, 0);
    loop {
        let end = at + inner[at..].find(close)?;
        match inner[at..end].find(open) {
            Some(deeper) => {
                (depth, at) = (depth + 1, at + deeper + open.len());
            }
            None => {
                (depth, at) = (depth - 1, end + close.len());
                if depth == 0 {
                    return Some((&inner[..end], &inner[at..]));
                }
            }
        }
    }
}

/// Whether a template stands for no words.
fn is_silent(template: &str) -> bool {
    let name = template.trim_start().to_lowercase();
    SILENT.iter().any(|start| name.starts_with(start))
}

/// What a link is shown as: nothing, if it leads to an image, a category or another language.
fn link(inner: &str, text: &mut String) {
    let target = inner.split('|').next().unwrap_or_default();
    if !target.contains(':') {
        plain(inner.rsplit_once('|').map_or(inner, |(_, label)| label), text);
    }
}

/// Writes what stands for the element that `rest` begins with, and returns what comes after: of most only the tags go.
fn element<'a>(rest: &'a str, text: &mut String) -> &'a str {
    let Some((tag, after)) = rest[1..].split_once('>') else {
        text.push(HOLE);
        return &rest[1..];
    };
    let name = tag.split([' ', '/', '\n']).next().unwrap_or_default().to_lowercase();
    let (aside, foreign) = (ASIDE.contains(&name.as_str()), FOREIGN.contains(&name.as_str()));
    if foreign {
        text.push(HOLE);
    }
    if !(aside || foreign) || tag.ends_with('/') {
        return after;
    }
    after.split_once(&format!("</{name}>")).map_or("", |(_, after)| after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(markup: &str) -> String {
        let mut text = String::new();
        plain(markup, &mut text);
        text
    }

    #[test]
    fn markup_becomes_text() {
        for (markup, expected) in [
            ("'''Bold''' and ''slanted'', it's plain", "Bold and slanted, it's plain"),
            ("[[A]] and [[b|the other]] one", "A and the other one"),
            ("[[File:x.jpg|thumb|a [[link]] in it]]after[[Category:Y]]", "after"),
            ("so<ref name=a>{{cite book|x}}</ref> it<ref name=a/> is<!-- not -->.", "so it is."),
            ("[http://a.b/c the site] <small>small</small>", "the site small"),
            ("known{{citation needed|date={{x}}}}.", "known."),
            ("a{{convert|5|km}}b", "a\0b"),
            ("<math>a < b</math>, {| table |}", "\0, \0"),
            ("[unknown] {", "[unknown] {"),
            ("{{never closed [[nor this", "{{never closed [[nor this"),
            ("<never closed", "\0never closed"),
        ] {
            assert_eq!(text(markup), expected, "{markup}");
        }
    }

    #[test]
    fn a_paragraph_is_long_and_without_holes() {
        let long = "Words of an article&nbsp;&ndash; ".repeat(10);
        let found = paragraphs(&format!("== Heading ==\n{long}\n* {long}\n{long}{{{{hole}}}}\nshort\n{long}<ref>x</ref>\n"));
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("Words of an article – Words") && found[0] == found[1], "{found:?}");
        // An entity that there is not.
        assert!(paragraphs(&format!("{long}&no-such;")).is_empty());
    }
}
