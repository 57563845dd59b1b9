//! Markdown into man(7): headings, paragraphs, lists, definitions, tables, code.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The body of a page; `##` is a section, `###` one below.
pub(crate) fn from_markdown(text: &str) -> String {
    let extensions = Options::ENABLE_TABLES | Options::ENABLE_DEFINITION_LIST;
    let mut writer = Writer::default();
    Parser::new_ext(text, extensions).for_each(|event| writer.take(event));
    writer.roff
}

#[derive(Default)]
struct Writer {
    roff: String,
    /// Words of the paragraph, heading or cell that is being read.
    words: String,
    /// In a block of code.
    code: bool,
    heading: bool,
    /// Where the next paragraph needs no macro of its own: behind a heading or a mark.
    fresh: bool,
    /// Depth of lists and definitions; a number in an ordered one.
    lists: Vec<Option<u64>>,
    definition: bool,
    rows: Vec<Vec<String>>,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.code => self.roff += &verbatim(&text),
            Event::Text(text) if self.heading => self.words += &escape(&text).to_uppercase(),
            Event::Text(text) => self.words += &escape(&text),
            Event::Code(text) => self.words += &format!("\\fB{}\\fR", escape(&text)),
            Event::SoftBreak => self.words.push('\n'),
            Event::HardBreak => self.words += "\n.br\n",
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } => self.heading = true,
            Tag::Strong => self.words += "\\fB",
            Tag::Emphasis => self.words += "\\fI",
            Tag::CodeBlock(_) => {
                self.code = true;
                self.roff += if self.fresh { ".RS 4\n.EX\n" } else { ".PP\n.RS 4\n.EX\n" };
            }
            Tag::List(first) => {
                self.flush();
                if !self.lists.is_empty() {
                    self.roff += ".RS 4\n";
                }
                self.lists.push(first);
            }
            Tag::Item => match self.lists.last_mut() {
                Some(Some(number)) => {
                    self.roff += &format!(".IP {number}. 4\n");
                    *number += 1;
                    self.fresh = true;
                }
                _ => {
                    self.roff += ".IP \\(bu 2\n";
                    self.fresh = true;
                }
            },
            Tag::DefinitionListTitle => self.roff += ".TP\n",
            Tag::DefinitionListDefinition => {
                self.fresh = true;
                self.definition = true;
            }
            Tag::Table(_) => self.rows.clear(),
            Tag::TableHead | Tag::TableRow => self.rows.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let macro_name = if level as usize <= 2 { "SH" } else { "SS" };
                let words = std::mem::take(&mut self.words);
                self.roff += &format!(".{macro_name} {words}\n");
                (self.heading, self.fresh) = (false, true);
            }
            TagEnd::Strong | TagEnd::Emphasis => self.words += "\\fR",
            TagEnd::Paragraph => self.flush(),
            TagEnd::CodeBlock => {
                self.code = false;
                self.fresh = false;
                self.roff += ".EE\n.RE\n";
            }
            TagEnd::Item => self.flush(),
            TagEnd::List(_) => {
                self.lists.pop();
                if !self.lists.is_empty() {
                    self.roff += ".RE\n";
                }
            }
            TagEnd::DefinitionListTitle => {
                let words = std::mem::take(&mut self.words);
                self.roff += &format!("{words}\n");
            }
            TagEnd::DefinitionListDefinition => {
                self.flush();
                self.definition = false;
            }
            TagEnd::TableCell => {
                let words = std::mem::take(&mut self.words);
                if let Some(row) = self.rows.last_mut() {
                    row.push(words);
                }
            }
            TagEnd::Table => self.table(),
            _ => {}
        }
    }

    /// Ends a paragraph.
    fn flush(&mut self) {
        let words = std::mem::take(&mut self.words);
        if words.is_empty() {
            return;
        }
        if !self.fresh {
            let within = self.definition || !self.lists.is_empty();
            self.roff += if within { ".IP\n" } else { ".PP\n" };
        }
        self.fresh = false;
        for line in wrapped(&words) {
            // A dot or quote in the first place would be a request; ".br" is one of ours.
            let guard = line.starts_with(['.', '\'']) && line != ".br";
            self.roff += &format!("{}{line}\n", if guard { "\\&" } else { "" });
        }
    }

    fn table(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        // The last column takes what width there is.
        let last = columns.saturating_sub(1);
        let form = |cell: &str| format!("{}{cell}x", format!("{cell} ").repeat(last));
        self.roff += &format!(".TS\nallbox tab(\t);\n{}\n{}.\n", form("lb"), form("l"));
        for row in rows {
            let cells: Vec<_> = row.iter().map(|cell| format!("T{{\n{cell}\nT}}")).collect();
            self.roff += &(cells.join("\t") + "\n");
        }
        self.roff += ".TE\n";
        self.fresh = false;
    }
}

/// Lines of at most 78 characters, where words allow.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for line in text.lines() {
        if line == ".br" {
            lines.extend([line.to_owned(), String::new()]);
            continue;
        }
        for word in line.split_whitespace() {
            let last = lines.last_mut().expect("there is always one");
            if last.is_empty() {
                last.push_str(word);
            } else if last.len() + word.len() < 78 {
                *last += &format!(" {word}");
            } else {
                lines.push(word.to_owned());
            }
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('…', "...").replace('–', "\\(en")
}

fn verbatim(text: &str) -> String {
    let line = |line: &str| {
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        format!("{guard}{}\n", escape(line).replace('\'', "\\(aq"))
    };
    text.lines().map(line).collect()
}
